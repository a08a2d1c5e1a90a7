//! Clauses about consumers that take part in the transaction of an append.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use super::support::*;
use crate::{
    Append, EventId, EventStore, ExpectedRevision, InlineBatch, InlineConsumer, InlineError,
    InlineFuture, NewEvent, Position, StoreError,
};

/// The reaction of a consumer to its next batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reaction {
    Accept,
    Refuse,
    /// Leaves something out once, and accepts then.
    LeaveOut,
}

/// A consumer that keeps what it gets.
struct Witness {
    reaction: Mutex<Reaction>,
    /// Events from the start of the store, as of the last batch.
    seen: Mutex<Vec<EventId>>,
    /// Heads before and with the committed batches.
    committed: Mutex<Vec<(Position, Position)>>,
    calls: Arc<AtomicUsize>,
    /// Number of times that an event was applied.
    applied: Mutex<Vec<EventId>>,
}

impl Witness {
    fn attached(store: &dyn EventStore, reaction: Reaction) -> Arc<Self> {
        let witness = Arc::new(Self {
            reaction: Mutex::new(reaction),
            seen: Mutex::default(),
            committed: Mutex::default(),
            calls: Arc::default(),
            applied: Mutex::default(),
        });
        let consumer: Arc<dyn InlineConsumer> = Arc::<Self>::clone(&witness);
        accepted(store.attach_inline(Arc::downgrade(&consumer)));
        witness
    }

    fn react(&self, reaction: Reaction) {
        *self.reaction.lock().expect("no panic") = reaction;
    }
}

impl InlineConsumer for Witness {
    fn apply<'a>(&'a self, batch: &'a InlineBatch) -> InlineFuture<'a> {
        Box::pin(async move {
            self.calls.fetch_add(1, Ordering::Relaxed);
            let reaction = *self.reaction.lock().expect("no panic");
            let reason = "the clause says so".to_owned();
            match reaction {
                Reaction::Accept => {}
                Reaction::Refuse => {
                    let consumer = "witness".to_owned();
                    return Err(InlineError::Refused { consumer, reason });
                }
                Reaction::LeaveOut => {
                    self.react(Reaction::Accept);
                    return Err(InlineError::Again { reason });
                }
            }
            let events = batch.transaction.events_after(Position::START).await;
            let events = events.expect("the transaction is read");
            *self.seen.lock().expect("no panic") = events.iter().map(|event| event.id).collect();
            let own = events.iter().filter(|event| event.position > batch.before);
            self.applied.lock().expect("no panic").extend(own.map(|event| event.id));
            Ok(())
        })
    }

    fn committed(&self, batch: &InlineBatch) {
        let positions = (batch.before, batch.to.position);
        self.committed.lock().expect("no panic").push(positions);
    }
}

fn to_order(event: NewEvent) -> Append {
    Append::to(name("order-1"), ExpectedRevision::Any, [event])
}

pub(super) async fn a_consumer_has_an_append_before_it_is_acknowledged(store: &dyn EventStore) {
    let witness = Witness::attached(store, Reaction::Accept);
    for _ in 0..3 {
        let event = event();
        let appended = accepted(store.append(to_order(event.clone())).await);
        let (before, to) = *witness.committed.lock().expect("no panic").last().expect("a batch");
        assert!(before < appended.position && appended.position <= to, "{before} to {to}");
        assert!(witness.applied.lock().expect("no panic").contains(&event.id));
    }
}

pub(super) async fn an_append_that_a_consumer_refuses_is_not_recorded(store: &dyn EventStore) {
    let witness = Witness::attached(store, Reaction::Refuse);
    match store.append(to_order(event())).await {
        Err(StoreError::Inline(InlineError::Refused { consumer, .. })) => {
            assert_eq!(consumer, "witness");
        }
        other => panic!("expected the refusal of the consumer, got: {other:?}"),
    }
    witness.react(Reaction::Accept);
    let event = event();
    accepted(store.append(to_order(event.clone())).await);
    assert_eq!(stream_ids(store, "order-1").await, [event.id], "the first one left nothing");
}

pub(super) async fn a_consumer_gets_no_event_twice(store: &dyn EventStore) {
    let witness = Witness::attached(store, Reaction::Accept);
    let event = event();
    let append = Append::to(name("order-1"), ExpectedRevision::NoStream, [event.clone()]);
    let first = accepted(store.append(append.clone()).await);
    assert_eq!(accepted(store.append(append).await).position, first.position, "a repeat");
    let applied = witness.applied.lock().expect("no panic").clone();
    assert_eq!(applied.iter().filter(|id| **id == event.id).count(), 1);
}

pub(super) async fn an_append_goes_on_without_what_a_consumer_leaves_out(store: &dyn EventStore) {
    let witness = Witness::attached(store, Reaction::LeaveOut);
    let event = event();
    accepted(store.append(to_order(event.clone())).await);
    assert_eq!(stream_ids(store, "order-1").await, [event.id]);
    assert!(witness.calls.load(Ordering::Relaxed) > 1, "it is asked again");
}

pub(super) async fn a_consumer_that_nobody_keeps_is_not_called(store: &dyn EventStore) {
    let witness = Witness::attached(store, Reaction::Refuse);
    let calls = Arc::clone(&witness.calls);
    drop(witness);
    accepted(store.append(to_order(event())).await);
    assert_eq!(calls.load(Ordering::Relaxed), 0);
}

pub(super) async fn a_consumer_reads_what_was_appended_before(store: &dyn EventStore) {
    let mut ids = grow(store, "order-1", 3).await;
    let witness = Witness::attached(store, Reaction::Accept);
    let event = event();
    accepted(store.append(to_order(event.clone())).await);
    ids.push(event.id);
    let mut seen = witness.seen.lock().expect("no panic").clone();
    seen.retain(|id| ids.contains(id));
    assert_eq!(seen, ids, "in the order of positions");
}
