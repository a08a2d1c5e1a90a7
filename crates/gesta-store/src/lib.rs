//! The contract between Gesta and an event store: values, traits, errors, and the suite that checks
//! an implementation.
//!
//! Owns: the values ([`StreamName`], [`Position`], [`NewEvent`], …), the [`EventStore`] trait and
//! the traits of derived data ([`ReadModelStore`], [`CheckpointStore`], [`SnapshotStore`],
//! [`QueryCache`]), the [`Leases`] of nodes, [`StoreError`], an in-memory
//! [`MemoryStore`](memory::MemoryStore), and the [`conformance`](mod@conformance) suite.
//!
//! Implementing a store: implement [`EventStore`], report what it supports in [`Capabilities`],
//! call [`Append::check`] first in `append` and [`Capabilities::check`] everywhere, and run
//! [`conformance!`] in the tests of the adapter.
//!
//! Invariants of every store:
//! - An append is atomic, over one stream or several.
//! - Revisions of a stream are 0, 1, 2, … without gaps. They continue after a deletion.
//! - Positions are in commit order: after a reader has seen position *p*, no event ever appears at
//!   or before *p*.
//! - A definite failure and an unknown outcome are different [`StoreError`] variants.
//!
//! Not here: encoding and transport (the stores), retries (the callers), typed events (the `gesta`
//! crate), an async runtime.

mod append;
mod capabilities;
pub mod conformance;
mod counted_names;
mod error;
mod event;
mod event_by_event;
mod id;
mod imported;
mod inline;
mod lease;
mod lifecycle;
mod masking;
pub mod memory;
mod name;
mod ordinal;
mod percent_decoded;
mod position;
mod query;
mod query_cache;
mod read;
mod read_model;
#[cfg(feature = "regex")]
mod regex_dialect;
mod regex_filter;
pub mod staged;
mod store;
mod stored_append;
mod stream;
mod subscribe;
mod visibility;

pub use append::{Append, AppendCondition, Appended, RecordedWhen, StreamAppend};
pub use capabilities::{AppendLookup, Capabilities, Capability, CapabilitySet, Durability, Limits};
pub use counted_names::CountedNames;
pub use error::{Conflict, Damage, Invalid, Overload, StoreError};
pub use event::{ContentType, NewEvent, RecordedAt, RecordedEvent};
pub use id::{CausationId, CorrelationId, EventId};
pub use imported::{ImportedPositions, PositionRange};
pub use inline::{
    AppendTransaction, DatabaseName, InlineBatch, InlineConsumer, InlineError, InlineFuture,
};
pub use lease::{
    AcquireLease, FencingToken, Lease, LeaseError, LeaseFuture, LeaseHint, LeaseInForce, LeaseName,
    LeaseRecord, Leases, MemoryLeases, NodeName,
};
pub use masking::{without_password, without_passwords};
pub use name::{Category, EventType, InvalidName, StreamName, Tag};
pub use ordinal::{Ordinal, OrdinalEvent, OrdinalIndex, OrdinalPages, ReadOrdinals};
pub use percent_decoded::percent_decoded;
pub use position::{Checkpoint, ExpectedRevision, Head, Incarnation, Position, Revision};
pub use query::{EventQuery, Filter, QueryItem};
pub use query_cache::{
    BeginLoad, CacheFuture, CacheKey, CacheScope, CacheUnavailable, CachedAnswer, LoadTicket,
    LoadTurn, QueryCache,
};
pub use read::{Direction, Page, Pages, ReadAll, ReadFrom, ReadStream};
pub use read_model::{
    Advance, CheckpointStore, CreateReadModel, DatabaseError, DatabaseFuture, DeadLetter,
    DeadLetterReason, Fingerprint, ListRows, MemoryReadModels, MemoryReader, MemoryTx, Partition,
    ReadModel, ReadModelId, ReadModelStore, ReadModelTx, ReadRows, Row, Rows, SharedError,
    Snapshot, SnapshotStore, Stage, VisitRows, row_by_key,
};
pub use regex_filter::{RegexFilter, RegexTarget};
pub use store::{EventStore, StoreFuture};
pub use stored_append::{Scavenged, ScavengedEvent, StoredAppend};
pub use stream::{
    Acl, DeleteStream, ListCategories, ListStreams, SetStreamMetadata, StreamDescription,
    StreamMetadata, StreamState, TombstoneStream,
};
pub use subscribe::{
    Delivery, Subscribe, SubscribeFrom, SubscribeTo, SubscribeToAll, SubscribeToStream,
    Subscription,
};
pub use visibility::Visibility;

// The example of the README is compiled, and run if it needs no server.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
