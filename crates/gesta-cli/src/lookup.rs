//! Stream lookups shared by commands that need an existing stream.

use anyhow::Result;
use futures_executor::block_on;
use gesta_store::{
    Capability, EventStore, Revision, StoreError, StreamDescription, StreamName, StreamState,
};

use crate::{events::Printable, exit::Refusal};

/// Returns an error for a stream that does not exist or is deleted.
///
/// A store reads such a stream as empty. At a shell the name may be misspelled, and a script must
/// be able to distinguish it from a stream whose events are all hidden.
pub(crate) fn check_exists(stream: &StreamName, store: &dyn EventStore) -> Result<()> {
    existing(stream, store).map(drop)
}

/// Rejects system streams: their metadata events delete, hide and tombstone other streams.
pub(crate) fn check_ordinary(stream: &StreamName) -> Result<()> {
    if !stream.is_system() {
        return Ok(());
    }
    let name = Printable(stream.as_str());
    let refusal =
        Refusal::usage("system-stream", format!("{name} is a system stream and cannot be changed"));
    // For `$$order-1` the hint names the command that was probably meant; `$x` has none.
    let described = stream.described_stream().filter(|described| !described.is_system());
    Err(match described {
        Some(described) => {
            let of = Printable(described.as_str());
            refusal.hint(format!(
                "the stream holds the metadata of {of}; use `gesta metadata set {of} JSON` to change \
                 that, or pass {of} to delete the stream itself"
            ))
        }
        None => refusal,
    }
    .into())
}

/// Refuses a stream that does not exist, with the command that lists the others.
pub(crate) fn no_such_stream(stream: &StreamName, store: &dyn EventStore) -> anyhow::Error {
    let name = Printable(stream.as_str());
    let refusal = Refusal::not_found("no-such-stream", format!("stream {name} does not exist"));
    let lists = store.capabilities().has(Capability::StreamListing);
    let category = stream.as_str().strip_prefix("$ce-");
    let of_type = stream.as_str().strip_prefix("$et-");
    let hint = match (category, of_type) {
        (Some(category), _) if lists => {
            format!("servers answer this name; here, `gesta read --all --category {category}`")
        }
        (_, Some(of_type)) if lists => {
            format!("servers answer this name; here, `gesta read --all --type {of_type}`")
        }
        _ if lists => "run `gesta streams` to list streams".to_owned(),
        _ => "check the name; `gesta read '$streams'` lists streams if the server has their order \
              (--store 'gesta:DIR?index=streams'), and `gesta read --all` shows the names of all \
              events"
            .to_owned(),
    };
    refusal.hint(hint).into()
}

/// Returns the description and the last revision of a stream that is not deleted.
pub(crate) fn existing(
    stream: &StreamName,
    store: &dyn EventStore,
) -> Result<(StreamDescription, Revision)> {
    let known = block_on(store.describe_stream(stream))?;
    let name = Printable(stream.as_str());
    match (known.state, known.head) {
        (StreamState::Live, Some(head)) => Ok((known, head)),
        (StreamState::Tombstoned, _) => Err(StoreError::Deleted { stream: stream.clone() }.into()),
        (StreamState::Deleted, _) => {
            Err(Refusal::not_found("stream-deleted", format!("stream {name} is deleted"))
                .hint("until it is scavenged, `gesta read --all` still shows its events")
                .into())
        }
        // A live stream has a head, so the second case does not occur.
        (StreamState::Missing | StreamState::Live, _) => Err(no_such_stream(stream, store)),
    }
}
