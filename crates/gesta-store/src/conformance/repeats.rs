//! Clauses about repeated appends, which return the first result, and about finding an append.

use super::support::*;
use crate::{
    Append, Appended, EventId, EventStore, ExpectedRevision, NewEvent, RecordedWhen, Revision,
    StoreError, StreamMetadata,
};

/// Repeats an append immediately and after others; expects one result, and its events once.
async fn expect_repeat(store: &dyn EventStore, append: Append) {
    let before = all_ids(store).await.len();
    let first = place(store.append(append.clone()).await);
    assert_eq!(
        place(store.append(append.clone()).await),
        first,
        "an immediate repeat must get the first answer"
    );
    grow(store, "order-1", 2).await;
    // Move the heads, so that the expectations no longer hold.
    grow(store, "order-9", 1).await;
    assert_eq!(
        place(store.append(append.clone()).await),
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
    expect_repeat(store, several).await;
}

pub(super) async fn a_repeat_of_several_parts_of_a_stream_gets_the_first_answer(
    store: &dyn EventStore,
) {
    grow(store, "order-1", 1).await;
    let apart = Append::to(name("order-1"), exact(0), events(1))
        .and(name("order-2"), ExpectedRevision::NoStream, events(1))
        .and(name("order-1"), ExpectedRevision::Any, events(2));
    expect_repeat(store, apart.clone()).await;
    // The same events in another order are no repeat.
    let [first, other, last] = apart.streams.as_slice() else { panic!("three parts") };
    let together: Vec<_> = first.events.iter().chain(&last.events).cloned().collect();
    let sorted = Append::to(name("order-1"), exact(0), together).and(
        name("order-2"),
        ExpectedRevision::NoStream,
        other.events.clone(),
    );
    conflict(store.append(sorted).await);
}

pub(super) async fn a_repeat_with_a_condition_gets_the_first_answer(store: &dyn EventStore) {
    let unique =
        crate::EventQuery::of(crate::QueryItem::every().of_types([event_type("registered")]));
    let condition = crate::AppendCondition { none_matching: unique, after: crate::Position::START };
    let event = typed("registered");
    let append =
        Append::to(name("order-1"), ExpectedRevision::NoStream, [event]).with_condition(condition);
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
    assert_eq!(stream_ids(store, "order-1").await, ids(&first), "nothing more must be appended");
}

/// Every way to append two events to a stream: with an expectation that is met, after none or two
/// events.
fn first_appends() -> Vec<(ExpectedRevision, usize)> {
    use ExpectedRevision::{Any, NoStream, StreamExists};
    vec![(Any, 0), (NoStream, 0), (Any, 2), (StreamExists, 2), (exact(1), 2)]
}

/// Appends two events to a new stream that has `before` events. Returns the events and the answer.
async fn appended_after(
    store: &dyn EventStore,
    stream: &str,
    (expected, before): (ExpectedRevision, usize),
) -> (Vec<NewEvent>, Place) {
    if before > 0 {
        grow(store, stream, before).await;
    }
    let batch = events(2);
    let append = Append::to(name(stream), expected, batch.clone());
    (batch, place(store.append(append).await))
}

/// The expectation that says where the events are: the revision before them, or no stream.
fn placed_after(before: usize) -> ExpectedRevision {
    before.checked_sub(1).map_or(ExpectedRevision::NoStream, |last| exact(last as u64))
}

pub(super) async fn a_repeat_that_says_where_its_events_are_is_recognized(store: &dyn EventStore) {
    for (nth, first) in first_appends().into_iter().enumerate() {
        let stream = format!("order-{nth}");
        let (batch, answer) = appended_after(store, &stream, first).await;
        let before = stream_ids(store, &stream).await;
        let again = Append::to(name(&stream), placed_after(first.1), batch);
        assert_eq!(place(store.append(again).await), answer, "after {first:?}");
        assert_eq!(stream_ids(store, &stream).await, before, "nothing more must be appended");
    }
}

pub(super) async fn every_expectation_but_an_exact_one_is_met_by_a_repeat(store: &dyn EventStore) {
    use ExpectedRevision::{Any, NoStream, StreamExists};
    for (nth, first) in first_appends().into_iter().enumerate() {
        for (kind, second) in [Any, NoStream, StreamExists].into_iter().enumerate() {
            let stream = format!("order-{nth}{kind}");
            let (batch, answer) = appended_after(store, &stream, first).await;
            let before = stream_ids(store, &stream).await;
            let again = Append::to(name(&stream), second, batch);
            assert_eq!(place(store.append(again).await), answer, "{second} after {first:?}");
            assert_eq!(stream_ids(store, &stream).await, before, "nothing more must be appended");
        }
    }
}

/// Also at the head, where the expectation would hold: the ids show that it is no new append.
pub(super) async fn an_exact_expectation_elsewhere_is_a_conflict(store: &dyn EventStore) {
    for (nth, first) in first_appends().into_iter().enumerate() {
        let stream = format!("order-{nth}");
        let (batch, _) = appended_after(store, &stream, first).await;
        let before = stream_ids(store, &stream).await;
        for revision in (0..6).filter(|revision| exact(*revision) != placed_after(first.1)) {
            let again = Append::to(name(&stream), exact(revision), batch.clone());
            conflict(store.append(again).await);
        }
        assert_eq!(stream_ids(store, &stream).await, before, "nothing more must be appended");
    }
}

/// Deleted, and revived: the first answer each time.
pub(super) async fn a_repeat_outlives_a_deletion(store: &dyn EventStore) {
    use ExpectedRevision::{Any, NoStream, StreamExists};
    for (nth, first) in first_appends().into_iter().enumerate() {
        let stream = format!("order-{nth}");
        let (batch, answer) = appended_after(store, &stream, first).await;
        for revived in [false, true] {
            match revived {
                false => drop(delete(store, &stream).await),
                true => drop(grow(store, &stream, 1).await),
            }
            let before = stream_ids(store, &stream).await;
            for second in [Any, NoStream, StreamExists, placed_after(first.1)] {
                let again = Append::to(name(&stream), second, batch.clone());
                let repeated = place(store.append(again).await);
                assert_eq!(repeated, answer, "{second} after {first:?}, revived: {revived}");
            }
            assert_eq!(stream_ids(store, &stream).await, before, "nothing must be appended");
        }
    }
}

/// Events that revived a stream begin after the deleted ones, with any expectation.
pub(super) async fn a_repeat_of_a_revival_gets_the_first_answer(store: &dyn EventStore) {
    use ExpectedRevision::{Any, NoStream};
    for (nth, first) in [Any, NoStream, exact(1)].into_iter().enumerate() {
        let stream = format!("order-{nth}");
        grow(store, &stream, 2).await;
        delete(store, &stream).await;
        let batch = events(2);
        let append = |expected| Append::to(name(&stream), expected, batch.clone());
        let answer = place(store.append(append(first)).await);
        for second in [Any, NoStream, ExpectedRevision::StreamExists, exact(1)] {
            let repeated = place(store.append(append(second)).await);
            assert_eq!(repeated, answer, "{second} after {first}");
        }
        conflict(store.append(append(exact(3))).await);
        assert_eq!(stream_ids(store, &stream).await, ids(&batch));
    }
}

/// The first answer, or the news that the stream is tombstoned; never another append.
pub(super) async fn a_repeat_on_a_tombstoned_stream_appends_nothing(store: &dyn EventStore) {
    let batch = events(2);
    let append = || Append::to(name("order-1"), ExpectedRevision::NoStream, batch.clone());
    let answer = place(store.append(append()).await);
    tombstone(store, "order-1").await;
    let before = all_ids(store).await;
    match store.append(append()).await {
        Ok(repeated) => assert_eq!(place(Ok(repeated)), answer),
        Err(StoreError::Deleted { .. }) => {}
        Err(other) => panic!("expected the first answer or `deleted`, got: {other}"),
    }
    assert_eq!(all_ids(store).await, before, "nothing must be appended");
}

pub(super) async fn an_event_id_in_another_stream_is_a_new_event(store: &dyn EventStore) {
    let batch = events(2);
    let append = |stream: &str| Append::to(name(stream), ExpectedRevision::NoStream, batch.clone());
    let streams = ["order-1", "order-2", "order-3"];
    let mut answers = Vec::new();
    for stream in streams {
        answers.push(place(store.append(append(stream)).await));
    }
    // Each stream has its own repeat.
    for (stream, answer) in streams.into_iter().zip(answers) {
        assert_eq!(stream_ids(store, stream).await, ids(&batch), "{stream}");
        assert_eq!(place(store.append(append(stream)).await), answer, "{stream}");
    }
}

/// Looks for events of `order-1` from a revision on.
async fn find(store: &dyn EventStore, first: u64, ids: &[EventId]) -> Option<Appended> {
    let found = store.find_events(&name("order-1"), Revision::new(first), ids.to_vec()).await;
    accepted(found)
}

pub(super) async fn events_of_several_appends_are_found_together_and_apart(store: &dyn EventStore) {
    let (mut ids, mut answers) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let next = event();
        ids.push(next.id);
        answers.push(append(store, "order-1", [next]).await);
        grow(store, "order-2", 1).await;
    }
    for first in 0..ids.len() {
        for (last, answer) in answers.iter().enumerate().skip(first) {
            let wanted = ids.get(first..=last).expect("an id for each answer");
            let found = find(store, first as u64, wanted).await;
            assert_eq!(found, Some(answer.clone().earlier()), "from {first} to {last}");
        }
    }
}

