//! Read models, checkpoints and snapshots in DynamoDB.
//!
//! Owns: [`DynamoReadModels`] with its transactions and readers, in the table `PREFIX.read-models`.
//! Rows have versions: a commit writes all rows under a number of its own, then moves the version
//! of the read model in one conditional write, which is the moment of the commit. So a commit has
//! no limit of items and no cost of the vendor's transactions, and a reader sees one moment.
//!
//! Invariants:
//! - A row keeps the value before its last committed change. A reader whose moment is further back
//!   gets an error, never another moment's value.
//! - A commit that was cut off is marked as aborted before the next one begins. Its rows are not
//!   seen, and a late write of it never replaces a later value.
//!
//! Not here: events (`events`). The reasons are in decision 52.

mod catalogue;
mod connection;
mod consumers;
mod head;
mod purge;
mod reader;
mod rows;
mod store;
mod turns;
mod tx;

pub use self::{reader::DynamoReader, store::DynamoReadModels, tx::DynamoTx};
