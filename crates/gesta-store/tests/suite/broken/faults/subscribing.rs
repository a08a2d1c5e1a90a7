//! Faults of subscriptions: events, starting points, checkpoints.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use futures_core::Stream;
use gesta_store::{
    Delivery, EventStore, Filter, Invalid, Overload, Page, Position, ReadStream, RecordedEvent,
    StoreError, StreamName, StreamState, Subscribe, SubscribeFrom, SubscribeTo, Subscription,
    conformance::block_on, memory::MemoryStore,
};

use crate::broken::{Fault, FaultyStore, Outcome, delivering, described, on_events, selects};

/// A store with this `subscribe`.
fn subscribing<F>(subscribe: F) -> FaultyStore
where
    F: Fn(&MemoryStore, Subscribe) -> Subscription + Send + Sync + 'static,
{
    FaultyStore { subscribe: Box::new(subscribe), ..FaultyStore::correct() }
}

/// A store that replaces the request of a subscription.
fn instead(other: fn(&MemoryStore, Subscribe) -> Subscribe) -> FaultyStore {
    subscribing(move |store, subscribe| store.subscribe(other(store, subscribe)))
}

fn to_everything(subscribe: &Subscribe) -> bool {
    matches!(subscribe.to, SubscribeTo::All { filter: Filter::Everything, .. })
}

fn to_some(subscribe: &Subscribe) -> bool {
    matches!(subscribe.to, SubscribeTo::All { .. }) && !to_everything(subscribe)
}

fn after(subscribe: &Subscribe) -> Position {
    match &subscribe.to {
        SubscribeTo::All { from: SubscribeFrom::After(position), .. } => *position,
        _ => Position::START,
    }
}

/// Returns the subscription with another start, if it is one to the whole store.
pub(super) fn starting_after(mut subscribe: Subscribe, position: Position) -> Subscribe {
    if let SubscribeTo::All { from, .. } = &mut subscribe.to {
        *from = SubscribeFrom::After(position);
    }
    subscribe
}

fn head(store: &MemoryStore) -> Position {
    block_on(store.head()).expect("a memory store has a head").position
}

pub(crate) fn faults() -> Vec<Fault> {
    [catching_up(), what_is_said(), beginnings(), streams(), filters(), together()]
        .into_iter()
        .flatten()
        .collect()
}

fn catching_up() -> Vec<Fault> {
    vec![
        Fault::of("a_subscription_catches_up", || {
            subscribing(|store, subscribe| {
                let mut live = !to_everything(&subscribe);
                delivering(store.subscribe(subscribe), move |delivery| {
                    live |= matches!(delivery, Delivery::CaughtUp(_));
                    on_events(delivery, |mut page| {
                        let stream = |event: &RecordedEvent| event.stream.clone();
                        if !live && page.first().map(stream) != page.last().map(stream) {
                            page.pop();
                        }
                        page
                    })
                })
            })
        })
        .also("a_long_catch_up_misses_nothing", "has pages of two streams")
        .sometimes(
            "a_subscription_misses_nothing_while_events_are_appended",
            "may have such pages",
        ),
        Fault::of("a_subscription_stays_live", || {
            subscribing(|store, subscribe| {
                let (mut live, all) = (false, to_everything(&subscribe));
                delivering(store.subscribe(subscribe), move |delivery| {
                    live |= matches!(delivery, Delivery::CaughtUp(_));
                    on_events(delivery, |mut page| {
                        if live && all && page.len() == 2 {
                            page.reverse();
                        }
                        page
                    })
                })
            })
        })
        .also("subscribers_are_independent", "gets two live events at once")
        .sometimes("a_subscription_misses_nothing_while_events_are_appended", "may get just two"),
    ]
}

fn what_is_said() -> Vec<Fault> {
    vec![
        Fault::of("a_subscription_to_an_empty_store_waits", || {
            subscribing(|store, subscribe| {
                let mut first = to_everything(&subscribe) && head(store) == Position::START;
                delivering(store.subscribe(subscribe), move |delivery| {
                    let said =
                        std::mem::take(&mut first).then_some(Delivery::Checkpoint(Position::START));
                    said.into_iter().chain([delivery]).collect()
                })
            })
        }),
        Fault::of("caught_up_says_where_the_head_is", || {
            subscribing(|store, subscribe| {
                let all = to_everything(&subscribe);
                delivering(store.subscribe(subscribe), move |delivery| match delivery {
                    Delivery::CaughtUp(_) if all => vec![Delivery::CaughtUp(Position::START)],
                    other => vec![other],
                })
            })
        }),
        Fault::of("a_long_catch_up_misses_nothing", || {
            subscribing(|store, subscribe| {
                let mut live = false;
                delivering(store.subscribe(subscribe), move |delivery| {
                    live |= matches!(delivery, Delivery::CaughtUp(_));
                    on_events(delivery, |mut page| {
                        page.retain(|event| live || event.position != Position::new(257));
                        page
                    })
                })
            })
        })
        .also(
            "a_subscriber_that_never_reads_harms_nobody",
            "reads on before it is told that it caught up",
        )
        .sometimes("a_subscription_misses_nothing_while_events_are_appended", "may be that long"),
    ]
}

