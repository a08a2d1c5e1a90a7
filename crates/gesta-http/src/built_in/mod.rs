//! Routes of every application: the OpenAPI document and its page, health, the event feed, and the
//! operator's routes for projections and process managers.

pub(crate) mod docs;
pub(crate) mod feed;
pub(crate) mod health;
mod identifiers;
pub(crate) mod processes;
pub(crate) mod projections;
mod responses;
mod swagger_ui;
