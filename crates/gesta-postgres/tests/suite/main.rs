//! Tests on real servers: those of `cargo xtask services`, and servers of single tests.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod alone;
mod archive;
mod conformance;
mod failover;
mod failures;
mod inline;
mod interleaving;
mod leases;
mod opening;
mod processes;
mod read_models;
mod replica;
mod rights;
mod server;
mod shortages;
mod tls;
mod waiting;
