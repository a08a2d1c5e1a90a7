//! Routes of every application: the OpenAPI document and its page, health, metrics, the event feed,
//! and the operator's routes for projections, process managers and reactors.

pub(crate) mod docs;
pub(crate) mod feed;
pub(crate) mod health;
mod identifiers;
mod leases;
pub(crate) mod metrics;
pub(crate) mod processes;
pub(crate) mod projections;
pub(crate) mod reactors;
mod responses;
mod swagger_ui;
