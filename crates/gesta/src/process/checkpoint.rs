//! The start position of a manager: the initial one, that of the last checkpoint, or one derived
//! from instances for managers without a journal.
//!
//! Invariant: a position is trusted only within its incarnation of the store. In another one, the
//! last event before it is looked up; if it is missing, the start fails with an error.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use gesta_store::{
    EventStore, EventType, Filter, Head, Incarnation, ListStreams, Position, ReadAll, StoreError,
    StreamName,
};

use super::{
    aside::event_id_of,
    history::{ProcessEvent, StoredInput},
    journal::{Census, Checkpointed, Entry, Journal},
    outstanding::Outstanding,
    setup::Identity,
    trouble::InputError,
};
use crate::{
    Begin, Recorded,
    following::{Place, PlaceError},
};

impl Checkpointed {
    pub(super) fn at(place: &Place, incarnation: Incarnation, census: Census) -> Self {
        Self {
            position: place.position.number(),
            incarnation: incarnation.as_uuid().to_string(),
            event: place.event.map(|id| id.to_string()),
            pieces: 0,
            next_number: 0,
            census,
        }
    }

    fn place(&self) -> Place {
        let event = self.event.as_deref().and_then(event_id_of);
        Place { position: Position::new(self.position), event }
    }
}

/// Stores the start position of a manager that is new to the store. Does nothing for a known one.
pub(super) async fn begin(
    store: &dyn EventStore,
    identity: &Arc<Identity>,
    begin: Begin,
) -> Result<(), InputError> {
    let mut journal = Journal::read(store, identity).await?;
    // A manager of an earlier version has instances but no journal. Its place is derived from them.
    if journal.checkpoint.is_some() || has_streams(store, &identity.prefix()).await? {
        return Ok(());
    }
    let head = store.head().await?;
    let place = Place::of(begin, store, &head).await?;
    let checkpoint = Checkpointed::at(&place, head.incarnation, Census::default());
    journal.write_checkpoint(store, Vec::new(), checkpoint).await
}

/// Returns whether the store has a stream with this prefix.
pub(super) async fn has_streams(store: &dyn EventStore, prefix: &str) -> Result<bool, StoreError> {
    let list = ListStreams::all().prefix(prefix.to_owned()).limit(1);
    Ok(!store.list_streams(list).await?.is_empty())
}

/// The start position of a manager, with the state to load first.
pub(super) struct Resumed {
    pub(super) place: Place,
    pub(super) head: Head,
    pub(super) census: Census,
    /// Instances with outstanding work.
    pub(super) entries: Vec<Entry>,
    /// A checkpoint should be written at once.
    pub(super) is_new: bool,
}

/// Returns the position in this store at which to start: from the journal or, if the manager has
/// none, from the instances.
pub(super) async fn resume(
    store: &dyn EventStore,
    journal: &mut Journal,
    identity: &Identity,
    types: &[EventType],
) -> Result<Resumed, InputError> {
    let head = store.head().await?;
    let Some(checkpoint) = journal.checkpoint.clone() else {
        let (place, entries) = read_instances(store, identity).await?;
        let place = match place.found(store, types).await {
            // The event may have been scavenged. Starting earlier is safe: each instance knows its
            // handled events.
            Err(PlaceError::Foreign { .. }) => Place::START,
            found => found?,
        };
        return Ok(Resumed { place, head, census: Census::default(), entries, is_new: true });
    };
    let (mut entries, touched) = journal.take_entries();
    entries.extend(touched.into_iter().map(Entry::to_be_read));
    let place = checkpoint.place();
    let is_ours = checkpoint.incarnation() == Some(head.incarnation);
    // A copy of the store may have the same incarnation and end before the position.
    if is_ours && place.position <= head.position {
        let census = checkpoint.census;
        entries.extend(changed_since(store, identity, census.position()).await?);
        return Ok(Resumed { place, head, census, entries, is_new: false });
    }
    let moved = place.translated(store, checkpoint.incarnation(), types).await?;
    if moved.position == place.position {
        let census = checkpoint.census;
        entries.extend(changed_since(store, identity, census.position()).await?);
        return Ok(Resumed { place, head, census, entries, is_new: true });
    }
    tracing::warn!(
        journal = %journal.stream(), from = %place.position, to = %moved.position,
        "the checkpoint belongs to another store or another incarnation; its event was found in \
         this store"
    );
    journal.asides.forget_positions();
    // A reaction is appended after its event, so reading from the event position misses none.
    entries.extend(changed_since(store, identity, moved.position).await?);
    Ok(Resumed { place: moved, head, census: Census::default(), entries, is_new: true })
}

/// Returns the instances whose streams have changed after a position.
///
/// Their events are delivered again, except for hidden ones, and their decided effects are still
/// outstanding.
async fn changed_since(
    store: &dyn EventStore,
    identity: &Identity,
    position: Position,
) -> Result<Vec<Entry>, StoreError> {
    let category = Filter::Categories(vec![identity.category.clone()]);
    let mut pages = store.read_all(ReadAll::forwards().from(position.next()).filter(category));
    let mut changed = BTreeSet::new();
    while let Some(page) = pages.next().await {
        changed.extend(page?.into_iter().map(|event| event.stream.as_str().to_owned()));
    }
    Ok(changed.into_iter().map(Entry::to_be_read).collect())
}

/// Derives the last handled event and the instances with outstanding work from instance streams.
async fn read_instances(
    store: &dyn EventStore,
    identity: &Identity,
) -> Result<(Place, Vec<Entry>), InputError> {
    let mut last = Place::START;
    let mut found: BTreeMap<StreamName, Outstanding> = BTreeMap::new();
    let mut unclear = BTreeSet::new();
    let read = ReadAll::forwards().filter(Filter::Categories(vec![identity.category.clone()]));
    let mut pages = store.read_all(read);
    while let Some(page) = pages.next().await {
        for event in page? {
            let Ok(recorded) = Recorded::<ProcessEvent>::read(&event) else { continue };
            let outstanding = found.entry(event.stream.clone()).or_default();
            if outstanding.take(&recorded).is_err() {
                unclear.insert(event.stream.clone());
            }
            if outstanding.is_nothing() {
                found.remove(&event.stream);
            }
            let ProcessEvent::Reacted(reacted) = recorded.event else { continue };
            let StoredInput::Event { id, position, .. } = reacted.input else { continue };
            if Position::new(position) > last.position {
                last = Place { position: Position::new(position), event: event_id_of(&id) };
            }
        }
    }
    let mut entries: Vec<Entry> = found.iter().map(|(name, all)| Entry::of(name, all)).collect();
    entries.extend(unclear.into_iter().map(|name| Entry::to_be_read(name.as_str().to_owned())));
    Ok((last, entries))
}

impl Entry {
    pub(super) fn of(stream: &StreamName, outstanding: &Outstanding) -> Self {
        Self {
            stream: stream.as_str().to_owned(),
            timers: outstanding.timers.iter().map(|(id, one)| (*id, one.due.micros())).collect(),
            has_commands: !outstanding.commands.is_empty(),
        }
    }

    pub(super) fn to_be_read(stream: String) -> Self {
        Self { stream, timers: Vec::new(), has_commands: true }
    }
}
