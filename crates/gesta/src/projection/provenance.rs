//! The origin of a read model's rows: the event types and the history that they come from.
//!
//! Owns the properties of a read model that record this origin.
//!
//! Invariants: a read model continues only if no event of an added type precedes its checkpoint,
//! and only if the store still has the last event that it passed. Read models of earlier versions
//! record neither; they are accepted once and checked from then on.
//!
//! Not here: replacement of a read model that cannot continue (`read_models`).

use gesta_store::{
    Checkpoint, DatabaseError, EventId, EventStore, EventType, Filter, Invalid, Partition,
    Position, ReadAll, ReadModelId, ReadModelTx, RecordedEvent, StoreError, Visibility,
};

/// Property with the event types of the set, as a JSON array. Each partition has one of its own.
const EVENT_TYPES: &str = "event-types";

/// Property with the position and id of the last event before the checkpoint. Each partition has
/// one of its own, so that their transactions write nothing in common.
const LAST_EVENT: &str = "last-event";

/// Property with the number of operator changes to dead letters.
const LETTERS_CHANGED: &str = "dead-letters-changed";

/// Property with the head of the store when the read model was created.
const FILLS_TO: &str = "fills-to";

/// Property of a rebuild that an operator wants to confirm before it goes live.
const HELD: &str = "held";

/// Property with the number of partitions. Absent from read models of earlier versions, which are
/// not divided.
const PARTITIONS: &str = "partitions";

/// The last event that a read model has passed. Identifies a history of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HistoryMarker {
    position: Position,
    event: EventId,
}

impl HistoryMarker {
    pub(super) fn of(event: &RecordedEvent) -> Self {
        Self { position: event.position, event: event.id }
    }

    fn parse(text: &str) -> Option<Self> {
        let (position, event) = text.split_once(' ')?;
        let position = Position::new(position.parse().ok()?);
        Some(Self { position, event: event.parse().ok()? })
    }

    /// Returns the last event up to a position, if the store has one.
    pub(super) async fn up_to(
        store: &dyn EventStore,
        position: Position,
    ) -> Result<Option<Self>, StoreError> {
        // Any event will do, even one of no interest to the projection: it only identifies the
        // history.
        let read = ReadAll::backwards().from(position).limit(1);
        let events = store.read_all(read).collect_events().await?;
        Ok(events.first().map(Self::of))
    }

    pub(super) async fn keep(
        self,
        tx: &mut impl ReadModelTx,
        partition: Option<Partition>,
    ) -> Result<(), DatabaseError> {
        let text = format!("{} {}", self.position, self.event);
        tx.set_property(&property_of(LAST_EVENT, partition), &text).await
    }
}

/// The reason why a read model cannot continue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Outdated {
    #[error(
        "its rows are ahead of the store: they include events that the store does not have (an \
         older copy or backup of the store, or another store)"
    )]
    Ahead,
    #[error(
        "its rows belong to another history: the store has a different event at position \
         {position} (an older copy or backup of the store was used)"
    )]
    OtherHistory { position: Position },
    #[error(
        "its rows lack events of {types}: the projection now applies these types, and the store \
         already had such events"
    )]
    NewTypes { types: String },
    #[error("it is divided into another number of partitions than the program has")]
    OtherPartitions,
}

impl Outdated {
    /// Returns whether the rows are correct, though incomplete.
    pub(super) const fn has_valid_rows(&self) -> bool {
        match self {
            Self::NewTypes { .. } | Self::OtherPartitions => true,
            Self::Ahead | Self::OtherHistory { .. } => false,
        }
    }

    /// Converts the store's refusal of a checkpoint that it does not have.
    pub(super) fn of_refusal(error: &StoreError) -> Option<Self> {
        match error {
            StoreError::Rejected(Invalid::OtherIncarnation { .. } | Invalid::BeyondHead { .. }) => {
                Some(Self::Ahead)
            }
            _ => None,
        }
    }
}

