//! What a read model store promises, on SQLite and on memory, and what only SQLite can.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops where it fails")]

mod contract;
mod files;
