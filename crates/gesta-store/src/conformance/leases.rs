//! The conformance suite of leases: the tests that every implementation of [`Leases`] has to pass.
//!
//! Owns: the clauses, one test each ([`CLAUSES`]), the macro that runs them
//! ([`lease_conformance!`](crate::lease_conformance!)), and the [`LeaseFixture`] that an
//! implementation provides. Time passes when a clause says so; no clause waits for it.
//!
//! The tests of an implementation:
//!
//! ```
//! mod leases {
//!     use std::{sync::{Arc, Mutex}, time::Duration};
//!
//!     use gesta_store::{MemoryLeases, conformance::leases::LeaseFixture};
//!
//!     fn fixture() -> LeaseFixture {
//!         let time = Arc::new(Mutex::new(Duration::ZERO));
//!         let clock = Arc::clone(&time);
//!         let leases = MemoryLeases::with_clock(move || *clock.lock().expect("a time"));
//!         LeaseFixture::new(
//!             move || Box::new(leases.clone()),
//!             move |duration| *time.lock().expect("a time") += duration,
//!         )
//!     }
//!
//!     gesta_store::lease_conformance!(fixture);
//!     # pub fn check_all() {
//!     #     use gesta_store::conformance::leases::CLAUSES;
//!     #     CLAUSES.iter().for_each(|clause| clause.check(&fixture()));
//!     # }
//! }
//! # leases::check_all();
//! ```

mod clauses;

use std::{any::Any, fmt, future::Future, pin::Pin, time::Duration};

use super::block_on_within;
use crate::Leases;

/// Leases for one clause: the nodes' connections to them, and their clock.
///
/// ```
/// use std::{sync::{Arc, Mutex}, time::Duration};
///
/// use gesta_store::{MemoryLeases, conformance::leases::{CLAUSES, LeaseFixture}};
///
/// let time = Arc::new(Mutex::new(Duration::ZERO));
/// let clock = Arc::clone(&time);
/// let leases = MemoryLeases::with_clock(move || *clock.lock().expect("a time"));
/// let fixture = LeaseFixture::new(
///     move || Box::new(leases.clone()),
///     move |duration| *time.lock().expect("a time") += duration,
/// );
/// let clause = CLAUSES.first().expect("there are clauses");
/// assert_eq!(clause.name, "a_free_lease_is_granted_as_asked");
/// clause.check(&fixture);
/// ```
pub struct LeaseFixture {
    connect: Box<dyn Fn() -> Box<dyn Leases>>,
    pass: Box<dyn Fn(Duration)>,
    timeout: Duration,
    #[expect(dead_code, reason = "held until it is dropped")]
    kept: Option<Box<dyn Any>>,
}

impl LeaseFixture {
    /// Default time limit of a clause.
    pub const TIMEOUT: Duration = Duration::from_secs(60);

    /// Creates a fixture from two functions.
    ///
    /// `connect` returns the same leases, without any granted at first, as another node sees them.
    /// `pass` moves their clock forward, or moves all leases back by as much; it may block. The
    /// clock may also move by itself, a few seconds in a clause.
    #[must_use]
    pub fn new(
        connect: impl Fn() -> Box<dyn Leases> + 'static,
        pass: impl Fn(Duration) + 'static,
    ) -> Self {
        let (connect, pass) = (Box::new(connect), Box::new(pass));
        Self { connect, pass, timeout: Self::TIMEOUT, kept: None }
    }

    /// Keeps a value, such as a temporary directory, as long as the fixture.
    #[must_use]
    pub fn keep_alive(self, kept: impl Any) -> Self {
        Self { kept: Some(Box::new(kept)), ..self }
    }

    /// Sets the time limit of the clause, and of each thread that it starts.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }
}

impl fmt::Debug for LeaseFixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseFixture").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// One promise of leases, with its test.
///
/// ```
/// use gesta_store::conformance::leases::CLAUSES;
///
/// assert!(CLAUSES.iter().any(|clause| clause.name == "tokens_grow_with_each_lease"));
/// ```
pub struct LeaseClause {
    /// The promise, as a sentence in snake case.
    pub name: &'static str,
    run: for<'a> fn(&'a LeaseFixture) -> Pin<Box<dyn Future<Output = ()> + 'a>>,
}

impl LeaseClause {
    /// Tests the promise.
    ///
    /// # Panics
    ///
    /// If the promise is broken, or its test takes longer than the fixture's time limit.
    #[track_caller]
    pub fn check(&self, fixture: &LeaseFixture) {
        block_on_within(fixture.timeout, (self.run)(fixture));
    }
}

impl fmt::Debug for LeaseClause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LeaseClause").field(&self.name).finish()
    }
}

/// The one list of all clauses. Passes it to a macro.
#[doc(hidden)]
#[macro_export]
macro_rules! __every_lease_clause {
    ([$($then:tt)*] $($with:tt)*) => {
        $($then)*! {
            $($with)*
            a_free_lease_is_granted_as_asked;
            a_lease_in_force_is_refused_to_other_nodes;
            a_lease_is_in_force_until_its_term_is_over;
            a_lease_expires_after_its_term;
            a_renewal_begins_the_term_anew;
            renewals_do_not_add_up;
            a_renewal_keeps_the_token;
            an_expired_lease_cannot_be_renewed;
            a_lease_that_moved_cannot_be_renewed;
            a_released_lease_is_free_at_once;
            a_released_lease_cannot_be_renewed;
            releasing_again_has_no_effect;
            a_late_release_leaves_the_next_lease_alone;
            a_node_that_asks_again_gets_a_later_lease;
            tokens_grow_with_each_lease;
            tokens_grow_after_a_long_pause;
            leases_of_other_names_are_independent;
            one_of_many_nodes_gets_the_lease;
            the_list_has_the_leases_in_force_by_name;
            the_list_leaves_out_leases_that_are_over;
            names_come_back_as_they_were_given;
            a_term_out_of_range_is_refused;
            a_dropped_call_harms_nothing;
            a_paused_node_cannot_write_with_its_old_lease;
        }
    };
}

macro_rules! lease_clauses {
    ($($clause:ident;)*) => {
        &[$(LeaseClause {
            name: stringify!($clause),
            run: |fixture| Box::pin(clauses::$clause(fixture)),
        },)*]
    };
}

/// All clauses of leases.
pub const CLAUSES: &[LeaseClause] = __every_lease_clause!([lease_clauses]);

/// Generates one `#[test]` for each clause of leases.
///
/// Takes a closure or function that returns a new [`LeaseFixture`]. Run it in the tests of every
/// implementation; put two invocations into different modules.
#[macro_export]
macro_rules! lease_conformance {
    ($fixture:expr) => {
        $crate::__every_lease_clause! { [$crate::__lease_clause_tests] ($fixture) }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __lease_clause_tests {
    (($fixture:expr) $($clause:ident;)*) => { $(
        #[test]
        fn $clause() {
            $crate::conformance::leases::__check(stringify!($clause), $fixture);
        }
    )* };
}

#[doc(hidden)]
#[track_caller]
pub fn __check(name: &str, fixture: impl FnOnce() -> LeaseFixture) {
    let mut clauses = CLAUSES.iter();
    // Tests are generated by name, because a macro cannot count.
    let clause = clauses.find(|clause| clause.name == name).expect("tests are named by the list");
    clause.check(&fixture());
}
