//! The faults: for each clause of the contract, at least one way to break it.
//!
//! A fault depends on its arguments and the store only, as a real one would.

mod appending;
mod closing;
mod conditions;
mod ending;
mod expecting;
mod hiding;
mod joining;
mod limits;
mod listing;
mod looking_up;
mod numbering;
mod racing;
mod reading;
mod refusing;
mod repeating;
mod subscribing;
mod timing;

use super::Fault;

pub(crate) fn all() -> Vec<Fault> {
    [
        appending::faults(),
        expecting::faults(),
        conditions::faults(),
        repeating::faults(),
        limits::faults(),
        racing::faults(),
        reading::payloads(),
        reading::streams(),
        reading::everything(),
        subscribing::faults(),
        ending::metadata(),
        ending::deletion(),
        hiding::faults(),
        listing::faults(),
        looking_up::faults(),
        numbering::faults(),
        timing::faults(),
        closing::faults(),
        joining::faults(),
        refusing::faults(),
    ]
    .into_iter()
    .flatten()
    .map(Fault::with_shared)
    .collect()
}

/// Repeats with each expectation, across a deletion and after a revival.
const AFTER_DELETIONS: &[&str] =
    &["a_repeat_outlives_a_deletion", "a_repeat_of_a_revival_gets_the_first_answer"];

/// Clauses that share a call with those of other faults: what a fault breaks, the clauses that it
/// breaks with it, and the reason.
pub(super) const SHARED: &[(&str, &[&str], &str)] = &[
    (
        "a_filtered_read_begins_and_ends_where_it_is_told",
        &[
            "a_causation_id_finds_what_it_caused",
            "a_correlation_id_finds_its_conversation",
            "a_filter_picks_what_a_regular_expression_matches",
            "a_regular_expression_that_takes_too_long_is_rejected",
            "an_event_id_finds_its_event",
        ],
        "filters with a limit, or by a pattern that fails",
    ),
    (
        "a_filtered_subscription_says_how_far_it_looked",
        &["a_subscription_waits_for_a_later_time"],
        "waits for a checkpoint",
    ),
    (
        "a_missing_stream_reads_empty",
        &[
            "a_privileged_append_takes_no_other_events_for_metadata",
            "a_stream_reads_from_a_time",
            "an_append_over_the_limit_is_rejected",
            "an_event_over_the_limit_is_rejected",
            "more_tags_than_the_limit_are_rejected",
            "several_expectations_of_a_stream_hold_together",
        ],
        "reads a stream to which nothing was appended",
    ),
    (
        "a_repeat_with_an_exact_revision_gets_the_first_answer",
        &["a_repeat_that_says_where_its_events_are_is_recognized"],
        "repeats it",
    ),
    ("a_repeat_with_an_exact_revision_gets_the_first_answer", AFTER_DELETIONS, "repeats it"),
    (
        "a_repeat_with_any_gets_the_first_answer",
        &["every_expectation_but_an_exact_one_is_met_by_a_repeat"],
        "repeats it",
    ),
    ("a_repeat_with_any_gets_the_first_answer", AFTER_DELETIONS, "repeats it"),
    (
        "a_repeat_with_stream_exists_gets_the_first_answer",
        &["every_expectation_but_an_exact_one_is_met_by_a_repeat"],
        "repeats it",
    ),
    ("a_repeat_with_stream_exists_gets_the_first_answer", AFTER_DELETIONS, "repeats it"),
    (
        "a_repeat_with_no_stream_gets_the_first_answer",
        &[
            "a_consumer_gets_no_event_twice",
            "a_privileged_append_takes_events_of_system_streams",
            "a_repeat_on_a_tombstoned_stream_appends_nothing",
            "a_repeat_that_says_where_its_events_are_is_recognized",
            "an_event_id_in_another_stream_is_a_new_event",
            "every_expectation_but_an_exact_one_is_met_by_a_repeat",
        ],
        "repeats it",
    ),
    ("a_repeat_with_no_stream_gets_the_first_answer", AFTER_DELETIONS, "repeats it"),
    ("a_revived_stream_goes_on_counting", AFTER_DELETIONS, "revives a stream"),
    ("any_holds_on_a_missing_a_live_and_a_deleted_stream", AFTER_DELETIONS, "revives a stream"),
    ("no_stream_holds_on_a_deleted_stream", AFTER_DELETIONS, "revives a stream"),
    ("the_exact_head_holds_on_a_deleted_stream", AFTER_DELETIONS, "revives a stream"),
    (
        "truncate_before_hides_what_is_before",
        &["a_repeat_of_a_revival_gets_the_first_answer"],
        "reads a revived stream",
    ),
    (
        "a_stream_reads_forwards",
        &["a_stream_reads_from_a_time", "events_of_a_stream_are_recorded_where_its_parts_stand"],
        "reads several events",
    ),
    (
        "an_append_answers_with_its_last_position_and_revision",
        &["events_of_a_stream_are_recorded_where_its_parts_stand"],
        "compares the answer",
    ),
    ("a_subscription_catches_up", &["a_subscription_begins_at_a_time"], "has pages of two streams"),
    (
        "a_system_stream_takes_no_other_events",
        &["a_privileged_append_takes_no_other_events_for_metadata"],
        "offers such an event",
    ),
    (
        "an_event_is_in_its_stream_and_in_the_store_alike",
        &[
            "a_stream_reads_from_a_time",
            "a_stream_subscription_begins_at_a_time",
            "a_subscription_begins_at_a_time",
            "events_of_a_category_have_ordinals",
            "streams_have_ordinals_in_the_order_of_their_first_events",
            "streams_of_a_category_have_ordinals",
            "events_of_a_conversation_have_ordinals",
            "events_of_a_type_have_ordinals",
            "ordinals_are_read_from_a_time",
            "the_whole_store_reads_from_a_time",
        ],
        "compares with the times in streams",
    ),
    ("capabilities_never_change", &["closing_again_changes_nothing"], "compares them, too"),
    (
        "deleting_keeps_the_other_metadata",
        &["unknown_metadata_come_back_unchanged"],
        "deletes, too",
    ),
    (
        "an_event_query_is_about_visible_events",
        &["a_filtered_visible_read_leaves_out_the_same"],
        "reads by a query, too",
    ),
    (
        "metadata_are_read_as_a_stream",
        &["a_privileged_append_takes_events_of_system_streams"],
        "reads a system stream",
    ),
    (
        "the_whole_store_reads_forwards",
        &["events_of_a_stream_are_recorded_where_its_parts_stand"],
        "compares the order",
    ),
    (
        "revisions_count_from_zero_without_gaps",
        &["events_of_a_conversation_have_ordinals"],
        "compares with the revisions in streams",
    ),
];
