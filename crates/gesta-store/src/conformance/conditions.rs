//! Clauses about append conditions: the events that they match, and their combination with
//! expectations.

use std::{num::NonZeroU64, time::Duration};

use super::support::*;
use crate::{
    Append, AppendCondition, Conflict, EventQuery, EventStore, ExpectedRevision, Invalid, NewEvent,
    Position, QueryItem, Revision, StoreError, StreamMetadata,
};

fn tagged(text: &str) -> EventQuery {
    EventQuery::of(QueryItem::every().tagged([tag(text)]))
}

/// Appends one event unless an event after the position matches the query.
async fn append_unless(
    store: &dyn EventStore,
    none_matching: EventQuery,
    after: Position,
) -> Result<crate::Appended, StoreError> {
    let append = Append::to(name("new-1"), ExpectedRevision::Any, [event()]);
    store.append(append.with_condition(AppendCondition { none_matching, after })).await
}

/// Returns `true` if a condition matches this event.
async fn condition_matches(store: &dyn EventStore, event: NewEvent, query: EventQuery) -> bool {
    append(store, "old-1", [event]).await;
    match append_unless(store, query, Position::START).await {
        Ok(_) => false,
        Err(StoreError::Conflict(Conflict::Condition { .. })) => true,
        Err(other) => panic!("expected an answer or a conflict, got: {other}"),
    }
}

pub(super) async fn a_match_after_the_position_is_a_conflict(store: &dyn EventStore) {
    // The writer has read up to here.
    let looked = append(store, "old-1", events(2)).await.position;
    let matching = append(store, "old-1", [event().tagged([tag("email:a")])]).await.position;
    let before = all_ids(store).await;
    let answer = append_unless(store, tagged("email:a"), looked).await;
    assert_eq!(conflict(answer), Conflict::Condition { matching });
    assert_eq!(all_ids(store).await, before, "nothing must be appended");
}

pub(super) async fn a_match_at_or_before_the_position_is_none(store: &dyn EventStore) {
    append(store, "old-1", [event().tagged([tag("email:a")])]).await;
    let looked = append(store, "old-1", [event().tagged([tag("email:a")])]).await.position;
    let answer = append_unless(store, tagged("email:a"), looked).await;
    accepted(answer);
}

pub(super) async fn a_condition_beyond_the_head_is_rejected(store: &dyn EventStore) {
    grow(store, "old-1", 2).await;
    let head = head(store).await;
    let position = head.next();
    let answer = append_unless(store, tagged("email:a"), position).await;
    assert_eq!(rejected(answer), Invalid::BeyondHead { position, head });
    assert_eq!(self::head(store).await, head, "nothing must be appended");
}

pub(super) async fn a_condition_means_any_of_the_types(store: &dyn EventStore) {
    let types = ["opened", "closed"].map(event_type);
    let query = || EventQuery::of(QueryItem::every().of_types(types.clone()));
    let found = condition_matches(store, typed("moved"), query()).await;
    assert!(!found, "an event of neither type must not match");
    assert!(condition_matches(store, typed("closed"), query()).await);
}

pub(super) async fn a_condition_means_all_of_the_tags(store: &dyn EventStore) {
    let query = || EventQuery::of(QueryItem::every().tagged(["a:1", "b:2"].map(tag)));
    let one = condition_matches(store, event().tagged(["a:1"].map(tag)), query()).await;
    assert!(!one, "an event with only one of the two tags must not match");
    let all = event().tagged(["c:3", "b:2", "a:1"].map(tag));
    assert!(condition_matches(store, all, query()).await);
}

pub(super) async fn a_condition_means_a_type_and_its_tags_together(store: &dyn EventStore) {
    let item = || QueryItem::every().of_types([event_type("opened")]).tagged([tag("a:1")]);
    let found = condition_matches(store, typed("opened"), EventQuery::of(item())).await;
    assert!(!found, "an event of the type without the tag must not match");
    let other = typed("closed").tagged([tag("a:1")]);
    assert!(!condition_matches(store, other, EventQuery::of(item())).await);
    let both = typed("opened").tagged([tag("a:1")]);
    assert!(condition_matches(store, both, EventQuery::of(item())).await);
}

pub(super) async fn a_condition_means_any_of_its_items(store: &dyn EventStore) {
    let query = || tagged("a:1").or(QueryItem::every().of_types([event_type("opened")]));
    let found = condition_matches(store, typed("closed"), query()).await;
    assert!(!found, "an event that matches neither item must not match");
    assert!(condition_matches(store, typed("opened"), query()).await);
}

