//! The journal of a reactor: its position, the events handled beyond it, and its held streams.
//!
//! Owns the stored forms of this stream and their fold, [`ReactorJournal`].
//!
//! Invariants:
//! - Each event of the journal is a change of the whole state, so that a position never becomes
//!   durable without the dead letters that it passes.
//! - Each append expects the revision that it was decided on.
//!
//! Not here: the events of a held stream, which stay in their stream.

use std::collections::{BTreeMap, BTreeSet};

use gesta_store::{
    Append, Capability, EventId, EventStore, ExpectedRevision, Incarnation, NewEvent, Position,
    ReadStream, Revision, SetStreamMetadata, StoreError, StreamAppend, StreamMetadata, StreamName,
};
use serde::{Deserialize, Serialize};

use super::{
    held::{HeldStreams, StoredStream, event_id},
    setup::ReactorIdentity,
    trouble::ReactorTrouble,
};
use crate::{Event, EventMetadata, EventSet, Recorded, following::Place};

/// Events of the journal after which a checkpoint replaces them.
const CHANGES_MAX: usize = 1_000;

/// Held streams per event of a checkpoint.
const PIECE_STREAMS_MAX: usize = 200;

#[derive(EventSet, Clone, Debug, PartialEq)]
pub(super) enum ReactorEvent {
    Advanced(ReactorAdvanced),
    Checkpointed(ReactorCheckpointed),
}

/// A change of a reactor's state.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "reactor-advanced")]
#[serde(rename_all = "camelCase")]
pub(super) struct ReactorAdvanced {
    place: StoredPlace,
    /// Events handled beyond the position.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ahead: Vec<(String, u64)>,
    /// Streams that are held from now on, or have moved on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    held: Vec<StoredStream>,
    /// Streams that are no longer held.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    released: Vec<String>,
}

/// The whole state of a reactor. Changes behind it in the same append complete it.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "reactor-checkpointed")]
#[serde(rename_all = "camelCase")]
pub(super) struct ReactorCheckpointed {
    place: StoredPlace,
    ahead: Vec<(String, u64)>,
}

/// A position up to which all events are handled or in held streams.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
struct StoredPlace {
    position: u64,
    /// Incarnation of the store in which the position is valid.
    incarnation: String,
    /// Last event at or before the position, which identifies the place in a store with other
    /// positions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event: Option<String>,
}

/// The changes since the last append to the journal.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Events handled beyond the position.
    pub(super) ahead: Vec<Place>,
    pub(super) held: HeldStreams,
    pub(super) released: BTreeSet<StreamName>,
}

impl Changes {
    pub(super) fn is_none(&self) -> bool {
        self.ahead.is_empty() && self.held.is_empty() && self.released.is_empty()
    }
}

/// The state of one reactor's journal, as far as it was read.
#[derive(Debug)]
pub(super) struct ReactorJournal {
    identity: ReactorIdentity,
    revision: Option<Revision>,
    stored: Option<StoredPlace>,
    /// Handled events beyond the position.
    ahead: BTreeMap<EventId, Position>,
    held: HeldStreams,
    /// Events since the last checkpoint.
    changes: usize,
}

impl StoredPlace {
    fn of(place: &Place, incarnation: Incarnation) -> Self {
        Self {
            position: place.position.number(),
            incarnation: incarnation.as_uuid().to_string(),
            event: place.event.map(|id| id.to_string()),
        }
    }

    fn place(&self) -> Place {
        let event = self.event.as_deref().and_then(event_id);
        Place { position: Position::new(self.position), event }
    }
}

impl ReactorJournal {
    pub(super) async fn read(
        store: &dyn EventStore,
        identity: &ReactorIdentity,
    ) -> Result<Self, ReactorTrouble> {
        let mut journal = Self {
            identity: identity.clone(),
            revision: None,
            stored: None,
            ahead: BTreeMap::new(),
            held: BTreeMap::new(),
            changes: 0,
        };
        journal.catch_up(store).await?;
        Ok(journal)
    }

