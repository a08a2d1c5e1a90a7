//! Faults that show only when several threads append.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use gesta_store::{
    Append, Appended, EventStore, ExpectedRevision, StreamAppend, conformance::block_on,
    memory::MemoryStore,
};

use super::appending::appending;
use crate::broken::{
    Fault, FaultyStore, Outcome, changed, delivering, expecting_any, forced, found, on_events,
    pretended, renamed, single,
};

/// A store that uses this `append` once a second thread appends.
fn racing<F>(append: F) -> FaultyStore
where
    F: Fn(&MemoryStore, Append) -> Outcome<Appended> + Send + Sync + 'static,
{
    let (first, several) = (OnceLock::new(), AtomicBool::new(false));
    appending(move |store, offered| {
        let this = thread::current().id();
        let second = *first.get_or_init(|| this) != this;
        if several.fetch_or(second, Ordering::Relaxed) || second {
            return append(store, offered);
        }
        block_on(store.append(offered))
    })
}

fn expects_any(append: &Append) -> bool {
    append.streams.iter().all(|part| part.expected == ExpectedRevision::Any)
}

pub(crate) fn faults() -> Vec<Fault> {
    vec![
        Fault::of("of_twenty_writers_on_one_revision_one_wins", || {
            racing(|store, append| {
                let exact =
                    |part: &StreamAppend| matches!(part.expected, ExpectedRevision::Exact(_));
                let judged = single(&append).is_some_and(exact);
                block_on(store.append(if judged { expecting_any(append) } else { append }))
            })
        }),
        Fault::of("one_append_offered_many_times_at_once_happens_once", || {
            racing(|store, append| match found(store, &append) {
                Some(_) => forced(store, renamed(append)),
                None => block_on(store.append(append)),
            })
        })
        .also(
            "one_append_offered_many_times_at_once_is_recorded_now_once",
            "records it several times",
        ),
        Fault::of("one_append_offered_many_times_at_once_is_recorded_now_once", || {
            racing(|store, append| {
                let answer = block_on(store.append(append))?;
                Ok(Appended::new(answer.position, answer.revisions))
            })
        }),
        Fault::of("appends_at_once_all_happen", || {
            let offered = AtomicU64::new(0);
            racing(move |store, append| {
                let lost = expects_any(&append) && offered.fetch_add(1, Ordering::Relaxed) == 3;
                if lost { pretended(store) } else { block_on(store.append(append)) }
            })
        }),
        Fault::of("nothing_appears_before_what_was_seen", seen_late).also(
            "a_subscription_misses_nothing_while_events_are_appended",
            "reads all to compare",
        ),
        Fault::of("a_subscription_misses_nothing_while_events_are_appended", missed),
    ]
}

/// The first of two concurrent appends becomes visible after the second.
fn seen_late() -> FaultyStore {
    let late = Arc::new(Mutex::new((None, None)));
    let hidden = Arc::clone(&late);
    let append = racing(move |store, append| {
        let meant = expects_any(&append);
        let answer = block_on(store.append(append))?;
        if meant {
            let mut late = late.lock().expect("no panic under the lock");
            *late = (late.1, Some(answer.position));
        }
        Ok(answer)
    });
    FaultyStore {
        read_all: Box::new(move |store, read| {
            let hidden = hidden.lock().expect("no panic under the lock").0;
            changed(store.read_all(read), |mut events| {
                events.retain(|event| Some(event.position) != hidden);
                events
            })
        }),
        ..append
    }
}

/// The events of one of several concurrent appends never reach subscribers.
fn missed() -> FaultyStore {
    let missed = Arc::new(Mutex::new(HashSet::new()));
    let lost = Arc::clone(&missed);
    let offered = AtomicU64::new(0);
    let append = racing(move |store, append| {
        let mut missed = missed.lock().expect("no panic under the lock");
        let third = offered.fetch_add(1, Ordering::Relaxed) == 3;
        let answer = block_on(store.append(append))?;
        missed.extend((third).then_some(answer.position));
        Ok(answer)
    });
    FaultyStore {
        subscribe: Box::new(move |store, subscribe| {
            let lost = Arc::clone(&lost);
            delivering(store.subscribe(subscribe), move |delivery| {
                on_events(delivery, |mut page| {
                    let lost = lost.lock().expect("no panic under the lock");
                    page.retain(|event| !lost.contains(&event.position));
                    page
                })
            })
        }),
        ..append
    }
}
