//! Real servers for tests, on loopback ports: PostgreSQL with what belongs to it, an emulator of
//! DynamoDB, OpenSearch, Kafka, Redis, FerretDB in place of MongoDB, Prometheus, and Rotel, a
//! collector of traces.
//!
//! Owns: the table of services (`rows/`, one file each); the servers that all tests share
//! ([`SharedServers`], behind `cargo xtask services`); servers of one test ([`OwnServer`]); the way
//! in which a test asks for one and says its skip ([`url_or_skip`]); [`FaultProxy`], which cuts and
//! stalls connections at a chosen message; [`TraceSink`], which receives traces; common parts of
//! end-to-end tests ([`e2e`]); and a headless browser for tests of pages (`chromium`, with the
//! feature of this name).
//!
//! Invariants:
//! - A server listens on loopback only, and keeps its port and data over crashes and restarts.
//! - A process is known by its id and start time, so a signal never reaches another one.
//! - A download is used only if its checksum is the pinned one.
//! - A test without its server says so on standard error, and fails under `CI=true`.
//!
//! To add a service, write a file in `rows/` that implements `Service`, and enter it in
//! `catalogue.rs`.
//!
//! Not here: clients of the servers, and what tests do with them. Nothing that users install
//! depends on this crate. Servers are started on Linux only; elsewhere, tests take URLs from the
//! environment.

mod cache;
mod catalogue;
#[cfg(feature = "chromium")]
pub mod chromium;
pub mod e2e;
mod ledger;
mod log_tail;
mod need;
mod own_server;
mod ports;
mod process;
mod proxy;
mod rows;
mod server;
mod service;
mod shared;
mod target_directory;
mod trace_sink;
mod unprivileged;
mod urls;
mod wait;

pub use ledger::{Ledger, ServiceUse};
pub use need::{skip, url_or_skip};
pub use own_server::OwnServer;
pub use ports::free as free_port;
pub use proxy::{Fault, FaultProxy, Message};
pub use shared::{ServerState, SharedServers};
pub use trace_sink::TraceSink;
