//! Document read models, checkpoints and snapshots in MongoDB.
//!
//! Owns: [`MongoReadModels`], with its transactions ([`MongoTx`]), its readers ([`MongoReader`])
//! and its URL ([`MongoUrl`]). Each row is a document, so that other programs can query it. Calls
//! run on a thread of the store, so they may be awaited on any executor.
//!
//! Invariants:
//! - The rows and the checkpoint of a commit are seen together, with transactions of the server or
//!   without ([`Commits`]), also after a crash between any two writes.
//! - No text of an error has the password.
//!
//! Not here: events. Tests run against FerretDB 1.24 alone: transactions were not run against
//! MongoDB itself.

mod client;
mod clock;
mod errors;
mod json;
mod names;
mod open_error;
mod read_models;
mod url;
mod worker;

pub use mongodb::bson;

pub use self::{
    client::Commits,
    open_error::OpenError,
    read_models::{FindRows, MongoReadModels, MongoReader, MongoTx},
    url::{InvalidUrl, MongoUrl},
};

// The example of the README is compiled, and run if it needs no server.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
