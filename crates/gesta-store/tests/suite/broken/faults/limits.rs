//! Faults of limits and reserved streams.

use gesta_store::{
    EventStore, EventType, Invalid, InvalidName, Limits, NewEvent, StoreError, StreamMetadata,
    conformance::block_on,
};

use super::appending::{appending, on_error};
use crate::broken::{Fault, FaultyStore, pretended};

/// A store that truncates input to the limit instead of rejecting it.
fn cutting(limit: &'static str, cut: fn(&mut Vec<NewEvent>)) -> FaultyStore {
    on_error(move |store, mut append, error| match error {
        StoreError::Rejected(Invalid::Limit { limit: exceeded, .. }) if exceeded == limit => {
            append.streams.iter_mut().for_each(|part| cut(&mut part.events));
            block_on(store.append(append))
        }
        other => Err(other),
    })
}

/// A store that claims limits that it does not keep.
fn claiming(change: fn(&mut Limits)) -> FaultyStore {
    FaultyStore {
        capabilities: Box::new(move |store, ()| {
            let mut can = store.capabilities();
            change(&mut can.limits);
            can
        }),
        ..FaultyStore::correct()
    }
}

pub(crate) fn faults() -> Vec<Fault> {
    let mut faults = sizes();
    faults.extend(system_streams());
    faults
}

/// Faults with limits on sizes.
fn sizes() -> Vec<Fault> {
    vec![
        Fault::of("an_event_at_the_limit_is_accepted", || {
            appending(|store, append| {
                let max = store.capabilities().limits.event_bytes_max;
                if append.events().any(|event| event.content_bytes() == max) {
                    let limit = "event bytes";
                    return Err(Invalid::Limit { limit, actual: max, max: max - 1 }.into());
                }
                block_on(store.append(append))
            })
        }),
        Fault::of("an_event_over_the_limit_is_rejected", || {
            cutting("event bytes", |events| {
                events.iter_mut().for_each(|event| event.data.truncate(1));
            })
        }),
        Fault::of("an_append_over_the_limit_is_rejected", || {
            cutting("append bytes", |events| events.truncate(1))
        }),
        Fault::of("more_events_than_the_limit_are_rejected", || {
            claiming(|limits| limits.events_per_append_max = 100)
        }),
        Fault::of("more_streams_than_the_limit_are_rejected", || {
            claiming(|limits| limits.streams_per_append_max = 5)
        }),
        Fault::of("more_tags_than_the_limit_are_rejected", || {
            cutting("tags", |events| events.iter_mut().for_each(|event| event.tags.truncate(1)))
        }),
    ]
}

/// Faults with streams that take only certain events.
fn system_streams() -> Vec<Fault> {
    vec![
        Fault::of("a_privileged_append_takes_events_of_system_streams", || {
            appending(|store, mut append| {
                append.privileged = false;
                block_on(store.append(append))
            })
        }),
        Fault::of("a_privileged_append_takes_no_other_events_for_metadata", || {
            on_error(|store, append, error| match error {
                StoreError::Rejected(Invalid::SystemStream { .. }) if append.privileged => {
                    pretended(store)
                }
                other => Err(other),
            })
        }),
        Fault::of("a_system_stream_takes_no_other_events", || {
            on_error(|store, mut append, error| match error {
                StoreError::Rejected(Invalid::SystemStream { .. }) => {
                    let set = EventType::new(StreamMetadata::EVENT_TYPE).expect("is a name");
                    let events = append.streams.iter_mut().flat_map(|part| &mut part.events);
                    events.for_each(|event| event.event_type = set.clone());
                    block_on(store.append(append)).or_else(|_| pretended(store))
                }
                other => Err(other),
            })
        }),
        Fault::of("metadata_that_cannot_be_read_are_rejected", || {
            on_error(|store, _, error| match error {
                StoreError::Rejected(Invalid::Metadata { .. }) => pretended(store),
                other => Err(other),
            })
        }),
        Fault::of("a_stream_without_room_for_metadata_takes_no_events", || {
            on_error(|store, _, error| match error {
                StoreError::Rejected(Invalid::Name(_)) => pretended(store),
                other => Err(other),
            })
        }),
        Fault::of("the_longest_streams_can_be_deleted", || FaultyStore {
            delete: Box::new(|store, delete| {
                let (bytes, max) = (delete.stream.as_str().len(), 1_000);
                if bytes > max {
                    return Err(InvalidName::TooLong { kind: "stream name", bytes, max }.into());
                }
                block_on(store.delete_stream(delete))
            }),
            ..FaultyStore::correct()
        }),
    ]
}
