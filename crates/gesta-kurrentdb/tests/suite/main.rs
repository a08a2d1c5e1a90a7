//! Tests against servers of `gesta-server`, which run in the test on free ports of loopback.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod conformance;
mod continuing;
mod definitions;
mod junction;
mod parts;
mod reconnecting;
mod secured;
mod server;