pub(super) async fn other_events_and_events_elsewhere_are_not_found(store: &dyn EventStore) {
    let ids = grow(store, "order-1", 3).await;
    let other = EventId::random();
    let [one, two, three] = ids.as_slice() else { panic!("three events were appended") };
    let absent = [
        (0, vec![*two]),
        (1, vec![*one, *two]),
        (0, vec![*one, *three]),
        (0, vec![*two, *one]),
        (0, vec![*one, other]),
        (0, vec![other, *two]),
        (0, vec![*one, *two, *three, other]),
        (3, vec![*one]),
        (3, vec![other]),
        (0, vec![]),
    ];
    for (first, ids) in absent {
        assert_eq!(find(store, first, &ids).await, None, "{ids:?} from {first}");
    }
    let elsewhere = store.find_events(&name("order-2"), Revision::FIRST, ids).await;
    assert_eq!(accepted(elsewhere), None);
}

pub(super) async fn hidden_events_are_not_found(store: &dyn EventStore) {
    let ids = grow(store, "order-1", 3).await;
    let [_, rest @ ..] = ids.as_slice() else { panic!("three events were appended") };
    let truncated = StreamMetadata::default().truncate_before(Revision::new(1));
    set_metadata(store, "order-1", truncated).await;
    assert_eq!(find(store, 0, &ids).await, None);
    assert!(find(store, 1, rest).await.is_some());
    delete(store, "order-1").await;
    assert_eq!(find(store, 1, rest).await, None);
}

