//! One append of the contract on behalf of a sender, whatever protocol it came by.
//!
//! Invariants: streams of the system take any events, because rights were checked before; a change
//! of rights is recorded in the audit stream.

use gesta_store::{Append, Appended, StoreError, StreamAppend, StreamName};

use super::{metadata_append, store_append::observed};
use crate::{access::Sender, node::Node};

/// Appends events. The sender has the rights to do so.
pub(crate) async fn run_append(
    node: &Node,
    sender: &Sender,
    append: Append,
) -> Result<Appended, StoreError> {
    let mut changed = Vec::new();
    for part in &append.streams {
        if changes_rights(node, part).await {
            changed.push(part.stream.clone());
        }
    }
    // Streams of the system, but for metadata, whose content the store checks.
    let is_owned = |name: &StreamName| name.is_system() && name.described_stream().is_none();
    let is_privileged =
        append.streams.iter().any(|part| !part.events.is_empty() && is_owned(&part.stream));
    let append = if is_privileged { append.privileged() } else { append };
    let events = append.events().count() as u64;
    let counters = node.counters();
    // An append without events names a stream all the same: that of its first check.
    let first = append.streams.first().map(|part| part.stream.clone());
    let appended = metadata_append::append(node.store(), append);
    let outcome = match first {
        Some(stream) => observed(node, &stream, events, appended).await,
        None => appended.await,
    };
    match outcome {
        Ok(appended) => {
            counters.appends.add(1);
            counters.events_appended.add(events);
            for stream in &changed {
                node.access().record_change_of_rights(sender, stream).await;
            }
            Ok(appended)
        }
        Err(error) => {
            counters.appends_refused.add(1);
            Err(error)
        }
    }
}

async fn changes_rights(node: &Node, part: &StreamAppend) -> bool {
    for event in &part.events {
        if node.access().changes_rights(&part.stream, &event.data).await {
            return true;
        }
    }
    false
}
