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
//! The modules are layers; each uses only those before it in this list: `wire` (JSON and headers),
//! `state`, `requests` (extractors and middleware), `commands`, `queries`, `history` (for handlers
//! of applications), `routing` (handlers with their documentation), `built_in` (routes that every
//! application has), `api` (the table of all routes), `serve` (connections).
//!
//! Not here: the JSON of an application's resources, authentication (the application supplies an
//! [`ActorExtractor`]), and the choice of the store.

// The macros' output names this crate by its name, in this crate, too.
extern crate self as gesta_http;

mod api;
mod built_in;
mod commands;
mod history;
mod queries;
mod requests;
mod routing;
mod serve;
mod state;
mod wire;

pub use api::Api;
pub use commands::{Commands, Created, UpdateCommands, Updated, segment};
pub use history::{HistoryEntry, ListHistory};
pub use queries::{Queries, QueryResponse, Resource, Versioned};
pub use requests::extract::{JsonBody, OptionalJsonBody, PathOf, QueryOf};
pub use routing::{
    endpoint::Endpoint,
    route::{Route, delete, get, post, put},
};
pub use serve::{ServeError, serve};
pub use state::{ActorExtractor, GestaState, Limits};
pub use wire::{
    cursor::{Cursor, PageLimit, Paged},
    event::{EventDetails, StoredJson},
    object_only::ObjectOnly,
    operation::{Describe, Operation},
    origin::{Origin, ParseOriginError},
    problem::Problem,
    schema::{Field, Fields, Schema, Schemas},
};

/// Dependencies that the macros' output refers to.
#[doc(hidden)]
pub mod __macros {
    pub use serde;
    pub use serde_json;
}
