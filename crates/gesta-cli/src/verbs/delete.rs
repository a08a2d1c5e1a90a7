//! `gesta delete`: hides all events of a stream.

use anyhow::Result;
use clap::Args;
use futures_executor::block_on;
use gesta_store::{DeleteStream, ExpectedRevision, StreamName};
use serde_json::json;

use super::journal::ForgetSetAside;
use crate::{
    confirm::Confirm,
    counted::counted,
    events::Printable,
    exit::Outcome,
    lookup::{check_ordinary, existing},
    output::{Output, Style},
    store_url::StoreUrl,
};

const HINT: &str = "\
Examples:
  gesta delete user-17
  gesta delete user-17 --yes && gesta scavenge";

/// Delete a stream by hiding all its events
///
/// A later append recreates the stream; its revisions continue. The events stay on disk until
/// `gesta scavenge`. Needs exclusive access to a store in a directory. Asks for confirmation.
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Delete {
    /// Stream name, such as user-17
    #[arg(value_parser = crate::selection::stored_stream)]
    stream: StreamName,
    #[command(flatten)]
    forget: ForgetSetAside,
    #[command(flatten)]
    confirm: Confirm,
}

impl Delete {
    pub(crate) fn run(self, url: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        check_ordinary(&self.stream)?;
        let store = url.open_to_read()?;
        let (_, head) = existing(&self.stream, store.as_ref())?;
        self.forget.check(&self.stream, store.as_ref())?;
        // Close the store before the question: a user may take long to answer.
        drop(store);
        let name = Printable(self.stream.as_str());
        let events = counted(head.next().number(), "event");
        self.confirm.ask(&format!("this permanently hides {events} of {name}"))?;
        // Expect the confirmed head: events appended since the prompt must not be deleted.
        let expected = ExpectedRevision::Exact(head);
        let delete = DeleteStream::new(self.stream.clone(), expected);
        let deleted = block_on(url.open_to_append()?.delete_stream(delete))?;
        match output.style() {
            Style::Text => output.line(format_args!("deleted {name} up to revision {head}"))?,
            Style::Json => output.json(&json!({
                "stream": self.stream.as_str(),
                "deletedTo": head.number(),
                "position": deleted.position.number(),
            }))?,
        }
        Ok(Outcome::Done)
    }
}
