//! The conformance suite of read models: the tests that every store of derived data has to pass.
//!
//! Owns: the clauses, one test each ([`names`], [`clauses`]), the macro that runs them
//! ([`read_model_conformance!`](crate::read_model_conformance!)), and the [`ReadModelFixture`] that
//! an implementation provides. A clause works on a store without read models, consumers and
//! snapshots. Not here: durability, and the SQL of a database.
//!
//! The tests of an implementation:
//!
//! ```
//! mod read_models {
//!     use gesta_store::{MemoryReadModels, conformance::read_models::ReadModelFixture};
//!
//!     fn fixture() -> ReadModelFixture<MemoryReadModels> {
//!         let store = MemoryReadModels::new();
//!         ReadModelFixture::new(move || store.clone())
//!     }
//!
//!     gesta_store::read_model_conformance!(fixture);
//!     # pub fn check_all() {
//!     #     use gesta_store::conformance::read_models::clauses;
//!     #     clauses().iter().for_each(|clause| clause.check(&fixture()));
//!     # }
//! }
//! # read_models::check_all();
//! ```

mod builds;
mod consumers;
mod contents;
mod fixture;
mod partitions;
mod support;
mod transactions;

use std::{fmt, future::Future, pin::Pin};

pub use self::fixture::{PortableReadModels, ReadModelFixture};
use super::block_on_within;
use crate::DatabaseError;

type ClauseRun<'a> = Pin<Box<dyn Future<Output = Result<(), DatabaseError>> + 'a>>;

/// One promise of read models, with its test.
///
/// ```
/// use gesta_store::{MemoryReadModels, conformance::read_models::clauses};
///
/// let clauses = clauses::<MemoryReadModels>();
/// assert!(clauses.iter().any(|clause| clause.name == "a_reader_sees_one_moment"));
/// ```
pub struct ReadModelClause<S> {
    /// The promise, as a sentence in snake case.
    pub name: &'static str,
    run: for<'a> fn(&'a ReadModelFixture<S>) -> ClauseRun<'a>,
}

impl<S: PortableReadModels> ReadModelClause<S> {
    /// Tests the promise.
    ///
    /// # Panics
    ///
    /// If the promise is broken, or its test takes longer than the fixture's time limit.
    #[track_caller]
    pub fn check(&self, fixture: &ReadModelFixture<S>) {
        if let Err(error) = block_on_within(fixture.timeout, (self.run)(fixture)) {
            panic!("{}: {error}", self.name);
        }
    }
}

impl<S> fmt::Debug for ReadModelClause<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReadModelClause").field(&self.name).finish()
    }
}

/// The one list of all clauses, by module. Passes it to a macro.
#[doc(hidden)]
#[macro_export]
macro_rules! __every_read_model_clause {
    ([$($then:tt)*] $($with:tt)*) => {
        $($then)*! {
            $($with)*
            builds::read_models_are_listed_by_build;
            builds::build_numbers_are_not_given_again;
            builds::a_switch_leaves_one_live_read_model;
            builds::a_switch_that_keeps_retires_the_one_before_and_drops_all_others;
            builds::a_retired_read_model_is_filled_again_and_switched_back_to;
            builds::a_quarantined_read_model_is_no_longer_there;
            builds::a_dropped_read_model_is_refused_by_every_call;
            builds::readers_of_a_dropped_read_model_finish;
            transactions::a_commit_shows_rows_checkpoint_and_dead_letters_together;
            transactions::what_was_not_committed_never_happened;
            transactions::a_checkpoint_that_another_writer_moved_refuses_to_move;
            transactions::a_transaction_waits_for_the_one_before;
            transactions::a_dropped_wait_leaves_the_turn_to_the_next;
            transactions::transactions_that_waited_see_what_was_committed_before;
            transactions::a_reader_sees_one_moment;
            transactions::a_reader_does_not_wait_for_an_open_transaction;
            transactions::transactions_of_other_read_models_do_not_wait;
            transactions::a_transaction_of_an_earlier_lease_is_refused;
            transactions::work_has_transactions_and_readers;
            partitions::the_lowest_partition_is_the_checkpoint_of_the_read_model;
            partitions::a_partition_that_another_writer_moved_refuses_to_move;
            partitions::partitions_that_change_one_row_at_the_same_time_lose_no_change;
            partitions::a_partition_refuses_the_earlier_leases_of_its_own_only;
            contents::a_transaction_reads_its_own_rows;
            contents::a_commit_replaces_hundreds_of_rows;
            contents::rows_are_listed_in_order_by_prefix_and_page;
            contents::values_come_back_as_they_were_given;
            contents::keys_come_back_as_they_were_given;
            contents::a_dead_letter_survives_as_it_was;
            contents::only_the_first_of_two_deletions_of_a_dead_letter_reports_it;
            contents::a_property_is_of_its_transaction;
            contents::read_models_keep_apart;
            contents::a_visitor_gets_each_row_once_or_is_refused;
            consumers::a_consumers_checkpoint_never_goes_back_in_one_incarnation;
            consumers::consumers_keep_apart;
            consumers::an_older_snapshot_does_not_win;
            consumers::an_older_snapshot_with_another_last_event_does_not_win;
            consumers::a_snapshot_comes_back_as_it_was;
            consumers::snapshots_of_streams_keep_apart;
        }
    };
}

macro_rules! read_model_clauses {
    ($($module:ident::$clause:ident;)*) => {
        /// The names of all clauses of read models.
        #[must_use]
        pub const fn names() -> &'static [&'static str] {
            &[$(stringify!($clause),)*]
        }

        /// All clauses of read models, for one kind of store.
        #[must_use]
        pub fn clauses<S: PortableReadModels>() -> Vec<ReadModelClause<S>> {
            vec![$(ReadModelClause {
                name: stringify!($clause),
                run: |fixture| Box::pin($module::$clause(fixture)),
            },)*]
        }
    };
}

__every_read_model_clause!([read_model_clauses]);

/// Generates one `#[test]` for each clause of read models.
///
/// Takes a closure or function that returns a new [`ReadModelFixture`]. Run it in the tests of
/// every implementation; put two invocations into different modules.
#[macro_export]
macro_rules! read_model_conformance {
    ($fixture:expr) => {
        $crate::__every_read_model_clause! { [$crate::__read_model_clause_tests] ($fixture) }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __read_model_clause_tests {
    (($fixture:expr) $($module:ident::$clause:ident;)*) => { $(
        #[test]
        fn $clause() {
            $crate::conformance::read_models::__check(stringify!($clause), $fixture);
        }
    )* };
}

#[doc(hidden)]
#[track_caller]
pub fn __check<S: PortableReadModels>(name: &str, fixture: impl FnOnce() -> ReadModelFixture<S>) {
    let clauses = clauses();
    // Tests are generated by name, because a macro cannot count.
    let clause = clauses.iter().find(|clause| clause.name == name);
    clause.expect("tests are named by the list").check(&fixture());
}
