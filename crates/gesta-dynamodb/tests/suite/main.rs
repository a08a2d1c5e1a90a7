//! Tests on an emulator of DynamoDB: the one of `cargo xtask services`, and ones of single tests.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod conformance;
mod costs;
mod cut_off;
mod deleted;
mod failures;
mod leases;
mod opening;
mod parallel;
mod read_models;
mod server;
mod stored_state;
mod writers;
