//! Loads that measure event stores and the framework, and the oracle of crash tests.
//!
//! Owns: the loads and the interface of a measured engine ([`load`]); the loads on the framework
//! ([`framework`]); planned appends, their log and the check of a store against it ([`oracle`]).
//! Invariant: nothing that users install depends on this crate. Not here: other engines, which are
//! in `bench/`, outside the workspace, and the kills, which are tests of this crate.
#![expect(
    missing_docs,
    missing_debug_implementations,
    reason = "unpublished; used by the project's own programs and tests"
)]

pub mod framework;
pub mod load;
pub mod oracle;
