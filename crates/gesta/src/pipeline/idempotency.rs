//! Idempotency: a command that is given twice takes effect once.
//!
//! Owns: finding the first time, and telling a repeat from another use of the id. Always holds: a
//! repeat gets the first receipt, whatever it would be answered today. Not here: the race between
//! two of the same id, which the store closes by the ids of the events.

use std::sync::Arc;

use gesta_store::{Appended, EventStore, FindAppend, ReadAll};
use tower::ServiceExt as _;

use super::{CommandIdFrom, CommandRequest, Rest, Step};
use crate::{CommandError, EventMetadata, Receipt};

pub(super) struct Idempotency {
    store: Arc<dyn EventStore>,
    find: FindAppend,
}

impl Idempotency {
    pub(super) fn new(store: Arc<dyn EventStore>) -> Self {
        let find = store.capabilities().find_append;
        Self { store, find }
    }

    /// The receipt of the first time, if there was one.
    async fn earlier(&self, request: &CommandRequest) -> Result<Option<Receipt>, CommandError> {
        if self.find == FindAppend::Never {
            return Ok(None);
        }
        let command_id = &request.context.command_id;
        let Some(appended) = self.store.find_append(command_id.event_id(0)).await? else {
            return Ok(None);
        };
        let metadata = self.metadata(&appended).await?;
        if metadata.command_id.as_ref() == Some(command_id)
            && metadata.payload_digest != Some(request.payload_digest()?)
        {
            return Err(CommandError::CommandIdReused { command_id: command_id.clone() });
        }
        Ok(Some(Receipt::new(command_id.clone(), appended)))
    }

    /// As [`earlier`](Self::earlier); where it cannot be told, the command may have been executed.
    async fn looked_up(&self, request: &CommandRequest) -> Result<Option<Receipt>, CommandError> {
        self.earlier(request).await.map_err(|error| match error {
            CommandError::CommandIdReused { .. } | CommandError::Unencodable(_) => error,
            unread => CommandError::Unavailable {
                reason: unread.to_string(),
                source: Some(unread.into()),
            },
        })
    }

    /// What the last event of an append says of its command; nothing, if the event is gone.
    async fn metadata(&self, appended: &Appended) -> Result<EventMetadata, CommandError> {
        let last = ReadAll::backwards().from(appended.position).limit(1);
        let events = self.store.read_all(last).collect_events().await?;
        Ok(events
            .first()
            .map(|event| EventMetadata::from_json(&event.metadata))
            .unwrap_or_default())
    }
}

impl Step for Idempotency {
    async fn pass(&self, request: CommandRequest, rest: Rest) -> Result<Receipt, CommandError> {
        match request.context.command_id_from {
            CommandIdFrom::Gesta => return rest.oneshot(request).await,
            CommandIdFrom::Caller => {}
        }
        if let Some(receipt) = self.looked_up(&request).await? {
            return Ok(receipt);
        }
        match rest.oneshot(request.clone()).await {
            // The first time may have come in between, and have changed what this one was judged by.
            Err(error) if is_judgement(&error) => self.looked_up(&request).await?.ok_or(error),
            // The store knows a repeat by its events' ids: it may have answered for another payload,
            // which came first in between.
            Ok(receipt) => self.looked_up(&request).await.map(|_| receipt),
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
        | CommandError::Store(_) => false,
    }
}
