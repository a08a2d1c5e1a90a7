//! Commands of calls to a running group, and its answers.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tonic::Status;
use uuid::Uuid;

use super::super::machine::{ConsumerId, GroupFigures, NackAction};
use crate::streams::Found;

/// A request to the task of a group.
pub(in crate::groups) enum GroupCommand {
    Connect {
        slots: usize,
        peer: ConsumerPeer,
        answer: oneshot::Sender<Result<ConnectedConsumer, Status>>,
    },
    Answer {
        consumer: ConsumerId,
        answer: ConsumerAnswer,
    },
    /// The consumer has left, or broken the protocol.
    Disconnect {
        consumer: ConsumerId,
        broken: Option<Status>,
    },
    Describe {
        answer: oneshot::Sender<GroupReport>,
    },
    /// Deliver parked events again, up to a revision of their stream.
    Replay {
        stop_at: Option<u64>,
        answer: oneshot::Sender<Result<(), Status>>,
    },
    End {
        reason: EndReason,
        done: oneshot::Sender<()>,
    },
}

/// A consumer's answer to events, which are named by their ids.
pub(in crate::groups) enum ConsumerAnswer {
    Ack(Vec<Uuid>),
    Nack { ids: Vec<Uuid>, action: NackAction, reason: String },
}

/// The client behind a consumer.
#[derive(Clone, Debug)]
pub(in crate::groups) struct ConsumerPeer {
    /// The name that it gave itself.
    pub(in crate::groups) name: String,
    pub(in crate::groups) address: String,
    /// The login of its user, or `anonymous`.
    pub(in crate::groups) login: String,
}

/// The deliveries to a consumer.
#[derive(Debug)]
pub(in crate::groups) struct ConnectedConsumer {
    pub(in crate::groups) consumer: ConsumerId,
    pub(in crate::groups) deliveries: mpsc::Receiver<GroupDelivery>,
    /// The reason for which the server ends the connection.
    pub(in crate::groups) ended: oneshot::Receiver<Status>,
}

/// An event for a consumer.
#[derive(Debug)]
pub(in crate::groups) struct GroupDelivery {
    pub(in crate::groups) found: Arc<Found>,
    pub(in crate::groups) retries: u32,
}

/// A group and its consumers at one moment.
#[derive(Debug)]
pub(in crate::groups) struct GroupReport {
    pub(in crate::groups) figures: GroupFigures,
    /// Consumers in the order of the figures.
    pub(in crate::groups) peers: Vec<ConsumerPeer>,
    /// The error that keeps the group from reading its source.
    pub(in crate::groups) failure: Option<String>,
}

/// The reason for which a group ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::groups) enum EndReason {
    /// The group no longer exists.
    Deleted,
    /// The group continues with other settings, or is started again.
    Restarted,
    /// The server stops.
    Stopped,
    /// Another server runs the groups now.
    Moved,
}
