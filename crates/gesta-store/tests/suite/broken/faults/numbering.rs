//! Faults of ordinals.

use gesta_store::{
    Direction, EventStore, Ordinal, OrdinalEvent, OrdinalIndex, OrdinalPages, ReadAll, ReadFrom,
    ReadOrdinals, ReadStream, RecordedEvent, Revision, StoreError, conformance::block_on,
    memory::MemoryStore,
};

use crate::broken::{Fault, FaultyStore};

fn numbering<F>(read: F) -> FaultyStore
where
    F: Fn(&MemoryStore, ReadOrdinals) -> OrdinalPages + Send + Sync + 'static,
{
    FaultyStore { read_ordinals: Box::new(read), ..FaultyStore::correct() }
}

fn found(store: &MemoryStore, read: ReadOrdinals) -> Vec<OrdinalEvent> {
    block_on(store.read_ordinals(read).collect_events()).expect("a memory store can be read")
}

fn one_page(page: Vec<OrdinalEvent>) -> OrdinalPages {
    OrdinalPages::of((!page.is_empty()).then_some(Ok(page)).into_iter())
}

fn renumbered(mut page: Vec<OrdinalEvent>) -> Vec<OrdinalEvent> {
    for (number, event) in (0..).zip(&mut page) {
        event.ordinal = Ordinal::new(number);
    }
    page
}

pub(crate) fn faults() -> Vec<Fault> {
    [of_events(), of_streams()].into_iter().flatten().collect()
}

fn of_events() -> Vec<Fault> {
    vec![
        Fault::of("events_of_a_category_have_ordinals", || {
            numbering(|store, read| {
                let backwards = read.direction == Direction::Backwards;
                match (&read.of, read.from) {
                    (OrdinalIndex::Category(_), ReadFrom::At(_)) if backwards => {
                        one_page(found(store, read).split_off(1))
                    }
                    _ => store.read_ordinals(read),
                }
            })
        }),
        Fault::of("events_of_a_type_have_ordinals", || {
            numbering(|store, read| match read.of {
                OrdinalIndex::EventType(_) => store.read_ordinals(read.limit(u64::MAX)),
                _ => store.read_ordinals(read),
            })
        }),
        Fault::of("events_of_a_conversation_have_ordinals", || {
            numbering(|store, read| match read.of {
                OrdinalIndex::Correlation(_) => one_page(renumbered(found(store, read))),
                _ => store.read_ordinals(read),
            })
        }),
        Fault::of("an_index_without_events_reads_empty", || {
            numbering(|store, read| {
                if found(store, ReadOrdinals::forwards(read.of.clone())).is_empty() {
                    return OrdinalPages::failed(StoreError::unavailable("no such index"));
                }
                store.read_ordinals(read)
            })
        }),
        Fault::of("ordinals_come_in_pages", || {
            numbering(|store, read| {
                let mut page = found(store, read);
                page.truncate(256);
                one_page(page)
            })
        }),
        Fault::of("ordinals_do_not_shift_when_events_are_hidden", || {
            numbering(|store, read| {
                if read.from != ReadFrom::Start || read.direction != Direction::Forwards {
                    return store.read_ordinals(read);
                }
                let mut page = found(store, read);
                page.retain(|counted| {
                    let shown = ReadStream::forwards(counted.event.stream.clone());
                    let shown = block_on(store.read_stream(shown).collect_events());
                    shown.expect("a memory store can be read").contains(&counted.event)
                });
                one_page(renumbered(page))
            })
        })
        .also("a_stream_keeps_its_ordinal_and_gets_no_second_one", "hides a first event"),
    ]
}

fn of_streams() -> Vec<Fault> {
    vec![
        Fault::of("streams_have_ordinals_in_the_order_of_their_first_events", || {
            // In the order of their names.
            numbering(|store, read| match read.of {
                OrdinalIndex::Streams if read.from == ReadFrom::Start => {
                    let mut page = found(store, read);
                    page.sort_by_key(|counted| counted.event.stream.clone());
                    one_page(page)
                }
                _ => store.read_ordinals(read),
            })
        }),
        Fault::of("streams_of_a_category_have_ordinals", || {
            numbering(|store, mut read| {
                if let OrdinalIndex::StreamsOf(_) = read.of {
                    read.of = OrdinalIndex::Streams;
                }
                store.read_ordinals(read)
            })
        }),
        Fault::of("a_stream_keeps_its_ordinal_and_gets_no_second_one", || {
            // Counts the first visible event of each stream.
            numbering(|store, read| match read.of {
                OrdinalIndex::Streams if read.limit == u64::MAX => {
                    let mut page = found(store, read);
                    for counted in &mut page {
                        let shown = ReadStream::forwards(counted.event.stream.clone()).limit(1);
                        let shown = block_on(store.read_stream(shown).collect_events());
                        let first = shown.expect("a memory store can be read").pop();
                        counted.event = first.unwrap_or_else(|| counted.event.clone());
                    }
                    page.sort_by_key(|counted| counted.event.position);
                    one_page(renumbered(page))
                }
                _ => store.read_ordinals(read),
            })
        })
        .also("streams_have_ordinals_in_the_order_of_their_first_events", "reads parts"),
        Fault::of("system_streams_have_no_ordinals", || {
            numbering(|store, read| match read.of {
                OrdinalIndex::Streams => {
                    let all = ReadAll::forwards();
                    let all = block_on(store.read_all(all).collect_events());
                    let mut all = all.expect("a memory store can be read");
                    let is_metadata =
                        |event: &RecordedEvent| event.stream.described_stream().is_some();
                    if !all.iter().any(is_metadata) {
                        return store.read_ordinals(read);
                    }
                    all.retain(|event| event.revision == Revision::FIRST);
                    let page = (0..).map(Ordinal::new).zip(all);
                    one_page(page.map(|(nth, event)| OrdinalEvent::new(nth, event)).collect())
                }
                _ => store.read_ordinals(read),
            })
        })
        .also("a_stream_keeps_its_ordinal_and_gets_no_second_one", "deletes by metadata"),
    ]
}
