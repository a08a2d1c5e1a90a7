//! Clauses about appends to several streams.

use super::support::*;
use crate::{Append, EventStore, ExpectedRevision, Revision};

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
