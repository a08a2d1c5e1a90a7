//! The conformance suite: the tests that every event store has to pass.
//!
//! Owns: the clauses of the contract, one test each ([`CLAUSES`]), the macro that runs them
//! ([`conformance!`](crate::conformance!)), the [`Fixture`] that an adapter provides, and
//! [`block_on`], which runs a future without a runtime. No clause is skipped: for a feature that
//! the store lacks according to its [`Capabilities`](crate::Capabilities), the clause checks that
//! the store refuses. Not here: durability, which cannot be tested on an open store.
//!
//! The tests of an adapter:
//!
//! ```
//! use gesta_store::{conformance::Fixture, memory::MemoryStore};
//!
//! gesta_store::conformance!(|| Fixture::new(MemoryStore::new()));
//! # for clause in gesta_store::conformance::CLAUSES.iter().take(3) {
//! #     clause.check(Fixture::new(MemoryStore::new()));
//! # }
//! ```

mod all_reads;
mod appends;
mod block_on;
mod concurrency;
mod conditions;
mod deletion;
mod expectations;
mod limits;
mod listing;
mod metadata;
mod payloads;
mod repeats;
mod several_streams;
mod stream_reads;
mod subscriptions;
mod support;
mod visibility;

use std::{any::Any, fmt, future::Future, pin::Pin, time::Duration};

pub use block_on::{block_on, block_on_within};

use crate::EventStore;

/// An empty store for one clause, and the values that must outlive it.
///
/// ```
/// use std::time::Duration;
///
/// use gesta_store::{conformance::{CLAUSES, Fixture}, memory::MemoryStore};
///
/// let directory = "whatever is dropped after the store, such as a temporary directory";
/// let fixture = || {
///     Fixture::new(MemoryStore::new()).keep_alive(directory).timeout(Duration::from_secs(60))
/// };
/// let clause = CLAUSES.first().expect("the contract has clauses");
/// assert_eq!(clause.name, "an_append_without_streams_is_rejected");
/// clause.check(fixture());
/// ```
pub struct Fixture {
    // Field order is drop order: the store before its directory or runtime.
    store: Box<dyn EventStore>,
    #[expect(dead_code, reason = "held until it is dropped")]
    kept: Option<Box<dyn Any>>,
    timeout: Duration,
}

impl Fixture {
    /// Default time limit of a clause.
    pub const TIMEOUT: Duration = Duration::from_secs(60);

    /// Creates a fixture from an empty store.
    #[must_use]
    pub fn new(store: impl EventStore) -> Self {
        Self { store: Box::new(store), kept: None, timeout: Self::TIMEOUT }
    }

    /// Keeps a value, such as a temporary directory or a runtime, until after the store is dropped.
    #[must_use]
    pub fn keep_alive(self, kept: impl Any) -> Self {
        Self { kept: Some(Box::new(kept)), ..self }
    }

    /// Sets the time limit of the clause. Threads that a clause starts keep the default limit.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }
}

impl fmt::Debug for Fixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixture")
            .field("capabilities", &self.store.capabilities())
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

type ClauseFuture<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// One promise of the contract, with its test.
///
/// ```
/// use gesta_store::{conformance::{CLAUSES, Fixture}, memory::MemoryStore};
///
/// assert!(CLAUSES.iter().any(|clause| clause.name.contains("exact_revision")));
/// for clause in CLAUSES.iter().filter(|clause| clause.name.contains("exact_revision")) {
///     clause.check(Fixture::new(MemoryStore::new()));
/// }
/// ```
pub struct Clause {
    /// The promise, as a sentence in snake case.
    pub name: &'static str,
    run: for<'a> fn(&'a dyn EventStore) -> ClauseFuture<'a>,
}

impl Clause {
    /// Tests the promise.
    ///
    /// # Panics
    ///
    /// If the store breaks the promise, or does not answer within the fixture's time limit.
    #[track_caller]
    pub fn check(&self, fixture: Fixture) {
        block_on_within(fixture.timeout, (self.run)(&*fixture.store));
    }
}

impl fmt::Debug for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clause").field(&self.name).finish()
    }
}

