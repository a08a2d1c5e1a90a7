//! The conformance suite of caches: the tests that every implementation of [`QueryCache`] has to
//! pass.
//!
//! Owns: the clauses, one test each ([`CLAUSES`]), the macro that runs them
//! ([`query_cache_conformance!`](crate::query_cache_conformance!)), and the [`CacheFixture`] that
//! an implementation provides. Not here: outages, which the tests of an implementation cause.
//!
//! The tests of an implementation call the macro with a function that returns a fixture:
//!
//! ```text
//! mod cache {
//!     gesta_store::query_cache_conformance!(|| CacheFixture::new(|| Box::new(MyCache::new())));
//! }
//! ```

mod clauses;

use std::{fmt, future::Future, pin::Pin, time::Duration};

use super::block_on_within;
use crate::QueryCache;

/// An empty cache for one clause, as several nodes see it.
///
/// ```
/// use gesta_store::conformance::query_cache::CLAUSES;
///
/// let first = CLAUSES.first().expect("there are clauses");
/// assert_eq!(first.name, "an_answer_comes_back_with_its_position");
/// ```
pub struct CacheFixture {
    connect: Box<dyn Fn() -> Box<dyn QueryCache>>,
    timeout: Duration,
}

impl CacheFixture {
    /// Default time limit of a clause.
    pub const TIMEOUT: Duration = Duration::from_secs(60);

    /// Creates a fixture from a function that returns the same cache, empty at first, as another
    /// node sees it. A cache of one process returns a handle of its own.
    #[must_use]
    pub fn new(connect: impl Fn() -> Box<dyn QueryCache> + 'static) -> Self {
        Self { connect: Box::new(connect), timeout: Self::TIMEOUT }
    }

    /// Sets the time limit of the clause.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }
}

impl fmt::Debug for CacheFixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheFixture").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// One promise of caches, with its test.
///
/// ```
/// use gesta_store::conformance::query_cache::CLAUSES;
///
/// assert!(CLAUSES.iter().any(|clause| clause.name == "a_reset_ends_the_answers_of_a_scope"));
/// ```
pub struct CacheClause {
    /// The promise, as a sentence in snake case.
    pub name: &'static str,
    run: for<'a> fn(&'a CacheFixture) -> Pin<Box<dyn Future<Output = ()> + 'a>>,
}

impl CacheClause {
    /// Tests the promise.
    ///
    /// # Panics
    ///
    /// If the promise is broken, or its test takes longer than the fixture's time limit.
    #[track_caller]
    pub fn check(&self, fixture: &CacheFixture) {
        block_on_within(fixture.timeout, (self.run)(fixture));
    }
}

impl fmt::Debug for CacheClause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CacheClause").field(&self.name).finish()
    }
}

/// The one list of all clauses. Passes it to a macro.
#[doc(hidden)]
#[macro_export]
macro_rules! __every_cache_clause {
    ([$($then:tt)*] $($with:tt)*) => {
        $($then)*! {
            $($with)*
            an_answer_comes_back_with_its_position;
            an_answer_is_kept_from_callers_that_ask_for_a_later_position;
            a_mark_ends_the_answers_that_depend_on_it;
            a_mark_at_the_position_of_an_answer_leaves_it;
            the_mark_of_everything_ends_every_answer;
            a_mark_never_goes_back;
            an_answer_read_before_a_mark_and_stored_after_it_is_not_returned;
            an_answer_read_after_a_change_is_returned;
            a_reset_ends_the_answers_of_a_scope;
            an_answer_that_is_loaded_during_a_reset_is_not_returned;
            answers_of_other_scopes_stay;
            answers_of_other_queries_stay;
            answers_with_other_marks_are_not_mixed_up;
            a_later_load_takes_the_place_of_an_answer;
            an_answer_ends_after_its_time_to_live;
            an_abandoned_load_leaves_the_turn_to_others;
            one_of_two_nodes_loads;
            a_node_that_asks_for_more_loads_as_well;
        }
    };
}

macro_rules! cache_clauses {
    ($($clause:ident;)*) => {
        &[$(CacheClause {
            name: stringify!($clause),
            run: |fixture| Box::pin(clauses::$clause(fixture)),
        },)*]
    };
}

/// All clauses of caches.
pub const CLAUSES: &[CacheClause] = __every_cache_clause!([cache_clauses]);

/// Generates one `#[test]` for each clause of caches.
///
/// Takes a closure or function that returns a new [`CacheFixture`]. Run it in the tests of every
/// implementation; put two invocations into different modules.
#[macro_export]
macro_rules! query_cache_conformance {
    ($fixture:expr) => {
        $crate::__every_cache_clause! { [$crate::__cache_clause_tests] ($fixture) }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __cache_clause_tests {
    (($fixture:expr) $($clause:ident;)*) => { $(
        #[test]
        fn $clause() {
            $crate::conformance::query_cache::__check(stringify!($clause), $fixture);
        }
    )* };
}

#[doc(hidden)]
#[track_caller]
pub fn __check<F: Into<Option<CacheFixture>>>(name: &str, fixture: impl FnOnce() -> F) {
    let mut clauses = CLAUSES.iter();
    // Tests are generated by name, because a macro cannot count.
    let clause = clauses.find(|clause| clause.name == name).expect("tests are named by the list");
    // A fixture without its server has said so.
    if let Some(fixture) = fixture().into() {
        clause.check(&fixture);
    }
}
