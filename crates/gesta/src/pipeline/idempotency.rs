//! Idempotency: a command that is given twice takes effect once.
//!
//! Owns: finding the first time, and telling a repeat from another use of the id. Always holds: a
//! repeat gets the first answer, whatever it would be answered today: the receipt, also of a
//! decision without events, and the rejection, where the application has it remembered. Not here: the race between
//! two of the same id, which the store closes by the ids of the events.

use std::sync::Arc;

use gesta_store::{AppendLookup, Appended, EventStore, ReadAll, RecordedEvent};
use tower::ServiceExt as _;

use super::{
    CommandIdFrom, CommandRequest, Rest, Step,
    receipts::{CommandAnswered, Remembered},
};
use crate::{CommandError, EventMetadata, Receipt};

pub(super) struct Idempotency {
    store: Arc<dyn EventStore>,
    find: AppendLookup,
    remembered: Arc<Remembered>,
}

/// The answer of the first time.
type First = Result<Receipt, CommandError>;

impl Idempotency {
    pub(super) fn new(store: Arc<dyn EventStore>, remembered: Arc<Remembered>) -> Self {
        let find = store.capabilities().find_append;
        Self { store, find, remembered }
    }

    /// The answer of the first time, if there was one.
    async fn earlier(&self, request: &CommandRequest) -> Result<Option<First>, CommandError> {
        if self.find == AppendLookup::Unsupported {
            return Ok(None);
        }
        let command_id = &request.context.command_id;
        let Some(appended) = self.store.find_append(command_id.event_id(0)).await? else {
            return Ok(None);
        };
        let last = self.last_event(&appended).await?;
        let metadata = last.as_ref().map(|event| EventMetadata::from_json(&event.metadata));
        let metadata = metadata.unwrap_or_default();
        if metadata.command_id.as_ref() == Some(command_id)
            && metadata.payload_digest != Some(request.payload_digest()?)
        {
            return Err(CommandError::CommandIdReused { command_id: command_id.clone() });
        }
        if let Some(event) = &last
            && let Some(answered) = CommandAnswered::of(event)?
        {
            return Ok(Some(answered.again(request, event, &self.remembered)));
        }
        Ok(Some(Ok(Receipt::new(command_id.clone(), appended))))
    }

    /// As [`earlier`](Self::earlier); where it cannot be told, the command may have been executed.
    async fn looked_up(&self, request: &CommandRequest) -> Result<Option<First>, CommandError> {
        self.earlier(request).await.map_err(|error| match error {
            CommandError::CommandIdReused { .. } | CommandError::Unencodable(_) => error,
            unread => CommandError::Unavailable {
                reason: unread.to_string(),
                source: Some(unread.into()),
            },
        })
    }

    /// The last event of an append, which says of which command it is; none, if it is gone.
    async fn last_event(&self, appended: &Appended) -> Result<Option<RecordedEvent>, CommandError> {
        let last = ReadAll::backwards().from(appended.position).limit(1);
        let mut events = self.store.read_all(last).collect_events().await?;
        Ok(events.pop())
    }
}

impl Step for Idempotency {
    async fn pass(&self, request: CommandRequest, rest: Rest) -> Result<Receipt, CommandError> {
        match request.context.command_id_from {
            CommandIdFrom::Gesta => return rest.oneshot(request).await,
            CommandIdFrom::Caller => {}
        }
        if let Some(first) = self.looked_up(&request).await? {
            return first;
        }
        match rest.oneshot(request.clone()).await {
            // The first time may have come in between, and have changed what this one was judged by.
            Err(error) if is_judgement(&error) => {
                self.looked_up(&request).await?.unwrap_or(Err(error))
            }
            // The store knows a repeat by its events' ids: it may have answered for another payload,
            // which came first in between.
            Ok(receipt) => self.looked_up(&request).await?.unwrap_or(Ok(receipt)),
            outcome => outcome,
        }
    }
}

/// Whether the error says how the command was judged, not that it could not be.
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
        | CommandError::Closed => false,
    }
}
