//! Tests of the cache and of snapshots against real servers, and of applications whose server
//! fails.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails at the line that says why"
)]

mod contract;
mod log;
mod outages;
mod secured;
mod server;
mod shop;
mod snapshots;
mod together;
