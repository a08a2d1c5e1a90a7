//! Idempotency: a command sent twice takes effect once.
//!
//! Owns: finding the first execution, and detecting another use of its id. Invariant: a repeat gets
//! the first answer, regardless of the current state: the receipt, even of a decision without
//! events, and the rejection if the application remembers it. A command that is no repeat is looked
//! up once, before it is decided (`docs/decisions/0037`); the store's answer says that it recorded
//! the events now. Not here: concurrent executions of one id, which the store resolves by the ids
//! of the events.

use std::sync::Arc;

use super::{
    CommandIdFrom, CommandRequest,
    receipts::{CommandAnswered, RememberedRejections},
    step::{InnerPipeline, PipelineStep},
};
use crate::{CommandError, EventMetadata, Receipt};
use gesta_store::{
    Appended, Capability, EventStore, ReadAll, RecordedEvent, RecordedWhen, StoreError,
};

pub(super) struct Idempotency {
    store: Arc<dyn EventStore>,
    finds_appends: bool,
    remembered: Arc<RememberedRejections>,
}

/// The answer of the first execution.
type First = Result<Receipt, CommandError>;

impl Idempotency {
    pub(super) fn new(store: Arc<dyn EventStore>, remembered: Arc<RememberedRejections>) -> Self {
        let finds_appends = store.capabilities().has(Capability::FindAppend);
        Self { store, finds_appends, remembered }
    }

    /// Returns the answer of the first execution, if there was one.
    async fn earlier(&self, request: &CommandRequest) -> Result<Option<First>, CommandError> {
        if !self.finds_appends {
            return Ok(None);
        }
        // The first event of a command has a derived id, so its append is found by that id.
        match self.store.find_append(request.event_id(0)).await? {
            Some(appended) => self.answer_of(request, appended, IdScoping::Scoped).await,
            None => Ok(None),
        }
    }

    /// Returns the answer of the first execution by an earlier version, which did not scope ids.
    async fn unscoped(&self, request: &CommandRequest) -> Result<Option<First>, CommandError> {
        let unscoped = request.context.command_id.unscoped_event_id(0);
        if !self.finds_appends || unscoped == request.event_id(0) {
            return Ok(None);
        }
        match self.store.find_append(unscoped).await? {
            Some(appended) => self.answer_of(request, appended, IdScoping::Unscoped).await,
            None => Ok(None),
        }
    }

    async fn answer_of(
        &self,
        request: &CommandRequest,
        appended: Appended,
        scoping: IdScoping,
    ) -> Result<Option<First>, CommandError> {
        let command_id = &request.context.command_id;
        let last = self.last_event(&appended).await?;
        let metadata = last.as_ref().map(|event| EventMetadata::from_json(&event.metadata));
        let metadata = metadata.unwrap_or_default();
        // Without a scope, the id may be another actor's or another command's.
        if scoping == IdScoping::Unscoped && !is_same_sender(request, &metadata) {
            return Ok(None);
        }
        // The id was found; compare the payloads to detect another command under the same id.
        if metadata.command_id.as_ref() == Some(command_id) {
            let first = metadata.payload_digest.as_ref();
            let payload = request.payload()?;
            if !first.is_some_and(|first| payload.is_repeat_of(first)) {
                return Err(CommandError::CommandIdReused { command_id: command_id.clone() });
            }
        }
        if let Some(event) = &last
            && let Some(answered) = CommandAnswered::of(event)?
        {
            return Ok(Some(answered.again(request, event, &self.remembered)));
        }
        Ok(Some(Ok(Receipt::new(command_id.clone(), appended))))
    }

    /// Like [`earlier`](Self::earlier), but a failed lookup is an unknown outcome.
    async fn looked_up(&self, request: &CommandRequest) -> Result<Option<First>, CommandError> {
        self.earlier(request).await.map_err(outcome_unknown)
    }

    /// Returns the last event of an append, whose metadata identifies the command; `None` if it was
    /// removed.
    async fn last_event(&self, appended: &Appended) -> Result<Option<RecordedEvent>, CommandError> {
        let last = ReadAll::backwards().from(appended.position).limit(1);
        let mut events = self.store.read_all(last).collect_events().await?;
        Ok(events.pop())
    }
}

impl PipelineStep for Idempotency {
    async fn pass(
        &self,
        request: CommandRequest,
        rest: &impl InnerPipeline,
    ) -> Result<Receipt, CommandError> {
        match request.context.command_id_from {
            // A generated id is new; a lookup would find nothing.
            CommandIdFrom::Gesta => return rest.execute(request).await,
            CommandIdFrom::Caller => {}
        }
        if let Some(first) = self.looked_up(&request).await? {
            return first;
        }
        if let Some(first) = self.unscoped(&request).await.map_err(outcome_unknown)? {
            return first;
        }
        match rest.execute(request.clone()).await {
            // The first execution may have happened concurrently and changed the state that this
            // one was decided on.
            Err(error) if is_judgement(&error) => {
                self.looked_up(&request).await?.unwrap_or(Err(error))
            }
            // The store recognizes a repeat by event ids alone, so this receipt may belong to a
            // concurrent command with another payload. Compare the digests.
            Ok(receipt) if receipt.recorded == RecordedWhen::Earlier => {
                self.looked_up(&request).await?.unwrap_or(Ok(receipt))
            }
            outcome => outcome,
        }
    }
}

/// `true` if event ids derive from the command id within its scope.
#[derive(Clone, Copy, PartialEq)]
enum IdScoping {
    Scoped,
    Unscoped,
}

/// Returns whether an event records this command of this actor.
fn is_same_sender(request: &CommandRequest, metadata: &EventMetadata) -> bool {
    let context = &request.context;
    metadata.command_id.as_ref() == Some(&context.command_id)
        && metadata.command.as_deref() == Some(request.name())
        && metadata.actor == context.actor
}

/// Converts the error of a lookup: without an answer, the outcome of the command is unknown. An
/// archived event is an answer: this execution appends nothing, and no retry reads the event.
fn outcome_unknown(error: CommandError) -> CommandError {
    match error {
        CommandError::CommandIdReused { .. }
        | CommandError::Unencodable(_)
        | CommandError::Store(StoreError::Archived { .. }) => error,
        unread => {
            CommandError::Unavailable { reason: unread.to_string(), source: Some(unread.into()) }
        }
    }
}

/// Returns whether the error is a decision on the command, which a concurrent first execution may
/// have caused.
fn is_judgement(error: &CommandError) -> bool {
    match error {
        CommandError::Rejected(_)
        | CommandError::NotFound { .. }
        | CommandError::AlreadyExists { .. }
        | CommandError::RevisionMismatch { .. }
        | CommandError::Conflict(_) => true,
        CommandError::Invalid(_)
        | CommandError::Unauthorized(_)
        | CommandError::CommandIdReused { .. }
        | CommandError::Overloaded { .. }
        | CommandError::Unavailable { .. }
        | CommandError::Undecodable(_)
        | CommandError::Truncated(_)
        | CommandError::Unencodable(_)
        | CommandError::Store(_)
        | CommandError::Closed
        | CommandError::OtherRole(_) => false,
    }
}
