//! Sending one command of a process, and judging how it went.
//!
//! Always holds: a command is told to be settled only after it was executed; what leaves that open
//! leads to the same command again, under the same id.

use std::sync::Arc;

use gesta_store::{Append, CausationId, EventStore, ExpectedRevision, StoreError, StreamName};
use tower::ServiceExt as _;

use super::{
    CommandSet, ProcessManager, category_text,
    history::{EffectId, Outcome, Refusal},
    instance::{Trouble, settled},
    outstanding::PendingCommand,
};
use crate::{
    CommandContext, CommandError, CommandIdFrom, Pipeline, Rejection as _, projection::in_one_line,
};

/// How sending a command went.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) stream: StreamName,
    pub(super) command: EffectId,
    pub(super) verdict: Verdict,
}

#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// Executed, and the process's stream says so.
    Settled,
    /// It will never be executed.
    Refused(Refusal),
    /// To be sent again.
    Again { reason: String },
}

pub(super) async fn send<P: ProcessManager>(
    store: Arc<dyn EventStore>,
    pipeline: Pipeline,
    stream: StreamName,
    id: EffectId,
    command: PendingCommand,
) -> Sent {
    let verdict = match execute::<P>(pipeline, &stream, id, command).await {
        Verdict::Settled => settle::<P>(store.as_ref(), &stream, id).await,
        verdict => verdict,
    };
    Sent { stream, command: id, verdict }
}

async fn execute<P: ProcessManager>(
    pipeline: Pipeline,
    stream: &StreamName,
    id: EffectId,
    command: PendingCommand,
) -> Verdict {
    let PendingCommand { name, payload, from } = command;
    let cause = CausationId::new(from.event.to_string()).expect("a UUID's text is a causation id");
    let context = CommandContext {
        actor: Some(category_text::<P>()),
        correlation_id: from.correlation_id,
        causation_id: Some(cause),
        ..CommandContext::new(id.command_id(stream), CommandIdFrom::Caller)
    };
    let request = match P::Commands::request(context, &name, payload.text()) {
        Ok(request) => request,
        Err(unreadable) => return Verdict::Again { reason: in_one_line(&unreadable) },
    };
    match pipeline.oneshot(request).await {
        Ok(_) => Verdict::Settled,
        Err(error) => judge(CommandError::from_pipeline(error)),
    }
}

fn judge(error: CommandError) -> Verdict {
    let again = |error: &CommandError| Verdict::Again { reason: in_one_line(error) };
    let refused = |code: &str, error: &CommandError| {
        let (code, reason) = (code.to_owned(), error.to_string());
        Verdict::Refused(Refusal { code, reason })
    };
    match &error {
        CommandError::Rejected(rejection) => {
            let (code, reason) = (rejection.code().to_owned(), rejection.to_string());
            Verdict::Refused(Refusal { code, reason })
        }
        // Nobody else has this id: it is this command, as an earlier program wrote its payload.
        CommandError::CommandIdReused { .. } => Verdict::Settled,
        CommandError::Invalid(_)
        | CommandError::Unauthorized(_)
        | CommandError::NotFound { .. }
        | CommandError::AlreadyExists { .. }
        | CommandError::RevisionMismatch { .. }
        | CommandError::Unencodable(_) => refused(error.kind(), &error),
        CommandError::Conflict(_)
        | CommandError::Overloaded { .. }
        | CommandError::Unavailable { .. }
        | CommandError::Undecodable(_) => again(&error),
        CommandError::Store(store) if is_for_good(store) => refused(error.kind(), &error),
        CommandError::Store(_) => again(&error),
    }
}

/// Whether the store will say the same for ever.
fn is_for_good(error: &StoreError) -> bool {
    match error {
        StoreError::Rejected(_) | StoreError::Unsupported { .. } | StoreError::Deleted { .. } => {
            true
        }
        StoreError::Conflict(_)
        | StoreError::Overloaded(_)
        | StoreError::Unavailable { .. }
        | StoreError::Stopped { .. }
        | StoreError::Corrupt(_) => false,
    }
}

/// Whatever the stream's revision is: this is no decision, and saying it twice changes nothing.
async fn settle<P: ProcessManager>(
    store: &dyn EventStore,
    stream: &StreamName,
    id: EffectId,
) -> Verdict {
    let cause = id.command_id(stream).causes();
    let appended = async {
        let event = settled::<P>(stream, id, Outcome::Executed, Some(cause))?;
        store.append(Append::to(stream.clone(), ExpectedRevision::Any, [event])).await?;
        Ok::<_, Trouble>(())
    };
    match appended.await {
        Ok(()) => Verdict::Settled,
        Err(trouble) => Verdict::Again { reason: in_one_line(&trouble) },
    }
}
