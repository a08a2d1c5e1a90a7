//! Reads of stored events as they are, for the console: streams, pages, look-ups, counts.
//!
//! Owns: their routes, with the paths and JSON of `gesta serve`. Invariants:
//! - Every route needs [`Right::Inspect`]: it shows all streams, those of the framework among them,
//!   with data and metadata.
//! - A page is bounded in events and in bytes, and says that it is the last one only if it is.
//! - A feature that the store lacks is a 501 that names it.
//!
//! Not here: histories for users of the application ([`history`](crate::history)) and feeds
//! ([`feed`](super::feed)), which follow rules of their own.

mod event;
mod failure;
mod names;
mod page;
mod places;
mod selection;
mod store;

use crate::{ApiRoute, Right};

/// Returns the routes under a path prefix.
pub(crate) fn routes(prefix: &str) -> [ApiRoute; 8] {
    let under = |path: &str| format!("{prefix}{path}");
    let get = |path: &str, summary| ApiRoute::get(&under(path), summary);
    [
        get("/streams", "Lists names of streams in byte order").handle(names::list_streams),
        get("/streams/{stream}", "Reads a page of a stream").handle(page::read_stream),
        get("/streams/{stream}/metadata", "Describes a stream: its state and its metadata")
            .handle(names::describe_stream),
        get("/categories", "Lists categories in byte order").handle(names::list_categories),
        get("/all", "Reads a page of the whole store, or of a selection").handle(page::read_all),
        get("/events/{id}", "Finds the events with an id, one in each stream that has it")
            .handle(page::find_events),
        get("/counts", "Counts events, streams and categories").handle(store::count_events),
        get("/store", "Returns features, durability and limits of the store")
            .handle(store::describe_store),
    ]
    .map(|route| route.right(Right::Inspect))
}
