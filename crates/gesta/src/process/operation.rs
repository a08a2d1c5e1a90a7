//! Operations that operators request from a running manager.

use tokio::sync::oneshot;

use super::{EffectId, ProcessError, Subject};
use crate::audit::Operator;

pub(crate) type Reply = oneshot::Sender<Result<(), ProcessError>>;

/// An operation requested from a running manager, with the channel for its result.
#[derive(Debug)]
pub(crate) struct ProcessControlMessage {
    pub(crate) operation: ProcessOperation,
    pub(crate) done: Reply,
}

#[derive(Clone, Debug)]
pub(crate) enum ProcessOperation {
    /// Finishes the work in progress and starts nothing more.
    Pause {
        by: Operator,
    },
    /// Resumes after a pause or halt.
    Resume {
        by: Operator,
    },
    Retry {
        subject: Subject,
        by: Operator,
    },
    Skip {
        subject: Subject,
        number: u64,
        by: Operator,
    },
    Cancel {
        id: String,
        by: Operator,
    },
    Fire {
        id: String,
        timer: EffectId,
        by: Operator,
    },
    Resend {
        id: String,
        command: EffectId,
        by: Operator,
    },
}