    /// Returns the stored place and its incarnation; `None` for a reactor that is new to the store.
    pub(super) fn place(&self) -> Option<(Place, Option<Incarnation>)> {
        let stored = self.stored.as_ref()?;
        let incarnation = stored.incarnation.parse().ok().map(Incarnation::new);
        Some((stored.place(), incarnation))
    }

    pub(super) const fn held(&self) -> &HeldStreams {
        &self.held
    }

    /// Returns whether an event was handled before all events ahead of it were.
    pub(super) fn is_ahead(&self, event: &EventId) -> bool {
        self.ahead.contains_key(event)
    }

    /// Makes all positions those of another store, where every known event is at most at `head`.
    pub(super) fn move_positions(&mut self, head: Position) {
        self.ahead.values_mut().for_each(|position| *position = head);
        self.held.values_mut().for_each(|held| held.through = head);
    }

    pub(super) async fn catch_up(&mut self, store: &dyn EventStore) -> Result<(), ReactorTrouble> {
        let read = ReadStream::forwards(self.identity.journal.clone());
        let read = self.revision.map_or(read.clone(), |seen| read.from(seen.next()));
        let mut pages = store.read_stream(read);
        while let Some(page) = pages.next().await {
            for event in page? {
                self.revision = Some(event.revision);
                self.take(Recorded::<ReactorEvent>::read(&event)?.event);
            }
        }
        Ok(())
    }

    fn take(&mut self, event: ReactorEvent) {
        self.changes += 1;
        let (place, ahead, held, released) = match event {
            ReactorEvent::Advanced(ReactorAdvanced { place, ahead, held, released }) => {
                (place, ahead, held, released)
            }
            ReactorEvent::Checkpointed(ReactorCheckpointed { place, ahead }) => {
                // States everything, so it replaces all that was folded before it.
                self.ahead.clear();
                self.held.clear();
                self.stored = None;
                self.changes = 1;
                (place, ahead, Vec::new(), Vec::new())
            }
        };
        let ahead = ahead.into_iter();
        let ahead = ahead.filter_map(|(id, position)| Some((event_id(&id)?, position)));
        self.ahead.extend(ahead.map(|(id, position)| (id, Position::new(position))));
        self.held.extend(held.into_iter().filter_map(StoredStream::read));
        self.held.retain(|stream, _| !released.iter().any(|it| it == stream.as_str()));
        self.reach(place);
    }

    fn reach(&mut self, place: StoredPlace) {
        // Another program that runs this reactor may be behind.
        let is_behind = self.stored.as_ref().is_some_and(|stored| {
            stored.incarnation == place.incarnation && stored.position > place.position
        });
        if is_behind {
            return;
        }
        let position = Position::new(place.position);
        self.ahead.retain(|_, handled| *handled > position);
        self.stored = Some(place);
    }

    /// Appends what has changed, together with events of other streams if the store can.
    pub(super) async fn advance(
        &mut self,
        store: &dyn EventStore,
        (place, incarnation): (&Place, Incarnation),
        changes: &Changes,
        also: Vec<StreamAppend>,
    ) -> Result<(), ReactorTrouble> {
        let mut also = also;
        // Without atomic appends, write the other streams first: a crash in between leaves a record
        // of an operation that is not done, and it can be repeated.
        if !store.capabilities().has(Capability::MultiStreamAppend) {
            for part in also.drain(..) {
                store.append(Append::of(vec![part])).await?;
            }
        }
        let advanced = ReactorAdvanced {
            place: StoredPlace::of(place, incarnation),
            ahead: changes.ahead.iter().filter_map(stored_ahead).collect(),
            held: changes
                .held
                .iter()
                .map(|(stream, held)| StoredStream::of(stream, held))
                .collect(),
            released: changes.released.iter().map(|it| it.as_str().to_owned()).collect(),
        };
        self.append(store, &also, &[advanced.into()]).await?;
        if self.changes >= CHANGES_MAX {
            self.write_checkpoint(store).await?;
        }
        Ok(())
    }

