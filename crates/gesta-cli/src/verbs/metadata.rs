//! `gesta metadata`: what holds for a stream as a whole, shown and set.
//!
//! Always holds: events that are hidden do not come back; metadata that would bring them are
//! refused.

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use futures_executor::block_on;
use gesta_log::LogStore;
use gesta_store::{
    EventStore as _, ExpectedRevision, Revision, SetStreamMetadata, StoreError, StreamDescription,
    StreamMetadata, StreamName, StreamState,
};
use serde_json::{json, value::RawValue};

use super::journal::Forget;
use crate::{
    confirm::Confirm,
    events::Printable,
    exit::{Outcome, Refusal},
    lookup::check_ordinary,
    output::{Output, Style},
    store_url::StoreUrl,
};

const HINT: &str = "\
Examples:
  gesta metadata get order-17
  gesta metadata set session-17 '{\"$maxAge\": 86400}'

Names: $maxAge (seconds), $maxCount, $tb (events before this revision are hidden), $cacheControl
(seconds), $acl; others of your own do not begin with $.";

/// Show or set a stream's metadata: how long its events are shown, who may use it.
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Metadata {
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand, Debug)]
enum Act {
    /// Show a stream's metadata.
    Get {
        /// The stream, such as order-17.
        #[arg(value_parser = crate::source::stored_stream)]
        stream: StreamName,
    },
    /// Set a stream's metadata, all of them. Asks before, as events may be hidden by it. The store
    /// must not be open elsewhere.
    Set {
        /// The stream, such as order-17.
        #[arg(value_parser = crate::source::stored_stream)]
        stream: StreamName,
        /// The metadata: a JSON object.
        #[arg(value_name = "JSON")]
        metadata: String,
        #[command(flatten)]
        asked: Asked,
    },
}

/// What has to be said before something is hidden.
#[derive(Args, Clone, Copy, Debug)]
struct Asked {
    #[command(flatten)]
    forget: Forget,
    #[command(flatten)]
    confirm: Confirm,
}

impl Metadata {
    pub(crate) fn run(self, url: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        match self.act {
            Act::Get { stream } => get(&stream, url, output)?,
            Act::Set { stream, metadata, asked } => set(stream, &metadata, asked, url, output)?,
        }
        Ok(Outcome::Done)
    }
}

fn get(stream: &StreamName, url: &StoreUrl, output: &mut Output) -> Result<()> {
    let known = described(stream, &url.open_to_read()?)?;
    let name = Printable(stream.as_str());
    if known.state == StreamState::Missing && known.metadata_revision.is_none() {
        return Err(Refusal::absent("no-such-stream", format!("there is no stream {name}"))
            .hint("`gesta streams` lists those there are")
            .into());
    }
    let json = String::from_utf8(known.metadata.to_json()).context("metadata are not text")?;
    match output.style() {
        Style::Text => output.line(Printable(&json)),
        Style::Json => output.json(&json!({
            "stream": stream.as_str(),
            "revision": known.metadata_revision.map(Revision::number),
            "metadata": serde_json::from_str::<serde_json::Value>(&json)?,
        })),
    }
}

fn set(
    stream: StreamName,
    json: &str,
    asked: Asked,
    url: &StoreUrl,
    output: &mut Output,
) -> Result<()> {
    serde_json::from_str::<&RawValue>(json).context("the metadata are not JSON")?;
    let metadata = StreamMetadata::from_json(json.as_bytes())?;
    check_ordinary(&stream)?;
    let store = url.open_to_read()?;
    let known = described(&stream, &store)?;
    let name = Printable(stream.as_str());
    if let Some(first) = known.metadata.truncate_before
        && metadata.truncate_before.is_none_or(|before| before < first)
    {
        return Err(Refusal::no(
            "would-undelete",
            format!("events of {name} before revision {first} are hidden, and do not come back"),
        )
        .hint(format!("put \"$tb\":{first} or a later revision into the metadata"))
        .into());
    }
    if hides(&metadata) != hides(&known.metadata) {
        asked.forget.check(&stream, &store)?;
    }
    drop(store);
    asked
        .confirm
        .ask(&format!("this replaces the metadata of {name}, which may hide events for good"))?;
    let expected_metadata =
        known.metadata_revision.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact);
    let set = SetStreamMetadata { stream: stream.clone(), expected_metadata, metadata };
    let appended = block_on(url.open_to_append()?.set_stream_metadata(set))?;
    match output.style() {
        Style::Text => output.line(format_args!("set the metadata of {name}")),
        Style::Json => output.json(&json!({
            "stream": stream.as_str(),
            "position": appended.position.number(),
        })),
    }
}

/// What of metadata hides events.
fn hides(metadata: &StreamMetadata) -> impl PartialEq {
    (metadata.max_age, metadata.max_count, metadata.truncate_before)
}

fn described(stream: &StreamName, store: &LogStore) -> Result<StreamDescription> {
    let known = block_on(store.describe_stream(stream))?;
    if known.state == StreamState::Tombstoned {
        return Err(StoreError::Deleted { stream: stream.clone() }.into());
    }
    Ok(known)
}
