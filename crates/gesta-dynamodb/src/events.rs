//! The event store in DynamoDB: a chain of batches, and an index of it.
//!
//! Owns: [`DynamoStore`], in the table `PREFIX.events`. The log's item at a position has the events
//! of a group of appends from there on. Entries of streams, ids and names are made from it.
//!
//! Invariants:
//! - An item of the log is put on the condition that its key is free, and the next key is known
//!   only from the item before. So positions are dense and in commit order.
//! - The mark rises over a batch after all entries of the batch were written. No read shows
//!   anything after the mark.
//! - Entries never change. Writing them again is harmless, and anyone may do it.
//!
//! Not here: read models (`read_models`). The reasons are in decision 52.

mod append;
mod codec;
mod described;
mod layout;
mod leases;
mod lookups;
mod parts;
mod read;
mod scan;
mod shared;
mod store;
mod subscribe;
mod times;

pub use self::store::DynamoStore;