    /// Writes the first place of a reactor that is new to the store.
    pub(super) async fn begin(
        &mut self,
        store: &dyn EventStore,
        place: &Place,
        incarnation: Incarnation,
    ) -> Result<(), ReactorTrouble> {
        let place = StoredPlace::of(place, incarnation);
        let begun = ReactorCheckpointed { place, ahead: Vec::new() };
        self.append(store, &[], &[begun.into()]).await
    }

    /// Writes a checkpoint of the whole state and hides the events before it.
    async fn write_checkpoint(&mut self, store: &dyn EventStore) -> Result<(), ReactorTrouble> {
        let Some(place) = self.stored.clone() else { return Ok(()) };
        let ahead = self.ahead.iter().map(|(id, at)| (id.to_string(), at.number())).collect();
        let held: Vec<StoredStream> =
            self.held.iter().map(|(stream, held)| StoredStream::of(stream, held)).collect();
        let mut events = vec![ReactorCheckpointed { place: place.clone(), ahead }.into()];
        events.extend(held.chunks(PIECE_STREAMS_MAX).map(|held| {
            let (place, held) = (place.clone(), held.to_vec());
            let (ahead, released) = (Vec::new(), Vec::new());
            ReactorAdvanced { place, ahead, held, released }.into()
        }));
        let first = self.revision.map_or(Revision::FIRST, Revision::next);
        match self.try_append(store, &[], &events).await {
            Ok(()) => {
                self.hide_before(store, first).await;
                Ok(())
            }
            // Another program that runs this reactor appended first, so this is not the whole state
            // any more. The next checkpoint follows soon.
            Err(ReactorTrouble::Store(StoreError::Conflict(_))) => self.catch_up(store).await,
            Err(error) => Err(error),
        }
    }

    async fn append(
        &mut self,
        store: &dyn EventStore,
        also: &[StreamAppend],
        events: &[ReactorEvent],
    ) -> Result<(), ReactorTrouble> {
        let mut refused_at = None;
        loop {
            match self.try_append(store, also, events).await {
                // Another program that runs this reactor appended first. Changes of both hold.
                Err(ReactorTrouble::Store(StoreError::Conflict(_)))
                    if refused_at != Some(self.revision) =>
                {
                    refused_at = Some(self.revision);
                    self.catch_up(store).await?;
                }
                outcome => return outcome,
            }
        }
    }

    async fn try_append(
        &mut self,
        store: &dyn EventStore,
        also: &[StreamAppend],
        events: &[ReactorEvent],
    ) -> Result<(), ReactorTrouble> {
        let streams = [also, &[self.part(events)?]].concat();
        store.append(Append::of(streams)).await?;
        self.catch_up(store).await
    }

    fn part(&self, events: &[ReactorEvent]) -> Result<StreamAppend, ReactorTrouble> {
        let expected = self.revision.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact);
        let events = events.iter().map(|event| self.encoded(event));
        let events = events.collect::<Result<Vec<NewEvent>, ReactorTrouble>>()?;
        Ok(StreamAppend::new(self.identity.journal.clone(), expected, events))
    }

    fn encoded(&self, event: &ReactorEvent) -> Result<NewEvent, ReactorTrouble> {
        let metadata = EventMetadata::by(self.identity.actor()).to_json();
        Ok(event.encode()?.with_id(EventId::random()).metadata(metadata))
    }

    /// Truncates the journal before a checkpoint. A failure is repeated by the next checkpoint.
    async fn hide_before(&self, store: &dyn EventStore, first: Revision) {
        let metadata = StreamMetadata::default().truncate_before(first);
        let change =
            SetStreamMetadata::new(self.identity.journal.clone(), ExpectedRevision::Any, metadata);
        if let Err(error) = store.set_stream_metadata(change).await {
            tracing::debug!(journal = %self.identity.journal, %error, "old checkpoints stay");
        }
    }
}

fn stored_ahead(place: &Place) -> Option<(String, u64)> {
    Some((place.event?.to_string(), place.position.number()))
}
