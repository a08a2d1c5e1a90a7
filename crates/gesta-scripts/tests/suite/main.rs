//! The projection language, clause by clause, and the limits of scripts.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod isolation;
mod language;
mod limits;
mod outputs;
mod selecting;
mod support;
