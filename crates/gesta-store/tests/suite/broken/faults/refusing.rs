//! Faults of refusals: a store that does what it claims to lack.

use gesta_store::{Capability, EventStore};

use crate::broken::{Fault, FaultyStore};

/// A store that claims to lack a feature, and has it.
pub(crate) fn claiming_to_lack(missing: Capability) -> FaultyStore {
    FaultyStore {
        capabilities: Box::new(move |store, ()| {
            let mut can = store.capabilities();
            can.supported = can.supported.without(missing);
            can
        }),
        ..FaultyStore::correct()
    }
}

macro_rules! lacking {
    ($($clause:literal: $missing:ident,)*) => {
        vec![$(Fault::of($clause, || claiming_to_lack(Capability::$missing)),)*]
    }
}

pub(crate) fn faults() -> Vec<Fault> {
    lacking! {
        "appends_to_several_streams_are_refused": MultiStreamAppend,
        "several_parts_of_one_stream_are_refused": StreamParts,
        "append_conditions_are_refused": AppendCondition,
        "tags_are_refused": Tags,
        "other_content_types_are_refused": ContentTypes,
        "reads_of_the_whole_store_are_refused": GlobalOrder,
        "filters_by_stream_are_refused": StreamFilter,
        "filters_by_stream_prefix_are_refused": StreamPrefixFilter,
        "filters_by_category_are_refused": CategoryFilter,
        "filters_by_event_type_are_refused": EventTypeFilter,
        "filters_by_event_type_prefix_are_refused": EventTypePrefixFilter,
        "filters_by_regular_expression_are_refused": RegexFilter,
        "event_queries_are_refused": QueryFilter,
        "look_ups_by_correlation_id_are_refused": CorrelationFilter,
        "look_ups_by_causation_id_are_refused": CausationFilter,
        "look_ups_by_event_id_are_refused": EventIdFilter,
        "ordinals_of_categories_are_refused": CategoryOrdinals,
        "ordinals_of_event_types_are_refused": EventTypeOrdinals,
        "ordinals_of_conversations_are_refused": CorrelationOrdinals,
        "ordinals_of_streams_are_refused": StreamOrdinals,
        "starts_at_a_time_are_refused": TimeStarts,
        "finding_appends_is_refused": FindAppend,
        "an_event_id_in_another_stream_is_a_conflict": StreamScopedIds,
        "listing_streams_is_refused": StreamListing,
        "listing_categories_is_refused": CategoryListing,
        "setting_metadata_is_refused": StreamMetadata,
        "deleting_is_refused": Deletion,
        "tombstones_are_refused": Tombstones,
        "events_in_system_streams_are_refused": SystemStreams,
        "inline_consumers_are_refused": InlineConsumers,
    }
}
