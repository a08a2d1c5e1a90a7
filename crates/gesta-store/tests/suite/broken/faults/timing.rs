//! Faults of starts at a time.

use gesta_store::{
    EventStore, Position, ReadAll, ReadFrom, RecordedAt, Subscribe, SubscribeFrom, SubscribeTo,
    conformance::block_on, memory::MemoryStore,
};

use super::subscribing::starting_after;
use crate::broken::{Fault, FaultyStore};

fn later<Place>(from: ReadFrom<Place>) -> ReadFrom<Place> {
    match from {
        ReadFrom::Time(time) => ReadFrom::Time(after(time)),
        other => other,
    }
}

fn after(time: RecordedAt) -> RecordedAt {
    RecordedAt::from_micros(time.micros() + 1)
}

fn start(subscribe: &Subscribe) -> Option<RecordedAt> {
    match subscribe.to {
        SubscribeTo::All { from: SubscribeFrom::Time(time), .. }
        | SubscribeTo::Stream { from: SubscribeFrom::Time(time), .. } => Some(time),
        _ => None,
    }
}

fn starting_at(mut subscribe: Subscribe, time: RecordedAt) -> Subscribe {
    match &mut subscribe.to {
        SubscribeTo::All { from, .. } => *from = SubscribeFrom::Time(time),
        SubscribeTo::Stream { from, .. } => *from = SubscribeFrom::Time(time),
        _ => {}
    }
    subscribe
}

fn to_all(subscribe: &Subscribe) -> bool {
    matches!(subscribe.to, SubscribeTo::All { .. })
}

/// A store that starts some subscriptions after the time instead of at it.
fn subscribing_after(meant: fn(&Subscribe) -> bool) -> FaultyStore {
    FaultyStore {
        subscribe: Box::new(move |store, subscribe| match start(&subscribe) {
            Some(time) if meant(&subscribe) => store.subscribe(starting_at(subscribe, after(time))),
            _ => store.subscribe(subscribe),
        }),
        ..FaultyStore::correct()
    }
}

/// Returns the position and time of the last event.
fn last(store: &MemoryStore) -> Option<(Position, RecordedAt)> {
    let last = block_on(store.read_all(ReadAll::backwards().limit(1)).collect_events());
    let last = last.expect("a memory store can be read").pop()?;
    Some((last.position, last.recorded_at))
}

pub(crate) fn faults() -> Vec<Fault> {
    vec![
        Fault::of("the_whole_store_reads_from_a_time", || FaultyStore {
            read_all: Box::new(|store, mut read| {
                read.from = later(read.from);
                store.read_all(read)
            }),
            ..FaultyStore::correct()
        }),
        Fault::of("a_stream_reads_from_a_time", || FaultyStore {
            read_stream: Box::new(|store, mut read| {
                read.from = later(read.from);
                store.read_stream(read)
            }),
            ..FaultyStore::correct()
        }),
        Fault::of("ordinals_are_read_from_a_time", || FaultyStore {
            read_ordinals: Box::new(|store, mut read| {
                read.from = later(read.from);
                store.read_ordinals(read)
            }),
            ..FaultyStore::correct()
        }),
        Fault::of("a_subscription_begins_at_a_time", || subscribing_after(to_all)),
        Fault::of("a_stream_subscription_begins_at_a_time", || {
            subscribing_after(|subscribe| !to_all(subscribe))
        }),
        Fault::of("a_subscription_waits_for_a_later_time", || FaultyStore {
            subscribe: Box::new(|store, subscribe| {
                let (time, last) = (start(&subscribe), last(store));
                match time.zip(last) {
                    Some((time, (position, at))) if time > at && to_all(&subscribe) => {
                        store.subscribe(starting_after(subscribe, position))
                    }
                    _ => store.subscribe(subscribe),
                }
            }),
            ..FaultyStore::correct()
        }),
    ]
}
