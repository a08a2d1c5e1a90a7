//! The contracts of read models and leases on SQLite, and tests specific to SQLite.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod contract;
mod files;
mod leases;
