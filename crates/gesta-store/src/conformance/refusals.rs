//! Clauses about features that a store lacks: it refuses them by name.

use std::sync::Arc;

use super::support::*;
use crate::{
    Append, AppendCondition, Capability, CausationId, Conflict, ContentType, CorrelationId,
    DeleteStream, EventId, EventQuery, EventStore, ExpectedRevision, Filter, InlineBatch,
    InlineConsumer, InlineFuture, ListCategories, ListStreams, NewEvent, OrdinalIndex, Position,
    QueryItem, ReadAll, ReadOrdinals, ReadStream, RecordedAt, SetStreamMetadata, StoreError,
    StreamMetadata, Subscribe, TombstoneStream,
};

/// Expects the refusal of this feature.
#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, StoreError>, missing: Capability) {
    match answer.expect_err("a feature that the store lacks must be refused") {
        StoreError::Unsupported { capability } => assert_eq!(capability, missing),
        other => panic!("expected `unsupported`, got: {other}"),
    }
}

async fn offer(store: &dyn EventStore, append: Append) -> Result<(), StoreError> {
    store.append(append).await.map(drop)
}

fn to_order(event: NewEvent) -> Append {
    Append::to(name("order-1"), ExpectedRevision::Any, [event])
}

/// Expects refusals of a read in both directions and of a subscription.
async fn filter_refused(store: &dyn EventStore, filter: Filter) {
    let missing = filter.capability().expect("a filter that needs a feature");
    // Not on an empty store only.
    grow(store, "order-1", 1).await;
    for read in [ReadAll::forwards(), ReadAll::backwards()] {
        refused(store.read_all(read.filter(filter.clone())).collect_events().await, missing);
    }
    let first = store.subscribe(Subscribe::to_all().filter(filter).into()).next().await;
    refused(first.expect("a refusal is delivered"), missing);
}

pub(super) async fn appends_to_several_streams_are_refused(store: &dyn EventStore) {
    let several = to_order(event()).and(name("order-2"), ExpectedRevision::Any, [event()]);
    refused(offer(store, several).await, Capability::MultiStreamAppend);
    let checked = to_order(event()).expecting(name("order-2"), ExpectedRevision::Any);
    refused(offer(store, checked).await, Capability::MultiStreamAppend);
    assert_eq!(stream_ids(store, "order-1").await, [], "nothing must be appended");
}

pub(super) async fn several_parts_of_one_stream_are_refused(store: &dyn EventStore) {
    let checked = to_order(event())
        .expecting(name("order-2"), ExpectedRevision::Any)
        .expecting(name("order-2"), ExpectedRevision::NoStream);
    refused(offer(store, checked).await, Capability::StreamParts);
    let apart = to_order(event()).and(name("order-2"), ExpectedRevision::Any, [event()]).and(
        name("order-1"),
        ExpectedRevision::Any,
        [event()],
    );
    refused(offer(store, apart).await, Capability::StreamParts);
    assert_eq!(stream_ids(store, "order-1").await, [], "nothing must be appended");
}

pub(super) async fn append_conditions_are_refused(store: &dyn EventStore) {
    let query = EventQuery::of(QueryItem::every().of_types([event_type("placed")]));
    let condition = AppendCondition { none_matching: query, after: Position::START };
    let append = to_order(event()).with_condition(condition);
    refused(offer(store, append).await, Capability::AppendCondition);
    assert_eq!(stream_ids(store, "order-1").await, [], "nothing must be appended");
}

pub(super) async fn tags_are_refused(store: &dyn EventStore) {
    let tagged = to_order(event().tagged([tag("customer:a")]));
    refused(offer(store, tagged).await, Capability::Tags);
    assert_eq!(stream_ids(store, "order-1").await, [], "nothing must be appended");
}

pub(super) async fn other_content_types_are_refused(store: &dyn EventStore) {
    let content_type = ContentType::new("application/cbor").expect("a media type");
    let other = to_order(NewEvent { content_type, ..event() });
    refused(offer(store, other).await, Capability::ContentTypes);
    assert_eq!(stream_ids(store, "order-1").await, [], "nothing must be appended");
}