fn beginnings() -> Vec<Fault> {
    vec![
        Fault::of("a_subscription_begins_after_its_position", || {
            instead(|_, subscribe| {
                let before = Position::new(after(&subscribe).number().saturating_sub(1));
                let plain = after(&subscribe) > Position::START
                    && to_everything(&subscribe)
                    && subscribe.incarnation.is_none();
                if plain { starting_after(subscribe, before) } else { subscribe }
            })
        })
        .also("a_subscription_beyond_the_head_is_refused", "is one beyond, which becomes none"),
        Fault::of("a_subscription_beyond_the_head_is_refused", || {
            instead(|store, subscribe| {
                let (after, head) = (after(&subscribe), head(store));
                if after > head { starting_after(subscribe, head) } else { subscribe }
            })
        }),
        Fault::of("a_checkpoint_of_this_life_is_resumed", || {
            subscribing(|store, subscribe| {
                let life = block_on(store.head()).expect("a memory store has a head").incarnation;
                if subscribe.incarnation != Some(life) {
                    return store.subscribe(subscribe);
                }
                let (position, incarnation) = (after(&subscribe), life);
                Subscription::failed(Invalid::OtherIncarnation { position, incarnation }.into())
            })
        }),
        Fault::of("a_checkpoint_of_an_unknown_life_is_refused", || {
            instead(|_, mut subscribe| {
                subscribe.incarnation = None;
                subscribe
            })
        }),
    ]
}

fn streams() -> Vec<Fault> {
    vec![
        Fault::of("a_stream_subscription_delivers_only_its_stream", || {
            instead(|_, subscribe| match &subscribe.to {
                SubscribeTo::Stream { stream, from: SubscribeFrom::Start } => {
                    let prefixes = vec![stream.as_str().to_owned()];
                    Subscribe::to_all().filter(Filter::StreamPrefixes(prefixes)).into()
                }
                _ => subscribe,
            })
        })
        .also("a_stream_subscription_never_goes_back", "wants nothing of what metadata hide"),
        Fault::of("a_stream_subscription_begins_after_its_revision", || {
            instead(|_, subscribe| match &subscribe.to {
                SubscribeTo::Stream { stream, from: SubscribeFrom::After(after) } => {
                    let all = Subscribe::to_stream(stream.clone());
                    match after.previous() {
                        Some(before) => all.after(before).into(),
                        None => all.into(),
                    }
                }
                _ => subscribe,
            })
        }),
        Fault::of("a_stream_subscription_waits_for_its_stream", || {
            subscribing(|store, subscribe| match &subscribe.to {
                SubscribeTo::Stream { stream, .. }
                    if described(store, stream).state == StreamState::Missing =>
                {
                    Subscription::failed(StoreError::Deleted { stream: stream.clone() })
                }
                _ => store.subscribe(subscribe),
            })
        }),
        Fault::of("a_stream_subscription_never_goes_back", || {
            subscribing(|store, subscribe| {
                let SubscribeTo::Stream { stream, from: SubscribeFrom::Start } =
                    subscribe.to.clone()
                else {
                    return store.subscribe(subscribe);
                };
                let (shown, mut told) = (store.clone(), 0);
                delivering(store.subscribe(subscribe), move |delivery| {
                    on_events(delivery, |_| {
                        let mut page = all_of(&shown, &stream);
                        page.drain(..told);
                        told += page.len();
                        page
                    })
                })
            })
        }),
    ]
}

/// Returns the visible events of a stream.
fn all_of(store: &MemoryStore, stream: &StreamName) -> Page {
    let mut pages = store.read_stream(ReadStream::forwards(stream.clone()));
    let mut events = Page::new();
    while let Some(page) = block_on(pages.next()) {
        events.extend(page.expect("a memory store can be read"));
    }
    events
}

