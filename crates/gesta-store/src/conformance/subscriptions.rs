//! Clauses about subscriptions: their events, starting points and checkpoints.

use uuid::Uuid;

use super::support::*;
use crate::{
    Checkpoint, Delivery, EventId, EventStore, Filter, Incarnation, Invalid, NewEvent, Position,
    Revision, StoreError, StreamMetadata, Subscribe,
};

/// Returns the error of a subscription that cannot start.
async fn refused(store: &dyn EventStore, subscribe: Subscribe) -> StoreError {
    let first = store.subscribe(subscribe).next().await.expect("a refusal is delivered");
    first.expect_err("expected a refusal")
}

fn filtered(store: &dyn EventStore, filter: Filter) -> crate::Subscription {
    store.subscribe(Subscribe::to_all().filter(filter).into())
}

pub(super) async fn a_subscription_catches_up(store: &dyn EventStore) {
    let mut added = grow(store, "order-1", 2).await;
    added.extend(grow(store, "order-2", 2).await);
    let (events, _) = caught_up(&mut store.subscribe(Subscribe::to_all().into())).await;
    assert_eq!(recorded_ids(&events), added);
}

pub(super) async fn a_subscription_stays_live(store: &dyn EventStore) {
    let before = grow(store, "order-1", 2).await;
    let mut subscription = store.subscribe(Subscribe::to_all().into());
    let (caught, _) = caught_up(&mut subscription).await;
    assert_eq!(recorded_ids(&caught), before);
    for stream in ["order-1", "order-2"] {
        let added = grow(store, stream, 2).await;
        assert_eq!(recorded_ids(&delivered(&mut subscription, 2).await), added);
    }
}

pub(super) async fn a_subscription_to_an_empty_store_waits(store: &dyn EventStore) {
    let mut subscription = store.subscribe(Subscribe::to_all().into());
    assert_eq!(next(&mut subscription).await, Delivery::CaughtUp(Position::START));
    let added = grow(store, "order-1", 1).await;
    assert_eq!(recorded_ids(&delivered(&mut subscription, 1).await), added);
}

pub(super) async fn caught_up_says_where_the_head_is(store: &dyn EventStore) {
    grow(store, "order-1", 3).await;
    let (_, position) = caught_up(&mut store.subscribe(Subscribe::to_all().into())).await;
    assert_eq!(position, head(store).await);
}

pub(super) async fn a_long_catch_up_misses_nothing(store: &dyn EventStore) {
    let mut added = Vec::new();
    // Several pages.
    for stream in ["order-1", "order-2", "order-3"] {
        added.extend(grow(store, stream, 300).await);
    }
    let mut subscription = store.subscribe(Subscribe::to_all().into());
    let (events, _) = caught_up(&mut subscription).await;
    assert_eq!(recorded_ids(&events), added);
}

pub(super) async fn a_subscription_begins_after_its_position(store: &dyn EventStore) {
    let after = append(store, "order-1", events(2)).await.position;
    let mut added = grow(store, "order-1", 2).await;
    let mut subscription = store.subscribe(Subscribe::to_all().after(after).into());
    let (caught, _) = caught_up(&mut subscription).await;
    assert_eq!(recorded_ids(&caught), added);
    // A start at the head delivers nothing but later events.
    let mut at_head = store.subscribe(Subscribe::to_all().after(head(store).await).into());
    added = grow(store, "order-1", 1).await;
    assert_eq!(recorded_ids(&delivered(&mut at_head, 1).await), added);
}

pub(super) async fn a_subscription_beyond_the_head_is_refused(store: &dyn EventStore) {
    let head = append(store, "order-1", events(2)).await.position;
    let position = head.next();
    match refused(store, Subscribe::to_all().after(position).into()).await {
        StoreError::Rejected(invalid) => {
            assert_eq!(invalid, Invalid::BeyondHead { position, head })
        }
        other => panic!("expected a rejection, got: {other}"),
    }
}

