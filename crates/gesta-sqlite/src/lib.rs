//! Read models, checkpoints, snapshots and leases in SQLite files of one directory.
//!
//! Owns: that directory. `catalogue.db` lists the read models and marks the live one of each
//! projection. Each read model has a file of its own with its rows, checkpoint and dead letters.
//! `snapshots.db` holds snapshots and the checkpoints of consumers without rows, `leases.db` the
//! leases of the processes of this machine.
//!
//! Invariants:
//! - A read model's rows, checkpoint and dead letters change in one SQLite transaction.
//! - Read models never block each other: SQLite allows one writer per file.
//! - A rebuild fills a new file, and the switch-over is one catalogue transaction. The old file is
//!   removed after its last reader is dropped.
//! - Queries never wait for a write transaction (write-ahead logging).
//!
//! - Statements run on threads of the store; no future and no destructor waits for one.
//!
//! Not here: the projections that fill read models. Statements sync only when a commit checkpoints
//! the write-ahead log. See [`Sqlite`].

mod catalogue;
mod checkpoint;
mod connection;
mod dead_letters;
mod directory;
mod error;
mod file_identity;
mod lease_file;
mod machine_clock;
mod properties;
mod query;
mod read_model_file;
mod reader;
mod rows;
mod snapshot_file;
mod store;
mod threads;
mod tx;
mod walk;

pub use reader::Reader;
pub use rusqlite;
pub use rusqlite::params;
pub use store::Sqlite;
pub use tx::Tx;

// The example of the README is compiled, and run if it needs no server.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