fn filters() -> Vec<Fault> {
    vec![
        Fault::of("a_filtered_subscription_delivers_what_it_asks_for", || {
            subscribing(|store, mut subscribe| {
                let SubscribeTo::All { filter, .. } = &mut subscribe.to else {
                    return store.subscribe(subscribe);
                };
                let filter = std::mem::take(filter);
                let mut live = false;
                let all = store.subscribe(subscribe);
                delivering(all, move |delivery| {
                    live |= matches!(delivery, Delivery::CaughtUp(_));
                    on_events(delivery, |mut page| {
                        page.retain(|event| live || selects(&filter, event));
                        page
                    })
                })
            })
        })
        .also("a_filtered_subscription_says_how_far_it_looked", "wants no events at all"),
        Fault::of("a_filtered_subscription_says_how_far_it_looked", || {
            subscribing(|store, subscribe| {
                delivering(store.subscribe(subscribe), |delivery| match delivery {
                    Delivery::Checkpoint(_) => vec![],
                    other => vec![other],
                })
            })
        }),
        Fault::of("a_checkpoint_is_never_ahead_of_an_event", || {
            subscribing(|store, subscribe| {
                let some = to_some(&subscribe);
                delivering(store.subscribe(subscribe), move |delivery| match delivery {
                    Delivery::Events(page) if some => {
                        let last = page.last().expect("a page has events").position;
                        vec![Delivery::Checkpoint(last), Delivery::Events(page)]
                    }
                    other => vec![other],
                })
            })
        }),
    ]
}

fn together() -> Vec<Fault> {
    vec![
        Fault::of("subscribers_are_independent", || {
            let opened = AtomicUsize::new(0);
            subscribing(move |store, subscribe| {
                let another = opened.fetch_add(1, Ordering::Relaxed) > 0;
                let whole = subscribe == Subscribe::to_all().into();
                let head = head(store);
                let later = Subscribe::to_all().after(head);
                store.subscribe(if another && whole { later.into() } else { subscribe })
            })
        }),
        Fault::of("a_subscriber_that_never_reads_harms_nobody", held_up_by_the_slowest).sometimes(
            "a_subscription_misses_nothing_while_events_are_appended",
            "may fall that far behind its writer",
        ),
        Fault::of("waiting_for_a_delivery_can_be_given_up", || {
            subscribing(|store, subscribe| {
                let all = to_everything(&subscribe);
                let inner = store.subscribe(subscribe);
                if !all {
                    return inner;
                }
                Subscription::new(LosesOnePage { inner, waited: false, lost: false })
            })
        })
        .sometimes("a_subscription_misses_nothing_while_events_are_appended", "may have to wait"),
    ]
}

/// A store that takes no appends while a subscriber is far behind.
fn held_up_by_the_slowest() -> FaultyStore {
    const BEHIND_MAX: u64 = 500;
    let places: Arc<Mutex<Vec<Arc<AtomicU64>>>> = Arc::default();
    let known = Arc::clone(&places);
    FaultyStore {
        append: Box::new(move |store, append| {
            let places = known.lock().expect("no panic under the lock");
            let slowest = places.iter().map(|place| place.load(Ordering::Relaxed)).min();
            let behind = head(store).number().saturating_sub(slowest.unwrap_or(u64::MAX));
            if behind > BEHIND_MAX {
                return Err(StoreError::Overloaded(Overload::DiskFull {
                    reason: "/data".to_owned(),
                }));
            }
            block_on(store.append(append))
        }),
        subscribe: Box::new(move |store, subscribe| {
            let place = Arc::new(AtomicU64::new(after(&subscribe).number()));
            places.lock().expect("no panic under the lock").push(Arc::clone(&place));
            delivering(store.subscribe(subscribe), move |delivery| {
                on_events(delivery, |page| {
                    let last = page.last().expect("a page has events").position;
                    place.store(last.number(), Ordering::Relaxed);
                    page
                })
            })
        }),
        ..FaultyStore::correct()
    }
}

/// Loses the first page after it had to wait.
struct LosesOnePage {
    inner: Subscription,
    waited: bool,
    lost: bool,
}

impl Stream for LosesOnePage {
    type Item = Outcome<Delivery>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            let polled = Pin::new(&mut this.inner).poll_next(context);
            this.waited |= polled.is_pending();
            match polled {
                Poll::Ready(Some(Ok(Delivery::Events(_)))) if this.waited && !this.lost => {
                    this.lost = true;
                }
                other => return other,
            }
        }
    }
}
