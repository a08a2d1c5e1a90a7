//! Sending one command of a process, and judging how it went.
//!
//! Always holds: a command is told to be settled only after it was executed; what leaves that open
//! leads to the same command again, under the same id. A panic on the way is the command's trouble.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
};

use gesta_store::{Append, CausationId, ExpectedRevision, StoreError, StreamName};
use tower::ServiceExt as _;

use super::{
    CommandSet, NotUnderstood, ProcessManager,
    history::{EffectId, Outcome, Refusal},
    instance::{guarded, said, settled},
    outstanding::PendingCommand,
    runner::Parts,
    trouble::Trouble,
};
use crate::{CommandContext, CommandError, CommandIdFrom, Rejection as _, projection::in_one_line};

/// How sending a command went.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) stream: StreamName,
    pub(super) command: EffectId,
    pub(super) verdict: Verdict,
}

#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// Executed, or to be left, and the process's stream says so.
    Settled,
    /// It will never be executed.
    Refused(Refusal),
    /// To be sent again.
    Again { reason: String },
    /// It cannot be sent. The process is set aside.
    Faulty { error: String },
}

pub(super) async fn send<P: ProcessManager>(
    parts: Arc<Parts<P>>,
    stream: StreamName,
    id: EffectId,
    command: PendingCommand,
) -> Sent {
    let verdict = match execute(&parts, &stream, id, command).await {
        Ok(verdict) => verdict,
        Err(trouble) if trouble.is_of_the_instance() => {
            Verdict::Faulty { error: in_one_line(&trouble) }
        }
        Err(trouble) => Verdict::Again { reason: in_one_line(&trouble) },
    };
    Sent { stream, command: id, verdict }
}

async fn execute<P: ProcessManager>(
    parts: &Parts<P>,
    stream: &StreamName,
    id: EffectId,
    command: PendingCommand,
) -> Result<Verdict, Trouble> {
    let PendingCommand { name, payload, from, .. } = command;
    let context = CommandContext {
        actor: Some(parts.identity.actor()),
        correlation_id: from.correlation_id,
        causation_id: Some(CausationId::new(from.event.to_string())?),
        ..CommandContext::new(id.command_id(stream), CommandIdFrom::Caller)
    };
    let request = guarded::<P, _>(|| P::Commands::request(context, &name, payload.text()))?;
    let request = match request {
        Ok(request) => request,
        Err(unreadable) if P::NOT_UNDERSTOOD == NotUnderstood::Ignore => {
            tracing::debug!(process = P::NAME, %stream, command = %id, %unreadable, "not sent");
            return settle(parts, stream, id, Outcome::Skipped).await;
        }
        Err(source) => {
            let stream = stream.clone();
            return Err(Trouble::UnreadableCommand { stream, command: id, source });
        }
    };
    let answered = caught(parts.pipeline.clone().oneshot(request)).await;
    match answered.map_err(|message| Trouble::Sending { name, message })? {
        Ok(_) => settle(parts, stream, id, Outcome::Executed).await,
        Err(error) => match judge(CommandError::from_pipeline(error)) {
            Verdict::Settled => settle(parts, stream, id, Outcome::Executed).await,
            verdict => Ok(verdict),
        },
    }
}

/// The future's answer, or the text of its panic. Nothing of it is used afterwards.
async fn caught<T>(future: impl Future<Output = T>) -> Result<T, String> {
    let mut future = pin!(future);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(said(panic.as_ref()))),
    })
    .await
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
        | CommandError::Unavailable { .. } => again(&error),
        // It will say the same until another program runs.
        CommandError::Undecodable(_) | CommandError::Truncated(_) => {
            Verdict::Faulty { error: in_one_line(&error) }
        }
        CommandError::Store(store) if is_for_good(store) => refused(error.kind(), &error),
        CommandError::Store(_) | CommandError::Closed => again(&error),
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
    parts: &Parts<P>,
    stream: &StreamName,
    id: EffectId,
    outcome: Outcome,
) -> Result<Verdict, Trouble> {
    let event = settled(&parts.identity, stream, id, outcome)?;
    parts.store.append(Append::to(stream.clone(), ExpectedRevision::Any, [event])).await?;
    Ok(Verdict::Settled)
}