/// The one list of all clauses, by module. Passes it to a macro.
#[doc(hidden)]
#[macro_export]
macro_rules! __every_clause {
    ([$($then:tt)*] $($with:tt)*) => {
        $($then)*! {
            $($with)*
            appends {
                an_append_without_streams_is_rejected
                a_stream_named_twice_is_rejected
                an_event_id_given_twice_is_rejected
                positions_follow_the_order_of_the_append
                positions_rise_from_one_or_later
                revisions_count_from_zero_without_gaps
                an_append_answers_with_its_last_position_and_revision
                an_event_is_in_its_stream_and_in_the_store_alike
                recorded_times_never_fall
                the_head_is_the_last_position
                the_incarnation_stays_while_the_store_is_open
                capabilities_never_change
                a_dropped_append_harms_nothing
            }
            expectations {
                any_holds_on_a_missing_a_live_and_a_deleted_stream
                no_stream_holds_where_there_are_no_events
                no_stream_conflicts_where_there_are_events
                stream_exists_holds_where_there_are_events
                stream_exists_conflicts_where_there_are_none
                an_exact_revision_holds_at_the_head
                an_exact_revision_conflicts_before_the_head
                an_exact_revision_conflicts_beyond_the_head
                a_conflict_names_the_stream_the_expectation_and_the_head
                a_conflict_appends_nothing
                a_check_without_events_holds_or_conflicts
                a_check_without_events_answers_with_the_head
            }
            several_streams {
                events_of_several_streams_are_appended_in_their_order
                the_answer_names_each_stream_that_got_events
                one_failing_expectation_appends_nothing_anywhere
                a_failing_check_beside_events_appends_nothing
            }
            conditions {
                a_match_after_the_position_is_a_conflict
                a_match_at_or_before_the_position_is_none
                a_condition_beyond_the_head_is_rejected
                a_condition_means_any_of_the_types
                a_condition_means_all_of_the_tags
                a_condition_means_a_type_and_its_tags_together
                a_condition_means_any_of_its_items
                a_condition_does_not_mean_the_append_itself
                a_condition_holds_together_with_the_expectations
                a_condition_does_not_mean_streams_that_ended
                a_condition_does_not_mean_what_metadata_hide
                a_condition_means_what_is_shown_again
                a_condition_means_what_has_revived_a_stream
            }
            repeats {
                a_repeat_with_no_stream_gets_the_first_answer
                a_repeat_with_an_exact_revision_gets_the_first_answer
                a_repeat_with_any_gets_the_first_answer
                a_repeat_with_stream_exists_gets_the_first_answer
                a_repeat_over_several_streams_gets_the_first_answer
                a_repeat_with_a_condition_gets_the_first_answer
                ids_that_are_there_in_part_are_a_conflict
                the_same_ids_with_another_expectation_are_a_conflict
                an_append_without_events_is_never_a_repeat
                an_append_is_found_by_its_first_event_id
                only_a_first_event_id_finds_an_append
            }
            payloads {
                every_field_comes_back_from_a_stream
                every_field_comes_back_from_the_whole_store
                every_field_comes_back_from_a_subscription
                what_is_left_out_comes_back_left_out
                bytes_that_are_no_text_come_back_unchanged
                a_mebibyte_comes_back_unchanged
                the_longest_names_come_back_unchanged
                names_in_any_script_are_told_apart_by_their_bytes
                filters_tell_names_apart_by_their_bytes
                names_of_earlier_versions_come_back_unchanged
            }
            limits {
                an_event_at_the_limit_is_accepted
                an_event_over_the_limit_is_rejected
                an_append_over_the_limit_is_rejected
                more_tags_than_the_limit_are_rejected
                a_system_stream_takes_no_other_events
                metadata_that_cannot_be_read_are_rejected
                a_stream_without_room_for_metadata_takes_no_events
                the_longest_streams_can_be_deleted
            }
            stream_reads {
                a_stream_reads_forwards
                a_stream_reads_backwards
                a_stream_reads_from_a_revision_on
                a_stream_reads_from_a_revision_back
                a_stream_reads_from_beyond_its_head
                a_stream_reads_from_either_end
                a_limit_ends_the_read_of_a_stream
                a_missing_stream_reads_empty
                a_long_stream_comes_in_pages
                a_read_goes_on_while_events_are_appended
            }
            all_reads {
                the_whole_store_reads_forwards
                the_whole_store_reads_backwards
                the_whole_store_reads_from_a_position_on
                the_whole_store_reads_from_a_position_back
                the_whole_store_reads_from_where_no_event_is
                the_whole_store_reads_from_either_end
                a_limit_ends_the_read_of_the_whole_store
                a_large_store_comes_in_pages
                metadata_are_events_of_the_whole_store
                a_filter_picks_streams_by_name
                a_filter_picks_streams_by_prefix
                a_filter_picks_categories
                a_filter_picks_event_types
                a_filter_picks_what_a_query_means
                a_filtered_read_begins_and_ends_where_it_is_told
            }
            subscriptions {
                a_subscription_catches_up
                a_subscription_stays_live
                a_subscription_to_an_empty_store_waits
                caught_up_says_where_the_head_is
                a_long_catch_up_misses_nothing
                a_subscription_begins_after_its_position
                a_subscription_beyond_the_head_is_refused
                a_checkpoint_of_this_life_is_resumed
                a_checkpoint_of_an_unknown_life_is_refused
                a_stream_subscription_delivers_only_its_stream
                a_stream_subscription_begins_after_its_revision
                a_stream_subscription_waits_for_its_stream
                a_stream_subscription_never_goes_back
                a_filtered_subscription_delivers_what_it_asks_for
                a_filtered_subscription_says_how_far_it_looked
                a_checkpoint_is_never_ahead_of_an_event
                subscribers_are_independent
                a_subscriber_that_never_reads_harms_nobody
                waiting_for_a_delivery_can_be_given_up
            }
            concurrency {
                of_twenty_writers_on_one_revision_one_wins
                one_append_offered_many_times_at_once_happens_once
                appends_at_once_all_happen
                nothing_appears_before_what_was_seen
                a_subscription_misses_nothing_while_events_are_appended
            }
            metadata {
                metadata_come_back_as_they_were_set
                a_stream_without_metadata_has_the_default
                a_description_follows_a_stream_through_its_life
                setting_metadata_answers_with_their_revision
                setting_metadata_checks_where_they_are
                max_count_shows_only_the_last_events
                truncate_before_hides_what_is_before
                max_age_hides_what_is_older
                a_read_of_hidden_events_begins_at_the_first_shown
                what_metadata_hide_stays_in_the_whole_store
                metadata_are_read_as_a_stream
            }
            deletion {
                a_deleted_stream_reads_empty
                a_revived_stream_goes_on_counting
                no_stream_holds_on_a_deleted_stream
                the_exact_head_holds_on_a_deleted_stream
                stream_exists_conflicts_on_a_deleted_stream
                deleting_checks_where_the_stream_is
                deleting_nothing_answers_with_the_head
                deleting_keeps_the_other_metadata
                a_tombstoned_stream_takes_no_events
                reading_a_tombstoned_stream_says_deleted
                a_tombstoned_stream_has_no_second_end
                a_tombstoned_stream_takes_no_metadata
                a_tombstoned_streams_events_stay_in_the_whole_store
                tombstoning_checks_where_the_stream_is
                a_stream_that_never_was_can_be_tombstoned
                a_deleted_stream_can_be_tombstoned
                metadata_set_on_a_deleted_stream_keep_it_deleted
                metadata_set_after_a_revival_keep_what_was_deleted_hidden
                metadata_that_delete_are_kept_like_a_deletion
                metadata_read_before_a_deletion_are_set_in_vain
            }
            visibility {
                a_visible_read_leaves_out_streams_that_ended
                a_visible_read_leaves_out_what_metadata_hide
                a_visible_read_shows_what_is_shown_again
                a_limit_counts_only_visible_events
                a_filtered_visible_read_leaves_out_the_same
                an_event_query_is_about_visible_events
                a_raw_subscription_delivers_hidden_events
                a_visible_subscription_passes_over_hidden_events
                a_visible_subscription_calls_nothing_back
            }
            listing {
                streams_are_listed_in_byte_order
                streams_are_listed_in_pages
                streams_are_listed_by_prefix
                system_streams_are_listed_only_when_asked_for
                streams_that_ended_are_not_listed
                streams_without_events_are_not_listed
                categories_are_listed_in_byte_order
                categories_are_listed_in_pages
                categories_outlive_their_streams
            }
        }
    };
}

