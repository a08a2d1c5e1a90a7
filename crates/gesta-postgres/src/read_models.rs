//! Read models, checkpoints of consumers and snapshots in PostgreSQL.
//!
//! Owns: [`PostgresReadModels`]. The catalogue, a schema, lists the read models, and has their
//! checkpoints, dead letters and properties, the checkpoints of consumers, and snapshots. Each read
//! model has a schema of its own for its rows.
//!
//! Invariants:
//! - Rows, checkpoint and dead letters of a read model change in one transaction of the database.
//! - A transaction locks the table `gesta_build` of its read model against other transactions, also
//!   of other processes. A reader locks it against removal only. The end of the connection ends
//!   the lock.
//! - A rebuild fills a new schema, and the switch-over is one transaction of the catalogue. A
//!   dropped schema is removed when nothing has it locked.
//! - Connections are driven by the thread of the store. Futures need no runtime, and wait for
//!   nothing on the thread that polls them.
//! - Every wait has a time limit.
//!
//! Not here: the projections that fill read models.

mod builds;
mod catalogue;
mod consumers;
mod copy;
mod core;
mod dead_letters;
mod errors;
mod opening;
mod partitions;
mod reader;
mod removal;
mod replica;
mod rows;
mod session;
mod store;
mod tables;
mod tx;
mod views;
mod walk;

pub(crate) use self::builds::SchemaNames;
pub use self::{
    copy::CopyRows,
    reader::Reader,
    session::Parameter,
    store::PostgresReadModels,
    tx::Tx,
    views::{Refresh, View},
};
