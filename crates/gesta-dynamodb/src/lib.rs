//! An event store, key-value read models and snapshots in DynamoDB.
//!
//! Owns: [`DynamoStore`], which keeps events and leases; [`DynamoReadModels`], which keeps read
//! models, checkpoints of consumers and snapshots; and their URL ([`DynamoUrl`]), which names the
//! region and the prefix of the tables. Credentials come from the standard chain.
//!
//! Tables are created unless [`OpenMode`] forbids it, and billed per request. Calls run on a thread
//! of the store, so they may be awaited on any executor.
//!
//! Invariants: an item is written on a condition, or is one that never changes. Reads are strongly
//! consistent. Not here: typed events and projections, which belong to the `gesta` crate.

mod client;
mod clock;
mod errors;
mod events;
mod item;
mod open_error;
mod open_mode;
mod read_models;
mod table;
mod url;
mod worker;

pub use self::{
    client::ConsumedUnits,
    events::DynamoStore,
    open_error::OpenError,
    open_mode::OpenMode,
    read_models::{DynamoReadModels, DynamoReader, DynamoTx},
    url::{DynamoUrl, InvalidUrl},
};

// The example of the README is compiled, and run if it needs no server.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
