//! The shop as a whole: commands in, events in a store, answers out of read models.
//!
//! Owns: what only shows when everything is put together. Not here: the rules of single commands,
//! which are tested beside them.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops where it fails")]

mod accounts;
mod catalogue;
mod command_line;
mod credit_notes;
mod events;
mod golden;
mod http;
mod import;
mod opened;
mod orders;
mod processes;
mod users;
