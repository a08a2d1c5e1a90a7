//! JSON and headers that routes share: schemas and the operations they describe, problems, events,
//! cursors and links, moments, origins; the text of metrics.
//!
//! Not here: reading a request, which needs the application's state.

pub(crate) mod asset;
pub(crate) mod cause;
pub(crate) mod cross_origin;
pub(crate) mod cursor;
pub(crate) mod event;
pub(crate) mod event_schemas;
pub(crate) mod exposition;
pub(crate) mod failure;
pub(crate) mod headers;
pub(crate) mod host_name;
pub(crate) mod links;
pub(crate) mod moment;
pub(crate) mod object_only;
pub(crate) mod operation;
pub(crate) mod origin;
pub(crate) mod problem;
pub(crate) mod schema;
pub(crate) mod shared_problems;
