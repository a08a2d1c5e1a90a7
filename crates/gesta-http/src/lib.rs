//! HTTP for applications on Gesta: commands and queries as axum routes.
//!
//! A command or a query is one declaration. Its route is documented, and fits into any router:
//!
//! ```
//! use axum::{Router, extract::State, routing::get};
//! use gesta::{Gesta, prelude::*};
//! use gesta_http::{Api, ApiRoute, GestaState, RequestFields};
//! # #[derive(Event, Serialize, Deserialize, Clone)]
//! # #[event(name = "door-opened")]
//! # struct DoorOpened;
//! # #[derive(EventSet, Clone)]
//! # enum DoorEvent {
//! #     Opened(DoorOpened),
//! # }
//! # #[derive(Default)]
//! # struct Door;
//! # impl Aggregate for Door {
//! #     const CATEGORY: &'static str = "door";
//! #     type Id = u32;
//! #     type Event = DoorEvent;
//! #     fn evolve(&mut self, _: &DoorEvent) {}
//! # }
//! # #[derive(Command, Serialize, Deserialize)]
//! # #[command(name = "open-door", on = Door, either)]
//! # struct OpenDoor {
//! #     #[command(id)]
//! #     door: u32,
//! #     reason: Option<String>,
//! # }
//! # impl Decide for OpenDoor {
//! #     type Rejection = std::convert::Infallible;
//! #     fn decide(&self, _: &Door) -> Decision<Self> { Ok(DoorOpened.into()) }
//! # }
//!
//! /// Details of the opening.
//! #[derive(RequestFields)]
//! #[request(command = OpenDoor, path(door: u32))]
//! struct Opening {
//!     /// Reason, for the log.
//!     reason: Option<String>,
//! }
//!
//! async fn motto(State(motto): State<&'static str>) -> &'static str {
//!     motto
//! }
//!
//! # tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
//! let state = GestaState::new(Gesta::at("memory:").open().await?);
//! let open = ApiRoute::post("/doors/{door}/open", "Opens a door").update(Opening::into_command);
//! let doors = Api::new("Doors", "1.0").with("doors", [open]);
//! let router: Router = Router::new()
//!     .route("/motto", get(motto))
//!     .merge(doors.nested(state))
//!     .with_state("knock first");
//! # drop(router);
//! # Ok::<(), gesta::OpenError>(())
//! # }).expect("a memory store opens");
//! ```
//!
//! A handler that needs more takes the extractors, as in any axum router.
//!
//! Owns: the extractors ([`Commands`], [`UpdateCommands`], [`Queries`], [`JsonBody`], [`PathOf`],
//! [`QueryOf`]), which work in every axum router whose state has a [`GestaState`]; the responses
//! ([`Created`], [`Updated`], [`QueryResponse`], [`Resource`], [`Versioned`], [`Problem`]); the
//! route table that both the router and the OpenAPI document are built from ([`Api`],
//! [`ApiRoute`]); the event feed, the operator's routes, the rules of all responses
//! ([`HttpRules`]), access ([`Access`]), tenants ([`Tenants`]), WebSockets ([`SocketRequest`]),
//! and the server ([`serve()`]).
//!
//! Invariants:
//! - Every unsuccessful response is a problem document (RFC 9457) with a stable code.
//! - The OpenAPI document, with its examples, is derived from the handlers' argument and return
//!   types.
//! - No input is answered with a 500.
//!
//! The modules are layers; each uses only those before it in this list: `wire` (JSON and headers),
//! `access` (principals and rules), `counters` (of requests), `state`, `requests` (extractors and
//! middleware), `sockets` (WebSockets), `commands`, `queries`, `history` (for handlers of
//! applications), `routing` (routes with their documentation), `built_in` (routes that every
//! application has), `rules` (the middleware of all routes), `api` (the table of all routes),
//! `tenants` (an application for each tenant), `serve` (connections).
//!
//! Not here: the JSON of an application's resources, logins and sessions (an application has an
//! [`Access`], or supplies an [`ActorExtractor`]), and the choice of the store.

// The macros' output names this crate by its name, in this crate, too.
extern crate self as gesta_http;

mod access;
mod api;
mod built_in;
mod commands;
mod counters;
mod history;
mod queries;
mod requests;
mod routing;
mod rules;
mod serve;
mod sockets;
mod state;
mod tenants;
mod wire;

#[cfg(feature = "jwks")]
pub use access::InvalidKeySetUrl;
pub use access::{
    Access, AccessRole, AccessRules, AddressRange, ApiKeyFile, ApiKeys, Authenticate, BearerTokens,
    InvalidActor, InvalidApiKeys, InvalidProxyHeader, InvalidRules, NewApiKey, OwnedRequest,
    Ownership, ParseAddressRangeError, ParseRightError, Principal, RateLimit, Right, TokenKeyFile,
    TrustedProxy, UnusableKeyFile,
};
pub use api::Api;
pub use commands::{Commands, Created, EdgeValues, UpdateCommands, Updated, segment};
pub use gesta_macros::{RequestFields, Schema};
#[cfg(feature = "tls")]
pub use gesta_tls::{InvalidTls, Tls, TlsFileError, TlsFiles};
pub use history::{HistoryEntry, ListHistory};
pub use queries::{Queries, QueryResponse, Resource, Versioned};
pub use requests::{
    extract::{JsonBody, OptionalJsonBody, PathOf, QueryOf, repeated::Repeated},
    guard::RouteAccess,
};
pub use routing::{
    declared::ListPage,
    endpoint::Endpoint,
    links::{Link, LinkSource, LinkTarget},
    parts::{PathId, RequestBody, RequestPath, RequestQuery},
    route::{ApiRoute, RouteBuilder},
};
pub use rules::HttpRules;
pub use serve::{HttpListener, ServeError, serve};
pub use sockets::{
    described::DescribedSocket,
    handshake::SocketRequest,
    text_socket::{SocketEnd, TextSocket},
};
pub use state::{ActorExtractor, GestaState, Limits};
pub use tenants::{HandOver, InvalidTenants, LateCredentials, Tenants};
pub use wire::{
    asset::Asset,
    cross_origin::CrossOrigin,
    cursor::{Cursor, PageLimit, PageRequest, Paged},
    event::{EventDetails, StoredJson},
    host_name::{HostName, ParseHostNameError},
    links::PageLinks,
    moment::{Moment, Time},
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

    pub use crate::wire::schema::{example, names};
}

// The example of the README is compiled, and run if it needs no server.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
