//! Clauses about repeated appends, which return the first result, and about finding an append.

use super::support::*;
use crate::{Append, AppendLookup, EventId, EventStore, ExpectedRevision};

/// Repeats an append immediately and after others; expects one result, and its events once.
async fn expect_repeat(store: &dyn EventStore, append: Append) {
    let before = all_ids(store).await.len();
    let first = accepted(store.append(append.clone()).await);
    assert_eq!(
        accepted(store.append(append.clone()).await),
        first,
        "an immediate repeat must get the first answer"
    );
    grow(store, "order-1", 2).await;
    // Move the heads, so that the expectations no longer hold.
    grow(store, "order-9", 1).await;
    assert_eq!(
        accepted(store.append(append.clone()).await),
        first,
        "a later repeat must get the first answer"
    );
    let appended = append.events().count();
    assert_eq!(
        all_ids(store).await.len(),
        before + appended + 3,
        "the repeated events must be stored exactly once"
    );
}

pub(super) async fn a_repeat_with_no_stream_gets_the_first_answer(store: &dyn EventStore) {
    expect_repeat(store, Append::to(name("order-1"), ExpectedRevision::NoStream, events(2))).await;
}

pub(super) async fn a_repeat_with_an_exact_revision_gets_the_first_answer(store: &dyn EventStore) {
    grow(store, "order-1", 2).await;
    expect_repeat(store, Append::to(name("order-1"), exact(1), events(2))).await;
}

pub(super) async fn a_repeat_with_any_gets_the_first_answer(store: &dyn EventStore) {
    let window = store.capabilities().repeat_window_appends;
    assert!(window >= 2, "the repeat window must cover at least two appends, got {window}");
    expect_repeat(store, Append::to(name("order-1"), ExpectedRevision::Any, events(2))).await;
}

pub(super) async fn a_repeat_with_stream_exists_gets_the_first_answer(store: &dyn EventStore) {
    grow(store, "order-1", 2).await;
    expect_repeat(store, Append::to(name("order-1"), ExpectedRevision::StreamExists, events(2)))
        .await;
}

pub(super) async fn a_repeat_over_several_streams_gets_the_first_answer(store: &dyn EventStore) {
    grow(store, "order-1", 1).await;
    let several = Append::to(name("order-1"), exact(0), events(2)).and(
        name("order-2"),
        ExpectedRevision::NoStream,
        events(1),
    );
    if !store.capabilities().multi_stream_append {
        return unsupported(store.append(several).await);
    }
    expect_repeat(store, several).await;
}

pub(super) async fn a_repeat_with_a_condition_gets_the_first_answer(store: &dyn EventStore) {
    let unique = crate::EventQuery::of(crate::QueryItem::every().tagged([tag("email:a")]));
    let condition = crate::AppendCondition { none_matching: unique, after: crate::Position::START };
    let event = event().tagged([tag("email:a")]);
    let append =
        Append::to(name("order-1"), ExpectedRevision::NoStream, [event]).with_condition(condition);
    if !store.capabilities().append_condition {
        return unsupported(store.append(append).await);
    }
    expect_repeat(store, append).await;
}

pub(super) async fn ids_that_are_there_in_part_are_a_conflict(store: &dyn EventStore) {
    let first = events(2);
    let append = |stream, events| Append::to(name(stream), ExpectedRevision::Any, events);
    accepted(store.append(append("order-1", first.clone())).await);
    // The first id is known, the list of ids differs.
    let longer = first.iter().cloned().chain([event()]).collect();
    let shorter = first.iter().take(1).cloned().collect();
    let other = first.iter().take(1).cloned().chain([event()]).collect();
    for partial in [longer, shorter, other] {
        conflict(store.append(append("order-1", partial)).await);
    }
    // The same ids in another stream.
    conflict(store.append(append("order-2", first.clone())).await);
    assert_eq!(all_ids(store).await, ids(&first), "nothing more must be appended");
}

/// The second expectation would hold. The ids show that it is not a new append.
pub(super) async fn the_same_ids_with_another_expectation_are_a_conflict(store: &dyn EventStore) {
    let event = event();
    let first = Append::to(name("order-1"), ExpectedRevision::NoStream, [event.clone()]);
    accepted(store.append(first).await);
    conflict(store.append(Append::to(name("order-1"), exact(0), [event.clone()])).await);
    assert_eq!(all_ids(store).await, [event.id]);
}

pub(super) async fn an_append_without_events_is_never_a_repeat(store: &dyn EventStore) {
    grow(store, "order-1", 1).await;
    let check = Append::default().expecting(name("order-1"), exact(0));
    accepted(store.append(check.clone()).await);
    // The same check must fail now, and not repeat its first result.
    grow(store, "order-1", 1).await;
    conflict(store.append(check).await);
}

pub(super) async fn an_append_is_found_by_its_first_event_id(store: &dyn EventStore) {
    let append = Append::to(name("order-1"), ExpectedRevision::Any, events(2));
    let first = append.events().next().expect("has events").id;
    let answer = accepted(store.append(append).await);
    grow(store, "order-1", 1).await;
    let found = store.find_append(first).await;
    match store.capabilities().find_append {
        AppendLookup::Unsupported => unsupported(found),
        AppendLookup::Window(_) | AppendLookup::Unlimited => {
            assert_eq!(accepted(found), Some(answer))
        }
    }
}

pub(super) async fn only_a_first_event_id_finds_an_append(store: &dyn EventStore) {
    let added = grow(store, "order-1", 2).await;
    for id in added.into_iter().skip(1).chain([EventId::random()]) {
        let found = store.find_append(id).await;
        match store.capabilities().find_append {
            AppendLookup::Unsupported => unsupported(found),
            AppendLookup::Window(_) | AppendLookup::Unlimited => assert_eq!(accepted(found), None),
        }
    }
}
