//! An event store as a server for the official KurrentDB clients.
//!
//! Owns: the gRPC protocol of those clients and the HTTP endpoints beside it, over any
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
//!
//! Not here: concrete stores (the caller opens one), the domain, TLS and users.
//!
//! The modules are layers, lowest first: `proto` (generated), `wire` (values and errors of the
//! protocol), `node` (what all calls share), `tenure` (work that one of several servers does),
//! `streams` (the service of streams), `groups` (the service of consumer groups), `projections`
//! (the service of projections, and what runs), `discovery` (what clients ask before they call),
//! `http` (endpoints for operators), `serve` (connections and the end).

mod discovery;
mod groups;
mod http;
mod node;
mod projections;
mod proto;
mod serve;
mod streams;
mod tenure;
mod wire;

pub use serve::{InvalidListener, ServeError, Server};
