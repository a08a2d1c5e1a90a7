//! Faults of reads: content of events, order, start, limit, pages, filters.

use bytes::Bytes;
use gesta_store::{
    Category, Direction, EventQuery, EventStore, Filter, Invalid, Pages, Position, ReadAll,
    ReadFrom, ReadStream, RecordedEvent, StoreError, StreamAppend, StreamName, StreamState,
    Subscribe, conformance::block_on, memory::MemoryStore,
};

use crate::broken::{
    Fault, FaultyStore, changed, delivering, described, each, on_events, selects, with_streams,
};

/// A store with this `read_stream`.
fn stream_reading<F>(read: F) -> FaultyStore
where
    F: Fn(&MemoryStore, ReadStream) -> Pages + Send + Sync + 'static,
{
    FaultyStore { read_stream: Box::new(read), ..FaultyStore::correct() }
}

/// A store with this `read_all`.
fn all_reading<F>(read: F) -> FaultyStore
where
    F: Fn(&MemoryStore, ReadAll) -> Pages + Send + Sync + 'static,
{
    FaultyStore { read_all: Box::new(read), ..FaultyStore::correct() }
}

/// A store that changes every event in stream reads.
fn recalling(change: fn(&mut RecordedEvent)) -> FaultyStore {
    stream_reading(move |store, read| each(store.read_stream(read), change))
}

/// A store that confuses streams.
fn naming(other: fn(StreamName) -> StreamName) -> FaultyStore {
    FaultyStore {
        append: Box::new(move |store, append| {
            let named = |part: StreamAppend| {
                StreamAppend::new(other(part.stream), part.expected, part.events)
            };
            block_on(store.append(with_streams(append, named)))
        }),
        read_stream: Box::new(move |store, mut read| {
            read.stream = other(read.stream);
            store.read_stream(read)
        }),
        ..FaultyStore::correct()
    }
}

pub(crate) fn payloads() -> Vec<Fault> {
    [contents(), names()].into_iter().flatten().collect()
}

fn contents() -> Vec<Fault> {
    vec![
        Fault::of("every_field_comes_back_from_a_stream", || {
            recalling(|event| event.causation_id = None)
        })
        .also("a_causation_id_finds_what_it_caused", "compares with the field in streams"),
        Fault::of("every_field_comes_back_from_a_stream", || {
            recalling(|event| event.schema_version = 1)
        }),
        Fault::of("every_field_comes_back_from_the_whole_store", || {
            all_reading(|store, read| each(store.read_all(read), |event| event.tags.truncate(1)))
        }),
        Fault::of("every_field_comes_back_from_a_subscription", || FaultyStore {
            subscribe: Box::new(|store, subscribe: Subscribe| {
                delivering(store.subscribe(subscribe), |delivery| {
                    on_events(delivery, |mut page| {
                        page.iter_mut().for_each(|event| event.metadata = Bytes::new());
                        page
                    })
                })
            }),
            ..FaultyStore::correct()
        }),
        Fault::of("what_is_left_out_comes_back_left_out", || {
            recalling(|event| {
                if event.data.is_empty() {
                    event.data = Bytes::from_static(b"{}");
                }
            })
        }),
        Fault::of("bytes_that_are_no_text_come_back_unchanged", || {
            recalling(|event| {
                if let Err(bytes) = String::from_utf8(event.data.to_vec()) {
                    let text = String::from_utf8_lossy(bytes.as_bytes()).into_owned();
                    event.data = text.into();
                }
            })
        }),
        Fault::of("a_large_payload_comes_back_unchanged", || {
            recalling(|event| event.data.truncate((1 << 20) - 1))
        })
        .also("an_event_at_the_limit_is_accepted", "is larger than that"),
    ]
}