pub(super) async fn a_checkpoint_of_this_life_is_resumed(store: &dyn EventStore) {
    let position = append(store, "order-1", events(2)).await.position;
    let added = grow(store, "order-1", 1).await;
    let incarnation = accepted(store.head().await).incarnation;
    let resume = Subscribe::to_all().resume(Checkpoint { position, incarnation });
    assert_eq!(recorded_ids(&delivered(&mut store.subscribe(resume.into()), 1).await), added);
}

pub(super) async fn a_checkpoint_of_an_unknown_life_is_refused(store: &dyn EventStore) {
    let position = append(store, "order-1", events(2)).await.position;
    let incarnation = Incarnation::new(Uuid::new_v4());
    let resume = Subscribe::to_all().resume(Checkpoint { position, incarnation });
    match refused(store, resume.into()).await {
        StoreError::Rejected(invalid) => {
            assert_eq!(invalid, Invalid::OtherIncarnation { position, incarnation });
        }
        other => panic!("expected a rejection, got: {other}"),
    }
}

pub(super) async fn a_stream_subscription_delivers_only_its_stream(store: &dyn EventStore) {
    let mut added = grow(store, "order-1", 2).await;
    // `order-12` catches a match by prefix.
    grow(store, "order-12", 1).await;
    let mut subscription = store.subscribe(Subscribe::to_stream(name("order-1")).into());
    let (caught, _) = caught_up(&mut subscription).await;
    assert_eq!(recorded_ids(&caught), added);
    grow(store, "order-12", 2).await;
    added = grow(store, "order-1", 1).await;
    assert_eq!(recorded_ids(&delivered(&mut subscription, 1).await), added);
}

pub(super) async fn a_stream_subscription_begins_after_its_revision(store: &dyn EventStore) {
    let added = grow(store, "order-1", 4).await;
    for after in 0..4 {
        let to = Subscribe::to_stream(name("order-1")).after(Revision::new(after));
        let (caught, _) = caught_up(&mut store.subscribe(to.into())).await;
        let expected: Vec<_> = added.iter().skip(after as usize + 1).copied().collect();
        assert_eq!(recorded_ids(&caught), expected);
    }
}

pub(super) async fn a_stream_subscription_waits_for_its_stream(store: &dyn EventStore) {
    let mut subscription = store.subscribe(Subscribe::to_stream(name("order-1")).into());
    assert_eq!(next(&mut subscription).await, Delivery::CaughtUp(Position::START));
    // Another stream must not end the wait.
    grow(store, "order-2", 1).await;
    let added = grow(store, "order-1", 2).await;
    assert_eq!(recorded_ids(&delivered(&mut subscription, 2).await), added);
}

/// An event that was hidden when the subscription passed it is not delivered later.
pub(super) async fn a_stream_subscription_never_goes_back(store: &dyn EventStore) {
    let before = |revision| StreamMetadata {
        truncate_before: Some(Revision::new(revision)),
        ..StreamMetadata::default()
    };
    let shown = grow(store, "order-1", 3).await.split_off(2);
    set_metadata(store, "order-1", before(2)).await;
    let mut subscription = store.subscribe(Subscribe::to_stream(name("order-1")).into());
    assert_eq!(recorded_ids(&caught_up(&mut subscription).await.0), shown);
    set_metadata(store, "order-1", before(0)).await;
    let added = grow(store, "order-1", 1).await;
    assert_eq!(recorded_ids(&delivered(&mut subscription, 1).await), added);
}

pub(super) async fn a_filtered_subscription_delivers_what_it_asks_for(store: &dyn EventStore) {
    let other = || typed("paid");
    for filter in filters(store) {
        // Start after the events of the previous filters.
        let from = head(store).await;
        let mut expected = vec![selected(store)];
        append(store, "order-1", expected.clone()).await;
        append(store, "account-1", [other()]).await;
        let subscribe = Subscribe::to_all().after(from).filter(filter.clone());
        let mut subscription = store.subscribe(subscribe.into());
        let (mut events, _) = caught_up(&mut subscription).await;
        append(store, "account-1", [other()]).await;
        expected.push(selected(store));
        append(store, "order-1", expected.iter().skip(1).cloned()).await;
        events.extend(delivered(&mut subscription, 1).await);
        assert_eq!(recorded_ids(&events), ids(&expected), "{filter:?}");
    }
}

