//! Faults of repeats, and of finding an append.

use std::{
    collections::{HashMap, HashSet},
    sync::Mutex,
};

use gesta_store::{
    Append, Appended, Capability, Conflict, EventStore, ExpectedRevision, ReadAll, Revision,
    StoreError, StreamState, conformance::block_on, memory::MemoryStore,
};

use super::appending::{appending, on_error};
use crate::broken::{Fault, FaultyStore, described, found, renamed, single};

/// A store that reports some repeats as reused ids.
fn forgetful<F>(forgets: F) -> FaultyStore
where
    F: Fn(&Append) -> bool + Send + Sync + 'static,
{
    appending(move |store, append| {
        if forgets(&append) && found(store, &append).is_some() {
            let first_event = append.events().next().expect("was found by it").id;
            return Err(Conflict::PartialRepeat { first_event }.into());
        }
        block_on(store.append(append))
    })
}

/// A store that appends repeats with this expectation again.
fn doubling(expected: ExpectedRevision) -> FaultyStore {
    appending(move |store, append| {
        let again = found(store, &append).is_some()
            && single(&append).is_some_and(|part| part.expected == expected);
        let outcome = block_on(store.append(append.clone()));
        if again && outcome.is_ok() {
            return block_on(store.append(renamed(append)));
        }
        outcome
    })
}

fn expects(append: &Append, meant: fn(ExpectedRevision) -> bool) -> bool {
    append.condition.is_none() && single(append).is_some_and(|part| meant(part.expected))
}

pub(crate) fn faults() -> Vec<Fault> {
    [whole(), placed(), partial(), recorded(), finding(), piecing()].into_iter().flatten().collect()
}

/// Returns the revision of the first event of an append to one stream that was appended before.
fn first_revision(store: &MemoryStore, append: &Append) -> Option<u64> {
    single(append)?;
    let (_, head) = found(store, append)?.revisions.pop()?;
    (head.number() + 1).checked_sub(append.events().count() as u64)
}

/// A store that reports some repeats as reused ids, by where the first append is.
fn forgetful_at(forgets: fn(&MemoryStore, &Append, u64) -> bool) -> FaultyStore {
    appending(move |store, append| {
        if let Some(revision) = first_revision(store, &append)
            && forgets(store, &append, revision)
        {
            let first_event = append.events().next().expect("was found by it").id;
            return Err(Conflict::PartialRepeat { first_event }.into());
        }
        block_on(store.append(append))
    })
}

fn state(store: &MemoryStore, append: &Append) -> Option<StreamState> {
    Some(described(store, &single(append)?.stream).state)
}

/// Faults with other expectations, and with streams that ended.
fn placed() -> Vec<Fault> {
    vec![
        Fault::of("a_repeat_that_says_where_its_events_are_is_recognized", || {
            // Knows appends by the expectation, too.
            let known = Mutex::new(HashMap::new());
            appending(move |store, append| {
                let Some(part) = single(&append) else { return block_on(store.append(append)) };
                let expected = part.expected;
                let Some(first_event) = part.events.first().map(|event| event.id) else {
                    return block_on(store.append(append));
                };
                let known = *known
                    .lock()
                    .expect("no panic under the lock")
                    .entry(first_event)
                    .or_insert(expected);
                if known != expected {
                    return Err(Conflict::PartialRepeat { first_event }.into());
                }
                block_on(store.append(append))
            })
        })
        .also("a_new_append_is_recorded_now", "offers refused events with another one")
        .also("every_expectation_but_an_exact_one_is_met_by_a_repeat", "tries others")
        .also("a_repeat_outlives_a_deletion", "tries others")
        .also("a_repeat_of_a_revival_gets_the_first_answer", "tries others"),
        Fault::of("every_expectation_but_an_exact_one_is_met_by_a_repeat", || {
            forgetful_at(|_, append, _| {
                single(append).is_some_and(|part| part.expected == ExpectedRevision::StreamExists)
            })
        })
        .also("a_repeat_with_stream_exists_gets_the_first_answer", "repeats it")
        .also("a_repeat_outlives_a_deletion", "tries it")
        .also("a_repeat_of_a_revival_gets_the_first_answer", "tries it"),
        Fault::of("a_repeat_outlives_a_deletion", || {
            forgetful_at(|store, append, _| state(store, append) == Some(StreamState::Deleted))
        }),
        Fault::of("a_repeat_of_a_revival_gets_the_first_answer", || {
            forgetful_at(|store, append, revision| {
                let stream = single(append).map(|part| &part.stream);
                let known = stream.map(|stream| described(store, stream));
                known.is_some_and(|it| it.metadata.truncate_before == Some(Revision::new(revision)))
            })
        }),
        Fault::of("a_repeat_on_a_tombstoned_stream_appends_nothing", || {
            forgetful_at(|store, append, _| state(store, append) == Some(StreamState::Tombstoned))
        }),
        Fault::of("an_event_id_in_another_stream_is_a_new_event", || {
            appending(|store, append| {
                let stream = single(&append).map(|part| part.stream.clone());
                let elsewhere = found(store, &append).is_some_and(|answer| {
                    answer.revisions.first().map(|(known, _)| known) != stream.as_ref()
                });
                if elsewhere && stream.is_some() {
                    let first_event = append.events().next().expect("was found by it").id;
                    return Err(Conflict::PartialRepeat { first_event }.into());
                }
                block_on(store.append(append))
            })
        }),
    ]
}