fn names() -> Vec<Fault> {
    vec![
        Fault::of("the_longest_names_come_back_unchanged", || {
            naming(|name| {
                let short: String = name.as_str().chars().take(255).collect();
                StreamName::stored(short).expect("is shorter")
            })
        })
        .also(
            "a_stream_without_room_for_metadata_takes_no_events",
            "cuts the name before it is looked at",
        )
        .also("the_longest_streams_can_be_deleted", "deletes a stream of another name"),
        Fault::of("names_in_any_script_are_told_apart_by_their_bytes", || {
            naming(|name| StreamName::stored(name.as_str().trim()).expect("has letters"))
        })
        .also("filters_tell_names_apart_by_their_bytes", "appends to such streams"),
        Fault::of("filters_tell_names_apart_by_their_bytes", || {
            all_reading(|store, read| match read.filter.clone() {
                Filter::Categories(categories) => {
                    let lower = |category: &Category| category.as_str().to_lowercase();
                    let wanted: Vec<String> = categories.iter().map(lower).collect();
                    let all = store.read_all(read.filter(Filter::Everything));
                    changed(all, |mut events| {
                        events.retain(|event| {
                            let category = event.stream.category();
                            category.is_some_and(|category| wanted.contains(&lower(&category)))
                        });
                        events
                    })
                }
                _ => store.read_all(read),
            })
        }),
        Fault::of("names_of_earlier_versions_come_back_unchanged", || {
            naming(|name| {
                let text = name.as_str().replace('\n', " ");
                StreamName::stored(text).expect("is as long")
            })
        }),
    ]
}

/// Returns the starting place of a read, or `None` for either end.
fn begins<Place>(from: ReadFrom<Place>) -> Option<Place> {
    match from {
        ReadFrom::At(place) => Some(place),
        _ => None,
    }
}

fn forwards(direction: Direction) -> bool {
    direction == Direction::Forwards
}

/// Moves the events after a gap in positions to the front.
fn later_part_first(events: Vec<RecordedEvent>) -> Vec<RecordedEvent> {
    let apart = |(one, next): (&RecordedEvent, &RecordedEvent)| one.position.next() < next.position;
    let Some(cut) = events.iter().zip(events.iter().skip(1)).position(apart) else {
        return events;
    };
    let (earlier, later) = events.split_at(cut + 1);
    [later, earlier].concat()
}

fn without_the_257th(mut events: Vec<RecordedEvent>) -> Vec<RecordedEvent> {
    if events.len() > 256 {
        events.remove(256);
    }
    events
}

pub(crate) fn streams() -> Vec<Fault> {
    [stream_order(), stream_places(), stream_pages()].into_iter().flatten().collect()
}

fn stream_order() -> Vec<Fault> {
    vec![
        Fault::of("a_stream_reads_forwards", || {
            stream_reading(|store, read| {
                let forwards = forwards(read.direction);
                let pages = store.read_stream(read);
                if forwards { changed(pages, later_part_first) } else { pages }
            })
        })
        .also("revisions_count_from_zero_without_gaps", "lets two streams take turns")
        .also("max_count_shows_only_the_last_events", "appends after setting metadata")
        .also("truncate_before_hides_what_is_before", "appends after setting metadata")
        .also("a_filtered_read_begins_and_ends_where_it_is_told", "reads such a stream to compare"),
        Fault::of("a_stream_reads_backwards", || {
            stream_reading(|store, read| match read {
                ReadStream {
                    direction: Direction::Backwards,
                    from: ReadFrom::End,
                    limit: u64::MAX,
                    stream,
                    ..
                } => store.read_stream(ReadStream::forwards(stream)),
                other => store.read_stream(other),
            })
        })
        .also("a_stream_reads_from_either_end", "reads back from the end")
        .also("a_long_stream_comes_in_pages", "reads both ways")
        .also("max_count_shows_only_the_last_events", "reads both ways")
        .also("truncate_before_hides_what_is_before", "reads both ways")
        .also("max_age_hides_what_is_older", "reads both ways"),
    ]
}

