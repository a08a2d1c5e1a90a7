//! Event sourcing for Rust: commands, aggregates, events and read models over any event store.
//!
//! An application defines
//! - events ([`Event`]), grouped into sets ([`EventSet`]);
//! - aggregates ([`Aggregate`]), whose state is folded from events;
//! - commands ([`Command`]), which decide on aggregates ([`Decide`]);
//! - projections ([`Projection`], [`Apply`]) into read models, and queries on them ([`Query`],
//!   [`Answer`]);
//! - process managers ([`ProcessManager`]), which react to events and timers with commands;
//! - reactors ([`Reactor`]), which react to events with side effects.
//!
//! [`Gesta`] opens an event store and runs them.
//!
//! ```
//! use gesta::prelude::*;
//!
//! #[derive(Event, Serialize, Deserialize, Clone)]
//! #[event(name = "door-opened")]
//! struct DoorOpened;
//!
//! #[derive(EventSet, Clone)]
//! enum DoorEvent {
//!     Opened(DoorOpened),
//! }
//!
//! #[derive(Default)]
//! struct Door {
//!     open: bool,
//! }
//!
//! impl Aggregate for Door {
//!     const CATEGORY: &'static str = "door";
//!     type Id = u32;
//!     type Event = DoorEvent;
//!
//!     fn evolve(&mut self, event: &DoorEvent) {
//!         match event {
//!             DoorEvent::Opened(_) => self.open = true,
//!         }
//!     }
//! }
//!
//! #[derive(Command, Serialize, Deserialize)]
//! #[command(name = "open-door", on = Door, either)]
//! struct OpenDoor {
//!     #[command(id)]
//!     door: u32,
//! }
//!
//! #[derive(Debug, PartialEq, thiserror::Error, Rejection)]
//! #[error("the door is open already")]
//! #[rejection(code = "already-open")]
//! struct AlreadyOpen;
//!
//! impl Decide for OpenDoor {
//!     type Rejection = AlreadyOpen;
//!
//!     fn decide(&self, door: &Door) -> Decision<Self> {
//!         if door.open { Err(AlreadyOpen) } else { Ok(DoorOpened.into()) }
//!     }
//! }
//!
//! # gesta::store::conformance::block_on(async {
//! let gesta = Gesta::at("memory:").open().await?;
//! gesta.execute(OpenDoor { door: 7 }).await?;
//! assert!(gesta.execute(OpenDoor { door: 7 }).await.is_err(), "it is open already");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).expect("the door opens once");
//! ```
//!
//! # Features
//! - `cache`: a cache of answers to queries in this process, `MemoryQueryCache`.
//! - `calendar` (default): timers by dates, months and working days, in the module `calendar`.
//! - `embedded-store` (default): the embedded event store behind `gesta:DIRECTORY`.
//! - `sqlite` (default): read models and snapshots in SQLite files, in the module `sqlite`.
//! - `dynamodb`: the event store behind `dynamodb://…`, and read models and snapshots in DynamoDB,
//!   in the module `dynamodb`.
//! - `kafka`: relays of events to Kafka, projections on topics, and sources of commands, in the
//!   module `kafka`.
//! - `kurrentdb`: the event store behind `kurrentdb://…`, a server of KurrentDB's protocol.
//! - `mongodb`: document read models and snapshots in MongoDB, in the module `mongodb`.
//! - `redis`: a cache of answers to queries that nodes share, and snapshots, in the module `redis`.
//! - `postgres`: the event store behind `postgres://…`, and read models and snapshots in
//!   PostgreSQL, in the module `postgres`.
//! - `schemas`: comparison of appended events with their JSON schemas,
//!   [`Builder::validate_events`].
//! - `search`: full-text search by Tantivy, OpenSearch or Elasticsearch, in the module `search`.
//!
//! Without them the framework has the memory store, and no C code but that of `blake3`.
//!
//! # Scope
//! Owns: the derives and traits that applications are written with, the pipeline that executes
//! their commands, and the test kit. Invariants:
//! - no async, I/O, clock, randomness or database in domain code;
//! - a decision takes effect only if nothing that it depended on has changed;
//! - a command sent twice takes effect once;
//! - a rejection, a conflict and an unknown outcome are distinct.
//!
//! The modules are layers: values, events, domain traits, reads, the pipeline, projections, process
//! managers, reactors, the application, the test kit. A module uses only layers before its own.
//!
//! Not here: event stores (see [`store`]), HTTP, a wire format of commands.

// The derives use paths in `gesta`, even in this crate's own tests.
extern crate self as gesta;

// Values and tools, which know no events and no store.
mod backoff;
#[cfg(feature = "calendar")]
pub mod calendar;
mod clock;
mod command_id;
mod error_line;
mod json;
mod log_hint;
mod panics;
mod receipt;
mod rejection;
mod tenant_id;
mod type_shape;

// Events, and data that is stored with them.
#[doc(hidden)]
#[path = "derive.rs"]
pub mod __derive;
pub mod audit;
mod digest;
mod event;
mod metadata;
mod payload;
mod recorded;
mod spans;
mod tenancy;

// Traits of domain code.
mod domain;
mod event_names;

// Positions of those who follow the store.
mod following;

// Tasks of several nodes.
mod leased_task;
mod nodes;
mod role;

// Answers to queries, kept for the next caller.
mod cache;

// From events to state.
mod error;
mod loaded;
mod read;
mod snapshot;

// Counters of commands.
mod metrics;

// From commands to events, from events to read models, from events to commands.
mod internal;
mod open;
mod pipeline;
mod process;
mod projection;
mod reactor;

// The application, which puts these together, and the test kit.
mod application;
pub mod testing;

