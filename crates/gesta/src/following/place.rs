//! A place in a store: a position, with the event that identifies it in a store with other
//! positions.
//!
//! Not here: the place of a manager without a journal, which is derived from its instances.

use gesta_store::{
    Capability, EventId, EventStore, EventType, Filter, Head, ImportedPositions, Incarnation,
    Position, ReadAll, RecordedAt, RecordedEvent, StoreError, Subscribe,
};

use super::Begin;

/// A position, and the last event at or before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) position: Position,
    pub(crate) event: Option<EventId>,
}

/// The reason why a place was not found in a store.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The place belongs to another store or to another incarnation.
    #[error("checkpoint {position} belongs to another store: its event {event} is not in this one")]
    Foreign { position: Position, event: EventId },
}

impl Place {
    /// The place before every event.
    pub(crate) const START: Self = Self { position: Position::START, event: None };

    /// Returns the place at which a new follower begins.
    pub(crate) async fn of(
        begin: Begin,
        store: &dyn EventStore,
        head: &Head,
    ) -> Result<Self, StoreError> {
        let position = match begin {
            Begin::AtTheStart => Position::START,
            Begin::Now => head.position,
            Begin::At(time) => before(store, head.position, time).await?,
        };
        Ok(Self { position, event: last_event(store, position, Filter::Everything).await? })
    }

    /// Returns this place in a store that may be another one, or another incarnation.
    ///
    /// A store that continues the place's store translates the position. Otherwise the event
    /// identifies the place.
    pub(crate) async fn translated(
        &self,
        store: &dyn EventStore,
        from: Option<Incarnation>,
        types: &[EventType],
    ) -> Result<Self, PlaceError> {
        match self.moved(store, from).await? {
            Some(moved) => Ok(moved),
            None => self.found(store, types).await,
        }
    }

    /// Translates the position to a store that continues another one: a restored, moved or imported
    /// one.
    async fn moved(
        &self,
        store: &dyn EventStore,
        incarnation: Option<Incarnation>,
    ) -> Result<Option<Self>, StoreError> {
        let Some(incarnation) = incarnation else { return Ok(None) };
        let subscribe = Subscribe::to_all().after(self.position).incarnation(incarnation);
        // Only the store knows which incarnations it continues: it accepts or refuses a
        // subscription.
        match store.subscribe(subscribe.into()).next().await {
            Some(Ok(_)) => return Ok(Some(self.clone())),
            Some(Err(StoreError::Rejected(_))) | None => {}
            Some(Err(error)) => return Err(error),
        }
        let imported = ImportedPositions::load(store).await?;
        let reached = imported.resume_position(incarnation, self.position);
        Ok(reached.map(|position| Self { position, event: self.event }))
    }

    /// Returns the place of its event in this store.
    pub(crate) async fn found(
        &self,
        store: &dyn EventStore,
        types: &[EventType],
    ) -> Result<Self, PlaceError> {
        // No event of interest was seen up to this place.
        let Some(id) = self.event else { return Ok(Self::START) };
        let of_interest = || Filter::EventTypes(types.to_vec());
        if self.position <= store.head().await?.position {
            for filter in [of_interest(), Filter::Everything] {
                if last_event(store, self.position, filter).await? == Some(id) {
                    return Ok(self.clone());
                }
            }
        }
        // A follower that starts now counts an event of any type as seen.
        for filter in [of_interest(), Filter::Everything] {
            if let Some(position) = position_of(store, id, filter).await? {
                return Ok(Self { position, event: Some(id) });
            }
        }
        Err(PlaceError::Foreign { position: self.position, event: id })
    }
}

/// Returns the position before the first event of this time or later.
async fn before(
    store: &dyn EventStore,
    head: Position,
    time: RecordedAt,
) -> Result<Position, StoreError> {
    if !store.capabilities().has(Capability::TimeStarts) {
        return searched(store, head, time).await;
    }
    let first = first_event(store, ReadAll::forwards().from_time(time)).await?;
    // Nothing is recorded between a position and the one before it.
    let before = first.map(|event| Position::new(event.position.number().saturating_sub(1)));
    // An event that was recorded since the head was read is a later one.
    Ok(before.map_or(head, |before| before.min(head)))
}

/// Finds that position in a store that cannot start at a time. Binary search: recorded times never
/// decrease.
async fn searched(
    store: &dyn EventStore,
    head: Position,
    time: RecordedAt,
) -> Result<Position, StoreError> {
    let (mut low, mut high) = (0, head.number());
    while low < high {
        let middle = low + (high - low) / 2;
        let read = ReadAll::forwards().from(Position::new(middle + 1));
        match first_event(store, read).await? {
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
    Ok(first_event(store, read).await?.map(|event| event.id))
}

/// Returns the first event of a read.
pub(crate) async fn first_event(
    store: &dyn EventStore,
    read: ReadAll,
) -> Result<Option<RecordedEvent>, StoreError> {
    Ok(store.read_all(read.limit(1)).collect_events().await?.into_iter().next())
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
