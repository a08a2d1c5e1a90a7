//! The conformance suite: the tests that every event store has to pass.
//!
//! Owns: the clauses of the contract, one test each ([`CLAUSES`]), the macro that runs them
//! ([`conformance!`](crate::conformance!)), the [`Fixture`] that an adapter provides, and
//! [`block_on`], which runs a future without a runtime. A clause states the optional features that
//! it is about; a store that lacks one skips it, and has to refuse the feature by name, which is a
//! clause of its own. Clauses keep to the store's [`Limits`](crate::Limits) and compare only events
//! that they appended. Not here: durability, which cannot be tested on an open store.
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
mod closing;
mod concurrency;
mod conditions;
mod deletion;
mod expectations;
mod inline;
pub mod leases;
mod limits;
mod listing;
mod lookups;
mod metadata;
mod ordinals;
mod payloads;
pub mod query_cache;
pub mod read_models;
mod refusals;
mod repeats;
mod several_streams;
mod stream_reads;
mod subscriptions;
mod support;
mod times;
mod visibility;

use std::{
    any::Any,
    fmt,
    future::Future,
    io::{self, Write as _},
    pin::Pin,
    time::Duration,
};

use block_on::deadline;
pub use block_on::{block_on, block_on_within};

use crate::{Capabilities, Capability, CapabilitySet, EventStore};

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
    executor: Box<dyn Executor>,
    #[expect(dead_code, reason = "held until it is dropped")]
    kept: Option<Box<dyn Any>>,
    timeout: Duration,
}

impl Fixture {
    /// Default time limit of a clause.
    pub const TIMEOUT: Duration = Duration::from_secs(60);

    /// Creates a fixture from an empty store. Its futures are run by [`block_on`].
    ///
    /// A store that appends events of its own may do so in streams whose name begins with `$`.
    #[must_use]
    pub fn new(store: impl EventStore) -> Self {
        Self {
            store: Box::new(store),
            executor: Box::new(|future: ClauseFuture<'_>| block_on(future)),
            kept: None,
            timeout: Self::TIMEOUT,
        }
    }

    /// Runs the futures of the clause by this function, which returns when the future is ready. For
    /// stores whose driver needs a runtime.
    ///
    /// Some clauses call it on several threads at once.
    ///
    /// ```
    /// use gesta_store::{conformance::{CLAUSES, Fixture, block_on}, memory::MemoryStore};
    ///
    /// // With tokio: `let runtime = Builder::new_current_thread().enable_all().build()?;` and
    /// // `.executor(move |future| runtime.block_on(future))`.
    /// let fixture = Fixture::new(MemoryStore::new()).executor(|future| block_on(future));
    /// CLAUSES.first().expect("the contract has clauses").check(fixture);
    /// ```
    #[must_use]
    pub fn executor(self, block_on: impl Fn(ClauseFuture<'_>) + Send + Sync + 'static) -> Self {
        Self { executor: Box::new(block_on), ..self }
    }

    /// Keeps a value, such as a temporary directory or a runtime, until after the store is dropped.
    #[must_use]
    pub fn keep_alive(self, kept: impl Any) -> Self {
        Self { kept: Some(Box::new(kept)), ..self }
    }

    /// Sets the time limit of the clause, and of each thread that it starts.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    fn waiter(&self) -> Waiter<'_> {
        Waiter { executor: &*self.executor, timeout: self.timeout }
    }
}

/// Waits for futures by the executor of a fixture, on any thread.
#[derive(Clone, Copy)]
struct Waiter<'a> {
    executor: &'a dyn Executor,
    timeout: Duration,
}

impl Waiter<'_> {
    fn wait_for<T>(self, future: impl Future<Output = T>) -> T {
        let mut output = None;
        let ran = async { output = Some(deadline(self.timeout, future).await) };
        (self.executor)(Box::pin(ran));
        output.expect("an executor returns when the future is ready")
    }
}

/// The part of a fixture that a clause works with.
trait ClauseInput<'a> {
    fn of(fixture: &'a Fixture) -> Self;
}

impl<'a> ClauseInput<'a> for &'a dyn EventStore {
    fn of(fixture: &'a Fixture) -> Self {
        &*fixture.store
    }
}

