//! Projections: scripts of clients that run on the server.
//!
//! Owns: the service `Projections`, configurations, runners, and the streams in which they keep
//! their progress. The modules, lowest first: `names`, `config` (projections and their changes),
//! `checkpoint` (stored records), `source` (events for handlers), `idle_source` (events that are
//! left for a stopped projection), `fold` (handlers on the script's thread), `emission` (events
//! that are appended), `progress` (for those who ask), `tracked` (emitted streams), `runner` and
//! `write` (one projection at work), `control` (all projections), `described` (with their
//! progress), `system`, `summary` (for the HTTP interface), `service`.
//!
//! Invariants:
//! - Everything that a projection does about an event is in one append with the checkpoint that
//!   passes the event. A crash or a second server emits nothing twice.
//! - A script that fails stops its projection alone.
//!
//! Not here: the language ([`gesta_scripts`]).

mod checkpoint;
mod config;
mod control;
mod described;
mod emission;
mod fold;
mod idle_source;
mod names;
mod progress;
mod runner;
mod service;
mod source;
mod summary;
mod system;
mod tracked;
mod write;

pub(crate) use self::{
    control::Projections,
    service::{ProjectionsService, service},
    summary::{ProjectionSummary, summaries},
};
