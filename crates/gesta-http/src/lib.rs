//! The HTTP edge of an application: its commands and queries as routes, on axum.
//!
//! Owns: what a request may say ([`Commands`], [`UpdateCommands`], [`Queries`], [`JsonBody`], [`PathOf`],
//! [`QueryOf`]), what is answered ([`Created`], [`Updated`], [`QueryResponse`], [`Resource`], [`Versioned`], [`Problem`]), the table
//! of routes that both the router and the OpenAPI document come from ([`Api`]), the feed of
//! events, the operation of projections, and serving.
//!
//! Always holds: every answer that is not a success is a problem document (RFC 9457) with a stable
//! code; what the document promises is derived from the types that do it; no input is answered
//! with a 500.
//!
//! Not here: what the application's objects look like, who somebody is (the application names the
//! [actor](ActorExtractor)), which store the events are in.

// What the macros write names this crate by its name, also in here.
extern crate self as gesta_http;

mod api;
mod commands;
mod connections;
mod correlation;
mod cors;
mod cursor;
mod docs;
mod encoding;
mod endpoint;
mod event;
mod expect;
mod extract;
mod failure;
mod feed;
mod headers;
mod health;
mod history;
mod host;
mod keys;
mod object_only;
mod operation;
mod operations;
mod operator;
mod preconditions;
mod problem;
mod process_operations;
mod queries;
mod schema;
mod serve;
mod state;
mod unexpected;

pub use api::{Api, Route, delete, get, post, put};
pub use commands::{Commands, Created, UpdateCommands, Updated, segment};
pub use cors::{Origin, ParseOriginError};
pub use cursor::{Cursor, PageLimit, Paged};
pub use endpoint::Endpoint;
pub use event::{EventDetails, StoredJson};
pub use extract::{JsonBody, OptionalJsonBody, PathOf, QueryOf};
pub use history::{HistoryEntry, ListHistory};
pub use object_only::ObjectOnly;
pub use operation::{Describe, Operation};
pub use problem::Problem;
pub use queries::{Queries, QueryResponse, Resource, Versioned};
pub use schema::{Field, Fields, Schema, Schemas};
pub use serve::{ServeError, serve};
pub use state::{ActorExtractor, GestaState, Limits};

/// What the macros of this crate name in the crates that use them.
#[doc(hidden)]
pub mod __macros {
    pub use serde;
    pub use serde_json;
}
