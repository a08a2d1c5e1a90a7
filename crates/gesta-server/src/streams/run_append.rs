//! One append of the contract on behalf of a caller, whatever protocol it came by.
//!
//! Invariants: streams of the system take any events, because rights were checked before; a change
//! of rights is recorded in the audit stream.

use gesta_store::{Append, Appended, StoreError, StreamAppend, StreamName};

use super::store_append::observed;
use crate::{
    access::{Access, Caller},
    node::Node,
};

/// Appends events. The caller has the rights to do so.
pub(crate) async fn run_append(
    node: &Node,
    caller: &Caller,
    append: Append,
) -> Result<Appended, StoreError> {
    let changed = append.streams.iter().filter(|part| changes_rights(part));
    let changed: Vec<_> = changed.map(|part| part.stream.clone()).collect();
    // Streams of the system, but for metadata, whose content the store checks.
    let is_owned = |name: &StreamName| name.is_system() && name.described_stream().is_none();
    let is_privileged =
        append.streams.iter().any(|part| !part.events.is_empty() && is_owned(&part.stream));
    let append = if is_privileged { append.privileged() } else { append };
    let events = append.events().count() as u64;
    let counters = node.counters();
    // An append without events names a stream all the same: that of its first check.
    let first = append.streams.first().map(|part| part.stream.clone());
    let appended = node.store().append(append);
    let outcome = match first {
        Some(stream) => observed(node, &stream, events, appended).await,
        None => appended.await,
    };
    match outcome {
        Ok(appended) => {
            counters.appends.add(1);
            counters.events_appended.add(events);
            for stream in &changed {
                node.access().record_change_of_rights(caller, stream).await;
            }
            Ok(appended)
        }
        Err(error) => {
            counters.appends_refused.add(1);
            Err(error)
        }
    }
}

fn changes_rights(part: &StreamAppend) -> bool {
    part.events.iter().any(|event| Access::changes_rights(&part.stream, &event.data))
}
