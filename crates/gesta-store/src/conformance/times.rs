//! Clauses about reads and subscriptions that start at a time.

use std::time::Duration;

use super::support::*;
use crate::{
    Category, Delivery, EventId, EventStore, OrdinalIndex, Position, ReadAll, ReadOrdinals,
    ReadStream, RecordedAt, RecordedEvent, Subscribe,
};

/// Appends events until three of them have different times. Returns the events in their order.
async fn apart(store: &dyn EventStore) -> Vec<RecordedEvent> {
    loop {
        for stream in ["order-1", "order-2"] {
            grow(store, stream, 1).await;
        }
        let mut events = stream_events(store, "order-1").await;
        events.extend(stream_events(store, "order-2").await);
        events.sort_by_key(|event| event.position);
        let mut times = times(&events);
        times.dedup();
        if times.len() >= 3 {
            return events;
        }
        // The clock of the store takes a moment to advance.
        pause().await;
    }
}

fn times(events: &[RecordedEvent]) -> Vec<RecordedAt> {
    events.iter().map(|event| event.recorded_at).collect()
}

/// Times of events, and times between and next to them.
fn starts(events: &[RecordedEvent]) -> Vec<RecordedAt> {
    let mut starts = vec![RecordedAt::from_micros(0)];
    for time in times(events) {
        let micros = time.micros();
        starts.extend([micros - 1, micros, micros + 1].map(RecordedAt::from_micros));
    }
    starts
}

fn since(events: &[RecordedEvent], time: RecordedAt) -> Vec<EventId> {
    events.iter().filter(|event| event.recorded_at >= time).map(|event| event.id).collect()
}

fn until(events: &[RecordedEvent], time: RecordedAt) -> Vec<EventId> {
    let earlier = events.iter().rev().filter(|event| event.recorded_at <= time);
    earlier.map(|event| event.id).collect()
}

pub(super) async fn the_whole_store_reads_from_a_time(store: &dyn EventStore) {
    let events = apart(store).await;
    for time in starts(&events) {
        let forwards = collected(store.read_all(ReadAll::forwards().from_time(time))).await;
        assert_eq!(recorded_ids(&written(forwards)), since(&events, time));
        let backwards = collected(store.read_all(ReadAll::backwards().from_time(time))).await;
        assert_eq!(recorded_ids(&written(backwards)), until(&events, time));
    }
}

pub(super) async fn a_stream_reads_from_a_time(store: &dyn EventStore) {
    let mut events = apart(store).await;
    events.retain(|event| event.stream == name("order-1"));
    let read = async |read: ReadStream| recorded_ids(&collected(store.read_stream(read)).await);
    for time in starts(&events) {
        let forwards = ReadStream::forwards(name("order-1")).from_time(time);
        assert_eq!(read(forwards).await, since(&events, time));
        let backwards = ReadStream::backwards(name("order-1")).from_time(time);
        assert_eq!(read(backwards).await, until(&events, time));
    }
    let missing = ReadStream::backwards(name("order-9")).from_time(RecordedAt::from_micros(1));
    assert_eq!(read(missing).await, []);
}

pub(super) async fn ordinals_are_read_from_a_time(store: &dyn EventStore) {
    let events = apart(store).await;
    let of = || OrdinalIndex::Category(Category::new("order").expect("a category"));
    let read = async |read: ReadOrdinals| -> Vec<EventId> {
        let found = accepted(store.read_ordinals(read).collect_events().await);
        found.iter().map(|found| found.event.id).collect()
    };
    for time in starts(&events) {
        assert_eq!(read(ReadOrdinals::forwards(of()).from_time(time)).await, since(&events, time));
        assert_eq!(read(ReadOrdinals::backwards(of()).from_time(time)).await, until(&events, time));
    }
}

pub(super) async fn a_subscription_begins_at_a_time(store: &dyn EventStore) {
    let events = apart(store).await;
    for time in starts(&events) {
        let subscribe = Subscribe::to_all().from_time(time);
        let (caught, _) = caught_up(&mut store.subscribe(subscribe.into())).await;
        assert_eq!(recorded_ids(&caught), since(&events, time));
    }
}

pub(super) async fn a_stream_subscription_begins_at_a_time(store: &dyn EventStore) {
    let mut events = apart(store).await;
    events.retain(|event| event.stream == name("order-1"));
    for time in starts(&events) {
        let subscribe = Subscribe::to_stream(name("order-1")).from_time(time);
        let (caught, _) = caught_up(&mut store.subscribe(subscribe.into())).await;
        assert_eq!(recorded_ids(&caught), since(&events, time));
    }
}

/// A start that is ahead of the store's clock passes over the events in between.
pub(super) async fn a_subscription_waits_for_a_later_time(store: &dyn EventStore) {
    let events = apart(store).await;
    let last = events.last().expect("there are events").recorded_at;
    let hour = Duration::from_secs(3_600);
    let micros = u64::try_from(hour.as_micros()).expect("an hour is short");
    let later = RecordedAt::from_micros(last.micros() + micros);
    let mut subscription = store.subscribe(Subscribe::to_all().from_time(later).into());
    let (caught, _) = caught_up(&mut subscription).await;
    assert_eq!(recorded_ids(&caught), []);
    let appended = append(store, "order-1", [event()]).await.position;
    let mut reached = Position::START;
    while reached < appended {
        match next(&mut subscription).await {
            Delivery::Events(page) => assert_eq!(recorded_ids(&written(page)), []),
            Delivery::CaughtUp(position) | Delivery::Checkpoint(position) => reached = position,
        }
    }
}
