//! The generated messages and services of `proto/`.
//!
//! Owns: one message by hand ([`Record`]). Invariant: only [`wire`](crate::wire) and the services
//! name these types.

mod record;

#[allow(
    clippy::all,
    clippy::too_many_lines,
    clippy::allow_attributes_without_reason,
    missing_debug_implementations,
    missing_docs,
    unreachable_pub,
    reason = "generated code"
)]
mod packages {
    include!(concat!(env!("OUT_DIR"), "/server/packages.rs"));
}

pub(crate) use record::{Property, Record};

pub(crate) use packages::{
    event_store::client::{
        self as shared, gossip, monitoring, operations, persistent_subscriptions, projections,
        server_features, streams, users,
    },
    gesta::client::appends,
    google::rpc,
    kurrentdb::protocol::v2::streams as streams_v2,
};

/// Paths of all calls in `proto/`.
#[cfg(test)]
pub(crate) const METHODS: &[&str] = include!(concat!(env!("OUT_DIR"), "/methods.rs"));
