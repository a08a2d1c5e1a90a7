//! Tests of Gesta's promises from an application's view, one module per promise.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails at the line that says why"
)]

mod accounts;
mod bank;
mod boundaries;
mod calendar_timers;
mod categories;
mod codec;
mod compile_errors;
mod conflicts;
mod events;
mod fragile;
mod guide;
mod health;
mod idempotency;
mod inline;
mod library;
mod loads;
mod log_hint;
mod moved;
mod nodes;
mod on_read;
mod open;
mod orders;
mod partitions;
mod personal;
mod pipeline;
mod poor;
mod post_office;
mod process_crashes;
mod process_versions;
mod processes;
mod processes_lives;
mod processes_operated;
mod processes_starting;
mod processes_troubled;
mod projections;
mod projections_letters;
mod projections_origin;
mod projections_switch;
#[cfg(feature = "cache")]
mod query_cache;
mod reactors;
mod readable;
mod reviewed;
mod scripted;
mod selections;
mod snapshots;
mod tenants;
mod traces;
mod turns;
mod unblocked;
mod watched;
