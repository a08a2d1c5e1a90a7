//! Operations that operators request from a running reactor.

use gesta_store::EventId;
use tokio::sync::oneshot;

use super::ReactorError;
use crate::audit::Operator;

pub(super) type ReactorReply = oneshot::Sender<Result<(), ReactorError>>;

/// An operation requested from a running reactor, with the channel for its result.
#[derive(Debug)]
pub(super) struct ReactorControlMessage {
    pub(super) operation: ReactorOperation,
    pub(super) done: ReactorReply,
}

#[derive(Clone, Debug)]
pub(crate) enum ReactorOperation {
    /// Finishes the attempts in progress and starts no more.
    Pause {
        by: Operator,
    },
    /// Resumes after a pause or halt.
    Resume {
        by: Operator,
    },
    Retry {
        event: EventId,
        by: Operator,
    },
    Discard {
        event: EventId,
        by: Operator,
    },
}
