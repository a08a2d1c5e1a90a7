//! Comparison of what a topic has with what a store has.

use std::collections::HashSet;

use gesta_store::RecordedEvent;

use crate::broker::by_stream;

/// Asserts that a topic has each event of a store once, and each stream in its order.
pub(crate) fn assert_each_once(stored: &[RecordedEvent], relayed: &[RecordedEvent]) {
    let (stored, relayed) = (by_stream(stored), by_stream(relayed));
    assert!(stored.keys().eq(relayed.keys()), "other streams: {:?}", relayed.keys());
    for (stream, stored) in &stored {
        let relayed = relayed.get(stream).unwrap();
        let revisions = |events: &[RecordedEvent]| -> Vec<u64> {
            events.iter().map(|event| event.revision.number()).collect()
        };
        // Short to read when it fails.
        assert_eq!(revisions(relayed), revisions(stored), "{stream}");
        assert_eq!(relayed, stored);
    }
}

/// Asserts that a topic has each event of a store, and that the first records of the events are in
/// the order of their stream.
pub(crate) fn assert_each_at_least_once(stored: &[RecordedEvent], relayed: &[RecordedEvent]) {
    let mut known = HashSet::new();
    let first = relayed.iter().filter(|event| known.insert(event.id)).cloned();
    assert_each_once(stored, &first.collect::<Vec<_>>());
}