pub(super) async fn reads_of_the_whole_store_are_refused(store: &dyn EventStore) {
    let missing = Capability::GlobalOrder;
    refused(store.read_all(ReadAll::forwards()).collect_events().await, missing);
    refused(store.head().await, missing);
    let first = store.subscribe(Subscribe::to_all().into()).next().await;
    refused(first.expect("a refusal is delivered"), missing);
}

pub(super) async fn filters_by_stream_are_refused(store: &dyn EventStore) {
    filter_refused(store, Filter::Streams(vec![name("order-1")])).await;
}

pub(super) async fn filters_by_stream_prefix_are_refused(store: &dyn EventStore) {
    filter_refused(store, Filter::StreamPrefixes(vec!["order-".to_owned()])).await;
}

pub(super) async fn filters_by_category_are_refused(store: &dyn EventStore) {
    filter_refused(store, Filter::Categories(vec![category("order")])).await;
}

pub(super) async fn filters_by_event_type_are_refused(store: &dyn EventStore) {
    filter_refused(store, Filter::EventTypes(vec![event_type("happened")])).await;
}

pub(super) async fn filters_by_event_type_prefix_are_refused(store: &dyn EventStore) {
    filter_refused(store, Filter::EventTypePrefixes(vec!["happ".to_owned()])).await;
}

#[cfg(feature = "regex")]
pub(super) async fn filters_by_regular_expression_are_refused(store: &dyn EventStore) {
    let any = accepted(crate::RegexFilter::on_event_type("."));
    filter_refused(store, Filter::Regex(any)).await;
}

/// The clause has nothing to test without patterns.
#[cfg(not(feature = "regex"))]
pub(super) async fn filters_by_regular_expression_are_refused(_: &dyn EventStore) {}

pub(super) async fn event_queries_are_refused(store: &dyn EventStore) {
    let query = EventQuery::of(QueryItem::every().of_types([event_type("happened")]));
    filter_refused(store, Filter::Query(query)).await;
}

pub(super) async fn look_ups_by_correlation_id_are_refused(store: &dyn EventStore) {
    filter_refused(store, Filter::Correlation(CorrelationId::new("a").expect("an id"))).await;
}

pub(super) async fn look_ups_by_causation_id_are_refused(store: &dyn EventStore) {
    filter_refused(store, Filter::Causation(CausationId::new("a").expect("an id"))).await;
}

pub(super) async fn look_ups_by_event_id_are_refused(store: &dyn EventStore) {
    filter_refused(store, Filter::EventId(EventId::random())).await;
}

async fn ordinals_refused(store: &dyn EventStore, of: OrdinalIndex) {
    let missing = of.capability();
    grow(store, "order-1", 1).await;
    for read in [ReadOrdinals::forwards(of.clone()), ReadOrdinals::backwards(of)] {
        refused(store.read_ordinals(read).collect_events().await, missing);
    }
}

pub(super) async fn ordinals_of_categories_are_refused(store: &dyn EventStore) {
    ordinals_refused(store, OrdinalIndex::Category(category("order"))).await;
}

pub(super) async fn ordinals_of_event_types_are_refused(store: &dyn EventStore) {
    ordinals_refused(store, OrdinalIndex::EventType(event_type("happened"))).await;
}

pub(super) async fn ordinals_of_conversations_are_refused(store: &dyn EventStore) {
    let id = CorrelationId::new("a").expect("an id");
    ordinals_refused(store, OrdinalIndex::Correlation(id)).await;
}

pub(super) async fn ordinals_of_streams_are_refused(store: &dyn EventStore) {
    ordinals_refused(store, OrdinalIndex::Streams).await;
    ordinals_refused(store, OrdinalIndex::StreamsOf(category("order"))).await;
}

