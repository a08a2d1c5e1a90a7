//! The protocol, call by call, with a raw gRPC client over real connections.
//!
//! Owns: nothing but the list. Each scenario runs over a store in memory and over the log.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops where it fails")]

mod access;
mod admin;
mod batches;
mod client;
mod console;
mod cut_off;
mod deep_json;
mod deleting;
mod ending;
mod endpoints;
mod group_client;
mod group_crashes;
mod groups;
mod logins;
mod native;
mod operating;
mod projections;
mod reading;
mod renewed;
mod scene;
mod secured;
mod several_servers;
mod several_streams;
mod stream_rights;
mod subscribing;
mod system_streams;
mod traces;
mod upkeep;
mod users;
mod users_at_once;
#[allow(dead_code, reason = "the end-to-end tests use all of it")]
mod wire;
mod writing;
