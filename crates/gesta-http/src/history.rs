//! The history of a resource: the events of its stream, with actor, command and time.
//!
//! Invariant: a history is read from the stream itself, so it is complete up to the store's head.

use gesta::{
    EventMetadata, Revision, StreamName,
    store::{ReadStream, RecordedEvent, StoreError},
};
use serde::Serialize;

use crate::{
    Cursor, PageLimit, PageLinks, Paged, Problem, Queries, QueryResponse, RequestFields, Schema,
    StoredJson,
    wire::{
        event::{Payload, recorded_at},
        headers::whole_number,
    },
};

/// A page of a history.
#[derive(RequestFields, Clone, Debug)]
#[non_exhaustive]
pub struct ListHistory {
    /// `next` of the previous page.
    pub cursor: Option<Cursor>,
    /// Maximum number of entries.
    pub limit: Option<PageLimit>,
}

/// An event of a resource's history.
#[derive(Clone, Debug, Serialize, Schema)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct HistoryEntry {
    /// Revision in the resource's stream.
    pub revision: u64,
    /// Position in the store.
    pub position: u64,
    /// Event type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Time of the append, by the store's clock (RFC 3339).
    pub recorded_at: String,
    /// Actor of the command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Name of the command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Causation id: the event or request that caused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<String>,
    /// Correlation id: the conversation that the event belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// Payload, if it is JSON: exactly as stored, with all digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<StoredJson>,
    /// Content type of `dataBase64`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Payload in base64, if it is not JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_base64: Option<String>,
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

/// The list name in cursors of histories.
const LIST: &str = "history";

impl Queries {
    /// Returns a page of a stream's events in order, or a response with `None` if it has no events.
    /// `links` are those of the request.
    ///
    /// # Errors
    /// The [`Problem`] to answer with.
    pub async fn history(
        &self,
        stream: StreamName,
        list: &ListHistory,
        links: &PageLinks,
    ) -> Result<QueryResponse<Option<Paged<HistoryEntry>>>, Problem> {
        // Before the read: the page then reflects at least this position.
        let position = self.gesta().store().head().await?.position;
        let place = |text: &str| whole_number(text).map(Revision::new);
        let after = list.cursor.as_ref().map(|cursor| cursor.at(LIST, place)).transpose()?;
        let limit = list.limit.unwrap_or_default();
        // One entry more than the page shows whether there is a next page.
        let events = self.read_history(stream, after, u64::from(limit.number()) + 1).await?;
        // An empty first page means that there is no such resource; an empty later one is the end
        // of its history.
        let value = (after.is_some() || !events.is_empty()).then(|| page(&events, limit, links));
        let response = QueryResponse::new(value, position);
        Ok(response.linked(links, |page| page.as_ref().and_then(|page| page.next.as_ref())))
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

fn page(events: &[RecordedEvent], limit: PageLimit, links: &PageLinks) -> Paged<HistoryEntry> {
    let limit = usize::from(limit.number());
    let items: Vec<_> = events.iter().take(limit).map(HistoryEntry::of).collect();
    let last = items.last().filter(|_| events.len() > limit);
    let next = last.map(|entry| links.next(LIST, &entry.revision.to_string()));
    Paged { items, next }
}
