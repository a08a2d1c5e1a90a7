//! Protection of the journals of process managers and reactors, `processes:journal-NAME` and
//! `reactors:journal-NAME`.
//!
//! Invariant: entries that are set aside, and the position of a reactor, are hidden only with
//! `--forget-set-aside`; the error without it names them.

mod fold;
mod processes;
mod reactors;

use anyhow::Result;
use clap::Args;
use futures_executor::block_on;
use gesta_store::{EventStore, ReadStream, StreamName};

use self::{
    fold::{Folded, Forgotten},
    processes::ProcessJournal,
    reactors::ReactorJournal,
};
use crate::{events::Printable, exit::Refusal};

const OF_PROCESSES: &str = "processes:journal-";
const OF_REACTORS: &str = "reactors:journal-";

/// Options of commands that hide events.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct ForgetSetAside {
    /// If the stream is the journal of a process manager or of a reactor, also hide what is set
    /// aside in it, and the position of the reactor
    #[arg(long)]
    forget_set_aside: bool,
}

impl ForgetSetAside {
    /// Returns an error if the stream is a journal that holds more than its owner can find again,
    /// unless `--forget-set-aside` is given.
    pub(super) fn check(self, stream: &StreamName, store: &dyn EventStore) -> Result<()> {
        if self.forget_set_aside {
            return Ok(());
        }
        if let Some(manager) = stream.as_str().strip_prefix(OF_PROCESSES) {
            return check::<ProcessJournal>(manager, stream, store);
        }
        if let Some(reactor) = stream.as_str().strip_prefix(OF_REACTORS) {
            return check::<ReactorJournal>(reactor, stream, store);
        }
        Ok(())
    }
}

fn check<J: Folded>(owner: &str, stream: &StreamName, store: &dyn EventStore) -> Result<()> {
    let mut journal = J::default();
    let mut pages = store.read_stream(ReadStream::forwards(stream.clone()));
    while let Some(page) = block_on(pages.next()) {
        page?.iter().for_each(|event| journal.take(event));
    }
    let forgotten = journal.forgotten(&Printable(owner).to_string());
    let Some(Forgotten { lost, remedy }) = forgotten else { return Ok(()) };
    let message = format!("nothing was changed: {lost}");
    Err(Refusal::refused("would-forget-set-aside", message).hint(remedy).into())
}
