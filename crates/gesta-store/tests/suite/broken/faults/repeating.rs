//! Faults of repeats, and of finding an append.

use std::{collections::HashMap, sync::Mutex};

use gesta_store::{
    Append, Appended, Conflict, EventStore, ExpectedRevision, ReadAll, StoreError,
    conformance::block_on,
};

use super::appending::{appending, on_error};
use crate::broken::{Fault, FaultyStore, found, renamed, single};

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
    [whole(), partial(), finding()].into_iter().flatten().collect()
}

fn whole() -> Vec<Fault> {
    vec![
        Fault::of("a_repeat_with_no_stream_gets_the_first_answer", || {
            forgetful(|append| expects(append, |it| it == ExpectedRevision::NoStream))
        })
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
        Fault::of("the_same_ids_with_another_expectation_are_a_conflict", || {
            on_error(|store, append, error| match error {
                StoreError::Conflict(Conflict::PartialRepeat { .. })
                    if expects(&append, |it| matches!(it, ExpectedRevision::Exact(_))) =>
                {
                    block_on(store.append(renamed(append)))
                }
                other => Err(other),
            })
        }),
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
        Fault::of("only_a_first_event_id_finds_an_append", || FaultyStore {
            find_append: Box::new(|store, id| {
                if let Some(answer) = block_on(store.find_append(id))? {
                    return Ok(Some(answer));
                }
                let events = block_on(store.read_all(ReadAll::forwards()).collect_events())?;
                let event = events.into_iter().find(|event| event.id == id);
                Ok(event.map(|event| Appended { position: event.position, revisions: vec![] }))
            }),
            ..FaultyStore::correct()
        }),
    ]
}
