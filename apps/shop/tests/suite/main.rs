//! The shop as a whole: commands, stored events and read models.
//!
//! Owns: tests that need all parts together. Not here: the rules of single commands, which have
//! unit tests.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops where it fails")]

mod accounts;
#[cfg(feature = "kafka")]
mod balances;
mod catalogue;
mod command_line;
mod credit_notes;
mod databases;
mod events;
mod golden;
mod http;
mod https;
mod import;
mod neighbours;
#[expect(clippy::duplicate_mod, reason = "the same tests run on both forms of the read models")]
mod on_rows;
mod opened;
mod orders;
mod partitions;
mod processes;
mod strategies;
mod traces;
mod users;
