//! A handler that appends events for records.
//!
//! Invariant: the events of a record are appended once, however often it is handled.

use std::{fmt, sync::Arc};

use gesta_store::{
    Append, AppendLookup, Capability, EventStore, ExpectedRevision, NewEvent, StoreError,
    StreamName,
};

use super::{
    handler::{HandleError, HandleRecord},
    record::SourceRecord,
};

/// The events that a record becomes, in one stream. None: the record is passed.
pub type RecordEvents = Option<(StreamName, Vec<NewEvent>)>;

type Translate = dyn Fn(&SourceRecord) -> Result<RecordEvents, HandleError> + Send + Sync;

/// Appends the events that a function makes of a record, whatever the revision of their stream.
///
/// The first event must have the id [`SourceRecord::event_id`] with the ordinal 0, or another one
/// that is always the same for the record: the handler looks it up before it appends.
///
/// ```
/// use std::sync::Arc;
///
/// use gesta_kafka::{AppendRecords, HandleError};
/// use gesta_store::{EventType, NewEvent, StreamName, memory::MemoryStore};
///
/// let append = AppendRecords::to(Arc::new(MemoryStore::new()), |record| {
///     let key = record.key.as_deref().unwrap_or_default();
///     let key = std::str::from_utf8(key).map_err(HandleError::invalid)?;
///     let stream = StreamName::new(format!("payment-{key}")).map_err(HandleError::invalid)?;
///     let received = EventType::new("payment-received").map_err(HandleError::invalid)?;
///     let data = record.value.clone().unwrap_or_default();
///     Ok(Some((stream, vec![NewEvent::json(record.event_id(0), received, data)])))
/// });
/// assert!(append.is_ok());
/// ```
pub struct AppendRecords {
    store: Arc<dyn EventStore>,
    translate: Box<Translate>,
}

impl AppendRecords {
    /// Creates a handler for a store.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unsupported`] if the store does not find every earlier append by its first
    /// event ([`Capability::FindAppend`] without a window): a repeated record would be appended
    /// twice.
    pub fn to(
        store: Arc<dyn EventStore>,
        translate: impl Fn(&SourceRecord) -> Result<RecordEvents, HandleError> + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        let can = store.capabilities();
        if !can.has(Capability::FindAppend) || can.find_append != AppendLookup::Unlimited {
            return Err(StoreError::Unsupported { capability: Capability::FindAppend });
        }
        Ok(Self { store, translate: Box::new(translate) })
    }
}

impl fmt::Debug for AppendRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AppendRecords")
    }
}

impl HandleRecord for AppendRecords {
    async fn handle(&self, record: &SourceRecord) -> Result<(), HandleError> {
        let Some((stream, events)) = (self.translate)(record)? else { return Ok(()) };
        let Some(first) = events.first() else { return Ok(()) };
        if self.store.find_append(first.id).await?.is_some() {
            return Ok(());
        }
        // Two consumers may handle the record at the same time during a rebalance. The revision
        // that both have seen lets one of them append; the other one looks again.
        let head = self.store.describe_stream(&stream).await?.head;
        let expected = head.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact);
        match self.store.append(Append::to(stream, expected, events)).await {
            Ok(_) => Ok(()),
            Err(error @ StoreError::Conflict(_)) => Err(HandleError::unavailable(error)),
            Err(error) => Err(error.into()),
        }
    }
}
