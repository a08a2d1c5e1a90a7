//! The generated messages of `proto/`, with clients of the services.

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
    include!(concat!(env!("OUT_DIR"), "/client/packages.rs"));
}

pub(super) use packages::event_store::client::{
    self as shared, persistent_subscriptions, projections, users,
};