/// Properties of a read model, as its transaction sees them.
#[derive(Clone, Debug, Default)]
pub(super) struct Provenance {
    event_types: Option<Vec<String>>,
    /// The property of event types is there. A partition without it has the types of the whole.
    has_types: bool,
    last_event: Option<HistoryMarker>,
    /// Head of the store when the read model was created. Rows are incomplete until the position
    /// first reaches it. [`Position::START`] for read models of earlier versions.
    pub(super) fills_to: Position,
    pub(super) partitions: u32,
}

impl Provenance {
    pub(super) async fn read(tx: &mut impl ReadModelTx) -> Result<Self, DatabaseError> {
        let event_types = tx.property(EVENT_TYPES).await?;
        let last_event = tx.property(LAST_EVENT).await?;
        let fills_to = tx.property(FILLS_TO).await?.and_then(|text| text.parse().ok());
        let partitions = tx.property(PARTITIONS).await?.and_then(|text| text.parse().ok());
        Ok(Self {
            has_types: event_types.is_some(),
            // A property that does not parse counts as absent: the check is skipped once, then the
            // property is written again.
            event_types: event_types.and_then(|text| serde_json::from_str(&text).ok()),
            last_event: last_event.and_then(|text| HistoryMarker::parse(&text)),
            fills_to: fills_to.map_or(Position::START, Position::new),
            partitions: partitions.unwrap_or(1),
        })
    }

    /// Reads the properties of a partition. Nodes with different programs may run the partitions,
    /// so each records the event types up to its own checkpoint.
    pub(super) async fn read_partition(
        tx: &mut impl ReadModelTx,
        partition: Partition,
    ) -> Result<Self, DatabaseError> {
        let mut own = Self::read(tx).await?;
        if let Some(text) = tx.property(&property_of(LAST_EVENT, Some(partition))).await? {
            own.last_event = HistoryMarker::parse(&text);
        }
        let types = tx.property(&property_of(EVENT_TYPES, Some(partition))).await?;
        own.has_types = types.is_some();
        if let Some(text) = types {
            own.event_types = serde_json::from_str(&text).ok();
        }
        Ok(own)
    }

    /// Returns the reason why the read model cannot continue, or `None` if it can.
    pub(super) async fn outdated(
        &self,
        store: &dyn EventStore,
        names: &[&str],
        checkpoint: Checkpoint,
    ) -> Result<Option<Outdated>, StoreError> {
        if let Some(outdated) = self.other_history(store).await? {
            return Ok(Some(outdated));
        }
        self.missed_types(store, names, checkpoint).await
    }

    /// Compares the last passed event with the one at its position.
    ///
    /// A scavenged event proves nothing: its position is empty in every history.
    async fn other_history(&self, store: &dyn EventStore) -> Result<Option<Outdated>, StoreError> {
        let Some(HistoryMarker { position, event }) = self.last_event else { return Ok(None) };
        let read = ReadAll::forwards().from(position).limit(1);
        let found = match store.read_all(read).collect_events().await {
            Ok(found) => found,
            Err(error) => return Outdated::of_refusal(&error).map(Some).ok_or(error),
        };
        // The read returns the next event if this position is empty.
        let found = found.first().filter(|found| found.position == position);
        let differs = found.is_some_and(|found| found.id != event);
        Ok(differs.then_some(Outdated::OtherHistory { position }))
    }

    /// Returns the added types with events before the checkpoint, which the rows lack.
    pub(super) async fn missed_types(
        &self,
        store: &dyn EventStore,
        names: &[&str],
        checkpoint: Checkpoint,
    ) -> Result<Option<Outdated>, StoreError> {
        let added: Vec<EventType> =
            self.added_types(names).map(EventType::new).collect::<Result<_, _>>()?;
        if added.is_empty() {
            return Ok(None);
        }
        let types = added.iter().map(EventType::as_str).collect::<Vec<_>>().join(", ");
        let read = ReadAll::forwards()
            .filter(Filter::EventTypes(added))
            .visibility(Visibility::Visible)
            .limit(1);
        let first = store.read_all(read).collect_events().await?;
        // Events after the checkpoint are still to come, so they are not missed.
        let is_missed = first.first().is_some_and(|event| event.position <= checkpoint.position);
        Ok(is_missed.then_some(Outdated::NewTypes { types }))
    }

