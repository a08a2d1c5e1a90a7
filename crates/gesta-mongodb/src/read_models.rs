//! Read models, checkpoints and snapshots in MongoDB.
//!
//! Owns: [`MongoReadModels`] with its transactions and readers. A read model has a *head*, the
//! document with its version and its checkpoint, and a collection for each table. A row is a
//! document with the version that has written it and the value before it.
//!
//! A commit without transactions of the server takes four steps, of which each is one write on a
//! condition or can be repeated:
//!
//! 1. stage and decide: one conditional update of the head stores all changes, the new checkpoint
//!    and the next version in it. Changes that are too large are put into documents of their own
//!    first. From here on the commit happens, whoever completes it;
//! 2. apply: each row gets its new value if its version is lower;
//! 3. advance: one conditional update of the head moves its version and its checkpoint, which is
//!    the moment of the commit, and removes the changes;
//! 4. parts of large batches are removed.
//!
//! A process that dies before the first step has done nothing. One that dies after it leaves a
//! decided batch, which the next transaction completes before it begins; readers stay at the
//! version before until then.
//!
//! The head and the rows change in one transaction if the server has transactions. Readers are the
//! same: they read the version once, and take the value before from rows that are newer.
//!
//! Invariants:
//! - A row is written on the condition that it has the version that was read, so a late write of a
//!   batch that others have completed changes nothing.
//! - The rows of a version are written before the head has it.
//! - A row keeps the value before its last change. A reader whose version is further back gets an
//!   error, never another moment's value.
//! - A collection that another program has dropped is damage, and never taken for one without rows
//!   (`marks.rs`).
//!
//! Not here: events. The reasons are in decision 61.

mod apply;
mod batch;
mod catalogue;
mod commit;
mod connection;
mod consumers;
mod fields;
mod head;
mod lookup;
mod marks;
mod purge;
mod reader;
mod rows;
mod store;
mod turns;
mod tx;

pub use self::{
    reader::{FindRows, MongoReader},
    store::MongoReadModels,
    tx::MongoTx,
};
