//! A store without optional features passes the suite, if it declares that and refuses.

use gesta_store::{
    Append, AppendLookup, EventStore, Filter, Pages, StoreError, SubscribeTo, Subscription,
    conformance::{Fixture, block_on},
};

use crate::broken::FaultyStore;

gesta_store::conformance!(|| Fixture::new(limited()));

fn unsupported(capability: &'static str) -> StoreError {
    StoreError::Unsupported { capability }
}

/// Lacks all optional features, and refuses their use.
fn limited() -> FaultyStore {
    FaultyStore {
        append: Box::new(|store, append| {
            refuse_optional(&append)?;
            block_on(store.append(append))
        }),
        find_append: Box::new(|_, _| Err(unsupported("finding appends"))),
        read_all: Box::new(|store, read| match read.filter {
            Filter::Everything => store.read_all(read),
            _ => Pages::failed(unsupported("filtered reads")),
        }),
        subscribe: Box::new(|store, subscribe| match subscribe.to {
            SubscribeTo::Stream { .. } | SubscribeTo::All { filter: Filter::Everything, .. } => {
                store.subscribe(subscribe)
            }
            SubscribeTo::All { .. } => Subscription::failed(unsupported("filtered reads")),
        }),
        ..claiming_less()
    }
}

fn refuse_optional(append: &Append) -> Result<(), StoreError> {
    let mut names = append.streams.iter().map(|part| &part.stream);
    let first = names.next();
    // A stream that occurs twice is rejected as such by the store.
    if names.any(|name| Some(name) != first) {
        return Err(unsupported("appends to several streams"));
    }
    match append.condition {
        Some(_) => Err(unsupported("append conditions")),
        None => Ok(()),
    }
}

/// Declares that it lacks all optional features, and supports them nevertheless.
pub(crate) fn claiming_less() -> FaultyStore {
    FaultyStore {
        capabilities: Box::new(|store, ()| {
            let mut can = store.capabilities();
            can.multi_stream_append = false;
            can.append_condition = false;
            can.filtered_reads = false;
            can.find_append = AppendLookup::Unsupported;
            can
        }),
        ..FaultyStore::correct()
    }
}