    /// Returns the types added since the rows were written. Empty if they are unknown.
    pub(super) fn added_types<'n>(&self, names: &[&'n str]) -> impl Iterator<Item = &'n str> {
        let known = self.event_types.as_deref();
        names
            .iter()
            .copied()
            .filter(move |name| known.is_some_and(|known| known.iter().all(|one| one != name)))
    }

    /// Returns whether the rows are divided into another number of partitions. Rows that are not
    /// divided can be.
    pub(super) const fn has_other_partitions(&self, partitions: u32) -> bool {
        self.partitions != 1 && self.partitions != partitions
    }

    /// Returns whether the recorded event types differ from these.
    pub(super) fn has_other_types(&self, names: &[&str]) -> bool {
        let kept = self.event_types.as_deref().unwrap_or_default();
        !self.has_types || kept.len() != names.len() || kept.iter().ne(sorted(names))
    }
}

fn sorted<'n>(names: &[&'n str]) -> Vec<&'n str> {
    let mut names = names.to_vec();
    names.sort_unstable();
    names
}

fn property_of(name: &str, partition: Option<Partition>) -> String {
    partition.map_or_else(
        || name.to_owned(),
        |partition| format!("{name}-{}-of-{}", partition.index(), partition.count()),
    )
}

/// Records the event types that the rows come from, or those of a partition.
pub(super) async fn keep_event_types(
    tx: &mut impl ReadModelTx,
    partition: Option<Partition>,
    names: &[&str],
) -> Result<(), DatabaseError> {
    let names = serde_json::json!(sorted(names)).to_string();
    tx.set_property(&property_of(EVENT_TYPES, partition), &names).await
}

/// Records the head of the store, for a new read model.
pub(super) async fn keep_fills_to(
    tx: &mut impl ReadModelTx,
    head: Position,
) -> Result<(), DatabaseError> {
    tx.set_property(FILLS_TO, &head.to_string()).await
}

/// Records the number of partitions.
pub(super) async fn keep_partitions(
    tx: &mut impl ReadModelTx,
    partitions: u32,
) -> Result<(), DatabaseError> {
    tx.set_property(PARTITIONS, &partitions.to_string()).await
}

/// Records that a rebuild goes live only once it is confirmed.
pub(super) async fn keep_held(tx: &mut impl ReadModelTx) -> Result<(), DatabaseError> {
    tx.set_property(HELD, "yes").await
}

/// Returns whether a rebuild goes live only once it is confirmed.
pub(super) async fn is_held(tx: &mut impl ReadModelTx) -> Result<bool, DatabaseError> {
    Ok(tx.property(HELD).await?.is_some())
}

/// Returns the number of operator changes to dead letters.
pub(super) async fn dead_letter_changes(tx: &mut impl ReadModelTx) -> Result<u64, DatabaseError> {
    let kept = tx.property(LETTERS_CHANGED).await?;
    Ok(kept.and_then(|text| text.parse().ok()).unwrap_or_default())
}

/// Counts a change, so that another process on the read model reloads its dead letters.
pub(super) async fn count_dead_letter_change(
    tx: &mut impl ReadModelTx,
) -> Result<(), DatabaseError> {
    let changed = dead_letter_changes(tx).await?.wrapping_add(1);
    tx.set_property(LETTERS_CHANGED, &changed.to_string()).await
}

/// Logs that a read model is replaced, with the reason.
pub(super) fn warn(read_model: &ReadModelId, outdated: &Outdated) {
    tracing::warn!(%read_model, %outdated, "the read model is rebuilt from the first event");
}
