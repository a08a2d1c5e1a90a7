//! A poor store passes the suite: it lacks most optional features, declares that, and refuses them.

use gesta_store::{
    Append, Capability, CapabilitySet, EventStore, Limits, Pages, Subscription,
    conformance::{Fixture, block_on},
};

use crate::broken::{FaultyStore, Outcome, found, renamed};

gesta_store::conformance!(|| Fixture::new(poor()));

/// Maximum size of an event: what a row of some databases takes.
const EVENT_BYTES_MAX: usize = 256 << 10;

/// The optional features of the poor store.
const SUPPORTED: CapabilitySet = CapabilitySet::of(&[
    Capability::GlobalOrder,
    Capability::StreamFilter,
    Capability::EventTypeFilter,
    Capability::StreamMetadata,
    Capability::Deletion,
    Capability::Tombstones,
    Capability::StreamScopedIds,
]);

/// No tags, no conditions, one stream an append, no listing, no look-ups, small events, and repeats
/// are recognized only where the expectation says where the events are.
fn poor() -> FaultyStore {
    FaultyStore {
        capabilities: Box::new(|store, ()| {
            let mut can = store.capabilities();
            can.supported = SUPPORTED;
            can.limits = limits();
            can
        }),
        append: Box::new(|store, append| {
            append.check(&limits())?;
            let mut can = store.capabilities();
            can.supported = SUPPORTED;
            can.check(append.capabilities())?;
            if is_unrecognized(store, &append) {
                return block_on(store.append(renamed(append)));
            }
            block_on(store.append(append))
        }),
        ..refusing(SUPPORTED, limits())
    }
}

fn limits() -> Limits {
    let mut limits = Limits::DEFAULT;
    limits.event_bytes_max = EVENT_BYTES_MAX;
    limits.append_bytes_max = 1 << 20;
    limits.events_per_append_max = 100;
    limits
}

/// Returns `true` for a repeat that a store without an index of event ids cannot recognize.
fn is_unrecognized(store: &gesta_store::memory::MemoryStore, append: &Append) -> bool {
    use gesta_store::ExpectedRevision::{Any, StreamExists};
    let anywhere = |part: &gesta_store::StreamAppend| {
        !part.events.is_empty() && matches!(part.expected, Any | StreamExists)
    };
    append.streams.iter().any(anywhere) && found(store, append).is_some()
}

/// A store that refuses every feature outside of a set, and keeps to the limits. It claims to have
/// all features.
pub(crate) fn refusing(supported: CapabilitySet, limits: Limits) -> FaultyStore {
    let check = move |needed: CapabilitySet| -> Outcome<()> {
        match needed.missing_from(supported).iter().next() {
            Some(capability) => Err(gesta_store::StoreError::Unsupported { capability }),
            None => Ok(()),
        }
    };
    let one = move |capability| check(CapabilitySet::of(&[capability]));
    FaultyStore {
        append: Box::new(move |store, append| {
            check(append.capabilities())?;
            append.check(&limits)?;
            block_on(store.append(append))
        }),
        find_append: Box::new(move |store, id| {
            one(Capability::FindAppend)?;
            block_on(store.find_append(id))
        }),
        read_stream: Box::new(move |store, read| match check(read.capabilities()) {
            Ok(()) => store.read_stream(read),
            Err(error) => Pages::failed(error),
        }),
        read_all: Box::new(move |store, read| match check(read.capabilities()) {
            Ok(()) => store.read_all(read),
            Err(error) => Pages::failed(error),
        }),
        read_ordinals: Box::new(move |store, read| match check(read.capabilities()) {
            Ok(()) => store.read_ordinals(read),
            Err(error) => Pages::failed(error),
        }),
        subscribe: Box::new(move |store, subscribe| match check(subscribe.capabilities()) {
            Ok(()) => store.subscribe(subscribe),
            Err(error) => Subscription::failed(error),
        }),
        list_streams: Box::new(move |store, list| {
            one(Capability::StreamListing)?;
            block_on(store.list_streams(list))
        }),
        list_categories: Box::new(move |store, list| {
            one(Capability::CategoryListing)?;
            block_on(store.list_categories(list))
        }),
        head: Box::new(move |store, ()| {
            one(Capability::GlobalOrder)?;
            block_on(store.head())
        }),
        set_metadata: Box::new(move |store, change| {
            one(Capability::StreamMetadata)?;
            block_on(store.set_stream_metadata(change))
        }),
        delete: Box::new(move |store, delete| {
            one(Capability::Deletion)?;
            block_on(store.delete_stream(delete))
        }),
        tombstone: Box::new(move |store, end| {
            one(Capability::Tombstones)?;
            block_on(store.tombstone_stream(end))
        }),
        attach_inline: Box::new(move |store, consumer| {
            one(Capability::InlineConsumers)?;
            store.attach_inline(consumer)
        }),
        close: Box::new(move |store, ()| match one(Capability::Close) {
            Ok(()) => block_on(store.close()),
            Err(_) => Ok(()),
        }),
        breaks_closing: true,
        ..FaultyStore::correct()
    }
}