fn whole() -> Vec<Fault> {
    vec![
        Fault::of("a_repeat_with_no_stream_gets_the_first_answer", || {
            forgetful(|append| expects(append, |it| it == ExpectedRevision::NoStream))
        })
        .also("a_repeat_is_recorded_earlier", "repeats it")
        .also("one_append_offered_many_times_at_once_is_recorded_now_once", "repeats it")
        .also("a_dropped_append_harms_nothing", "retries it")
        .also("one_append_offered_many_times_at_once_happens_once", "repeats it"),
        Fault::of("a_repeat_with_an_exact_revision_gets_the_first_answer", || {
            forgetful(|append| expects(append, |it| matches!(it, ExpectedRevision::Exact(_))))
        }),
        Fault::of("a_repeat_with_any_gets_the_first_answer", || doubling(ExpectedRevision::Any)),
        Fault::of("a_repeat_with_stream_exists_gets_the_first_answer", || {
            doubling(ExpectedRevision::StreamExists)
        }),
        Fault::of("a_repeat_over_several_streams_gets_the_first_answer", || {
            forgetful(|append| append.streams.len() > 1)
        })
        .also("a_repeat_of_several_parts_of_a_stream_gets_the_first_answer", "has two streams"),
        Fault::of("a_repeat_of_several_parts_of_a_stream_gets_the_first_answer", || {
            forgetful(|append| append.capabilities().contains(Capability::StreamParts))
        }),
        Fault::of("a_repeat_with_a_condition_gets_the_first_answer", || {
            forgetful(|append| append.condition.is_some())
        }),
    ]
}

fn partial() -> Vec<Fault> {
    vec![
        Fault::of("ids_that_are_there_in_part_are_a_conflict", || {
            on_error(|store, append, error| match error {
                StoreError::Conflict(Conflict::PartialRepeat { .. })
                    if expects(&append, |it| it == ExpectedRevision::Any) =>
                {
                    Ok(found(store, &append).expect("is there in part"))
                }
                other => Err(other),
            })
        }),
        Fault::of("an_exact_expectation_elsewhere_is_a_conflict", || {
            on_error(|store, append, error| match error {
                StoreError::Conflict(Conflict::PartialRepeat { .. })
                    if expects(&append, |it| matches!(it, ExpectedRevision::Exact(_))) =>
                {
                    block_on(store.append(renamed(append)))
                }
                other => Err(other),
            })
        })
        .also("a_repeat_of_a_revival_gets_the_first_answer", "expects an exact revision, too"),
        Fault::of("an_append_without_events_is_never_a_repeat", || {
            let answers = Mutex::new(HashMap::new());
            appending(move |store, append| {
                if append.events().next().is_some() {
                    return block_on(store.append(append));
                }
                let asked = format!("{append:?}");
                let mut answers = answers.lock().expect("no panic under the lock");
                if let Some(answer) = answers.get(&asked) {
                    return Ok(Appended::clone(answer));
                }
                let answer = block_on(store.append(append))?;
                answers.insert(asked, answer.clone());
                Ok(answer)
            })
        }),
    ]
}