pub(super) async fn an_append_without_events_is_never_a_repeat(store: &dyn EventStore) {
    grow(store, "order-1", 1).await;
    let check = Append::default().expecting(name("order-1"), exact(0));
    accepted(store.append(check.clone()).await);
    // The same check must fail now, and not repeat its first result.
    grow(store, "order-1", 1).await;
    conflict(store.append(check).await);
}

/// Also of ids that were offered before, by an append that was refused.
pub(super) async fn a_new_append_is_recorded_now(store: &dyn EventStore) {
    let event = event();
    let append = |expected| Append::to(name("order-1"), expected, [event.clone()]);
    conflict(store.append(append(exact(3))).await);
    let first = accepted(store.append(append(ExpectedRevision::NoStream)).await);
    assert_eq!(first.recorded, RecordedWhen::Now);
    let next = Append::to(name("order-1"), exact(0), events(1));
    assert_eq!(accepted(store.append(next).await).recorded, RecordedWhen::Now);
}

pub(super) async fn a_repeat_is_recorded_earlier(store: &dyn EventStore) {
    let append = Append::to(name("order-1"), ExpectedRevision::NoStream, events(2));
    accepted(store.append(append.clone()).await);
    for _ in 0..2 {
        let repeated = accepted(store.append(append.clone()).await);
        assert_eq!(repeated.recorded, RecordedWhen::Earlier);
        grow(store, "order-1", 1).await;
    }
}

pub(super) async fn an_append_is_found_by_its_first_event_id(store: &dyn EventStore) {
    let append = Append::to(name("order-1"), ExpectedRevision::Any, events(2));
    let first = append.events().next().expect("has events").id;
    let answer = place(store.append(append).await);
    grow(store, "order-1", 1).await;
    let found = accepted(store.find_append(first).await).map(|found| place(Ok(found)));
    assert_eq!(found, Some(answer));
}

pub(super) async fn an_append_that_is_found_was_recorded_earlier(store: &dyn EventStore) {
    let append = Append::to(name("order-1"), ExpectedRevision::Any, events(2));
    let first = append.events().next().expect("has events").id;
    accepted(store.append(append).await);
    let found = accepted(store.find_append(first).await).expect("was appended");
    assert_eq!(found.recorded, RecordedWhen::Earlier);
}

pub(super) async fn only_a_first_event_id_finds_an_append(store: &dyn EventStore) {
    let added = grow(store, "order-1", 2).await;
    for id in added.into_iter().skip(1).chain([EventId::random()]) {
        assert_eq!(accepted(store.find_append(id).await), None);
    }
}
