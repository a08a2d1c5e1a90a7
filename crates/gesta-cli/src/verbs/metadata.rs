//! `gesta metadata`: shows and sets stream metadata.
//!
//! Invariant: hidden events stay hidden; metadata that would reveal them is rejected.

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use futures_executor::block_on;
use gesta_store::{
    EventStore, ExpectedRevision, Invalid, Revision, SetStreamMetadata, StoreError,
    StreamDescription, StreamMetadata, StreamName, StreamState,
};
use serde_json::{json, value::RawValue};

use super::journal::ForgetSetAside;
use crate::{
    confirm::Confirm,
    events::Printable,
    exit::{Outcome, Refusal},
    lookup::{check_ordinary, no_such_stream},
    output::{Output, Style},
    store_url::StoreUrl,
};

const HINT: &str = "\
Examples:
  gesta metadata get order-17
  gesta metadata set session-17 '{\"$maxAge\": 86400}'

System fields: $maxAge (seconds), $maxCount, $tb (hides events before this revision), $cacheControl
(seconds), $acl. Names of custom fields must not start with $.";

/// Show or set stream metadata, such as maximum age and access
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Metadata {
    #[command(subcommand)]
    verb: MetadataCommand,
}

#[derive(Subcommand, Debug)]
enum MetadataCommand {
    /// Show a stream's metadata
    Get {
        /// Stream name, such as order-17
        #[arg(value_parser = crate::selection::stored_stream)]
        stream: StreamName,
    },
    /// Replace a stream's metadata
    ///
    /// The new metadata may hide events, so the command asks for confirmation. Needs exclusive
    /// access to a store in a directory.
    Set {
        /// Stream name, such as order-17
        #[arg(value_parser = crate::selection::stored_stream)]
        stream: StreamName,
        /// Metadata as a JSON object
        #[arg(value_name = "JSON")]
        metadata: String,
        #[command(flatten)]
        options: HidingOptions,
    },
}

/// Options of a change that may hide events.
#[derive(Args, Clone, Copy, Debug)]
struct HidingOptions {
    #[command(flatten)]
    forget: ForgetSetAside,
    #[command(flatten)]
    confirm: Confirm,
}

impl Metadata {
    pub(crate) fn run(self, url: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        match self.verb {
            MetadataCommand::Get { stream } => get(&stream, url, output)?,
            MetadataCommand::Set { stream, metadata, options } => {
                set(stream, &metadata, options, url, output)?
            }
        }
        Ok(Outcome::Done)
    }
}

fn get(stream: &StreamName, url: &StoreUrl, output: &mut Output) -> Result<()> {
    let store = url.open_to_read()?;
    let known = described(stream, store.as_ref())?;
    if known.state == StreamState::Missing && known.metadata_revision.is_none() {
        return Err(no_such_stream(stream, store.as_ref()));
    }
    let json = String::from_utf8(known.metadata.to_json()).context("the metadata is not UTF-8")?;
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
    options: HidingOptions,
    url: &StoreUrl,
    output: &mut Output,
) -> Result<()> {
    // A syntax error is reported as such; what follows rejects wrong fields.
    serde_json::from_str::<&RawValue>(json).context("the metadata is not JSON")?;
    let metadata = StreamMetadata::from_json(json.as_bytes())?;
    check_names(&metadata)?;
    check_ordinary(&stream)?;
    let store = url.open_to_read()?;
    let known = described(&stream, store.as_ref())?;
    let name = Printable(stream.as_str());
    // The whole metadata is replaced, so a forgotten `$tb` would show hidden events again: some of
    // them may be scavenged, and readers would see a stream with holes.
    if let Some(first) = known.metadata.truncate_before
        && metadata.truncate_before.is_none_or(|before| before < first)
    {
        return Err(Refusal::refused(
            "would-undelete",
            format!(
                "the metadata would make events of {name} before revision {first} visible again, \
                 but hidden events cannot be restored"
            ),
        )
        .hint(format!("include \"$tb\":{first} or a later revision in the metadata"))
        .into());
    }
    if hides(&metadata) != hides(&known.metadata) {
        options.forget.check(&stream, store.as_ref())?;
    }
    // Close the store before the question: the user may take long to answer, and the next line
    // needs the store's lock.
    drop(store);
    options
        .confirm
        .ask(&format!("this replaces the metadata of {name} and may permanently hide events"))?;
    // Metadata that another process set since then is not overwritten.
    let expected_metadata =
        known.metadata_revision.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact);
    let set = SetStreamMetadata::new(stream.clone(), expected_metadata, metadata);
    let appended = block_on(url.open_to_append()?.set_stream_metadata(set))?;
    match output.style() {
        Style::Text => output.line(format_args!("set the metadata of {name}")),
        Style::Json => output.json(&json!({
            "stream": stream.as_str(),
            "position": appended.position.number(),
        })),
    }
}

/// Returns the fields that hide events, for comparison.
fn hides(metadata: &StreamMetadata) -> impl PartialEq {
    (metadata.max_age, metadata.max_count, metadata.truncate_before)
}

fn described(stream: &StreamName, store: &dyn EventStore) -> Result<StreamDescription> {
    let known = block_on(store.describe_stream(stream))?;
    if known.state == StreamState::Tombstoned {
        return Err(StoreError::Deleted { stream: stream.clone() }.into());
    }
    Ok(known)
}

/// Refuses unknown system fields, which would be kept without effect.
fn check_names(metadata: &StreamMetadata) -> Result<()> {
    let Some(name) = metadata.custom.keys().find(|name| name.starts_with('$')) else {
        return Ok(());
    };
    let known = StreamMetadata::NAMES.iter().find(|known| known.eq_ignore_ascii_case(name));
    let remedy = match known {
        Some(known) => format!("did you mean {known}?"),
        None => format!(
            "expected one of {}; names of custom fields must not start with $",
            StreamMetadata::NAMES.join(", ")
        ),
    };
    let reason = format!("unknown name {}; {remedy}", Printable(name));
    Err(StoreError::from(Invalid::Metadata { reason }).into())
}