/// For clauses that start threads, which wait by the executor.
impl<'a> ClauseInput<'a> for &'a Fixture {
    fn of(fixture: &'a Fixture) -> Self {
        fixture
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

/// The future of a clause, or of a thread that it starts.
///
/// ```
/// use gesta_store::conformance::{ClauseFuture, block_on};
///
/// let run = |future: ClauseFuture<'_>| block_on(future);
/// let mut has_run = false;
/// run(Box::pin(async { has_run = true }));
/// assert!(has_run);
/// ```
pub type ClauseFuture<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

trait Executor: Fn(ClauseFuture<'_>) + Send + Sync {}
impl<F: Fn(ClauseFuture<'_>) + Send + Sync> Executor for F {}

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
    /// The optional features that the promise is about. A store that lacks one is not tested.
    pub needs: CapabilitySet,
    /// The feature that the store has to refuse. A store that has it is not tested.
    pub refuses: Option<Capability>,
    run: for<'a> fn(&'a Fixture) -> ClauseFuture<'a>,
}

/// The outcome of a clause that did not fail.
///
/// ```
/// use gesta_store::{conformance::{CLAUSES, ClauseOutcome, Fixture}, memory::MemoryStore};
///
/// let clause = CLAUSES.first().expect("the contract has clauses");
/// let outcome = clause.check(Fixture::new(MemoryStore::new()));
/// assert_eq!(outcome, ClauseOutcome::Passed);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClauseOutcome {
    /// The store keeps the promise.
    Passed,
    /// The promise does not concern the store, for this reason.
    Skipped(String),
}

impl Clause {
    /// Tests the promise, unless it does not concern the store.
    ///
    /// # Panics
    ///
    /// If the store breaks the promise, or does not answer within the fixture's time limit.
    #[track_caller]
    pub fn check(&self, fixture: Fixture) -> ClauseOutcome {
        if let Some(reason) = self.skip_reason(&fixture.store.capabilities()) {
            return ClauseOutcome::Skipped(reason);
        }
        self.check_ungated(fixture);
        ClauseOutcome::Passed
    }

    /// Tests the promise, whatever the store supports. For tests of the suite itself.
    #[doc(hidden)]
    #[track_caller]
    pub fn check_ungated(&self, fixture: Fixture) {
        fixture.waiter().wait_for((self.run)(&fixture));
    }

    /// Returns the reason for which a store with these capabilities is not tested, or `None` if it
    /// is.
    #[must_use]
    pub fn skip_reason(&self, capabilities: &Capabilities) -> Option<String> {
        let missing = self.needs.missing_from(capabilities.supported);
        if !missing.is_empty() {
            return Some(format!("the store lacks {missing}"));
        }
        let refused = self.refuses.filter(|capability| capabilities.has(*capability))?;
        Some(format!("the store has {refused}"))
    }
}

impl fmt::Debug for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clause").field(&self.name).finish()
    }
}

/// Returns one line for each clause that does not test a store with these capabilities, with the
/// reason. Clauses that a store skips because it has a feature are left out.
///
/// ```
/// use gesta_store::{Capability, EventStore, conformance::skipped, memory::MemoryStore};
///
/// let mut capabilities = MemoryStore::new().capabilities();
/// assert_eq!(skipped(&capabilities), [""; 0]);
/// capabilities.supported = capabilities.supported.without(Capability::CategoryListing);
/// assert!(skipped(&capabilities).iter().all(|line| line.ends_with("lacks listing categories")));
/// ```
#[must_use]
pub fn skipped(capabilities: &Capabilities) -> Vec<String> {
    let lacking = CLAUSES.iter().filter(|clause| clause.refuses.is_none());
    lacking
        .filter_map(|clause| {
            let reason = clause.skip_reason(capabilities)?;
            Some(format!("{}: {reason}", clause.name))
        })
        .collect()
}

