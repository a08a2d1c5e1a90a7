//! The memory store passes every clause, whatever its clock does.

use std::sync::atomic::{AtomicU64, Ordering};

use gesta_store::{
    Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, ReadAll, ReadStream,
    RecordedAt, Revision, SetStreamMetadata, StoreError, StreamMetadata, StreamName,
    conformance::{Fixture, block_on},
    memory::MemoryStore,
};

gesta_store::conformance!(|| Fixture::new(MemoryStore::new()));

#[test]
fn recorded_times_stand_still_while_the_clock_falls() -> Result<(), StoreError> {
    let next = AtomicU64::new(9);
    let store = MemoryStore::with_clock(move || {
        RecordedAt::from_micros(next.fetch_sub(1, Ordering::Relaxed))
    });
    for _ in 0..3 {
        let event = NewEvent::json(EventId::random(), EventType::new("happened")?, "{}");
        let append = Append::to(StreamName::new("order-1")?, ExpectedRevision::Any, [event]);
        block_on(store.append(append))?;
    }
    let events = block_on(store.read_all(ReadAll::forwards()).collect_events())?;
    let times: Vec<u64> = events.iter().map(|event| event.recorded_at.micros()).collect();
    assert_eq!(times, [9, 9, 9]);
    Ok(())
}

/// Earlier versions did not note deletions in metadata events.
#[test]
fn a_deletion_by_an_earlier_version_is_carried_over_and_a_truncation_is_not()
-> Result<(), StoreError> {
    for (deleted, shown) in [(true, vec![3, 4]), (false, vec![0, 1, 2, 3, 4])] {
        let store = MemoryStore::new();
        let stream = StreamName::new("order-1")?;
        let append = |name: &StreamName, event_type: &str, data: Vec<u8>| {
            let event = NewEvent::json(EventId::random(), EventType::new(event_type)?, data);
            block_on(store.append(Append::to(name.clone(), ExpectedRevision::Any, [event])))
        };
        let grow = |count| (0..count).try_for_each(|_| append(&stream, "kept", vec![]).map(drop));
        let truncate_before = Some(Revision::new(3));
        let truncation = StreamMetadata::default().truncate_before(truncate_before);
        let described = stream.metadata_stream()?;
        let truncate = || append(&described, StreamMetadata::EVENT_TYPE, truncation.to_json());
        grow(if deleted { 3 } else { 5 })?;
        truncate()?;
        grow(if deleted { 2 } else { 0 })?;
        let expected_metadata = ExpectedRevision::Any;
        let metadata = StreamMetadata::default();
        let change = SetStreamMetadata::new(stream.clone(), expected_metadata, metadata);
        block_on(store.set_stream_metadata(change))?;
        let events = block_on(store.read_stream(ReadStream::forwards(stream)).collect_events())?;
        let revisions: Vec<u64> = events.iter().map(|event| event.revision.number()).collect();
        assert_eq!(revisions, shown, "deleted: {deleted}");
    }
    Ok(())
}
