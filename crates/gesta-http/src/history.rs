//! Histories: what happened to one thing, who did it, when, and what it belongs to.
//!
//! Always holds: a history is read from the events themselves, so it is complete and has seen
//! everything.

use gesta::{
    EventMetadata, Revision, StreamName,
    store::{ReadStream, RecordedEvent, StoreError},
};
use serde::Serialize;

use crate::{
    Cursor, PageLimit, Paged, Problem, Queries, QueryResponse, StoredJson,
    event::{Payload, recorded_at},
    headers::whole_number,
};

crate::request! {
    /// Which part of a history.
    pub struct ListHistory {
        /// What the page before ended with.
        cursor: Option<Cursor>,
        /// How many entries at once.
        limit: Option<PageLimit>,
    }
}

/// One thing that happened.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// Its place among what happened to the same thing.
    pub revision: u64,
    /// Its place in the store.
    pub position: u64,
    /// The type of the event.
    #[serde(rename = "type")]
    pub event_type: String,
    /// When the store took it.
    pub recorded_at: String,
    /// Who asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The command that was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// What caused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<String>,
    /// The conversation that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// What exactly happened, where it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<StoredJson>,
    /// Of which media type `data_base64` is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// What exactly happened, where it is not JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_base64: Option<String>,
}

crate::response! {
    /// One thing that happened.
    HistoryEntry {
        /// Its place among what happened to the same thing.
        revision: u64,
        /// Its place in the store.
        position: u64,
        /// The type of the event.
        event_type as "type": String,
        /// When the store took it (RFC 3339).
        recorded_at: String,
        /// Who asked for it.
        actor: Option<String>,
        /// The command that was given.
        command: Option<String>,
        /// What caused it.
        causation_id: Option<String>,
        /// The conversation that it belongs to.
        correlation_id: Option<String>,
        /// What exactly happened, where it is JSON: as it was stored, with every digit.
        data: Option<StoredJson>,
        /// Of which media type `dataBase64` is.
        content_type: Option<String>,
        /// What exactly happened, where it is not JSON.
        data_base64: Option<String>,
    }
}

impl HistoryEntry {
    fn of(event: &RecordedEvent) -> Self {
        let EventMetadata { actor, command, .. } = EventMetadata::from_json(&event.metadata);
        let Payload { data, content_type, data_base64 } = Payload::of(event);
        Self {
            revision: event.revision.number(),
            position: event.position.number(),
            event_type: event.event_type.to_string(),
            recorded_at: recorded_at(event.recorded_at),
            actor,
            command,
            causation_id: event.causation_id.as_ref().map(ToString::to_string),
            correlation_id: event.correlation_id.as_ref().map(ToString::to_string),
            data,
            content_type,
            data_base64,
        }
    }
}

/// What a cursor of a history is of.
const LIST: &str = "history";

impl Queries {
    /// What happened in a stream, the first first; nothing where nothing ever did.
    ///
    /// # Errors
    /// The [`Problem`] to answer with.
    pub async fn history(
        &self,
        stream: StreamName,
        list: &ListHistory,
    ) -> Result<QueryResponse<Option<Paged<HistoryEntry>>>, Problem> {
        let position = self.gesta().store().head().await?.position;
        let place = |text: &str| whole_number(text).map(Revision::new);
        let after = list.cursor.as_ref().map(|cursor| cursor.at(LIST, place)).transpose()?;
        let limit = list.limit.unwrap_or_default();
        let events = self.read_history(stream, after, u64::from(limit.number()) + 1).await?;
        let value = (after.is_some() || !events.is_empty()).then(|| page(&events, limit));
        Ok(QueryResponse { value, position })
    }

    async fn read_history(
        &self,
        stream: StreamName,
        after: Option<Revision>,
        limit: u64,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        let from = after.map_or(Revision::FIRST, Revision::next);
        let read = ReadStream::forwards(stream).from(from).limit(limit);
        self.gesta().store().read_stream(read).collect_events().await
    }
}

fn page(events: &[RecordedEvent], limit: PageLimit) -> Paged<HistoryEntry> {
    let limit = usize::from(limit.number());
    let items: Vec<_> = events.iter().take(limit).map(HistoryEntry::of).collect();
    let last = items.last().filter(|_| events.len() > limit);
    let next = last.map(|entry| Cursor::new(LIST, &entry.revision.to_string()));
    Paged { items, next }
}
