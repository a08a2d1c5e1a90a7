//! The contract of read model stores on SQLite and in memory, and tests specific to SQLite.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops where it fails")]

mod contract;
mod files;
mod leases;
