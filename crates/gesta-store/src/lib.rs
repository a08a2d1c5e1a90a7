//! The store contract: what every event store promises, and nothing about how.
//!
//! Owns: the values ([`StreamName`], [`Position`], [`NewEvent`], …), the [`EventStore`] trait,
//! [`StoreError`], a [`MemoryStore`](memory::MemoryStore), and the [`conformance`](mod@conformance) suite that
//! decides whether something is a store.
//!
//! Invariants, for every store behind the trait:
//! - an append is all or nothing, over one stream or over many;
//! - revisions in a stream are 0, 1, 2, … without gaps, and never restart;
//! - positions are in commit order: once a reader has seen position *p*, no event will ever
//!   appear at or before *p*;
//! - a definite failure and an unknown outcome are never the same [`StoreError`] variant.
//!
//! Not here: encoding, transport, retries, an async runtime, typed events. Stores own the first
//! two, callers the rest; typed events are the framework's (`gesta`).

mod append;
mod capabilities;
pub mod conformance;
mod error;
mod event;
mod id;
mod imported;
mod lifecycle;
pub mod memory;
mod name;
mod place;
mod query;
mod read;
mod read_model;
mod store;
mod stream;
mod subscribe;
mod visibility;

pub use append::{Append, AppendCondition, Appended, StreamAppend};
pub use capabilities::{Capabilities, FindAppend, Limits, Survives};
pub use error::{Conflict, Damage, Invalid, Overload, StoreError};
pub use event::{ContentType, NewEvent, RecordedAt, RecordedEvent};
pub use id::{CausationId, CorrelationId, EventId};
pub use imported::{ImportedPositions, PositionRange};
pub use name::{Category, EventType, InvalidName, StreamName, Tag};
pub use place::{Checkpoint, ExpectedRevision, Head, Incarnation, Position, Revision};
pub use query::{EventQuery, Filter, QueryItem};
pub use read::{Direction, Page, Pages, ReadAll, ReadFrom, ReadStream};
pub use read_model::{
    Advance, Cause, CheckpointStore, CreateReadModel, DatabaseAnswer, DatabaseError, DeadLetter,
    Fingerprint, ListRows, MemoryReadModels, MemoryReader, MemoryTx, ReadModel, ReadModelId,
    ReadModelStore, ReadModelTx, ReadRows, Row, Rows, SetAside, Snapshot, SnapshotStore, Stage,
};
pub use store::{Answer, EventStore};
pub use stream::{
    Acl, DeleteStream, ListCategories, ListStreams, SetStreamMetadata, StreamDescription,
    StreamMetadata, StreamState, TombstoneStream,
};
pub use subscribe::{Delivery, Subscribe, SubscribeTo, Subscription};
pub use visibility::Visibility;