fn stream_places() -> Vec<Fault> {
    vec![
        Fault::of("a_stream_reads_from_a_revision_on", || {
            stream_reading(|store, read| match (read.direction, begins(read.from), read.limit) {
                (Direction::Forwards, Some(from), u64::MAX) => {
                    store.read_stream(read.from(from.next()))
                }
                _ => store.read_stream(read),
            })
        }),
        Fault::of("a_stream_reads_from_a_revision_back", || {
            stream_reading(|store, read| match (read.direction, begins(read.from)) {
                (Direction::Backwards, Some(from)) => match from.previous() {
                    Some(from) => store.read_stream(read.from(from)),
                    None => Pages::of(std::iter::empty()),
                },
                _ => store.read_stream(read),
            })
        }),
        Fault::of("a_stream_reads_from_beyond_its_head", || {
            stream_reading(|store, read| {
                let head = described(store, &read.stream).head;
                match (read.direction, begins(read.from), head) {
                    (Direction::Forwards, Some(from), Some(head)) => {
                        store.read_stream(read.from(from.min(head)))
                    }
                    _ => store.read_stream(read),
                }
            })
        }),
        Fault::of("a_stream_reads_from_either_end", || {
            stream_reading(|store, read| match (read.direction, read.from) {
                (Direction::Forwards, ReadFrom::End) => {
                    store.read_stream(read.starting(ReadFrom::Start))
                }
                _ => store.read_stream(read),
            })
        }),
        Fault::of("a_limit_ends_the_read_of_a_stream", || {
            stream_reading(|store, read| {
                let limit = if read.limit == 0 { u64::MAX } else { read.limit };
                store.read_stream(read.limit(limit))
            })
        }),
        Fault::of("a_missing_stream_reads_empty", || {
            stream_reading(|store, read| match described(store, &read.stream).state {
                StreamState::Missing => Pages::failed(StoreError::Deleted { stream: read.stream }),
                _ => store.read_stream(read),
            })
        }),
    ]
}

fn stream_pages() -> Vec<Fault> {
    vec![
        Fault::of("a_long_stream_comes_in_pages", || {
            stream_reading(|store, read| {
                let forwards = forwards(read.direction);
                let pages = store.read_stream(read);
                if forwards { pages } else { changed(pages, without_the_257th) }
            })
        }),
        Fault::of("a_read_goes_on_while_events_are_appended", || {
            stream_reading(|store, read| {
                let mut pages = store.read_stream(read);
                let store = store.clone();
                let head = move || block_on(store.head()).expect("a memory store has a head");
                let began = head().position;
                Pages::of(std::iter::from_fn(move || {
                    let page = block_on(pages.next())?;
                    let grown = head().position > began;
                    Some(page.map(|page| page.into_iter().skip(usize::from(grown)).collect()))
                }))
            })
        }),
    ]
}

pub(crate) fn everything() -> Vec<Fault> {
    [all_order(), all_places(), filters()].into_iter().flatten().collect()
}

/// Returns `true` for an unlimited read of everything in this direction.
fn asks_for_all(read: &ReadAll, direction: Direction) -> bool {
    let whole = match direction {
        Direction::Forwards => ReadAll::forwards(),
        Direction::Backwards => ReadAll::backwards(),
    };
    *read == whole
}

fn all_order() -> Vec<Fault> {
    vec![
        Fault::of("the_whole_store_reads_forwards", || {
            all_reading(|store, read| {
                let all = asks_for_all(&read, Direction::Forwards);
                let pages = store.read_all(read);
                if all { changed(pages, last_stream_first) } else { pages }
            })
        })
        .also("positions_rise_from_one_or_later", "reads all, where a stream comes first and last")
        .also("recorded_times_never_fall", "reads all, where a stream comes first and last")
        .also("a_filter_picks_streams_by_name", "reads all, where a stream comes first and last")
        .sometimes("nothing_appears_before_what_was_seen", "streams take turns as threads do"),
        Fault::of("the_whole_store_reads_backwards", || {
            all_reading(|store, read| {
                let all = asks_for_all(&read, Direction::Backwards);
                store.read_all(if all { ReadAll::forwards() } else { read })
            })
        })
        .also("the_whole_store_reads_from_either_end", "reads back from the end")
        .also("a_large_store_comes_in_pages", "reads both ways"),
        Fault::of("a_large_store_comes_in_pages", || {
            all_reading(|store, read| {
                let all = asks_for_all(&read, Direction::Backwards);
                let pages = store.read_all(read);
                if all { changed(pages, without_the_257th) } else { pages }
            })
        }),
        Fault::of("metadata_are_events_of_the_whole_store", || {
            all_reading(|store, read| {
                changed(store.read_all(read), |mut events| {
                    events.retain(|event| !event.stream.is_system());
                    events
                })
            })
        }),
    ]
}

