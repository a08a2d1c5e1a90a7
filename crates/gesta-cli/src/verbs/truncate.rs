//! `gesta truncate`: hides the older events of a stream.

use anyhow::Result;
use clap::Args;
use futures_executor::block_on;
use gesta_store::{ExpectedRevision, Revision, SetStreamMetadata, StreamName};
use serde_json::json;

use super::journal::ForgetSetAside;
use crate::{
    confirm::Confirm,
    counted::counted,
    events::Printable,
    exit::{Outcome, Refusal},
    lookup::{check_ordinary, existing},
    output::{Output, Style},
    store_url::StoreUrl,
};

const HINT: &str = "\
Example:
  gesta truncate sensor-17 --before 100000

An aggregate rebuilds its state from the remaining events. Without the older ones it needs a
snapshot, so check with the application's developers first.";

/// Hide a stream's events before a revision
///
/// The remaining events keep their revisions. Hidden events stay on disk until `gesta scavenge`.
/// Needs exclusive access to a store in a directory. Asks for confirmation.
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Truncate {
    /// Stream name, such as sensor-17
    #[arg(value_parser = crate::selection::stored_stream)]
    stream: StreamName,
    /// First revision to keep
    #[arg(long, value_name = "REVISION")]
    before: u64,
    #[command(flatten)]
    forget: ForgetSetAside,
    #[command(flatten)]
    confirm: Confirm,
}

impl Truncate {
    pub(crate) fn run(self, url: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        check_ordinary(&self.stream)?;
        let store = url.open_to_read()?;
        let (known, head) = existing(&self.stream, store.as_ref())?;
        let (name, before) = (Printable(self.stream.as_str()), Revision::new(self.before));
        // The last event must stay: without it the stream would look deleted.
        if before > head {
            return Err(Refusal::usage(
                "beyond-head",
                format!(
                    "{name} ends at revision {head}, so --before {before} would hide all its events"
                ),
            )
            .hint("use `gesta delete` to hide all events of a stream")
            .into());
        }
        let first = known.metadata.truncate_before.unwrap_or(Revision::FIRST);
        if before <= first {
            return Err(Refusal::refused(
                "truncated-already",
                format!(
                    "{name} already starts at revision {first}; hidden events cannot be restored"
                ),
            )
            .into());
        }
        self.forget.check(&self.stream, store.as_ref())?;
        // Close the store before the question: a user may take long to answer.
        drop(store);
        let events = counted(before.number() - first.number(), "event");
        self.confirm
            .ask(&format!("this permanently hides {events} of {name} before revision {before}"))?;
        let expected_metadata =
            known.metadata_revision.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact);
        // Truncation is one field of the metadata; the other fields stay.
        let metadata = known.metadata.truncate_before(before);
        let set = SetStreamMetadata::new(self.stream.clone(), expected_metadata, metadata);
        let truncated = block_on(url.open_to_append()?.set_stream_metadata(set))?;
        match output.style() {
            Style::Text => output.line(format_args!("{name} starts at revision {before}"))?,
            Style::Json => output.json(&json!({
                "stream": self.stream.as_str(),
                "first": before.number(),
                "position": truncated.position.number(),
            }))?,
        }
        Ok(Outcome::Done)
    }
}
