//! Stream lookups shared by commands that need an existing stream.

use anyhow::Result;
use futures_executor::block_on;
use gesta_log::LogStore;
use gesta_store::{
    EventStore as _, Revision, StoreError, StreamDescription, StreamName, StreamState,
};

use crate::{events::Printable, exit::Refusal};

/// Returns an error for a stream that does not exist or is deleted.
///
/// A store reads such a stream as empty. At a shell the name may be misspelled, and a script must
/// be able to tell it from a stream without events.
pub(crate) fn check_there(stream: &StreamName, store: &LogStore) -> Result<()> {
    live(stream, store).map(drop)
}

/// Rejects system streams: their metadata events delete, hide and tombstone other streams.
pub(crate) fn check_ordinary(stream: &StreamName) -> Result<()> {
    if !stream.is_system() {
        return Ok(());
    }
    let name = Printable(stream.as_str());
    let refusal =
        Refusal::usage("system-stream", format!("{name} is a system stream and cannot be changed"));
    let described = stream.described_stream().filter(|described| !described.is_system());
    Err(match described {
        Some(described) => {
            let of = Printable(described.as_str());
            refusal.hint(format!(
                "it holds the metadata of {of}: use `gesta metadata set {of} JSON` to replace them, or \
                 name {of} itself to delete it"
            ))
        }
        None => refusal,
    }
    .into())
}

/// Returns the description and the last revision of a stream that is not deleted.
pub(crate) fn live(stream: &StreamName, store: &LogStore) -> Result<(StreamDescription, Revision)> {
    let known = block_on(store.describe_stream(stream))?;
    let name = Printable(stream.as_str());
    match (known.state, known.head) {
        (StreamState::Live, Some(head)) => Ok((known, head)),
        (StreamState::Tombstoned, _) => Err(StoreError::Deleted { stream: stream.clone() }.into()),
        (StreamState::Deleted, _) => {
            Err(Refusal::absent("stream-deleted", format!("stream {name} is deleted"))
                .hint("until it is scavenged, `gesta read --all` still shows its events")
                .into())
        }
        (StreamState::Missing | StreamState::Live, _) => {
            Err(Refusal::absent("no-such-stream", format!("stream {name} does not exist"))
                .hint("run `gesta streams` to list streams")
                .into())
        }
    }
}