/// Moves the events of the last stream to the front.
fn last_stream_first(mut events: Vec<RecordedEvent>) -> Vec<RecordedEvent> {
    let Some(stream) = events.last().map(|event| event.stream.clone()) else { return events };
    if events.first().is_some_and(|first| first.stream == stream) {
        events.sort_by_key(|event| event.stream != stream);
    }
    events
}

fn all_places() -> Vec<Fault> {
    vec![
        Fault::of("the_whole_store_reads_from_a_position_on", || {
            all_reading(|store, read| match (read.direction, begins(read.from)) {
                (Direction::Forwards, Some(from)) if from > Position::START => {
                    store.read_all(read.from(from.next()))
                }
                _ => store.read_all(read),
            })
        }),
        Fault::of("the_whole_store_reads_from_a_position_back", || {
            all_reading(|store, read| {
                let head = block_on(store.head()).expect("a memory store has a head").position;
                match (read.direction, begins(read.from), read.limit) {
                    (Direction::Backwards, Some(from), u64::MAX) if from <= head => {
                        let before = Position::new(from.number().saturating_sub(1));
                        store.read_all(read.from(before))
                    }
                    _ => store.read_all(read),
                }
            })
        }),
        Fault::of("the_whole_store_reads_from_where_no_event_is", || {
            all_reading(|store, read| {
                let head = block_on(store.head()).expect("a memory store has a head").position;
                match begins(read.from) {
                    Some(position) if position > head => {
                        Pages::failed(Invalid::BeyondHead { position, head }.into())
                    }
                    _ => store.read_all(read),
                }
            })
        }),
        Fault::of("the_whole_store_reads_from_either_end", || {
            all_reading(|store, read| match (read.direction, read.from) {
                (Direction::Forwards, ReadFrom::End) => {
                    store.read_all(read.starting(ReadFrom::Start))
                }
                _ => store.read_all(read),
            })
        }),
        Fault::of("a_limit_ends_the_read_of_the_whole_store", || {
            all_reading(|store, read| {
                let limit = if read.limit == 0 { u64::MAX } else { read.limit };
                store.read_all(read.limit(limit))
            })
        }),
    ]
}

/// A store that replaces the filter.
fn filtering(other: fn(Filter) -> Filter) -> FaultyStore {
    all_reading(move |store, mut read| {
        read.filter = other(read.filter);
        store.read_all(read)
    })
}

fn filters() -> Vec<Fault> {
    vec![
        Fault::of("a_filter_picks_streams_by_name", || {
            filtering(|filter| match filter {
                Filter::Streams(names) => Filter::Streams(names.into_iter().take(1).collect()),
                other => other,
            })
        }),
        Fault::of("a_filter_picks_streams_by_prefix", || {
            all_reading(|store, read| match read.filter.clone() {
                Filter::StreamPrefixes(texts) => {
                    let all = store.read_all(read.filter(Filter::Everything));
                    changed(all, |mut events| {
                        events.retain(|event| {
                            texts.iter().any(|text| event.stream.as_str().contains(text))
                        });
                        events
                    })
                }
                _ => store.read_all(read),
            })
        }),
        Fault::of("a_filter_picks_categories", || {
            filtering(|filter| match filter {
                Filter::Categories(categories) => Filter::StreamPrefixes(
                    categories.iter().map(|category| category.as_str().to_owned()).collect(),
                ),
                other => other,
            })
        }),
        Fault::of("a_filter_picks_event_types", || {
            filtering(|filter| match filter {
                Filter::EventTypes(types) => {
                    Filter::EventTypes(types.into_iter().take(1).collect())
                }
                other => other,
            })
        }),
        Fault::of("a_filter_picks_what_a_query_means", || {
            filtering(|filter| match filter {
                Filter::Query(query) => {
                    let first = query.items().first().expect("a query has an item");
                    Filter::Query(EventQuery::of(first.clone()))
                }
                other => other,
            })
        }),
        Fault::of("a_filtered_read_begins_and_ends_where_it_is_told", || {
            all_reading(|store, read| {
                let filter = read.filter.clone();
                changed(store.read_all(read.filter(Filter::Everything)), |mut events| {
                    events.retain(|event| selects(&filter, event));
                    events
                })
            })
        })
        .also("an_event_query_is_about_visible_events", "reads everything instead, which is raw"),
    ]
}
