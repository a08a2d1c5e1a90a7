//! Snapshots of aggregates that select events of several streams.
//!
//! Owns: their stored form, and when one is valid. Invariants:
//! - a snapshot holds each selected event up to the head before its read, and no later one;
//! - it is not used once the metadata of any stream changed, because a deletion or a truncation
//!   hides events without an event of the selection;
//! - it is not taken if a stream of its events limits their age or number, because these limits
//!   hide events without any event.
//!
//! Not here: snapshots of one stream (`snapshot`).

use std::collections::BTreeSet;

use gesta_store::{
    EventQuery, EventStore, EventType, Filter, Fingerprint, Head, Position, ReadAll, RecordedEvent,
    Revision, Snapshot, StoreError, StreamMetadata, StreamName, TombstoneStream,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{EventFold, Rule, bound_to};
use crate::{
    AsOf, BoundaryRead,
    read::{ReadFailure, ReadProgress, read},
};

/// The stored form: the state, and the extent of its read.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SelectedState {
    /// Each selected event up to this position is in the state.
    up_to: u64,
    /// Revision and position of the last selected event.
    revision: u64,
    position: u64,
    state: Box<RawValue>,
}

/// The events that a read delivered.
#[derive(Default)]
struct Delivered {
    events: u64,
    streams: BTreeSet<StreamName>,
    last: Option<RecordedEvent>,
}

/// A read of a selection, before its first event.
struct SelectedRead<'r> {
    store: &'r dyn EventStore,
    stream: &'r StreamName,
    fingerprint: Fingerprint,
    head: Head,
}

impl Rule {
    /// Reads a selection, starting from a snapshot if a valid one exists.
    pub(super) async fn read_selected(
        &self,
        store: &dyn EventStore,
        planned: &BoundaryRead,
        query: &EventQuery,
        fold: &mut dyn EventFold,
    ) -> Result<ReadProgress, ReadFailure> {
        let fingerprint = fingerprint_of(self.fingerprint, query);
        // Read before the snapshot: one from another incarnation may contain events that were lost.
        let head = store.head().await?;
        let snapshot = self.store.load(&planned.stream).await.filter(|snapshot| {
            snapshot.fingerprint.fold() == fingerprint.fold()
                && snapshot.incarnation == head.incarnation
        });
        let resumed = match snapshot {
            Some(snapshot) => self.resume_selected(store, snapshot, fingerprint, fold).await?,
            None => None,
        };
        let mut delivered = Delivered::default();
        let seen = read(store, planned, AsOf::Now, resumed, |event| {
            delivered.events += 1;
            delivered.streams.insert(event.stream.clone());
            delivered.last = Some(event.clone());
            fold.take(event)
        })
        .await?;
        if delivered.events >= self.every {
            let read = SelectedRead { store, stream: &planned.stream, fingerprint, head };
            self.keep_selected(&read, seen, delivered, fold).await;
        }
        Ok(seen)
    }

    /// Restores a valid snapshot and returns its last event; leaves the aggregate unchanged if it
    /// is not valid.
    async fn resume_selected(
        &self,
        store: &dyn EventStore,
        snapshot: Snapshot,
        fingerprint: Fingerprint,
        fold: &mut dyn EventFold,
    ) -> Result<Option<(Revision, Position)>, StoreError> {
        let Ok(stored) = serde_json::from_slice::<SelectedState>(&snapshot.state) else {
            return Ok(None);
        };
        let (revision, position) = (Revision::new(stored.revision), Position::new(stored.position));
        // A restored older store may have another event at that position.
        let at = ReadAll::forwards().from(position).limit(1);
        let events = store.read_all(at).collect_events().await?;
        let is_last = |event: &RecordedEvent| {
            event.position == position && snapshot.fingerprint == bound_to(fingerprint, event.id)
        };
        let up_to = Position::new(stored.up_to);
        if !events.first().is_some_and(is_last) || hides_since(store, up_to).await? {
            return Ok(None);
        }
        let restored = (self.restore)(fold.aggregate(), stored.state.get().as_bytes());
        Ok(restored.then_some((revision, position)))
    }

    async fn keep_selected(
        &self,
        read: &SelectedRead<'_>,
        seen: ReadProgress,
        delivered: Delivered,
        fold: &mut dyn EventFold,
    ) {
        let SelectedRead { store, stream, fingerprint, head } = *read;
        let (Some(last), Ok(true)) = (delivered.last, keep_all(store, &delivered.streams).await)
        else {
            return;
        };
        // An event beyond the head was read, and others beyond it may have been missed.
        if seen.last.is_some_and(|(_, position)| position > head.position) {
            return;
        }
        let state = match self.selected_state(&last, head.position, fold) {
            Ok(state) => state,
            Err(error) => {
                tracing::warn!(%stream, %error, "no snapshot taken");
                return;
            }
        };
        // Stores keep the snapshot with the greatest number. The head grows from snapshot to
        // snapshot; the revision of the last event does not, if that is of another stream.
        let revision = Revision::new(head.position.number());
        let snapshot = Snapshot::new(
            stream.clone(),
            revision,
            head.incarnation,
            bound_to(fingerprint, last.id),
            state.into(),
        );
        self.store.save(snapshot).await;
    }

    fn selected_state(
        &self,
        last: &RecordedEvent,
        up_to: Position,
        fold: &mut dyn EventFold,
    ) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
        let state = String::from_utf8((self.state)(fold.aggregate())?.to_vec())?;
        Ok(serde_json::to_vec(&SelectedState {
            up_to: up_to.number(),
            revision: last.revision.number(),
            position: last.position.number(),
            state: RawValue::from_string(state)?,
        })?)
    }
}

/// Returns whether the metadata of any stream changed after a position.
async fn hides_since(store: &dyn EventStore, position: Position) -> Result<bool, StoreError> {
    let types = [StreamMetadata::EVENT_TYPE, TombstoneStream::EVENT_TYPE].map(EventType::new);
    let types = types.into_iter().collect::<Result<Vec<_>, _>>().expect("event types are names");
    let changes = ReadAll::forwards().from(position.next()).filter(Filter::EventTypes(types));
    Ok(!store.read_all(changes.limit(1)).collect_events().await?.is_empty())
}

/// Returns whether the streams keep their events regardless of age and number.
async fn keep_all(
    store: &dyn EventStore,
    streams: &BTreeSet<StreamName>,
) -> Result<bool, StoreError> {
    for stream in streams {
        let metadata = store.describe_stream(stream).await?.metadata;
        if metadata.max_age.is_some() || metadata.max_count.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Combines a fold with the query of its events: another query leads to another state.
fn fingerprint_of(fold: Fingerprint, query: &EventQuery) -> Fingerprint {
    let mut hasher = blake3::Hasher::new();
    let mut part = |text: &str| {
        hasher.update(&(text.len() as u64).to_be_bytes());
        hasher.update(text.as_bytes());
    };
    part(&fold.number().to_string());
    for item in query.items() {
        part("item");
        item.types().iter().for_each(|event_type| part(event_type.as_str()));
        part("tags");
        item.tags().iter().for_each(|tag| part(tag.as_str()));
    }
    let mut number = [0; 8];
    hasher.finalize_xof().fill(&mut number);
    Fingerprint::new(u64::from_be_bytes(number))
}
