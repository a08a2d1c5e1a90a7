//! The generated messages and clients of `proto/`.
//!
//! Owns: nothing by hand.

#[allow(
    clippy::all,
    clippy::too_many_lines,
    clippy::allow_attributes_without_reason,
    dead_code,
    missing_debug_implementations,
    missing_docs,
    unreachable_pub,
    reason = "generated code"
)]
mod packages {
    include!(concat!(env!("OUT_DIR"), "/packages.rs"));
}

pub(crate) use packages::{
    event_store::client::{self as shared, gossip, server_features, streams},
    gesta::client::appends,
    google::rpc,
    kurrentdb::protocol::v2::streams as streams_v2,
};
