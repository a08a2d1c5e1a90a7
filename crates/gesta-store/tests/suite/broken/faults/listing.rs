//! Faults of listing streams and categories.

use gesta_store::{
    Category, EventStore, ListCategories, ListStreams, ReadAll, StreamName, StreamState,
    conformance::block_on, memory::MemoryStore,
};

use crate::broken::{Fault, FaultyStore, described};

/// A store with this `list_streams`.
fn listing(list: fn(&MemoryStore, ListStreams) -> Vec<StreamName>) -> FaultyStore {
    FaultyStore {
        list_streams: Box::new(move |store, asked| Ok(list(store, asked))),
        ..FaultyStore::correct()
    }
}

fn listing_categories(list: fn(&MemoryStore, ListCategories) -> Vec<Category>) -> FaultyStore {
    FaultyStore {
        list_categories: Box::new(move |store, asked| Ok(list(store, asked))),
        ..FaultyStore::correct()
    }
}

fn listed(store: &MemoryStore, list: ListStreams) -> Vec<StreamName> {
    block_on(store.list_streams(list)).expect("a memory store lists")
}

fn categories(store: &MemoryStore, list: ListCategories) -> Vec<Category> {
    block_on(store.list_categories(list)).expect("a memory store lists")
}

fn asks_for_all(list: &ListStreams) -> bool {
    list.prefix.is_empty() && list.after.is_none() && list.limit == usize::MAX
}

/// Returns the streams that ever had events, without system streams.
fn ever_appended_to(store: &MemoryStore) -> Vec<StreamName> {
    let events = block_on(store.read_all(ReadAll::forwards()).collect_events());
    let events = events.expect("a memory store reads").into_iter();
    let mut names: Vec<_> =
        events.map(|event| event.stream).filter(|name| !name.is_system()).collect();
    names.sort();
    names.dedup();
    names
}

pub(crate) fn faults() -> Vec<Fault> {
    [order_and_pages(), membership(), of_categories()].into_iter().flatten().collect()
}

fn order_and_pages() -> Vec<Fault> {
    vec![
        Fault::of("streams_are_listed_in_byte_order", || {
            listing(|store, list| {
                let mut names = listed(store, list);
                names.sort_by_key(|name| name.as_str().to_lowercase());
                names
            })
        }),
        Fault::of("streams_are_listed_in_pages", || {
            listing(|store, list| {
                let mut names = listed(store, list.clone());
                if let Some(after) = list.after.filter(|_| list.prefix.is_empty()) {
                    names.insert(0, after);
                    names.truncate(list.limit);
                }
                names
            })
        }),
        Fault::of("streams_are_listed_by_prefix", || {
            listing(|store, list| {
                let prefix = list.prefix.to_lowercase();
                if prefix.starts_with('$') || prefix.is_empty() {
                    return listed(store, list);
                }
                let limit = list.limit;
                let all = list.prefix(String::new()).limit(usize::MAX);
                let mut names = listed(store, all);
                names.retain(|name| name.as_str().to_lowercase().starts_with(&prefix));
                names.truncate(limit);
                names
            })
        }),
    ]
}

fn membership() -> Vec<Fault> {
    vec![
        Fault::of("system_streams_are_listed_only_when_asked_for", || {
            listing(|store, list| {
                let all = asks_for_all(&list);
                let mut names = listed(store, list.clone());
                if all {
                    names.extend(listed(store, list.prefix("$".to_owned())));
                    names.sort();
                }
                names
            })
        })
        .also("streams_that_ended_are_not_listed", "their metadata streams are the system's")
        .also("streams_without_events_are_not_listed", "its metadata stream is the system's"),
        Fault::of("streams_that_ended_are_not_listed", || {
            listing(
                |store, list| {
                    if asks_for_all(&list) { ever_appended_to(store) } else { listed(store, list) }
                },
            )
        }),
        Fault::of("streams_without_events_are_not_listed", || {
            listing(|store, list| {
                let all = asks_for_all(&list);
                let mut names = listed(store, list.clone());
                if all {
                    let system = listed(store, list.prefix("$$".to_owned()));
                    let known = system.iter().filter_map(StreamName::described_stream);
                    names.extend(
                        known.filter(|name| described(store, name).state == StreamState::Missing),
                    );
                }
                names
            })
        }),
    ]
}

fn of_categories() -> Vec<Fault> {
    vec![
        Fault::of("categories_are_listed_in_byte_order", || {
            listing_categories(|store, list| {
                let mut names = categories(store, list);
                names.sort_by_key(|name| name.as_str().to_lowercase());
                names
            })
        }),
        Fault::of("categories_are_listed_in_pages", || {
            listing_categories(|store, list| {
                let mut names = categories(store, list.clone());
                if let Some(after) = list.after {
                    names.insert(0, after);
                    names.truncate(list.limit);
                }
                names
            })
        }),
        Fault::of("categories_outlive_their_streams", || {
            listing_categories(|store, list| {
                let prefix = |name: &Category| format!("{}-", name.as_str());
                let live = |name: &Category| {
                    let first = ListStreams::all().prefix(prefix(name)).limit(1);
                    !listed(store, first).is_empty()
                };
                categories(store, list).into_iter().filter(live).collect()
            })
        }),
    ]
}