pub(super) async fn a_condition_does_not_mean_the_append_itself(store: &dyn EventStore) {
    // The condition is evaluated before the events of its own append.
    let unique = event().tagged([tag("email:a")]);
    let condition = AppendCondition { none_matching: tagged("email:a"), after: Position::START };
    let append = Append::to(name("new-1"), ExpectedRevision::NoStream, [unique]);
    let answer = store.append(append.with_condition(condition)).await;
    accepted(answer);
}

pub(super) async fn a_condition_holds_together_with_the_expectations(store: &dyn EventStore) {
    append(store, "old-1", [event().tagged([tag("email:a")])]).await;
    let before = all_ids(store).await;
    // Once the condition fails, and once the expectation does.
    for (query, expected) in [
        (tagged("email:a"), ExpectedRevision::NoStream),
        (tagged("email:b"), ExpectedRevision::StreamExists),
    ] {
        let condition = AppendCondition { none_matching: query, after: Position::START };
        let append = Append::to(name("new-1"), expected, events(1)).with_condition(condition);
        let answer = store.append(append).await;
        conflict(answer);
    }
    assert_eq!(all_ids(store).await, before);
}

/// Expects, for each tag, that a condition on it conflicts or holds.
async fn expect_conflicts(store: &dyn EventStore, expected: &[(&str, bool)]) {
    for (text, conflicts) in expected {
        match append_unless(store, tagged(text), Position::START).await {
            Ok(_) => assert!(!conflicts, "{text} is visible, so the append must conflict"),
            Err(StoreError::Conflict(Conflict::Condition { .. })) => {
                assert!(conflicts, "{text} is hidden, so the append must succeed");
            }
            Err(other) => panic!("expected an answer or a conflict, got: {other}"),
        }
    }
}

fn truncated_before(revision: u64) -> StreamMetadata {
    StreamMetadata { truncate_before: Some(Revision::new(revision)), ..StreamMetadata::default() }
}

pub(super) async fn a_condition_does_not_mean_streams_that_ended(store: &dyn EventStore) {
    for (stream, text) in [("user-1", "email:a"), ("user-2", "email:b"), ("user-3", "email:c")] {
        append(store, stream, [event().tagged([tag(text)])]).await;
    }
    // The same query as before now matches nothing in these streams.
    delete(store, "user-1").await;
    tombstone(store, "user-2").await;
    let expected = [("email:a", false), ("email:b", false), ("email:c", true)];
    expect_conflicts(store, &expected).await;
}

pub(super) async fn a_condition_does_not_mean_what_metadata_hide(store: &dyn EventStore) {
    let tags = ["a:1", "a:2", "b:1", "b:2", "c:1"];
    let [a1, a2, b1, b2, c1] = tags.map(|text| event().tagged([tag(text)]));
    append(store, "user-1", [a1, a2]).await;
    append(store, "user-2", [b1, b2]).await;
    append(store, "user-3", [c1]).await;
    set_metadata(store, "user-1", truncated_before(1)).await;
    let counted = StreamMetadata { max_count: NonZeroU64::new(1), ..StreamMetadata::default() };
    set_metadata(store, "user-2", counted).await;
    let expected = [("a:1", false), ("a:2", true), ("b:1", false), ("b:2", true), ("c:1", true)];
    expect_conflicts(store, &expected).await;
    let aged = StreamMetadata { max_age: Some(Duration::ZERO), ..StreamMetadata::default() };
    set_metadata(store, "user-3", aged).await;
    // Age is measured at the recorded time of the append, which takes a moment to advance.
    while append_unless(store, tagged("c:1"), Position::START).await.is_err() {
        pause().await;
    }
}

pub(super) async fn a_condition_means_what_is_shown_again(store: &dyn EventStore) {
    append(store, "user-1", ["a:1", "a:2"].map(|text| event().tagged([tag(text)]))).await;
    set_metadata(store, "user-1", truncated_before(1)).await;
    expect_conflicts(store, &[("a:1", false), ("a:2", true)]).await;
    set_metadata(store, "user-1", truncated_before(0)).await;
    expect_conflicts(store, &[("a:1", true), ("a:2", true)]).await;
}

pub(super) async fn a_condition_means_what_has_revived_a_stream(store: &dyn EventStore) {
    append(store, "user-1", [event().tagged([tag("a:1")])]).await;
    delete(store, "user-1").await;
    // Only the event that revived the stream is visible.
    append(store, "user-1", [event().tagged([tag("a:2")])]).await;
    expect_conflicts(store, &[("a:1", false), ("a:2", true)]).await;
}