/// The consumer's checkpoint reaches the head although it receives no event, with each filter.
pub(super) async fn a_filtered_subscription_says_how_far_it_looked(store: &dyn EventStore) {
    for filter in filters(store) {
        expect_progress(store, filter).await;
    }
}

async fn expect_progress(store: &dyn EventStore, filter: Filter) {
    let mut subscription = filtered(store, filter);
    caught_up(&mut subscription).await;
    for _ in 0..2 {
        let last = append(store, "account-1", events(3)).await.position;
        let mut reported = Position::START;
        while reported < last {
            match next(&mut subscription).await {
                Delivery::Checkpoint(position) | Delivery::CaughtUp(position) => {
                    reported = position
                }
                Delivery::Events(page) => {
                    panic!(
                        "expected no events, because the filter selects none; got {}",
                        page.len()
                    )
                }
            }
        }
        assert!(reported >= last, "reported {reported}, but the last event is at {last}");
    }
}

pub(super) async fn a_checkpoint_is_never_ahead_of_an_event(store: &dyn EventStore) {
    let Some(filter) = filters(store).into_iter().next() else { return };
    let mut subscription = filtered(store, filter);
    for stream in ["account-1", "order-1", "account-1", "order-1"] {
        let event = if stream == "order-1" { selected(store) } else { event() };
        let pair = [NewEvent { id: EventId::random(), ..event.clone() }, event];
        append(store, stream, pair).await;
    }
    let (mut reached, mut events) = (Position::START, 0);
    while events < 4 {
        match next(&mut subscription).await {
            Delivery::Events(page) => {
                // Events come after every checkpoint before them.
                let positions = page.iter().map(|event| event.position);
                assert!(
                    positions.clone().all(|position| position > reached),
                    "events must come after {reached}, got {page:?}"
                );
                events += page.len();
                reached = positions.max().unwrap_or(reached);
            }
            Delivery::CaughtUp(position) | Delivery::Checkpoint(position) => {
                assert!(
                    position >= reached,
                    "reported positions must never decrease, got {position} after {reached}"
                );
                reached = position;
            }
        }
    }
}

pub(super) async fn subscribers_are_independent(store: &dyn EventStore) {
    let mut early = store.subscribe(Subscribe::to_all().into());
    let mut added = grow(store, "order-1", 2).await;
    assert_eq!(recorded_ids(&caught_up(&mut early).await.0), added);
    // Starts while the first one is live.
    let mut late = store.subscribe(Subscribe::to_all().into());
    let more = grow(store, "order-1", 2).await;
    assert_eq!(recorded_ids(&delivered(&mut early, 2).await), more);
    added.extend(more);
    assert_eq!(recorded_ids(&delivered(&mut late, 4).await), added);
}

pub(super) async fn a_subscriber_that_never_reads_harms_nobody(store: &dyn EventStore) {
    // One subscriber that is never polled, and one that stops.
    let _idle = store.subscribe(Subscribe::to_all().into());
    let mut stuck = store.subscribe(Subscribe::to_all().into());
    caught_up(&mut stuck).await;
    let mut reader = store.subscribe(Subscribe::to_all().into());
    for _ in 0..8 {
        let added = grow(store, "order-1", 100).await;
        assert_eq!(recorded_ids(&delivered(&mut reader, 100).await), added);
    }
    assert_eq!(
        delivered(&mut stuck, 800).await.len(),
        800,
        "a subscription that fell behind must still get all events"
    );
}

/// Dropping the future of the next delivery loses no delivery.
pub(super) async fn waiting_for_a_delivery_can_be_given_up(store: &dyn EventStore) {
    let mut subscription = store.subscribe(Subscribe::to_all().into());
    caught_up(&mut subscription).await;
    for _ in 0..2 {
        // A future that was polled and dropped must not take the event with it.
        poll_once(subscription.next()).await;
        let added = grow(store, "order-1", 1).await;
        assert_eq!(recorded_ids(&delivered(&mut subscription, 1).await), added);
    }
}
