//! Events of a Gesta store in Kafka topics, and records of topics as commands and events.
//!
//! Owns:
//! - [`Relay`]: publishes the events of any [`EventStore`](gesta_store::EventStore), in order for
//!   each stream, at least once or exactly once;
//! - [`KafkaFeed`]: what a relay has published, in the order of positions, for projections;
//! - [`Source`]: gives the records of topics to a handler, as a member of a consumer group.
//!
//! Invariants:
//! - Nothing is passed before it is safe: a relay's checkpoint follows the brokers'
//!   acknowledgement, a source's offset follows the handler.
//! - An error names the brokers, and says what was tried. Brokers that are away are waited for, and
//!   work continues without a restart.
//! - Blocking calls of the client library have threads of their own.
//!
//! Kafka is no event store: a topic cannot refuse a record because another one came first, so there
//! is no expected revision. Connections are encrypted with the feature `tls`. Not here: typed
//! events and commands, which belong to the `gesta` crate.

mod checkpoint;
mod cluster;
mod envelope;
mod feed;
mod invalid_url;
mod partition;
mod relay;
mod security;
mod source;
mod topics;
mod url;

pub use cluster::BrokerError;
pub use envelope::{UnreadableRecord, headers, recorded_event};
pub use feed::KafkaFeed;
pub use invalid_url::InvalidUrl;
pub use partition::partition_of;
pub use rdkafka;
pub use relay::{
    Relay, RelayError, RelayGuarantee, RelayOptions, RelayProgress, RelayState, RelayStatus,
    RelayTopics,
};
pub use source::{
    AppendRecords, DeadLetterNote, HandleError, HandleRecord, RecordEvents, RecordPlace, Source,
    SourceBegin, SourceOptions, SourceProgress, SourceRecord, SourceStatus,
};
pub use url::KafkaUrl;

// The example of the README is compiled, and run if it needs no server.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
