//! GraphQL for applications on Gesta: the operations of [`gesta_http`] as queries, mutations and
//! subscriptions.
//!
//! An application declares its commands and queries once, as routes. Their schema is made from the
//! same table:
//!
//! ```
//! use gesta::{Gesta, prelude::*};
//! use gesta_graphql::{GraphQl, Introspection};
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
//! # tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
//! let state = GestaState::new(Gesta::at("memory:").open().await?);
//! let open = ApiRoute::post("/doors/{door}/open", "Opens a door").update(Opening::into_command);
//! let doors = Api::new("Doors", "1.0").with("doors", [open]);
//! // `mutation { openDoor(door: 7, input: { reason: "wind" }) { ... on Changed { revision } } }`
//! let router = GraphQl::over(doors).introspection(Introspection::On).router(state);
//! # drop(router);
//! # Ok::<(), gesta::OpenError>(())
//! # }).expect("a memory store opens");
//! ```
//!
//! Owns: the schema of an application, the endpoint `/graphql`, the WebSocket `/graphql/ws`, the
//! explorer page `/graphiql`, and the limits of documents.
//!
//! Invariants:
//! - An operation that answers with JSON is in the schema if and only if it is routed.
//! - A field is answered by the route of its operation: its rights, checks, keys and conditions
//!   are those of the HTTP interface.
//! - A document is measured before it is executed.
//! - What several objects link to is found by one call, where a list finds several.
//!
//! The modules are layers; each uses only those before it in this list: `names`, `operations` (the
//! OpenAPI document), `types` and `values` (schemas and JSON), `caller` and `failure` (calls within
//! the process), `fields` (operations as fields), `links` and `loader` (fields that lead to other
//! resources), `feed` and `live` (subscriptions), `schema`, `cost` (limits), `edge` (the endpoint),
//! `socket` (WebSockets), `page` (the explorer), `graphql` (the router).
//!
//! Not here: declarations of links ([`gesta_http::Link`]).

mod caller;
mod cost;
mod edge;
mod failure;
mod feed;
mod fields;
mod graphql;
mod links;
mod live;
mod loader;
mod names;
mod operations;
mod order;
mod page;
mod schema;
mod socket;
mod types;
mod values;

pub use cost::GraphQlLimits;
pub use graphql::GraphQl;
pub use schema::Introspection;

// The example of the README is compiled, and run if it needs no server.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
