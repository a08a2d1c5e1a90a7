//! Routes of every application: the OpenAPI document and its page, health, metrics, the event feed,
//! and the operator's routes for projections, process managers and reactors; with a console also
//! its files, event types, stored events and states of aggregates.

mod aggregates;
pub(crate) mod console;
pub(crate) mod docs;
mod due_timers;
mod event_types;
pub(crate) mod feed;
pub(crate) mod health;
mod identifiers;
mod leases;
pub(crate) mod metrics;
mod outstanding_commands;
pub(crate) mod processes;
pub(crate) mod program;
pub(crate) mod projections;
pub(crate) mod reactors;
mod responses;
pub(crate) mod states;
mod stored;
mod stuck;
mod swagger_ui;
