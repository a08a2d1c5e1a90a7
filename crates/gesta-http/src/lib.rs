//! HTTP for applications on Gesta: commands and queries as axum routes.
//!
//! Owns: the extractors ([`Commands`], [`UpdateCommands`], [`Queries`], [`JsonBody`], [`PathOf`],
//! [`QueryOf`]), the responses ([`Created`], [`Updated`], [`QueryResponse`], [`Resource`],
//! [`Versioned`], [`Problem`]), the route table that both the router and the OpenAPI document are
//! built from ([`Api`]), the event feed, the operator's routes, and the server ([`serve()`]).
//!
//! Invariants:
//! - Every unsuccessful response is a problem document (RFC 9457) with a stable code.
//! - The OpenAPI document is derived from the handlers' argument and return types.
//! - No input is answered with a 500.
//!
//! Not here: the JSON of an application's resources, authentication (the application supplies an
//! [`ActorExtractor`]), and the choice of the store.

// The macros' output names this crate by its name, in this crate, too.
extern crate self as gesta_http;

mod api;
mod cause;
mod commands;
mod connections;
mod correlation;
mod cors;
mod cursor;
mod deadlines;
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
mod origin;
mod preconditions;
mod problem;
mod process_operations;
mod queries;
mod route;
mod schema;
mod serve;
mod state;
mod unexpected;

pub use api::Api;
pub use commands::{Commands, Created, UpdateCommands, Updated, segment};
pub use cursor::{Cursor, PageLimit, Paged};
pub use endpoint::Endpoint;
pub use event::{EventDetails, StoredJson};
pub use extract::{JsonBody, OptionalJsonBody, PathOf, QueryOf};
pub use history::{HistoryEntry, ListHistory};
pub use object_only::ObjectOnly;
pub use operation::{Describe, Operation};
pub use origin::{Origin, ParseOriginError};
pub use problem::Problem;
pub use queries::{Queries, QueryResponse, Resource, Versioned};
pub use route::{Route, delete, get, post, put};
pub use schema::{Field, Fields, Schema, Schemas};
pub use serve::{ServeError, serve};
pub use state::{ActorExtractor, GestaState, Limits};

/// Dependencies that the macros' output refers to.
#[doc(hidden)]
pub mod __macros {
    pub use serde;
    pub use serde_json;
}