macro_rules! clauses {
    ($($module:ident { $($clause:ident)* })*) => {
        &[$($(Clause {
            name: stringify!($clause),
            run: |store| Box::pin($module::$clause(store)),
        },)*)*]
    };
}

/// All clauses of the contract.
pub const CLAUSES: &[Clause] = __every_clause!([clauses]);

/// Generates one `#[test]` for each clause of the contract.
///
/// Takes a closure or function that returns a new [`Fixture`]. Run it in the tests of every
/// adapter; put two invocations into different modules.
///
/// ```
/// mod memory {
///     use gesta_store::{conformance::Fixture, memory::MemoryStore};
///
///     gesta_store::conformance!(|| Fixture::new(MemoryStore::new()));
/// }
/// ```
#[macro_export]
macro_rules! conformance {
    ($fixture:expr) => {
        $crate::__every_clause! { [$crate::__clause_tests] ($fixture) }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __clause_tests {
    (($fixture:expr) $($module:ident { $($clause:ident)* })*) => { $($(
        #[test]
        fn $clause() {
            $crate::conformance::__check(stringify!($clause), $fixture);
        }
    )*)* };
}

#[doc(hidden)]
#[track_caller]
pub fn __check(name: &str, fixture: impl FnOnce() -> Fixture) {
    let mut clauses = CLAUSES.iter();
    // Tests are generated by name, because a macro cannot count.
    let clause = clauses.find(|clause| clause.name == name).expect("tests are named by the list");
    clause.check(fixture());
}
