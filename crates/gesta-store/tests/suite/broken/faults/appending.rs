//! Faults of appends in general: results, order and atomicity. Also the shapes shared with other
//! faults.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use gesta_store::{
    Append, Appended, Conflict, EventStore, ExpectedRevision, Incarnation, Invalid, Position,
    RecordedAt, Revision, StoreError, StreamAppend, StreamState, conformance::block_on,
    memory::MemoryStore,
};
use uuid::Uuid;

use crate::broken::{
    Fault, FaultyStore, Outcome, described, each, forced, pretended, renamed, single,
};

/// A store with this `append`.
pub(super) fn appending<F>(append: F) -> FaultyStore
where
    F: Fn(&MemoryStore, Append) -> Outcome<Appended> + Send + Sync + 'static,
{
    FaultyStore { append: Box::new(append), ..FaultyStore::correct() }
}

/// A store that handles some errors of an append in its own way.
pub(super) fn on_error<F>(otherwise: F) -> FaultyStore
where
    F: Fn(&MemoryStore, Append, StoreError) -> Outcome<Appended> + Send + Sync + 'static,
{
    appending(move |store, append| {
        let outcome = block_on(store.append(append.clone()));
        outcome.or_else(|error| otherwise(store, append, error))
    })
}

/// A store that overlooks some conflicts over one stream.
pub(super) fn overlooking<F>(overlook: F) -> FaultyStore
where
    F: Fn(ExpectedRevision, Option<u64>, &Append) -> bool + Send + Sync + 'static,
{
    on_error(move |store, append, error| match &error {
        StoreError::Conflict(Conflict::Stream { expected, head, .. })
            if single(&append).is_some()
                && overlook(*expected, head.map(Revision::number), &append) =>
        {
            forced(store, append)
        }
        _ => Err(error),
    })
}

/// A store that reports conflicts for some valid appends to one stream.
pub(super) fn refusing<F>(refuse: F) -> FaultyStore
where
    F: Fn(&MemoryStore, &StreamAppend) -> bool + Send + Sync + 'static,
{
    appending(move |store, append| match single(&append) {
        Some(part) if refuse(store, part) => {
            let (stream, expected) = (part.stream.clone(), part.expected);
            Err(Conflict::Stream { stream, expected, head: None }.into())
        }
        _ => block_on(store.append(append)),
    })
}

pub(super) fn head_of(store: &MemoryStore, part: &StreamAppend) -> Option<u64> {
    described(store, &part.stream).head.map(Revision::number)
}

pub(super) fn state_of(store: &MemoryStore, part: &StreamAppend) -> StreamState {
    described(store, &part.stream).state
}

pub(crate) fn faults() -> Vec<Fault> {
    [answers(), places(), what_stays()].into_iter().flatten().collect()
}

fn answers() -> Vec<Fault> {
    vec![
        Fault::of("an_append_without_streams_is_rejected", || {
            on_error(|store, _, error| match error {
                StoreError::Rejected(Invalid::NoStreams) => pretended(store),
                other => Err(other),
            })
        }),
        Fault::of("a_stream_named_twice_is_rejected", || {
            on_error(|store, mut append, error| match error {
                StoreError::Rejected(Invalid::StreamTwice { .. }) => {
                    append.streams.truncate(1);
                    block_on(store.append(append))
                }
                other => Err(other),
            })
        })
        .also("a_later_part_with_an_expectation_is_rejected", "offers such an append"),
        Fault::of("an_event_id_given_twice_is_rejected", || {
            on_error(|store, append, error| match error {
                StoreError::Rejected(Invalid::EventTwice { .. }) => {
                    block_on(store.append(renamed(append)))
                }
                other => Err(other),
            })
        }),
        Fault::of("an_append_answers_with_its_last_position_and_revision", || {
            appending(|store, append| {
                let counts: Vec<u64> =
                    append.streams.iter().map(|part| part.events.len() as u64).collect();
                let mut answer = block_on(store.append(append))?;
                for ((_, revision), count) in answer.revisions.iter_mut().zip(counts) {
                    *revision = Revision::new(count.saturating_sub(1));
                }
                Ok(answer)
            })
        })
        .also("a_revived_stream_goes_on_counting", "the answer's revision shows that it does")
        .also(
            "events_of_several_appends_are_found_together_and_apart",
            "compares with the answers",
        ),
        Fault::of("a_check_without_events_answers_with_the_head", || {
            appending(|store, append| {
                let checked = append.streams.first().map(|part| part.stream.clone());
                let only_checks = append.events().next().is_none();
                let mut answer = block_on(store.append(append))?;
                if only_checks {
                    answer.revisions.extend(checked.map(|stream| (stream, Revision::FIRST)));
                }
                Ok(answer)
            })
        }),
        Fault::of("a_dropped_append_harms_nothing", || {
            let dropped = Arc::new(AtomicBool::new(false));
            let seen = Arc::clone(&dropped);
            let append = appending(move |store, append| {
                if seen.load(Ordering::Relaxed) {
                    return Err(StoreError::Stopped { reason: "an append was dropped".to_owned() });
                }
                block_on(store.append(append))
            });
            FaultyStore { dropped: Some(dropped), ..append }
        }),
    ]
}