/// Faults of the answer to the question of when the events were recorded.
fn recorded() -> Vec<Fault> {
    vec![
        Fault::of("a_new_append_is_recorded_now", || {
            appending(|store, append| Ok(block_on(store.append(append))?.earlier()))
        })
        .also("one_append_offered_many_times_at_once_is_recorded_now_once", "counts them"),
        Fault::of("a_new_append_is_recorded_now", || {
            // Takes ids for recorded that were only offered.
            let offered = Mutex::new(HashSet::new());
            appending(move |store, append| {
                let first = append.events().next().map(|event| event.id);
                let mut offered = offered.lock().expect("no panic under the lock");
                let again = first.is_some_and(|first| !offered.insert(first));
                let answer = block_on(store.append(append))?;
                Ok(if again { answer.earlier() } else { answer })
            })
        }),
        Fault::of("a_repeat_is_recorded_earlier", || {
            appending(|store, append| {
                let answer = block_on(store.append(append))?;
                Ok(Appended::new(answer.position, answer.revisions))
            })
        })
        .also("one_append_offered_many_times_at_once_is_recorded_now_once", "counts them"),
    ]
}

fn finding() -> Vec<Fault> {
    vec![
        Fault::of("an_append_is_found_by_its_first_event_id", || FaultyStore {
            find_append: Box::new(|store, id| {
                let mut answer = block_on(store.find_append(id))?;
                if let Some(answer) = &mut answer {
                    answer.position = block_on(store.head())?.position;
                }
                Ok(answer)
            }),
            ..FaultyStore::correct()
        }),
        Fault::of("an_append_that_is_found_was_recorded_earlier", || FaultyStore {
            find_append: Box::new(|store, id| {
                let answer = block_on(store.find_append(id))?;
                Ok(answer.map(|answer| Appended::new(answer.position, answer.revisions)))
            }),
            ..FaultyStore::correct()
        }),
        Fault::of("only_a_first_event_id_finds_an_append", || FaultyStore {
            find_append: Box::new(|store, id| {
                if let Some(answer) = block_on(store.find_append(id))? {
                    return Ok(Some(answer));
                }
                let events = block_on(store.read_all(ReadAll::forwards()).collect_events())?;
                let event = events.into_iter().find(|event| event.id == id);
                Ok(event.map(|event| Appended::new(event.position, vec![])))
            }),
            ..FaultyStore::correct()
        }),
    ]
}

/// Faults of the search for events one by one.
fn piecing() -> Vec<Fault> {
    vec![
        Fault::of("events_of_several_appends_are_found_together_and_apart", || FaultyStore {
            find_events: Box::new(|store, (stream, first, ids)| {
                // The position of the first event, and not of the last.
                let mut found = block_on(store.find_events(&stream, first, ids.clone()))?;
                let begins = ids.into_iter().take(1).collect();
                let begin = block_on(store.find_events(&stream, first, begins))?;
                if let (Some(found), Some(begin)) = (&mut found, begin) {
                    found.position = begin.position;
                }
                Ok(found)
            }),
            ..FaultyStore::correct()
        }),
        Fault::of("other_events_and_events_elsewhere_are_not_found", || FaultyStore {
            find_events: Box::new(|store, (stream, first, mut ids)| {
                // The events in any order.
                let found = block_on(store.find_events(&stream, first, ids.clone()))?;
                ids.reverse();
                Ok(found.or(block_on(store.find_events(&stream, first, ids))?))
            }),
            ..FaultyStore::correct()
        }),
        Fault::of("hidden_events_are_not_found", || FaultyStore {
            find_events: Box::new(|store, (stream, first, ids)| {
                let mut events = block_on(store.read_all(ReadAll::forwards()).collect_events())?;
                events.retain(|event| event.stream == stream && event.revision >= first);
                events.truncate(ids.len());
                let same = !ids.is_empty() && events.iter().map(|event| event.id).eq(ids);
                let last = events.pop().filter(|_| same);
                Ok(last.map(|last| {
                    Appended::new(last.position, vec![(stream, last.revision)]).earlier()
                }))
            }),
            ..FaultyStore::correct()
        }),
    ]
}
