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
    EventId, EventStore, EventType, Filter, Head, ImportedPositions, Incarnation, ListStreams,
    Position, ReadAll, RecordedAt, RecordedEvent, StoreError, StreamName, Subscribe,
};

use super::{
    Begin,
    aside::event_id_of,
    history::{ProcessEvent, StoredInput},
    journal::{Census, Checkpointed, Entry, Journal},
    outstanding::Outstanding,
    setup::Identity,
    trouble::InputError,
};
use crate::Recorded;

/// A position, and the last event at or before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) position: Position,
    pub(super) event: Option<EventId>,
}

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
    let position = match begin {
        Begin::AtTheStart => Position::START,
        Begin::Now => head.position,
        Begin::At(time) => before(store, head.position, time).await?,
    };
    let place = Place { position, event: last_event(store, position, Filter::Everything).await? };
    let checkpoint = Checkpointed::at(&place, head.incarnation, Census::default());
    journal.write_checkpoint(store, Vec::new(), checkpoint).await
}

/// Returns whether the store has a stream with this prefix.
pub(super) async fn has_streams(store: &dyn EventStore, prefix: &str) -> Result<bool, StoreError> {
    let list = ListStreams { prefix: prefix.to_owned(), after: None, limit: 1 };
    Ok(!store.list_streams(list).await?.is_empty())
}

/// Returns the position before the first event of this time or later. Binary search: recorded times
/// never decrease.
async fn before(
    store: &dyn EventStore,
    head: Position,
    time: RecordedAt,
) -> Result<Position, StoreError> {
    let (mut low, mut high) = (0, head.number());
    while low < high {
        let middle = low + (high - low) / 2;
        let read = ReadAll::forwards().from(Position::new(middle + 1)).limit(1);
        match first(store, read).await? {
            // No event between `middle + 1` and this one exists, for example after a scavenge.
            Some(event) if event.recorded_at < time => low = event.position.number(),
            Some(_) | None => high = middle,
        }
    }
    Ok(Position::new(low))
}

async fn last_event(
    store: &dyn EventStore,
    at: Position,
    filter: Filter,
) -> Result<Option<EventId>, StoreError> {
    if at == Position::START {
        return Ok(None);
    }
    let read = ReadAll::backwards().from(at).filter(filter);
    Ok(first(store, read).await?.map(|event| event.id))
}

async fn first(store: &dyn EventStore, read: ReadAll) -> Result<Option<RecordedEvent>, StoreError> {
    Ok(store.read_all(read.limit(1)).collect_events().await?.into_iter().next())
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
        let place = match found(store, place, types).await {
            // The event may have been scavenged. Starting earlier is safe: each instance knows its
            // handled events.
            Err(InputError::ForeignCheckpoint { .. }) => {
                Place { position: Position::START, event: None }
            }
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
    // A store that continues the checkpoint's store translates the position. Otherwise the event
    // identifies the place.
    let moved = match moved(store, checkpoint.incarnation(), &place).await? {
        Some(moved) => moved,
        None => found(store, place.clone(), types).await?,
    };
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

/// Translates a position to a store that continues another one: a restored, moved or imported one.
async fn moved(
    store: &dyn EventStore,
    incarnation: Option<Incarnation>,
    place: &Place,
) -> Result<Option<Place>, InputError> {
    let Some(incarnation) = incarnation else { return Ok(None) };
    let subscribe = Subscribe::to_all().after(place.position).incarnation(incarnation);
    // Only the store knows which incarnations it continues: it accepts or refuses a subscription.
    match store.subscribe(subscribe).next().await {
        Some(Ok(_)) => return Ok(Some(place.clone())),
        Some(Err(StoreError::Rejected(_))) | None => {}
        Some(Err(error)) => return Err(error.into()),
    }
    let imported = ImportedPositions::load(store).await?;
    let reached = imported.resume_position(incarnation, place.position);
    Ok(reached.map(|position| Place { position, event: place.event }))
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
    let mut last = Place { position: Position::START, event: None };
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

/// Returns the position of its event in this store.
async fn found(
    store: &dyn EventStore,
    place: Place,
    types: &[EventType],
) -> Result<Place, InputError> {
    // The manager has seen no event of interest up to this place.
    let Some(id) = place.event else { return Ok(Place { position: Position::START, event: None }) };
    let of_interest = || Filter::EventTypes(types.to_vec());
    if place.position <= store.head().await?.position {
        for filter in [of_interest(), Filter::Everything] {
            if last_event(store, place.position, filter).await? == Some(id) {
                return Ok(place);
            }
        }
    }
    // A manager that starts now counts an event of any type as seen.
    for filter in [of_interest(), Filter::Everything] {
        if let Some(position) = position_of(store, id, filter).await? {
            return Ok(Place { position, event: Some(id) });
        }
    }
    Err(InputError::ForeignCheckpoint { position: place.position, event: id })
}

async fn position_of(
    store: &dyn EventStore,
    id: EventId,
    filter: Filter,
) -> Result<Option<Position>, StoreError> {
    let mut pages = store.read_all(ReadAll::forwards().filter(filter));
    while let Some(page) = pages.next().await {
        if let Some(event) = page?.into_iter().find(|event| event.id == id) {
            return Ok(Some(event.position));
        }
    }
    Ok(None)
}