fn places() -> Vec<Fault> {
    vec![
        Fault::of("positions_follow_the_order_of_the_append", || {
            appending(|store, mut append| {
                for part in &mut append.streams {
                    if (5..9).contains(&part.events.len()) {
                        part.events.reverse();
                    }
                }
                block_on(store.append(append))
            })
        }),
        Fault::of("positions_rise_from_one_or_later", || FaultyStore {
            read_all: Box::new(|store, read| {
                each(store.read_all(read), |event| {
                    if event.position == Position::new(9) {
                        event.position = Position::new(8);
                    }
                })
            }),
            ..FaultyStore::correct()
        }),
        Fault::of("revisions_count_from_zero_without_gaps", || FaultyStore {
            read_stream: Box::new(|store, read| {
                each(store.read_stream(read), |event| {
                    if event.revision >= Revision::new(5) {
                        event.revision = event.revision.next();
                    }
                })
            }),
            ..FaultyStore::correct()
        })
        .also("a_long_stream_comes_in_pages", "tells events by their revisions")
        .also("a_read_goes_on_while_events_are_appended", "tells events by their revisions")
        .also(
            "metadata_set_after_a_revival_keep_what_was_deleted_hidden",
            "tells events by their revisions",
        ),
    ]
}

fn what_stays() -> Vec<Fault> {
    vec![
        Fault::of("an_event_is_in_its_stream_and_in_the_store_alike", || FaultyStore {
            read_stream: Box::new(|store, read| {
                each(store.read_stream(read), |event| {
                    event.recorded_at = RecordedAt::from_micros(event.recorded_at.micros() + 1);
                })
            }),
            ..FaultyStore::correct()
        }),
        Fault::of("recorded_times_never_fall", || FaultyStore {
            read_all: Box::new(|store, read| {
                each(store.read_all(read), |event| {
                    if event.position == Position::new(10) {
                        event.recorded_at = RecordedAt::from_micros(0);
                    }
                })
            }),
            ..FaultyStore::correct()
        }),
        Fault::of("the_head_is_the_last_position", || FaultyStore {
            head: Box::new(|store, ()| {
                let mut head = block_on(store.head())?;
                head.position = head.position.max(Position::new(1));
                Ok(head)
            }),
            ..FaultyStore::correct()
        })
        .also("a_filtered_subscription_delivers_what_it_asks_for", "begins at the head"),
        Fault::of("the_incarnation_stays_while_the_store_is_open", || FaultyStore {
            head: Box::new(|store, ()| {
                let mut head = block_on(store.head())?;
                head.incarnation = Incarnation::new(Uuid::new_v4());
                Ok(head)
            }),
            ..FaultyStore::correct()
        })
        .also("a_checkpoint_of_this_life_is_resumed", "asks which life it is"),
        Fault::of("capabilities_never_change", || {
            let asked = AtomicU64::new(0);
            FaultyStore {
                capabilities: Box::new(move |store, ()| {
                    let mut can = store.capabilities();
                    can.repeat_window_appends -= asked.fetch_add(1, Ordering::Relaxed);
                    can
                }),
                ..FaultyStore::correct()
            }
        }),
    ]
}
