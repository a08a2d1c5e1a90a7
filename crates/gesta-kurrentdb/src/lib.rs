//! An event store behind a server of KurrentDB's protocol: `gesta serve`, KurrentDB or
//! EventStoreDB.
//!
//! Owns: [`KurrentStore`], the contract of `gesta-store` over that protocol, and [`KurrentUrl`].
//!
//! Invariants:
//! - An append whose outcome is not known is reported as such; every other failure is definite.
//! - Every wait for a server is bounded, and a connection that broke is made anew.
//! - What the protocol lacks is refused by name, except for parts of an event that its metadata can
//!   carry.
//! - No text has a password.
//!
//! Not here: consumer groups, projections and users of a server.
//!
//! The modules are layers, lowest first: `escapes`, `proto` (generated), `url`, `open_error`,
//! `tls`, `link` (one connection), `envelope`, `wire` (values), `failure` (errors), `cluster`
//! (nodes and connections), `hidden`, `core` (what calls share), `read`, `head`, `visibility`,
//! `append_one`, `describe`, `append`, `deletion`, `worker`, `shared`, `pages`, `subscribe`,
//! `store`.

mod append;
mod append_one;
mod cluster;
mod core;
mod deletion;
mod describe;
mod envelope;
mod failure;
mod head;
mod hidden;
mod link;
mod open_error;
mod pages;
mod proto;
mod read;
mod shared;
mod store;
mod subscribe;
mod tls;
mod url;
mod visibility;
mod wire;
mod worker;

pub use open_error::OpenError;
pub use store::KurrentStore;
pub use url::{InvalidUrl, KurrentUrl, is_kurrent_url};

// The example of the README is compiled, and run if it needs no server.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
