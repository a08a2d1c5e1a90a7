//! Faults of filters by prefix, by regular expression and by id.

use gesta_store::{
    EventStore, Filter, Invalid, Pages, ReadAll, RecordedEvent, StoreError, conformance::block_on,
    memory::MemoryStore,
};

use crate::broken::{Fault, FaultyStore, changed};

fn all_reading<F>(read: F) -> FaultyStore
where
    F: Fn(&MemoryStore, ReadAll) -> Pages + Send + Sync + 'static,
{
    FaultyStore { read_all: Box::new(read), ..FaultyStore::correct() }
}

/// Reads the events that another test selects, without a limit.
fn selecting(store: &MemoryStore, read: ReadAll, meant: impl Fn(&RecordedEvent) -> bool) -> Pages {
    changed(store.read_all(read.filter(Filter::Everything)), |mut events| {
        events.retain(meant);
        events
    })
}

pub(crate) fn faults() -> Vec<Fault> {
    vec![
        Fault::of("a_filter_picks_prefixes_of_event_types", || {
            all_reading(|store, read| match read.filter.clone() {
                Filter::EventTypePrefixes(texts) => selecting(store, read, |event| {
                    texts.iter().any(|text| event.event_type.as_str().contains(text))
                }),
                _ => store.read_all(read),
            })
        }),
        Fault::of("a_filter_picks_what_a_regular_expression_matches", || {
            all_reading(|store, read| match read.filter.clone() {
                Filter::Regex(regex) if regex.pattern().contains("?!") => {
                    store.read_all(read.filter(Filter::Everything))
                }
                _ => store.read_all(read),
            })
        }),
        Fault::of("a_regular_expression_that_takes_too_long_is_rejected", || {
            all_reading(|store, read| {
                match block_on(store.read_all(read.clone()).collect_events()) {
                    Err(StoreError::Rejected(Invalid::Pattern { .. })) => {
                        Pages::of(std::iter::empty())
                    }
                    _ => store.read_all(read),
                }
            })
        }),
        Fault::of("a_correlation_id_finds_its_conversation", || {
            all_reading(|store, read| match read.filter.clone() {
                Filter::Correlation(id) => selecting(store, read, |event| {
                    let correlation = event.correlation_id.as_ref();
                    correlation.is_some_and(|it| it.as_str().starts_with(id.as_str()))
                }),
                _ => store.read_all(read),
            })
        }),
        Fault::of("a_causation_id_finds_what_it_caused", || {
            all_reading(|store, read| match read.filter.clone() {
                Filter::Causation(id) => selecting(store, read, |event| {
                    let causation = event.causation_id.as_ref();
                    causation.is_some_and(|it| it.as_str().starts_with(id.as_str()))
                }),
                _ => store.read_all(read),
            })
        }),
        Fault::of("an_event_id_finds_its_event", || {
            all_reading(|store, read| match read.filter {
                Filter::EventId(id) if matches!(block_on(store.find_append(id)), Ok(None)) => {
                    Pages::of(std::iter::empty())
                }
                _ => store.read_all(read),
            })
        }),
    ]
}
