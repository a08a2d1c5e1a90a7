//! Faults of visible and raw reads of the whole store.

use std::collections::HashSet;

use gesta_store::{
    Delivery, EventId, EventStore, Filter, Pages, ReadAll, RecordedEvent, Revision,
    StreamDescription, StreamState, Subscribe, SubscribeTo, Visibility, conformance::block_on,
    memory::MemoryStore,
};

use crate::broken::{Fault, FaultyStore, changed, delivering, described, on_events, selects};

fn all_reading<F>(read: F) -> FaultyStore
where
    F: Fn(&MemoryStore, ReadAll) -> Pages + Send + Sync + 'static,
{
    FaultyStore { read_all: Box::new(read), ..FaultyStore::correct() }
}

fn ids_of(pages: Pages) -> HashSet<EventId> {
    let events = block_on(pages.collect_events()).expect("a memory store can be read");
    events.into_iter().map(|event| event.id).collect()
}

/// Reads all events that the filter selects, hidden or not, event queries included.
fn raw(store: &MemoryStore, read: &ReadAll) -> Pages {
    let all = read.clone().filter(Filter::Everything);
    let filter = read.filter.clone();
    changed(store.read_all(all.visibility(Visibility::Raw).limit(u64::MAX)), move |mut events| {
        events.retain(|event| selects(&filter, event));
        events
    })
}

/// A store whose visible reads, with some filters, include the hidden events of some streams.
fn also_showing(
    filters: fn(&Filter) -> bool,
    meant: fn(&StreamDescription) -> bool,
) -> FaultyStore {
    all_reading(move |store, read| {
        let visibility = read.filter.visibility(read.visibility);
        if visibility == Visibility::Raw || !filters(&read.filter) {
            return store.read_all(read);
        }
        let visible = ids_of(store.read_all(read.clone()));
        changed(raw(store, &read), |mut events| {
            events.retain(|event| {
                visible.contains(&event.id) || meant(&described(store, &event.stream))
            });
            events
        })
    })
}

/// A store that replaces the request of a subscription.
fn instead(other: fn(Subscribe) -> Subscribe) -> FaultyStore {
    FaultyStore {
        subscribe: Box::new(move |store, subscribe| store.subscribe(other(subscribe))),
        ..FaultyStore::correct()
    }
}

/// Returns the subscription with another visibility, if it is one to the whole store.
fn showing(mut subscribe: Subscribe, shown: Visibility) -> Subscribe {
    if let SubscribeTo::All { visibility, .. } = &mut subscribe.to {
        *visibility = shown;
    }
    subscribe
}

fn shows(subscribe: &Subscribe) -> Option<Visibility> {
    match &subscribe.to {
        SubscribeTo::All { visibility, .. } => Some(*visibility),
        _ => None,
    }
}

pub(crate) fn faults() -> Vec<Fault> {
    [reads(), subscriptions()].into_iter().flatten().collect()
}

fn reads() -> Vec<Fault> {
    vec![
        Fault::of("a_visible_read_leaves_out_streams_that_ended", || {
            also_showing(|_| true, |known| known.state == StreamState::Tombstoned)
        }),
        Fault::of("a_visible_read_leaves_out_what_metadata_hide", || {
            also_showing(|_| true, |known| known.metadata.max_count.is_some())
        }),
        Fault::of("a_visible_read_shows_what_is_shown_again", || {
            all_reading(|store, read| {
                let visible = read.visibility == Visibility::Visible;
                changed(store.read_all(read), |mut events| {
                    events.retain(|event| {
                        let known = described(store, &event.stream).metadata;
                        let truncated = known.truncate_before.is_some();
                        !(visible && truncated && event.revision == Revision::FIRST)
                    });
                    events
                })
            })
        }),
        Fault::of("a_limit_counts_only_visible_events", || {
            all_reading(|store, read| {
                if read.visibility == Visibility::Raw {
                    return store.read_all(read);
                }
                let visible = ids_of(store.read_all(read.clone().limit(u64::MAX)));
                changed(store.read_all(read.visibility(Visibility::Raw)), |mut events| {
                    events.retain(|event| visible.contains(&event.id));
                    events
                })
            })
        }),
        Fault::of("a_filtered_visible_read_leaves_out_the_same", || {
            also_showing(
                |filter| !matches!(filter, Filter::Everything | Filter::Query(_)),
                |known| known.state == StreamState::Deleted,
            )
        }),
        Fault::of("an_event_query_is_about_visible_events", || {
            also_showing(
                |filter| matches!(filter, Filter::Query(_)),
                |known| known.state == StreamState::Deleted,
            )
        }),
    ]
}

fn subscriptions() -> Vec<Fault> {
    vec![
        Fault::of("a_raw_subscription_delivers_hidden_events", || {
            instead(|subscribe| showing(subscribe, Visibility::Visible))
        }),
        Fault::of("a_visible_subscription_passes_over_hidden_events", || {
            instead(|subscribe| showing(subscribe, Visibility::Raw))
        }),
        Fault::of("a_visible_subscription_calls_nothing_back", || FaultyStore {
            subscribe: Box::new(|store, subscribe| {
                let visible = shows(&subscribe) == Some(Visibility::Visible);
                let (mut live, mut told) = (false, Vec::<RecordedEvent>::new());
                delivering(store.subscribe(subscribe), move |delivery| {
                    live |= matches!(delivery, Delivery::CaughtUp(_));
                    on_events(delivery, |page| {
                        told.extend(page.iter().cloned());
                        if visible && live { told.clone() } else { page }
                    })
                })
            }),
            ..FaultyStore::correct()
        }),
    ]
}
