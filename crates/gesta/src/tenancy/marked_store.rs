//! A store that writes the id of a tenant into the metadata of each appended event.
//!
//! Invariant: everything but the metadata of appended events, and the limits of their sizes, is
//! passed on unchanged. Not here: the record of the store's owner. Events that the store itself
//! appends, such as the metadata of streams, are not marked.

use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use gesta_store::{
    Append, Appended, Capabilities, Category, DatabaseName, DeleteStream, EventId, EventStore,
    Head, InlineConsumer, ListCategories, ListStreams, OrdinalPages, Pages, ReadAll, ReadOrdinals,
    ReadStream, RecordedAt, Revision, SetStreamMetadata, StoreError, StoreFuture,
    StreamDescription, StreamName, Subscribe, Subscription, TombstoneStream,
};
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use crate::{TenantId, metadata::TENANT};

/// A store of one tenant.
pub(crate) struct MarkedStore {
    store: Arc<dyn EventStore>,
    tenant: TenantId,
}

impl MarkedStore {
    pub(crate) const fn new(store: Arc<dyn EventStore>, tenant: TenantId) -> Self {
        Self { store, tenant }
    }

    /// Returns the number of bytes by which an event grows at most.
    fn mark_bytes(&self) -> usize {
        TENANT.len() + self.tenant.as_str().len() + "{\"\":\"\"}".len()
    }

    /// Returns metadata with the id of the tenant. Metadata that is no JSON object, which other
    /// programs may write through the store, stays as it is.
    fn marked(&self, metadata: &Bytes) -> Bytes {
        let member = || format!("\"{TENANT}\":\"{}\"", self.tenant);
        let trimmed = metadata.trim_ascii();
        if trimmed.is_empty() {
            return format!("{{{}}}", member()).into();
        }
        let name = TENANT.as_bytes();
        let has_name = trimmed.windows(name.len()).any(|window| window == name);
        let is_json = || serde_json::from_slice::<IgnoredAny>(trimmed).is_ok();
        // The usual case: the member is put before the others, and nothing is copied twice.
        if let Some(rest) = trimmed.strip_prefix(b"{")
            && rest.trim_ascii_start().starts_with(b"\"")
            && !has_name
            && is_json()
        {
            let mut marked = format!("{{{},", member()).into_bytes();
            marked.extend_from_slice(rest);
            return marked.into();
        }
        let Ok(mut entries) = serde_json::from_slice::<Map<String, Value>>(trimmed) else {
            return metadata.clone();
        };
        entries.insert(TENANT.to_owned(), Value::from(self.tenant.as_str()));
        Value::Object(entries).to_string().into()
    }
}

