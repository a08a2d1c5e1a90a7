//! Sending of one command of a process, and classification of the result.
//!
//! Invariant: a command is settled only after its execution is certain. Any uncertain result sends
//! the same command again under the same id, so it executes at most once. A panic is the command's
//! error.

use std::sync::Arc;

use gesta_store::{Append, CausationId, CorrelationId, ExpectedRevision, StoreError, StreamName};
use tower::ServiceExt as _;

use super::{
    CommandSet, NotUnderstood, ProcessManager, RefusalKind,
    deps::ProcessDeps,
    history::{CommandOutcome, EffectId, Refusal},
    outstanding::PendingCommand,
    recording::settled,
    trouble::{InputError, guarded},
};
use crate::{
    CommandContext, CommandError, CommandIdFrom, CommandIdScope, Rejection as _,
    error_line::in_one_line, panics,
};

/// Result of sending a command.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) stream: StreamName,
    pub(super) command: EffectId,
    /// The correlation of the command, for the log.
    pub(super) correlation_id: Option<CorrelationId>,
    pub(super) verdict: Verdict,
}

#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// Executed or cancelled, and recorded in the process's stream.
    Settled,
    /// Permanently refused.
    Refused(Refusal),
    /// Send again later.
    Again { reason: String },
    /// Cannot be sent. The process is set aside.
    Faulty { error: String },
}

pub(super) async fn send<P: ProcessManager>(
    deps: Arc<ProcessDeps<P>>,
    stream: StreamName,
    id: EffectId,
    command: PendingCommand,
) -> Sent {
    let correlation_id = command.from.correlation_id.clone();
    let verdict = match execute(&deps, &stream, id, command).await {
        Ok(verdict) => verdict,
        Err(trouble) if trouble.is_of_the_instance() => {
            Verdict::Faulty { error: in_one_line(&trouble) }
        }
        Err(trouble) => Verdict::Again { reason: in_one_line(&trouble) },
    };
    Sent { stream, command: id, correlation_id, verdict }
}

async fn execute<P: ProcessManager>(
    deps: &ProcessDeps<P>,
    stream: &StreamName,
    id: EffectId,
    command: PendingCommand,
) -> Result<Verdict, InputError> {
    let PendingCommand { name, payload, from, .. } = command;
    let correlation = from.correlation_id.clone();
    let context = CommandContext {
        actor: Some(deps.identity.actor()),
        correlation_id: from.correlation_id,
        causation_id: Some(CausationId::new(from.event.to_string())?),
        metadata: from.metadata,
        // The id is derived from the place of the decision, so it is unique in the store. It is
        // passed as the caller's id, so that a repeat after a crash is recognized.
        scope: CommandIdScope::Store,
        ..CommandContext::new(id.command_id(stream), CommandIdFrom::Caller)
    };
    let request = guarded::<P, _>(|| P::Commands::request(context, &name, payload.text()))?;
    let request = match request {
        Ok(request) => request,
        Err(unreadable) if P::NOT_UNDERSTOOD == NotUnderstood::Ignore => {
            let correlation_id = correlation.as_ref().map(CorrelationId::as_str);
            tracing::debug!(
                process = P::NAME, %stream, command = %id, %unreadable, correlation_id,
                "not sent"
            );
            return settle(deps, stream, id, correlation, CommandOutcome::Skipped).await;
        }
        Err(source) => {
            let stream = stream.clone();
            return Err(InputError::UnreadableCommand { stream, command: id, source });
        }
    };
    let answered = panics::catch(deps.pipeline.clone().oneshot(request)).await;
    match answered.map_err(|message| InputError::Sending { name, message })? {
        // After a crash before this append, the command is sent again with the same id and gets the
        // first receipt.
        Ok(_) => settle(deps, stream, id, correlation, CommandOutcome::Executed).await,
        Err(error) => match classify(CommandError::from_pipeline(error)) {
            Verdict::Settled => {
                settle(deps, stream, id, correlation, CommandOutcome::Executed).await
            }
            verdict => Ok(verdict),
        },
    }
}

fn classify(error: CommandError) -> Verdict {
    let again = |error: &CommandError| Verdict::Again { reason: in_one_line(error) };
    let refused = |kind: RefusalKind, reason: String| {
        Verdict::Refused(Refusal { code: kind.to_string(), reason })
    };
    let by_gesta = |error: &CommandError| {
        // The kinds of errors that are refusals have the names of outcomes.
        let kind = RefusalKind::outcome(error.kind()).unwrap_or(RefusalKind::Store);
        refused(kind, error.to_string())
    };
    match &error {
        CommandError::Rejected(rejection) => {
            let kind = RefusalKind::Rejected { code: rejection.code().to_owned() };
            refused(kind, rejection.to_string())
        }
        // Ids are unique to this command, so the digest differs only because an earlier program
        // encoded the payload differently. The command was executed.
        CommandError::CommandIdReused { .. } => Verdict::Settled,
        CommandError::Invalid(_)
        | CommandError::Unauthorized(_)
        | CommandError::NotFound { .. }
        | CommandError::AlreadyExists { .. }
        | CommandError::RevisionMismatch { .. }
        | CommandError::Unencodable(_) => by_gesta(&error),
        CommandError::Conflict(_)
        | CommandError::Overloaded { .. }
        | CommandError::Unavailable { .. } => again(&error),
        // Deterministic until another program version runs, so retrying does not help.
        CommandError::Undecodable(_) | CommandError::Truncated(_) => {
            Verdict::Faulty { error: in_one_line(&error) }
        }
        CommandError::Store(store) if is_permanent(store) => by_gesta(&error),
        // Passes with a restart or a repair of the store.
        CommandError::Store(_) | CommandError::Closed | CommandError::OtherRole(_) => again(&error),
    }
}

/// Returns whether the store will refuse the command every time.
fn is_permanent(error: &StoreError) -> bool {
    match error {
        StoreError::Rejected(_) | StoreError::Unsupported { .. } | StoreError::Deleted { .. } => {
            true
        }
        // Passes by itself, with a repair of the store, or with its configuration.
        _ => false,
    }
}

/// Appends at any revision: settling decides nothing, and settling twice has no further effect.
async fn settle<P: ProcessManager>(
    deps: &ProcessDeps<P>,
    stream: &StreamName,
    id: EffectId,
    correlation: Option<CorrelationId>,
    outcome: CommandOutcome,
) -> Result<Verdict, InputError> {
    let event = settled(&deps.identity, stream, id, correlation, outcome)?;
    deps.store.append(Append::to(stream.clone(), ExpectedRevision::Any, [event])).await?;
    Ok(Verdict::Settled)
}
