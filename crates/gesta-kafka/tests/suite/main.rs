//! Tests on real brokers: the one of `cargo xtask services`, and brokers of single tests.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod bank;
mod broker;
mod cluster;
mod deleted;
mod failures;
mod feed;
mod projection;
mod rebalance;
mod relay;
#[cfg(feature = "tls")]
mod secured;
mod sequence;
mod source;
mod topics;
mod two_relays;