pub use application::{
    Answer, Ask, AskError, Builder, CommandMetrics, Component, ComponentLag, ComponentMetrics,
    DeadLetterId, Execute, Gesta, Health, HealthCause, Load, Metrics, ParseDeadLetterIdError,
    PartStatus, Positioned, ProcessMetrics, Query, QueryError, ReactorStatus, RunningMetrics,
    Severity, StoreMetrics, WAIT_MAX, Wait, WaitError,
};
#[cfg(feature = "cache")]
pub use cache::MemoryQueryCache;
pub use cache::{Caching, QueryCacheCounts, RowGroups};
pub use clock::{Clock, Rng, Sleep, SystemClock, SystemRng};
pub use command_id::{CommandId, CommandIdScope};
pub use digest::PayloadDigest;
pub use domain::{
    Aggregate, Boundary, BoundaryRead, Command, Decide, Decision, Existence, InvalidField, Reads,
    Ref, Selection, State, stream_of,
};
pub use error::{CommandError, ExecuteError, LoadError, Unauthorized};
pub use event::{
    CodecError, DecodeError, DuplicateEventName, EncodeError, EncodedEvent, Event, EventCodec,
    EventData, EventSet, EventShape, EventTypes, EventVersion, Events, HasEvent, PersonalField,
    ReadError, Registry, TagKey, UndecodableEvent,
};
pub use following::Begin;
#[cfg(feature = "dynamodb")]
pub use gesta_dynamodb as dynamodb;
#[cfg(feature = "kafka")]
pub use gesta_kafka as kafka;
pub use gesta_macros::{Command, Event, EventSet, Query, Rejection};
#[cfg(feature = "mongodb")]
pub use gesta_mongodb as mongodb;
#[cfg(feature = "postgres")]
pub use gesta_postgres as postgres;
#[cfg(feature = "redis")]
pub use gesta_redis as redis;
#[cfg(feature = "search")]
pub use gesta_search as search;
#[cfg(feature = "sqlite")]
pub use gesta_sqlite as sqlite;
pub use gesta_store as store;
pub use gesta_store::{
    CausationId, CorrelationId, EventId, EventType, InvalidName, Position, RecordedAt,
    RecordedWhen, Revision, StreamName, Tag,
};
pub use internal::is_internal;
pub use json::JsonFault;
pub use leased_task::LeasedTask;
pub use loaded::Loaded;
pub use metadata::{CustomMetadata, EventMetadata, InvalidMetadata, RecordedMetadata};
pub use metrics::{KEYS_MAX, Keyed, LATENCY_BOUNDS, Latencies, LatencyHistogram, OTHER_KEYS};
pub use nodes::{Nodes, RunsElsewhere};
pub use open::{OpenError, directory_of, open, url_without_password};
pub use payload::CommandPayload;
pub use pipeline::{
    Authorize, CommandContext, CommandIdFrom, CommandRequest, Pipeline, RetryPolicy,
};
pub use process::{
    AfterEnd, CommandSet, DueTimer, EffectId, Effects, Includes, Input, InstanceCommand,
    InstanceCounts, InstanceDetails, InstancePage, InstanceQuery, InstanceState, InstanceSummary,
    InstanceTimer, NotUnderstood, NotUnderstoodInstance, OutstandingCommand, ParseEffectIdError,
    ParseInstanceStateError, ParseSubjectError, ProcessError, ProcessManager, ProcessNotRegistered,
    ProcessSetup, ProcessState, ProcessStatus, RefusalKind, RefusedCommand, RejectedCommand,
    Routing, SetAside, SetAsideInput, Subject, TimerVersions, UnreadableCommand, UnreadableTimer,
    WaitingInput, stored_processes,
};
pub use projection::{
    Apply, ApplyError, Comparison, FailurePolicy, InvalidProjectionName, Lag, OldRows, OnRead,
    OnReadRow, OperationError, PARTITIONS_MAX, PROJECTION_NAME_BYTES_MAX, PartitionStatus,
    PendingSwitch, Projection, ProjectionState, ProjectionStatus, ReadOnDemandError, ReadTypedRows,
    RebuildProgress, Rehearsal, TableComparison, TypedRows, check_projection_name,
};
pub use reactor::{
    EffectContext, EffectDeadLetter, EffectError, EffectKey, Reactor, ReactorError, ReactorSetup,
    ReactorState,
};
pub use read::{AsOf, TruncatedHistory};
pub use receipt::Receipt;
pub use recorded::Recorded;
pub use rejection::{AnyRejection, Rejection};
pub use role::{OtherRole, ParseRoleError, Role};
pub use snapshot::SnapshotPolicy;
pub use spans::SPAN_TARGET;
pub use tenancy::TenantError;
pub use tenant_id::{ParseTenantIdError, TenantId};
pub use type_shape::TypeShape;

/// The imports that most files of an application need: `use gesta::prelude::*;`.
///
/// It fits together with the usual imports of axum, clap and the standard library: of `Event`,
/// `Command` and `Query` it has the derives, and the traits without their names.
pub mod prelude {
    pub use gesta_macros::{Command, Event, Query};
    pub use serde::{Deserialize, Serialize};

    pub use crate::{
        Aggregate, Answer, Apply, ApplyError, Command as _, CommandId, Decide, Decision, Effects,
        EncodedEvent, Event as _, EventId, EventSet, EventShape, EventType, Events, Existence,
        Gesta, Input, InvalidField, Position, ProcessManager, Projection, Query as _, QueryError,
        ReadTypedRows, Reads, Recorded, RecordedAt, Rejection, Revision, Routing, Selection,
        StreamName, Tag, TagKey, TypedRows,
    };
}

// The example of the README is compiled, and run if it needs no server.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
