//! `gesta truncate`: the older events of a stream, hidden.

use anyhow::Result;
use clap::Args;
use futures_executor::block_on;
use gesta_store::{
    EventStore as _, ExpectedRevision, Revision, SetStreamMetadata, StreamMetadata, StreamName,
};
use serde_json::json;

use super::journal::Forget;
use crate::{
    confirm::Confirm,
    counted::counted,
    events::Printable,
    exit::{Outcome, Refusal},
    lookup::{check_ordinary, live},
    output::{Output, Style},
    store_url::StoreUrl,
};

const HINT: &str = "\
Example:
  gesta truncate sensor-17 --before 100000

An aggregate folds to its state from the events that are left; without the older ones that needs a
snapshot, so ask whoever wrote the program.";

/// Hide the events of a stream before a revision. Revisions of those that stay do not change.
///
/// `gesta scavenge` wins their space back. The store must not be open elsewhere. Asks before.
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Truncate {
    /// The stream, such as sensor-17.
    #[arg(value_parser = crate::source::stored_stream)]
    stream: StreamName,
    /// The first revision that stays.
    #[arg(long, value_name = "REVISION")]
    before: u64,
    #[command(flatten)]
    forget: Forget,
    #[command(flatten)]
    confirm: Confirm,
}

impl Truncate {
    pub(crate) fn run(self, url: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        check_ordinary(&self.stream)?;
        let store = url.open_to_read()?;
        let (known, head) = live(&self.stream, &store)?;
        let (name, before) = (Printable(self.stream.as_str()), Revision::new(self.before));
        if before > head {
            return Err(Refusal::usage(
                "beyond-head",
                format!("{name} ends at revision {head}; before {before} is all of it"),
            )
            .hint("`gesta delete` hides all events of a stream")
            .into());
        }
        let first = known.metadata.truncate_before.unwrap_or(Revision::FIRST);
        if before <= first {
            return Err(Refusal::no(
                "truncated-already",
                format!("{name} begins at revision {first} already; events do not come back"),
            )
            .into());
        }
        self.forget.check(&self.stream, &store)?;
        drop(store);
        let events = counted(before.number() - first.number(), "event");
        self.confirm
            .ask(&format!("this hides {events} of {name} before revision {before} for good"))?;
        let expected_metadata =
            known.metadata_revision.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact);
        let metadata = StreamMetadata { truncate_before: Some(before), ..known.metadata };
        let set = SetStreamMetadata { stream: self.stream.clone(), expected_metadata, metadata };
        let truncated = block_on(url.open_to_append()?.set_stream_metadata(set))?;
        match output.style() {
            Style::Text => output.line(format_args!("{name} begins at revision {before}"))?,
            Style::Json => output.json(&json!({
                "stream": self.stream.as_str(),
                "first": before.number(),
                "position": truncated.position.number(),
            }))?,
        }
        Ok(Outcome::Done)
    }
}
