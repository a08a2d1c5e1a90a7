//! Errors of a relay, sorted by what the relay does next.

use gesta_store::{Position, StoreError};

use crate::BrokerError;

/// The error that ends a relay. Everything else, such as a broker that is away, is shown by
/// [`RelayProgress`](crate::RelayProgress) and tried again.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// Another relay of the same name has started and publishes now. Leave it running, or give this
    /// one another name.
    #[error(
        "relay {relay} was replaced: another one of this name has started (generation \
         {generation}) and publishes now; leave that one running, or give this one another name"
    )]
    Replaced {
        /// Name of the relay.
        relay: String,
        /// Number of the other relay's start.
        generation: u64,
    },
    /// The number of partitions of a topic has changed, so streams would move to other partitions
    /// and lose their order. Publish to another topic with a relay of another name, or set the
    /// number back by creating the topic anew.
    #[error(
        "topic {topic} has {found} partitions, and relay {relay} began with {known}: streams would \
         lose their order; start a relay of another name with another topic"
    )]
    PartitionsChanged {
        /// Name of the relay.
        relay: String,
        /// Name of the topic.
        topic: String,
        /// Number of partitions when the relay began.
        known: usize,
        /// Number of partitions now.
        found: usize,
    },
    /// A topic lacks records that the relay has published: the topic was deleted, or the cluster
    /// has lost acknowledged records. Start a relay of another name, which publishes all events.
    #[error(
        "partition {partition} of topic {topic} ends at offset {end}, and relay {relay} has \
         published up to {published}: records are lost; start a relay of another name with another \
         topic"
    )]
    RecordsLost {
        /// Name of the relay.
        relay: String,
        /// Name of the topic.
        topic: String,
        /// Number of the partition.
        partition: usize,
        /// Offset after its last record.
        end: i64,
        /// Offset up to which the relay has published.
        published: i64,
    },
    /// The store lacks events that the relay has published: an older copy of the store, or another
    /// store. Start a relay of another name.
    #[error(
        "relay {relay} has published up to position {position}, which this store does not have: \
         {error}; if this is another store, or an older copy, give its relay another name"
    )]
    AheadOfStore {
        /// Name of the relay.
        relay: String,
        /// Position of the checkpoint.
        position: Position,
        /// The store's refusal.
        #[source]
        error: StoreError,
    },
    /// The store refuses to be read. Correct the cause that it names.
    #[error("relay {relay} cannot read the store: {error}")]
    Store {
        /// Name of the relay.
        relay: String,
        /// The error of the store.
        #[source]
        error: StoreError,
    },
}

/// The end of a session of a relay.
#[derive(Debug)]
pub(crate) enum SessionEnd {
    /// The caller has asked for it.
    Stopped,
    /// The relay begins a new session after a pause.
    Again(SessionTrouble),
    Final(RelayError),
}

/// A failure that may pass.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionTrouble {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("cannot read the store: {0}")]
    Store(StoreError),
    #[error("the task that publishes failed: {0}")]
    Task(String),
}

impl SessionTrouble {
    /// Returns `true` if another client with the same transactional id may have taken over.
    pub(crate) fn is_fenced(&self) -> bool {
        matches!(self, Self::Broker(error) if error.is_fenced())
    }
}

impl From<SessionTrouble> for SessionEnd {
    fn from(trouble: SessionTrouble) -> Self {
        Self::Again(trouble)
    }
}

impl From<BrokerError> for SessionEnd {
    fn from(error: BrokerError) -> Self {
        Self::Again(error.into())
    }
}

impl From<RelayError> for SessionEnd {
    fn from(error: RelayError) -> Self {
        Self::Final(error)
    }
}
