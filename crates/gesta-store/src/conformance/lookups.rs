//! Clauses about filters by prefix, by regular expression and by id.

use super::support::*;
use crate::{
    CausationId, CorrelationId, EventId, EventStore, Filter, NewEvent, ReadAll, RecordedEvent,
};

/// Reads in both directions with a filter and expects these events.
async fn expect_found(store: &dyn EventStore, filter: Filter, expected: &[EventId]) {
    let read = async |read: ReadAll| {
        recorded_ids(&collected(store.read_all(read.filter(filter.clone()))).await)
    };
    assert_eq!(read(ReadAll::forwards()).await, expected, "{filter:?}");
    assert_eq!(read(ReadAll::backwards()).await, reversed(expected), "{filter:?} backwards");
    let first: Vec<EventId> = expected.iter().take(1).copied().collect();
    assert_eq!(read(ReadAll::forwards().limit(1)).await, first, "{filter:?} with a limit");
}

pub(super) async fn a_filter_picks_prefixes_of_event_types(store: &dyn EventStore) {
    let mut expected = Vec::new();
    // Catch matches within a name, ones that ignore case, and ones of the stream's name.
    for text in ["order-placed", "reorder-sent", "Order-placed", "order", "paid", "order-shipped"] {
        let event = typed(text);
        if text.starts_with("order-") || text == "paid" {
            expected.push(event.id);
        }
        append(store, "order-1", [event]).await;
    }
    let prefixes = ["order-", "pa"].map(str::to_owned).to_vec();
    expect_found(store, Filter::EventTypePrefixes(prefixes), &expected).await;
}

#[cfg(feature = "regex")]
pub(super) async fn a_filter_picks_what_a_regular_expression_matches(store: &dyn EventStore) {
    use crate::RegexFilter;

    let mut added = Vec::new();
    for (stream, text) in [
        ("order-1", "placed"),
        ("account-1", "opened"),
        ("order-2", "paid"),
        ("reorder-1", "placed"),
        ("order-x", "re-placed"),
    ] {
        let event = typed(text);
        added.push((stream, text, event.id));
        append(store, stream, [event]).await;
    }
    let selected = |meant: fn(&str, &str) -> bool| -> Vec<EventId> {
        added.iter().filter(|(stream, text, _)| meant(stream, text)).map(|(.., id)| *id).collect()
    };
    let expected = selected(|stream, _| stream == "order-1" || stream == "order-2");
    let numbered = accepted(RegexFilter::on_stream_name(r"^order-\d+$"));
    expect_found(store, Filter::Regex(numbered), &expected).await;
    // Not anchored: anywhere in the name.
    let anywhere = accepted(RegexFilter::on_event_type("placed"));
    let expected = selected(|_, text| text.contains("placed"));
    expect_found(store, Filter::Regex(anywhere), &expected).await;
    // Look-ahead, as clients exclude system events.
    let ahead = accepted(RegexFilter::on_stream_name(r"^(?!\$|order-)"));
    let expected = selected(|stream, _| !stream.starts_with("order-"));
    expect_found(store, Filter::Regex(ahead), &expected).await;
}

/// The clause has nothing to test without patterns.
#[cfg(not(feature = "regex"))]
pub(super) async fn a_filter_picks_what_a_regular_expression_matches(_: &dyn EventStore) {}

/// The look-ahead keeps the pattern out of engines that need linear time.
#[cfg(feature = "regex")]
pub(super) async fn a_regular_expression_that_takes_too_long_is_rejected(store: &dyn EventStore) {
    use crate::{Invalid, RegexFilter};

    let slow = accepted(RegexFilter::on_stream_name(r"^(?=a)(a|a)*(?=b)c$"));
    grow(store, &"a".repeat(40), 1).await;
    let read = store.read_all(ReadAll::forwards().filter(Filter::Regex(slow)));
    match rejected(read.collect_events().await) {
        Invalid::Pattern { .. } => {}
        other => panic!("expected a pattern that takes too many steps, got: {other}"),
    }
}

/// The clause has nothing to test without patterns.
#[cfg(not(feature = "regex"))]
pub(super) async fn a_regular_expression_that_takes_too_long_is_rejected(_: &dyn EventStore) {}

/// Events of two conversations, in two streams, and one of none.
async fn conversations(store: &dyn EventStore) -> Vec<RecordedEvent> {
    let event = |correlation: Option<&str>, causation: Option<&str>| NewEvent {
        correlation_id: correlation.map(|id| CorrelationId::new(id).expect("an id")),
        causation_id: causation.map(|id| CausationId::new(id).expect("an id")),
        ..event()
    };
    for (stream, correlation, causation) in [
        ("order-1", Some("request-1"), None),
        ("order-2", Some("request-2"), Some("command-1")),
        ("order-1", None, None),
        ("order-2", Some("request-1"), Some("command-1")),
        ("order-2", Some("request-12"), Some("command-12")),
        ("order-1", Some("request-1"), Some("request-1")),
    ] {
        append(store, stream, [event(correlation, causation)]).await;
    }
    let mut added = stream_events(store, "order-1").await;
    added.extend(stream_events(store, "order-2").await);
    added.sort_by_key(|event| event.position);
    added
}

fn ids_of(events: &[RecordedEvent], meant: impl Fn(&RecordedEvent) -> bool) -> Vec<EventId> {
    events.iter().filter(|event| meant(event)).map(|event| event.id).collect()
}

pub(super) async fn a_correlation_id_finds_its_conversation(store: &dyn EventStore) {
    let added = conversations(store).await;
    for text in ["request-1", "request-2", "request-3"] {
        let id = CorrelationId::new(text).expect("an id");
        let expected = ids_of(&added, |event| event.correlation_id.as_ref() == Some(&id));
        expect_found(store, Filter::Correlation(id), &expected).await;
    }
}

pub(super) async fn a_causation_id_finds_what_it_caused(store: &dyn EventStore) {
    let added = conversations(store).await;
    for text in ["command-1", "request-1", "command-3"] {
        let id = CausationId::new(text).expect("an id");
        let expected = ids_of(&added, |event| event.causation_id.as_ref() == Some(&id));
        expect_found(store, Filter::Causation(id), &expected).await;
    }
}

pub(super) async fn an_event_id_finds_its_event(store: &dyn EventStore) {
    // Events after the first of an append, too.
    let mut added = grow(store, "order-1", 3).await;
    added.extend(grow(store, "order-2", 2).await);
    for id in added {
        expect_found(store, Filter::EventId(id), &[id]).await;
    }
    expect_found(store, Filter::EventId(EventId::random()), &[]).await;
}