/// The one list of all clauses, by module. Passes it to a macro.
#[doc(hidden)]
#[macro_export]
macro_rules! __every_clause {
    ([$($then:tt)*] $($with:tt)*) => {
        $($then)*! {
            $($with)*
            appends {
                an_append_without_streams_is_rejected;
                a_stream_named_twice_is_rejected:
                    [MultiStreamAppend StreamParts GlobalOrder];
                an_event_id_given_twice_is_rejected: [GlobalOrder];
                positions_follow_the_order_of_the_append: [GlobalOrder];
                positions_rise_from_one_or_later: [GlobalOrder];
                revisions_count_from_zero_without_gaps;
                an_append_answers_with_its_last_position_and_revision;
                an_event_is_in_its_stream_and_in_the_store_alike: [GlobalOrder];
                recorded_times_never_fall: [GlobalOrder];
                the_head_is_the_last_position: [GlobalOrder];
                the_incarnation_stays_while_the_store_is_open: [GlobalOrder];
                capabilities_never_change: [Deletion];
                a_dropped_append_harms_nothing;
            }
            expectations {
                any_holds_on_a_missing_a_live_and_a_deleted_stream: [Deletion];
                no_stream_holds_where_there_are_no_events: [StreamMetadata];
                no_stream_conflicts_where_there_are_events;
                stream_exists_holds_where_there_are_events;
                stream_exists_conflicts_where_there_are_none;
                an_exact_revision_holds_at_the_head;
                an_exact_revision_conflicts_before_the_head;
                an_exact_revision_conflicts_beyond_the_head;
                a_conflict_names_the_stream_the_expectation_and_the_head;
                a_conflict_appends_nothing: [GlobalOrder];
                a_check_without_events_holds_or_conflicts;
                a_check_without_events_answers_with_the_head: [GlobalOrder];
            }
            several_streams {
                events_of_several_streams_are_appended_in_their_order:
                    [MultiStreamAppend GlobalOrder];
                the_answer_names_each_stream_that_got_events: [MultiStreamAppend GlobalOrder];
                one_failing_expectation_appends_nothing_anywhere: [MultiStreamAppend GlobalOrder];
                a_failing_check_beside_events_appends_nothing: [MultiStreamAppend GlobalOrder];
                several_expectations_of_a_stream_hold_together: [MultiStreamAppend StreamParts];
                events_of_a_stream_are_recorded_where_its_parts_stand:
                    [MultiStreamAppend StreamParts GlobalOrder];
                a_later_part_with_an_expectation_is_rejected:
                    [MultiStreamAppend StreamParts GlobalOrder];
            }
            conditions {
                a_match_after_the_position_is_a_conflict: [AppendCondition Tags GlobalOrder];
                a_match_at_or_before_the_position_is_none: [AppendCondition Tags];
                a_condition_beyond_the_head_is_rejected: [AppendCondition Tags GlobalOrder];
                a_condition_means_any_of_the_types: [AppendCondition];
                a_condition_means_all_of_the_tags: [AppendCondition Tags];
                a_condition_means_a_type_and_its_tags_together: [AppendCondition Tags];
                a_condition_means_any_of_its_items: [AppendCondition Tags];
                a_condition_does_not_mean_the_append_itself: [AppendCondition Tags];
                a_condition_holds_together_with_the_expectations:
                    [AppendCondition Tags GlobalOrder];
                a_condition_does_not_mean_streams_that_ended:
                    [AppendCondition Tags Deletion Tombstones];
                a_condition_does_not_mean_what_metadata_hide:
                    [AppendCondition Tags StreamMetadata];
                a_condition_means_what_is_shown_again:
                    [AppendCondition Tags StreamMetadata];
                a_condition_means_what_has_revived_a_stream:
                    [AppendCondition Tags Deletion];
            }
            repeats {
                a_repeat_with_no_stream_gets_the_first_answer: [GlobalOrder];
                a_repeat_with_an_exact_revision_gets_the_first_answer: [GlobalOrder];
                a_repeat_with_any_gets_the_first_answer: [GlobalOrder UnconditionalRepeats];
                a_repeat_with_stream_exists_gets_the_first_answer:
                    [GlobalOrder UnconditionalRepeats];
                a_repeat_over_several_streams_gets_the_first_answer:
                    [MultiStreamAppend GlobalOrder];
                a_repeat_of_several_parts_of_a_stream_gets_the_first_answer:
                    [MultiStreamAppend StreamParts GlobalOrder];
                a_repeat_with_a_condition_gets_the_first_answer: [AppendCondition GlobalOrder];
                ids_that_are_there_in_part_are_a_conflict: [UnconditionalRepeats];
                a_repeat_that_says_where_its_events_are_is_recognized;
                every_expectation_but_an_exact_one_is_met_by_a_repeat: [UnconditionalRepeats];
                an_exact_expectation_elsewhere_is_a_conflict: [UnconditionalRepeats];
                a_repeat_outlives_a_deletion: [UnconditionalRepeats Deletion];
                a_repeat_of_a_revival_gets_the_first_answer: [UnconditionalRepeats Deletion];
                a_repeat_on_a_tombstoned_stream_appends_nothing: [GlobalOrder Tombstones];
                an_event_id_in_another_stream_is_a_new_event: [StreamScopedIds];
                events_of_several_appends_are_found_together_and_apart;
                other_events_and_events_elsewhere_are_not_found;
                hidden_events_are_not_found: [StreamMetadata Deletion];
                an_append_without_events_is_never_a_repeat;
                a_new_append_is_recorded_now;
                a_repeat_is_recorded_earlier;
                an_append_is_found_by_its_first_event_id: [FindAppend];
                an_append_that_is_found_was_recorded_earlier: [FindAppend];
                only_a_first_event_id_finds_an_append: [FindAppend];
            }
            payloads {
                every_field_comes_back_from_a_stream;
                every_field_comes_back_from_the_whole_store: [GlobalOrder];
                every_field_comes_back_from_a_subscription: [GlobalOrder];
                what_is_left_out_comes_back_left_out;
                bytes_that_are_no_text_come_back_unchanged;
                a_large_payload_comes_back_unchanged;
                the_longest_names_come_back_unchanged;
                names_in_any_script_are_told_apart_by_their_bytes;
                filters_tell_names_apart_by_their_bytes: [GlobalOrder];
                names_of_earlier_versions_come_back_unchanged;
            }
            limits {
                an_event_at_the_limit_is_accepted;
                an_event_over_the_limit_is_rejected;
                an_append_over_the_limit_is_rejected;
                more_events_than_the_limit_are_rejected;
                more_streams_than_the_limit_are_rejected: [MultiStreamAppend];
                more_tags_than_the_limit_are_rejected: [Tags];
                a_system_stream_takes_no_other_events: [GlobalOrder];
                a_privileged_append_takes_events_of_system_streams: [SystemStreams];
                a_privileged_append_takes_no_other_events_for_metadata: [SystemStreams];
                metadata_that_cannot_be_read_are_rejected: [GlobalOrder];
                a_stream_without_room_for_metadata_takes_no_events: [GlobalOrder];
                the_longest_streams_can_be_deleted: [StreamMetadata Deletion Tombstones];
            }
            stream_reads {
                a_stream_reads_forwards;
                a_stream_reads_backwards;
                a_stream_reads_from_a_revision_on;
                a_stream_reads_from_a_revision_back;
                a_stream_reads_from_beyond_its_head;
                a_stream_reads_from_either_end;
                a_limit_ends_the_read_of_a_stream;
                a_missing_stream_reads_empty;
                a_long_stream_comes_in_pages;
                a_read_goes_on_while_events_are_appended;
            }
            all_reads {
                the_whole_store_reads_forwards: [GlobalOrder];
                the_whole_store_reads_backwards: [GlobalOrder];
                the_whole_store_reads_from_a_position_on: [GlobalOrder];
                the_whole_store_reads_from_a_position_back: [GlobalOrder];
                the_whole_store_reads_from_where_no_event_is: [GlobalOrder];
                the_whole_store_reads_from_either_end: [GlobalOrder];
                a_limit_ends_the_read_of_the_whole_store: [GlobalOrder];
                a_large_store_comes_in_pages: [GlobalOrder];
                metadata_are_events_of_the_whole_store: [GlobalOrder StreamMetadata];
                a_filter_picks_streams_by_name: [GlobalOrder StreamFilter];
                a_filter_picks_streams_by_prefix: [GlobalOrder StreamPrefixFilter];
                a_filter_picks_categories:
                    [GlobalOrder CategoryFilter StreamMetadata];
                a_filter_picks_event_types: [GlobalOrder EventTypeFilter];
                a_filter_picks_what_a_query_means: [Tags GlobalOrder QueryFilter];
                a_filtered_read_begins_and_ends_where_it_is_told: [GlobalOrder StreamFilter];
            }
            lookups {
                a_filter_picks_prefixes_of_event_types: [GlobalOrder EventTypePrefixFilter];
                a_filter_picks_what_a_regular_expression_matches: [GlobalOrder RegexFilter];
                a_regular_expression_that_takes_too_long_is_rejected: [GlobalOrder RegexFilter];
                a_correlation_id_finds_its_conversation: [GlobalOrder CorrelationFilter];
                a_causation_id_finds_what_it_caused: [GlobalOrder CausationFilter];
                an_event_id_finds_its_event: [GlobalOrder EventIdFilter];
            }
            ordinals {
                events_of_a_category_have_ordinals: [CategoryOrdinals];
                events_of_a_type_have_ordinals: [EventTypeOrdinals];
                events_of_a_conversation_have_ordinals: [CorrelationOrdinals];
                streams_have_ordinals_in_the_order_of_their_first_events: [StreamOrdinals];
                streams_of_a_category_have_ordinals: [StreamOrdinals];
                a_stream_keeps_its_ordinal_and_gets_no_second_one: [StreamOrdinals Deletion];
                system_streams_have_no_ordinals: [StreamOrdinals StreamMetadata];
                an_index_without_events_reads_empty: [CategoryOrdinals];
                ordinals_come_in_pages: [CategoryOrdinals];
                ordinals_do_not_shift_when_events_are_hidden: [CategoryOrdinals StreamMetadata];
            }
            times {
                the_whole_store_reads_from_a_time: [GlobalOrder TimeStarts];
                a_stream_reads_from_a_time: [TimeStarts];
                ordinals_are_read_from_a_time: [CategoryOrdinals TimeStarts];
                a_subscription_begins_at_a_time: [GlobalOrder TimeStarts];
                a_stream_subscription_begins_at_a_time: [TimeStarts];
                a_subscription_waits_for_a_later_time: [GlobalOrder TimeStarts];
            }
            subscriptions {
                a_subscription_catches_up: [GlobalOrder];
                a_subscription_stays_live: [GlobalOrder];
                a_subscription_to_an_empty_store_waits: [GlobalOrder];
                caught_up_says_where_the_head_is: [GlobalOrder];
                a_long_catch_up_misses_nothing: [GlobalOrder];
                a_subscription_begins_after_its_position: [GlobalOrder];
                a_subscription_beyond_the_head_is_refused: [GlobalOrder];
                a_checkpoint_of_this_life_is_resumed: [GlobalOrder];
                a_checkpoint_of_an_unknown_life_is_refused: [GlobalOrder Incarnations];
                a_stream_subscription_delivers_only_its_stream;
                a_stream_subscription_begins_after_its_revision;
                a_stream_subscription_waits_for_its_stream;
                a_stream_subscription_never_goes_back: [StreamMetadata];
                a_filtered_subscription_delivers_what_it_asks_for: [GlobalOrder];
                a_filtered_subscription_says_how_far_it_looked: [GlobalOrder];
                a_checkpoint_is_never_ahead_of_an_event: [GlobalOrder];
                subscribers_are_independent: [GlobalOrder];
                a_subscriber_that_never_reads_harms_nobody: [GlobalOrder];
                waiting_for_a_delivery_can_be_given_up: [GlobalOrder];
            }
            concurrency {
                of_twenty_writers_on_one_revision_one_wins;
                one_append_offered_many_times_at_once_happens_once;
                one_append_offered_many_times_at_once_is_recorded_now_once;
                appends_at_once_all_happen;
                nothing_appears_before_what_was_seen: [GlobalOrder];
                a_subscription_misses_nothing_while_events_are_appended: [GlobalOrder];
            }
            metadata {
                metadata_come_back_as_they_were_set: [StreamMetadata];
                unknown_metadata_come_back_unchanged: [StreamMetadata];
                a_stream_without_metadata_has_the_default;
                a_description_follows_a_stream_through_its_life:
                    [StreamMetadata Deletion Tombstones];
                setting_metadata_answers_with_their_revision: [GlobalOrder StreamMetadata];
                setting_metadata_checks_where_they_are: [StreamMetadata];
                max_count_shows_only_the_last_events: [StreamMetadata];
                truncate_before_hides_what_is_before: [StreamMetadata];
                max_age_hides_what_is_older: [StreamMetadata];
                a_read_of_hidden_events_begins_at_the_first_shown: [StreamMetadata];
                what_metadata_hide_stays_in_the_whole_store: [GlobalOrder StreamMetadata Deletion];
                metadata_are_read_as_a_stream: [StreamMetadata];
            }
            deletion {
                a_deleted_stream_reads_empty: [Deletion];
                a_revived_stream_goes_on_counting: [Deletion];
                no_stream_holds_on_a_deleted_stream: [Deletion];
                the_exact_head_holds_on_a_deleted_stream: [Deletion];
                stream_exists_conflicts_on_a_deleted_stream: [Deletion];
                deleting_checks_where_the_stream_is: [Deletion];
                deleting_nothing_answers_with_the_head: [GlobalOrder Deletion];
                deleting_keeps_the_other_metadata: [StreamMetadata Deletion];
                a_tombstoned_stream_takes_no_events: [GlobalOrder Tombstones];
                reading_a_tombstoned_stream_says_deleted: [Tombstones];
                a_tombstoned_stream_has_no_second_end: [Deletion Tombstones];
                a_tombstoned_stream_takes_no_metadata: [StreamMetadata Tombstones];
                a_tombstoned_streams_events_stay_in_the_whole_store: [GlobalOrder Tombstones];
                tombstoning_checks_where_the_stream_is: [Tombstones];
                a_stream_that_never_was_can_be_tombstoned: [Tombstones];
                a_deleted_stream_can_be_tombstoned: [Deletion Tombstones];
                metadata_set_on_a_deleted_stream_keep_it_deleted: [StreamMetadata Deletion];
                metadata_set_after_a_revival_keep_what_was_deleted_hidden:
                    [StreamMetadata Deletion];
                metadata_that_delete_are_kept_like_a_deletion: [StreamMetadata];
                metadata_read_before_a_deletion_are_set_in_vain: [StreamMetadata Deletion];
            }
            visibility {
                a_visible_read_leaves_out_streams_that_ended: [GlobalOrder Deletion Tombstones];
                a_visible_read_leaves_out_what_metadata_hide: [GlobalOrder StreamMetadata];
                a_visible_read_shows_what_is_shown_again: [GlobalOrder StreamMetadata];
                a_limit_counts_only_visible_events: [GlobalOrder Deletion];
                a_filtered_visible_read_leaves_out_the_same: [GlobalOrder Deletion];
                an_event_query_is_about_visible_events: [GlobalOrder QueryFilter Deletion];
                a_raw_subscription_delivers_hidden_events: [GlobalOrder Deletion Tombstones];
                a_visible_subscription_passes_over_hidden_events:
                    [GlobalOrder StreamMetadata Tombstones];
                a_visible_subscription_calls_nothing_back: [GlobalOrder Deletion];
            }
            listing {
                streams_are_listed_in_byte_order: [StreamListing];
                streams_are_listed_in_pages: [StreamListing];
                streams_are_listed_by_prefix: [StreamListing];
                system_streams_are_listed_only_when_asked_for: [StreamListing StreamMetadata];
                streams_that_ended_are_not_listed: [StreamListing Deletion Tombstones];
                streams_without_events_are_not_listed: [StreamListing StreamMetadata];
                categories_are_listed_in_byte_order: [CategoryListing];
                categories_are_listed_in_pages: [CategoryListing];
                categories_outlive_their_streams: [CategoryListing Deletion Tombstones];
            }
            closing {
                a_closed_store_refuses_appends: [Close];
                a_closed_store_refuses_reads: [Close];
                a_closed_store_refuses_reads_of_everything: [GlobalOrder Close];
                closing_again_changes_nothing: [Close];
                closing_ends_subscriptions: [Close];
                closing_answers_accepted_appends: [Close];
            }
            inline {
                a_consumer_has_an_append_before_it_is_acknowledged: [InlineConsumers];
                an_append_that_a_consumer_refuses_is_not_recorded: [InlineConsumers];
                a_consumer_gets_no_event_twice: [InlineConsumers];
                an_append_goes_on_without_what_a_consumer_leaves_out: [InlineConsumers];
                a_consumer_that_nobody_keeps_is_not_called: [InlineConsumers];
                a_consumer_reads_what_was_appended_before: [InlineConsumers];
            }
            refusals {
                appends_to_several_streams_are_refused unless MultiStreamAppend;
                several_parts_of_one_stream_are_refused: [MultiStreamAppend] unless StreamParts;
                append_conditions_are_refused unless AppendCondition;
                tags_are_refused unless Tags;
                other_content_types_are_refused unless ContentTypes;
                reads_of_the_whole_store_are_refused unless GlobalOrder;
                filters_by_stream_are_refused: [GlobalOrder] unless StreamFilter;
                filters_by_stream_prefix_are_refused: [GlobalOrder] unless StreamPrefixFilter;
                filters_by_category_are_refused: [GlobalOrder] unless CategoryFilter;
                filters_by_event_type_are_refused: [GlobalOrder] unless EventTypeFilter;
                filters_by_event_type_prefix_are_refused:
                    [GlobalOrder] unless EventTypePrefixFilter;
                filters_by_regular_expression_are_refused: [GlobalOrder] unless RegexFilter;
                event_queries_are_refused: [GlobalOrder] unless QueryFilter;
                look_ups_by_correlation_id_are_refused: [GlobalOrder] unless CorrelationFilter;
                look_ups_by_causation_id_are_refused: [GlobalOrder] unless CausationFilter;
                look_ups_by_event_id_are_refused: [GlobalOrder] unless EventIdFilter;
                ordinals_of_categories_are_refused unless CategoryOrdinals;
                ordinals_of_event_types_are_refused unless EventTypeOrdinals;
                ordinals_of_conversations_are_refused unless CorrelationOrdinals;
                ordinals_of_streams_are_refused unless StreamOrdinals;
                starts_at_a_time_are_refused unless TimeStarts;
                finding_appends_is_refused unless FindAppend;
                an_event_id_in_another_stream_is_a_conflict unless StreamScopedIds;
                listing_streams_is_refused unless StreamListing;
                listing_categories_is_refused unless CategoryListing;
                setting_metadata_is_refused unless StreamMetadata;
                deleting_is_refused unless Deletion;
                tombstones_are_refused unless Tombstones;
                events_in_system_streams_are_refused unless SystemStreams;
                inline_consumers_are_refused unless InlineConsumers;
            }
        }
    };
}

