//! An event store as a server for the official KurrentDB clients.
//!
//! Owns: the gRPC protocol of those clients and the HTTP interface next to it, over any
//! [`EventStore`](gesta_store::EventStore), on one port; the rule of where an unprotected server
//! may listen.
//!
//! Invariants:
//! - The edge translates and does not decide: expectations, repeats, visibility and order are the
//!   store's. Consumer groups alone are decided here, by a state machine over streams of the store.
//!   A call that the store's capabilities do not cover is refused as `UNIMPLEMENTED`.
//! - A definite failure and an unknown outcome have different gRPC codes: `ABORTED` is the unknown
//!   one.
//! - No link event is ever written for `$ce-`, `$et-` and `$bc-` streams: they are read from the
//!   store's index.
//! - A server that other machines reach has TLS and users.
//!
//! Not here: concrete stores (the caller opens one), the domain, certificates (`gesta-tls`).
//!
//! The modules are layers, lowest first: `proto` (generated), `wire` (values and errors of the
//! protocol), `clock`, `incoming` (memory for messages in part), `access` (who callers are and what
//! they may), `spans` and `call_log` (what operators learn of a call),
//! `address` (where servers are), `labels` (what people call them), `scavenges` (removal of hidden
//! events), `upkeep` (verifications and backups), `node` (what all calls share), `tenure` (work
//! that one of several servers does), `members` (the servers of a store), `streams` (the service of
//! streams), `groups` (the service of consumer groups), `projections` (the service of projections,
//! and what runs), `users` (the service of users), `operations` (the service of operators),
//! `appends` (what Gesta adds to the protocol), `discovery` (what clients ask before they call),
//! `http` (endpoints for operators), `monitoring` (the service of figures), `native` (the HTTP
//! interface of applications), `console` (files for browsers), `serve` (connections and the end).
//! Next to them, `admin` is a client for
//! operators, with the feature `client`.

mod access;
mod address;
#[cfg(feature = "client")]
pub mod admin;
mod appends;
mod call_log;
mod clock;
mod console;
mod discovery;
mod groups;
mod http;
mod incoming;
mod labels;
mod large_work;
mod members;
mod monitoring;
mod native;
mod node;
mod operations;
mod outgoing;
mod projections;
mod proto;
mod recent_events;
mod scavenges;
mod serve;
mod spans;
mod streams;
mod tenure;
mod upkeep;
mod users;
mod wire;

pub use access::{FirstPasswords, InvalidTokenKey, TokenRule};
pub use address::{InvalidServerAddress, ServerAddress};
pub use gesta_tls::{InvalidTls, Tls, TlsFileError, TlsFiles};
pub use labels::{ServerLabels, ServerSetting};
pub use scavenges::{ScavengeFigures, ScavengeRequest, Scavenger};
pub use serve::{CONNECTIONS_MAX, InvalidListener, Security, ServeError, Server};
pub use spans::SPAN_TARGET;
pub use upkeep::{BackupFigures, Upkeep, UpkeepProgress, VerifyFindings};

// The example of the README is compiled, and run if it needs no server.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