impl EventStore for MarkedStore {
    fn append(&self, mut append: Append) -> StoreFuture<'_, Appended> {
        // By the limits that this store states, before the events grow.
        if let Err(error) = append.check(&self.capabilities().limits) {
            return Box::pin(std::future::ready(Err(error)));
        }
        for event in append.streams.iter_mut().flat_map(|part| &mut part.events) {
            event.metadata = self.marked(&event.metadata);
        }
        self.store.append(append)
    }

    fn place(&self) -> String {
        self.store.place()
    }

    fn find_append(&self, first_event: EventId) -> StoreFuture<'_, Option<Appended>> {
        self.store.find_append(first_event)
    }

    fn find_events(
        &self,
        stream: &StreamName,
        first: Revision,
        ids: Vec<EventId>,
    ) -> StoreFuture<'_, Option<Appended>> {
        self.store.find_events(stream, first, ids)
    }

    fn read_stream(&self, read: ReadStream) -> Pages {
        self.store.read_stream(read)
    }

    fn read_all(&self, read: ReadAll) -> Pages {
        self.store.read_all(read)
    }

    fn read_ordinals(&self, read: ReadOrdinals) -> OrdinalPages {
        self.store.read_ordinals(read)
    }

    fn subscribe(&self, subscribe: Subscribe) -> Subscription {
        self.store.subscribe(subscribe)
    }

    fn describe_stream(&self, stream: &StreamName) -> StoreFuture<'_, StreamDescription> {
        self.store.describe_stream(stream)
    }

    fn list_streams(&self, list: ListStreams) -> StoreFuture<'_, Vec<StreamName>> {
        self.store.list_streams(list)
    }

    fn list_categories(&self, list: ListCategories) -> StoreFuture<'_, Vec<Category>> {
        self.store.list_categories(list)
    }

    fn head(&self) -> StoreFuture<'_, Head> {
        self.store.head()
    }

    fn stored_bytes(&self) -> StoreFuture<'_, Option<u64>> {
        self.store.stored_bytes()
    }

    fn recorded_ahead(&self, now: RecordedAt) -> StoreFuture<'_, Duration> {
        self.store.recorded_ahead(now)
    }

    fn attach_inline(&self, consumer: Weak<dyn InlineConsumer>) -> Result<(), StoreError> {
        self.store.attach_inline(consumer)
    }

    fn database(&self) -> Option<DatabaseName> {
        self.store.database()
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.store.capabilities();
        let (limits, mark) = (&mut capabilities.limits, self.mark_bytes());
        limits.event_bytes_max = limits.event_bytes_max.saturating_sub(mark);
        limits.event_overhead_bytes = limits.event_overhead_bytes.saturating_add(mark);
        capabilities
    }

    fn close(&self) -> StoreFuture<'_, ()> {
        self.store.close()
    }

    fn set_stream_metadata(&self, change: SetStreamMetadata) -> StoreFuture<'_, Appended> {
        self.store.set_stream_metadata(change)
    }

    fn delete_stream(&self, delete: DeleteStream) -> StoreFuture<'_, Appended> {
        self.store.delete_stream(delete)
    }

    fn tombstone_stream(&self, tombstone: TombstoneStream) -> StoreFuture<'_, Appended> {
        self.store.tombstone_stream(tombstone)
    }
}

impl fmt::Debug for MarkedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MarkedStore").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use gesta_store::{
        conformance::{CLAUSES, Fixture},
        memory::MemoryStore,
    };
    use serde_json::json;

    use super::*;
    use crate::EventMetadata;

    fn acme() -> MarkedStore {
        MarkedStore::new(Arc::new(MemoryStore::new()), "acme".parse().unwrap())
    }

    #[test]
    fn metadata_of_any_form_is_marked_or_kept() {
        for (metadata, expected) in [
            ("", json!({ "tenantId": "acme" })),
            ("{}", json!({ "tenantId": "acme" })),
            (" { } ", json!({ "tenantId": "acme" })),
            (r#"{"a":{"b":[1]}}"#, json!({ "tenantId": "acme", "a": { "b": [1] } })),
            (r#"{"tenantId":"other"}"#, json!({ "tenantId": "acme" })),
            (r#"{"a":"tenantId"}"#, json!({ "tenantId": "acme", "a": "tenantId" })),
        ] {
            let marked = acme().marked(&Bytes::from(metadata));
            assert_eq!(serde_json::from_slice::<Value>(&marked).unwrap(), expected, "{metadata}");
            let tenant = EventMetadata::from_json(&marked).tenant;
            assert_eq!(tenant, Some("acme".parse().unwrap()), "{metadata}");
        }
        for other in ["text", "[1]", "{", "{\"tenantId\":", "{\"a\"}"] {
            assert_eq!(acme().marked(&Bytes::from(other)), other);
        }
    }

    /// Clauses that compare metadata byte for byte.
    const OF_METADATA: [&str; 7] = [
        "every_field_comes_back_from_a_stream",
        "every_field_comes_back_from_the_whole_store",
        "every_field_comes_back_from_a_subscription",
        "names_of_earlier_versions_come_back_unchanged",
        "the_longest_names_come_back_unchanged",
        "what_is_left_out_comes_back_left_out",
        "a_large_payload_comes_back_unchanged",
    ];

    #[test]
    fn everything_else_is_passed_on_by_the_contract() {
        let others = CLAUSES.iter().filter(|clause| !OF_METADATA.contains(&clause.name));
        assert_eq!(others.clone().count() + OF_METADATA.len(), CLAUSES.len());
        for clause in others {
            clause.check(Fixture::new(acme()));
        }
    }
}