pub(super) async fn starts_at_a_time_are_refused(store: &dyn EventStore) {
    grow(store, "order-1", 1).await;
    let (missing, time) = (Capability::TimeStarts, RecordedAt::from_micros(1));
    let stream = ReadStream::forwards(name("order-1")).from_time(time);
    refused(store.read_stream(stream).collect_events().await, missing);
    let subscribe = Subscribe::to_stream(name("order-1")).from_time(time);
    let first = store.subscribe(subscribe.into()).next().await;
    refused(first.expect("a refusal is delivered"), missing);
    if store.capabilities().has(Capability::GlobalOrder) {
        let all = ReadAll::backwards().from_time(time);
        refused(store.read_all(all).collect_events().await, missing);
        let first = store.subscribe(Subscribe::to_all().from_time(time).into()).next().await;
        refused(first.expect("a refusal is delivered"), missing);
    }
}

pub(super) async fn finding_appends_is_refused(store: &dyn EventStore) {
    let added = grow(store, "order-1", 1).await;
    for id in added.into_iter().chain([EventId::random()]) {
        refused(store.find_append(id).await, Capability::FindAppend);
    }
}

pub(super) async fn an_event_id_in_another_stream_is_a_conflict(store: &dyn EventStore) {
    let event = event();
    append(store, "order-1", [event.clone()]).await;
    for expected in [ExpectedRevision::Any, ExpectedRevision::NoStream] {
        let again = Append::to(name("order-2"), expected, [event.clone()]);
        let first_event = event.id;
        assert_eq!(conflict(store.append(again).await), Conflict::PartialRepeat { first_event });
    }
    assert_eq!(stream_ids(store, "order-2").await, [], "nothing must be appended");
}

pub(super) async fn listing_streams_is_refused(store: &dyn EventStore) {
    let list = ListStreams { prefix: String::new(), after: None, limit: 10 };
    refused(store.list_streams(list).await, Capability::StreamListing);
}

pub(super) async fn listing_categories_is_refused(store: &dyn EventStore) {
    let list = ListCategories { after: None, limit: 10 };
    refused(store.list_categories(list).await, Capability::CategoryListing);
}

pub(super) async fn setting_metadata_is_refused(store: &dyn EventStore) {
    let change = SetStreamMetadata {
        stream: name("order-1"),
        expected_metadata: ExpectedRevision::Any,
        metadata: StreamMetadata::default(),
    };
    refused(store.set_stream_metadata(change).await, Capability::StreamMetadata);
}

pub(super) async fn deleting_is_refused(store: &dyn EventStore) {
    let added = grow(store, "order-1", 1).await;
    let delete = DeleteStream { stream: name("order-1"), expected: ExpectedRevision::Any };
    refused(store.delete_stream(delete).await, Capability::Deletion);
    assert_eq!(stream_ids(store, "order-1").await, added, "nothing must be deleted");
}

pub(super) async fn tombstones_are_refused(store: &dyn EventStore) {
    let added = grow(store, "order-1", 1).await;
    let end = TombstoneStream { stream: name("order-1"), expected: ExpectedRevision::Any };
    refused(store.tombstone_stream(end).await, Capability::Tombstones);
    assert_eq!(stream_ids(store, "order-1").await, added, "nothing must be deleted");
}

pub(super) async fn events_in_system_streams_are_refused(store: &dyn EventStore) {
    let append = Append::to(name("$settings"), ExpectedRevision::Any, [event()]).privileged();
    refused(offer(store, append).await, Capability::SystemStreams);
}

/// A consumer that applies nothing.
struct Idle;

impl InlineConsumer for Idle {
    fn apply<'a>(&'a self, _: &'a InlineBatch) -> InlineFuture<'a> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn committed(&self, _: &InlineBatch) {}
}

pub(super) async fn inline_consumers_are_refused(store: &dyn EventStore) {
    let consumer: Arc<dyn InlineConsumer> = Arc::new(Idle);
    refused(store.attach_inline(Arc::downgrade(&consumer)), Capability::InlineConsumers);
}
