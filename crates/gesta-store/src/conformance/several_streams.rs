//! Clauses about appends to several streams, and with several parts of one stream.

use super::support::*;
use crate::{Append, EventStore, ExpectedRevision, Invalid, Revision};

/// An append to two new streams, not in the order of their names.
fn two() -> Append {
    Append::to(name("order-2"), ExpectedRevision::NoStream, events(2)).and(
        name("order-1"),
        ExpectedRevision::NoStream,
        events(1),
    )
}

fn offered(append: &Append) -> Vec<crate::EventId> {
    append.events().map(|event| event.id).collect()
}

pub(super) async fn events_of_several_streams_are_appended_in_their_order(store: &dyn EventStore) {
    let two = two();
    accepted(store.append(two.clone()).await);
    assert_eq!(all_ids(store).await, offered(&two));
}

pub(super) async fn the_answer_names_each_stream_that_got_events(store: &dyn EventStore) {
    grow(store, "order-3", 1).await;
    let checked = two().expecting(name("order-3"), ExpectedRevision::StreamExists);
    let answer = accepted(store.append(checked).await);
    // The stream that was only checked is missing.
    let heads = [(name("order-2"), Revision::new(1)), (name("order-1"), Revision::new(0))];
    assert_eq!(answer.revisions, heads);
    assert_eq!(answer.position, head(store).await);
}

pub(super) async fn one_failing_expectation_appends_nothing_anywhere(store: &dyn EventStore) {
    // `NoStream` fails for the second of the two.
    let before = grow(store, "order-1", 1).await;
    conflict(store.append(two()).await);
    assert_eq!(all_ids(store).await, before);
}

pub(super) async fn a_failing_check_beside_events_appends_nothing(store: &dyn EventStore) {
    let before = grow(store, "order-1", 1).await;
    let checked = Append::to(name("order-2"), ExpectedRevision::Any, events(1))
        .expecting(name("order-1"), ExpectedRevision::NoStream);
    conflict(store.append(checked).await);
    assert_eq!(all_ids(store).await, before);
}

pub(super) async fn several_expectations_of_a_stream_hold_together(store: &dyn EventStore) {
    use ExpectedRevision::{Any, NoStream, StreamExists};
    let before = grow(store, "order-1", 2).await;
    let checked = |one, other| {
        Append::to(name("order-2"), Any, events(1))
            .expecting(name("order-1"), one)
            .expecting(name("order-1"), other)
    };
    for (one, other) in [(StreamExists, exact(0)), (exact(1), NoStream), (exact(0), exact(1))] {
        conflict(store.append(checked(one, other)).await);
        conflict(store.append(checked(other, one)).await);
    }
    assert_eq!(stream_ids(store, "order-2").await, [], "nothing must be appended");
    accepted(store.append(checked(StreamExists, exact(1))).await);
    // All are about the state before the append, also beside events of the stream.
    let beside = |expected| {
        Append::to(name("order-1"), StreamExists, events(1)).expecting(name("order-1"), expected)
    };
    conflict(store.append(beside(exact(2))).await);
    assert_eq!(stream_ids(store, "order-1").await, before);
    accepted(store.append(beside(exact(1))).await);
}

/// An append of which one stream has two parts, with those of another between them.
fn apart() -> Append {
    Append::to(name("order-2"), ExpectedRevision::NoStream, events(2))
        .and(name("order-1"), ExpectedRevision::NoStream, events(1))
        .and(name("order-2"), ExpectedRevision::Any, events(1))
}

pub(super) async fn events_of_a_stream_are_recorded_where_its_parts_stand(store: &dyn EventStore) {
    let apart = apart();
    let answer = accepted(store.append(apart.clone()).await);
    let offered = offered(&apart);
    assert_eq!(all_ids(store).await, offered);
    let [first, second, other, last] = offered.as_slice() else { panic!("four were offered") };
    assert_eq!(stream_ids(store, "order-2").await, [*first, *second, *last]);
    assert_eq!(stream_ids(store, "order-1").await, [*other]);
    // Each stream is named once, with its last revision.
    let heads = [(name("order-2"), Revision::new(2)), (name("order-1"), Revision::new(0))];
    assert_eq!(answer.revisions, heads);
    assert_eq!(answer.position, head(store).await);
}

pub(super) async fn a_later_part_with_an_expectation_is_rejected(store: &dyn EventStore) {
    let mut apart = apart();
    let later = apart.streams.last_mut().expect("an append of three parts");
    later.expected = ExpectedRevision::NoStream;
    let stream = name("order-2");
    assert_eq!(rejected(store.append(apart).await), Invalid::StreamTwice { stream });
    assert_eq!(all_ids(store).await, [], "nothing must be appended");
}
