//! A stream by its name, for verbs that are about one that is there.

use anyhow::Result;
use futures_executor::block_on;
use gesta_log::LogStore;
use gesta_store::{
    EventStore as _, Revision, StoreError, StreamDescription, StreamName, StreamState,
};

use crate::{events::Printable, exit::Refusal};

/// Fails for a stream that never was or was deleted. Neither is an error to a store; to a person it
/// may be a misspelt name, and a script must not take it for a stream in which nothing happened.
pub(crate) fn check_there(stream: &StreamName, store: &LogStore) -> Result<()> {
    live(stream, store).map(drop)
}

/// Fails for a stream of the system's, which only the system changes: its metadata events are what
/// deletes, hides and forbids other streams.
pub(crate) fn check_ordinary(stream: &StreamName) -> Result<()> {
    if !stream.is_system() {
        return Ok(());
    }
    let name = Printable(stream.as_str());
    let refusal = Refusal::usage(
        "system-stream",
        format!("stream {name} is the system's, and stays as it is"),
    );
    let described = stream.described_stream().filter(|described| !described.is_system());
    Err(match described {
        Some(described) => {
            let of = Printable(described.as_str());
            refusal.hint(format!(
                "it has the metadata of {of}: `gesta metadata set {of} JSON` replaces them; to delete \
                 the stream, name it: {of}"
            ))
        }
        None => refusal,
    }
    .into())
}

/// A stream that is not deleted, and its last revision.
pub(crate) fn live(stream: &StreamName, store: &LogStore) -> Result<(StreamDescription, Revision)> {
    let known = block_on(store.describe_stream(stream))?;
    let name = Printable(stream.as_str());
    match (known.state, known.head) {
        (StreamState::Live, Some(head)) => Ok((known, head)),
        (StreamState::Tombstoned, _) => Err(StoreError::Deleted { stream: stream.clone() }.into()),
        (StreamState::Deleted, _) => {
            Err(Refusal::absent("stream-deleted", format!("{name} was deleted"))
                .hint("what happened in it is under `gesta read --all` until it is scavenged")
                .into())
        }
        (StreamState::Missing | StreamState::Live, _) => {
            Err(Refusal::absent("no-such-stream", format!("there is no stream {name}"))
                .hint("`gesta streams` lists those there are")
                .into())
        }
    }
}
