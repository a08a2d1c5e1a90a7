//! A Gesta event store, and read models, in PostgreSQL, version 15 or later.
//!
//! Owns: [`PostgresStore`], the whole contract of [`gesta_store`] over the tables of one schema.
//! Several stores share a database, each in a schema of its own, and any number of processes share
//! a store, and the [`Leases`](gesta_store::Leases) in its schema. [`PostgresReadModels`] keeps
//! rows, checkpoints and snapshots in schemas next to it.
//!
//! Invariants:
//! - Positions have no gaps and become visible in their order: one batch of appends at a time
//!   assigns them, and the next one begins after the commit.
//! - An append is acknowledged after its commit.
//! - An append is retried after a lost connection, because its event ids make a repeat
//!   recognizable. [`StoreError::Unavailable`](gesta_store::StoreError::Unavailable) is returned
//!   only if the server stays away.
//! - All work of a store runs on one thread of its own. Futures, pages and subscriptions need no
//!   runtime and wait for nothing on the thread that polls them.
//! - A notification of the server is a hint. What is delivered was read.
//!
//! Not here: projections and typed events, which belong to the `gesta` crate.

mod append;
mod append_transaction;
mod archive;
mod connection;
mod errors;
mod head;
mod incarnation;
mod leases;
mod number;
mod passwords;
mod read;
mod read_models;
mod replica;
mod schema;
mod schema_name;
mod shared;
mod store;
mod subscribe;
mod tail;
mod transfer;
mod url;
mod worker;

pub use archive::{
    AppendPart, KeptPayloads, PartialAppend, PostgresArchive,
    error::ArchiveError,
    partition::{ArchiveFile, Partition, PartitionPlace},
    payloads::PayloadRestore,
};
pub use errors::{OpenError, remedy};
pub use read_models::{CopyRows, Parameter, PostgresReadModels, Reader, Refresh, Tx, View};
pub use schema_name::InvalidSchemaName;
pub use store::{OpenMode, PostgresStore};
pub use tokio_postgres;
pub use transfer::{
    error::ImportError,
    export::PostgresExport,
    import::{ImportReport, PostgresImport},
};
pub use url::{InvalidUrl, PostgresUrl};

// The example of the README is compiled, and run if it needs no server.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
