//! `gesta tombstone`: deletes a stream permanently.

use anyhow::Result;
use clap::Args;
use futures_executor::block_on;
use gesta_store::{ExpectedRevision, StoreError, StreamName, StreamState, TombstoneStream};
use serde_json::json;

use super::journal::ForgetSetAside;
use crate::{
    confirm::Confirm,
    events::Printable,
    exit::Outcome,
    lookup::check_ordinary,
    output::{Output, Style},
    store_url::StoreUrl,
};

const HINT: &str = "\
Example:
  gesta tombstone user-17

This cannot be undone. Use `gesta delete` for a stream that may be recreated later.";

/// Delete a stream permanently: it can never be read or appended to again
///
/// The events stay on disk until `gesta scavenge`. Needs exclusive access to a store in a
/// directory. Asks for confirmation.
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Tombstone {
    /// Stream name, such as user-17; need not exist
    #[arg(value_parser = crate::selection::stored_stream)]
    stream: StreamName,
    #[command(flatten)]
    forget: ForgetSetAside,
    #[command(flatten)]
    confirm: Confirm,
}

impl Tombstone {
    pub(crate) fn run(self, url: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        check_ordinary(&self.stream)?;
        let store = url.open_to_read()?;
        // A missing stream can be tombstoned as well, so that it is never created.
        let known = block_on(store.describe_stream(&self.stream))?;
        let stream = self.stream.clone();
        if known.state == StreamState::Tombstoned {
            return Err(StoreError::Deleted { stream }.into());
        }
        self.forget.check(&self.stream, store.as_ref())?;
        // Close the store before the question: a user may take long to answer.
        drop(store);
        let name = Printable(self.stream.as_str());
        self.confirm.ask(&format!("this permanently deletes {name} and cannot be undone"))?;
        // Expect what was confirmed: events appended since the prompt must not be deleted.
        let expected = match known.head {
            Some(head) => ExpectedRevision::Exact(head),
            None => ExpectedRevision::NoStream,
        };
        let ended = block_on(
            url.open_to_append()?.tombstone_stream(TombstoneStream::new(stream, expected)),
        )?;
        match output.style() {
            Style::Text => output.line(format_args!("tombstoned {name}"))?,
            Style::Json => output.json(&json!({
                "stream": self.stream.as_str(),
                "position": ended.position.number(),
            }))?,
        }
        Ok(Outcome::Done)
    }
}