macro_rules! clauses {
    ($($module:ident { $(
        $clause:ident $(: [$($need:ident)+])? $(unless $refused:ident)?;
    )* })*) => {
        &[$($(Clause {
            name: stringify!($clause),
            needs: CapabilitySet::of(&[$($(Capability::$need),+)?]),
            refuses: refused!($($refused)?),
            run: |fixture| Box::pin($module::$clause(ClauseInput::of(fixture))),
        },)*)*]
    };
}

macro_rules! refused {
    () => {
        None
    };
    ($capability:ident) => {
        Some(Capability::$capability)
    };
}

/// All clauses of the contract.
pub const CLAUSES: &[Clause] = __every_clause!([clauses]);

/// Generates one `#[test]` for each clause of the contract, and one that prints the skipped ones.
///
/// Takes a closure or function that returns a new [`Fixture`]. Run it in the tests of every
/// adapter; put two invocations into different modules.
///
/// A clause about an optional feature that the store lacks is skipped. The test
/// `skipped_clauses_are_printed` writes the skipped clauses with their reasons to standard error,
/// where the test harness does not capture them.
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
        #[test]
        fn skipped_clauses_are_printed() {
            $crate::conformance::__print_skipped(module_path!(), $fixture);
        }

        $crate::__every_clause! { [$crate::__clause_tests] ($fixture) }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __clause_tests {
    (($fixture:expr) $($module:ident { $(
        $clause:ident $(: [$($need:ident)+])? $(unless $refused:ident)?;
    )* })*) => { $($(
        #[test]
        fn $clause() {
            $crate::conformance::__check(stringify!($clause), $fixture);
        }
    )*)* };
}

#[doc(hidden)]
#[track_caller]
#[expect(clippy::print_stderr, reason = "shown with the output of the test that is skipped")]
pub fn __check(name: &str, fixture: impl FnOnce() -> Fixture) {
    let mut clauses = CLAUSES.iter();
    // Tests are generated by name, because a macro cannot count.
    let clause = clauses.find(|clause| clause.name == name).expect("tests are named by the list");
    match clause.check(fixture()) {
        ClauseOutcome::Passed => {}
        ClauseOutcome::Skipped(reason) => eprintln!("skipped: {reason}"),
    }
}

#[doc(hidden)]
pub fn __print_skipped(suite: &str, fixture: impl FnOnce() -> Fixture) {
    let skipped = skipped(&fixture().store.capabilities());
    if skipped.is_empty() {
        return;
    }
    let (count, all) = (skipped.len(), CLAUSES.len());
    // Not `eprintln!`, which the test harness captures in a test that passes.
    let written = writeln!(
        io::stderr(),
        "{suite}: {count} of {all} clauses skipped\n  {}",
        skipped.join("\n  "),
    );
    // A test does not depend on whether someone reads its output.
    drop(written);
}
