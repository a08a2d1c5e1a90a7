//! The memory store keeps every clause, whatever its clock does.

use std::sync::atomic::{AtomicU64, Ordering};

use gesta_store::{
    Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, ReadAll, RecordedAt,
    StoreError, StreamName,
    conformance::{Fresh, block_on},
    memory::MemoryStore,
};

gesta_store::conformance!(|| Fresh::new(MemoryStore::new()));

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
