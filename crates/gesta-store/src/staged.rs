//! Parts of stores of read models whose database changes one item or document at a time.
//!
//! Owns: the list of a projection's builds, which such a store replaces by one conditional write
//! ([`BuildList`]); the changes of a transaction, which stay in memory until its commit, and what
//! the transaction reads over the stored rows ([`StagedRows`]); and requests for stored rows
//! ([`Wanted`], [`RowRange`]). Invariant: nothing here reads, writes or waits. Not here: the
//! versions of rows and the steps of a commit, which depend on the database; dead letters as JSON
//! ([`DeadLetter::to_json`](crate::DeadLetter::to_json)).

mod build_list;
mod rows;

pub use build_list::{BuildChange, BuildList, ListedBuild};
pub use rows::{Area, RowRange, StagedRows, Wanted};
