//! Read models, checkpoints and snapshots in SQLite files, beside the events or anywhere else.
//!
//! Owns: one directory. In it a catalogue says which read models there are and which of them
//! answers; each read model is a file of its own with its rows, its checkpoint and its dead
//! letters; snapshots and the checkpoints of other consumers share one more file.
//!
//! Always holds:
//! - a read model's rows, checkpoint and dead letters change in one SQLite transaction;
//! - read models never wait for each other, because SQLite's one writer is one for each file;
//! - a rebuild fills a new file beside the old, the switch is one row of the catalogue, and the
//!   old file goes when its last reader has gone;
//! - queries never wait for a transaction (write-ahead logging).
//!
//! Not here: what fills a read model. Blocking: statements run on the thread that polls, without
//! a sync on the way but for the occasional write-back of the write-ahead log; see [`Sqlite`].

mod catalogue;
mod connection;
mod error;
mod letters;
mod mark;
mod properties;
mod read_model_file;
mod reader;
mod rows;
mod side;
mod store;
mod tx;

pub use reader::Reader;
pub use rusqlite;
pub use rusqlite::params;
pub use store::Sqlite;
pub use tx::Tx;
