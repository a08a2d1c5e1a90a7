//! Tests of the program as a user or a script runs it.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops where it fails")]

mod append;
mod application;
mod archive;
#[cfg(feature = "server")]
mod archive_served;
mod backup;
mod bench;
mod capabilities;
mod clock;
mod copy;
mod database;
mod export;
mod hiding;
#[cfg(all(feature = "kurrentdb", feature = "server"))]
mod kurrentdb;
mod moving;
mod postgres;
mod read;
mod readme;
mod reference;
mod scavenge;
mod scene;
#[cfg(feature = "server")]
mod serve;
#[cfg(feature = "server")]
mod serve_securely;
#[cfg(feature = "server")]
mod serve_telemetry;
#[cfg(feature = "server")]
mod server_verb;
mod stats;
mod streams;
mod subscribe;
mod usage;
mod verify;
