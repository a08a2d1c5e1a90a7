//! The origin of a read model's rows: which events they are made from, and of which history.
//!
//! Owns the properties that a read model keeps about it. Invariants: a read model goes on only if
//! its event set had every type of the program's from its first event on, or no event of an added
//! type is before its checkpoint; and only if the store still has the last event that it passed.
//! Read models of earlier versions keep neither: they are taken as they are, once, and from then on
//! compared. Not here: what becomes of a read model that cannot go on (`builds`).

use gesta_store::{
    Checkpoint, DatabaseError, EventId, EventStore, EventType, Filter, Invalid, Position, ReadAll,
    ReadModelId, ReadModelTx, RecordedEvent, StoreError, Visibility,
};

/// The property with the event types of the set, as a JSON array.
const EVENT_TYPES: &str = "event-types";

/// The property with the last event before the checkpoint: its position and id.
const LAST_EVENT: &str = "last-event";

/// The property that counts the changes of dead letters other than by the feed.
const LETTERS_CHANGED: &str = "dead-letters-changed";

/// The property with the head of the store when the read model was made.
const FILLS_TO: &str = "fills-to";

/// An event that a read model has passed, by which a history is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Witness {
    position: Position,
    event: EventId,
}

impl Witness {
    pub(super) fn of(event: &RecordedEvent) -> Self {
        Self { position: event.position, event: event.id }
    }

    fn parse(text: &str) -> Option<Self> {
        let (position, event) = text.split_once(' ')?;
        let position = Position::new(position.parse().ok()?);
        Some(Self { position, event: event.parse().ok()? })
    }

    /// The last event up to a position, if the store has any.
    pub(super) async fn up_to(
        store: &dyn EventStore,
        position: Position,
    ) -> Result<Option<Self>, StoreError> {
        let read = ReadAll::backwards().from(position).limit(1);
        let events = store.read_all(read).collect_events().await?;
        Ok(events.first().map(Self::of))
    }

    pub(super) async fn keep(self, tx: &mut impl ReadModelTx) -> Result<(), DatabaseError> {
        tx.set_property(LAST_EVENT, &format!("{} {}", self.position, self.event)).await
    }
}

/// Why the rows of a read model cannot be gone on with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Outdated {
    #[error(
        "its rows are ahead of the store: they have seen events that the store does not have (an \
         older copy or backup of the store, or another store)"
    )]
    Ahead,
    #[error(
        "its rows are of another history: they have seen another event at position {position} than \
         the store has there (an older copy or backup of the store was used)"
    )]
    OtherHistory { position: Position },
    #[error(
        "its rows lack events of {types}, which the projection understands now and which the store \
         has from before"
    )]
    NewTypes { types: String },
}

impl Outdated {
    /// Whether its rows are right, though not complete.
    pub(super) const fn has_right_rows(&self) -> bool {
        match self {
            Self::NewTypes { .. } => true,
            Self::Ahead | Self::OtherHistory { .. } => false,
        }
    }

    /// The store's refusal of a place that it does not have.
    pub(super) fn of_refusal(error: &StoreError) -> Option<Self> {
        match error {
            StoreError::Rejected(Invalid::OtherIncarnation { .. } | Invalid::BeyondHead { .. }) => {
                Some(Self::Ahead)
            }
            _ => None,
        }
    }
}

/// The properties of a read model, as its transaction sees them.
#[derive(Clone, Debug, Default)]
pub(super) struct Provenance {
    event_types: Option<Vec<String>>,
    last_event: Option<Witness>,
    /// The head of the store when the read model was made: until it is there for the first time,
    /// rows are missing. Read models of earlier versions do not know it.
    pub(super) fills_to: Position,
}

impl Provenance {
    pub(super) async fn read(tx: &mut impl ReadModelTx) -> Result<Self, DatabaseError> {
        let event_types = tx.property(EVENT_TYPES).await?;
        let last_event = tx.property(LAST_EVENT).await?;
        let fills_to = tx.property(FILLS_TO).await?.and_then(|text| text.parse().ok());
        Ok(Self {
            event_types: event_types.and_then(|text| serde_json::from_str(&text).ok()),
            last_event: last_event.and_then(|text| Witness::parse(&text)),
            fills_to: fills_to.map_or(Position::START, Position::new),
        })
    }

    /// Returns why the read model cannot go on, if it cannot.
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

    /// An event that was scavenged tells nothing: the place is empty in every history.
    async fn other_history(&self, store: &dyn EventStore) -> Result<Option<Outdated>, StoreError> {
        let Some(Witness { position, event }) = self.last_event else { return Ok(None) };
        let read = ReadAll::forwards().from(position).limit(1);
        let found = match store.read_all(read).collect_events().await {
            Ok(found) => found,
            Err(error) => return Outdated::of_refusal(&error).map(Some).ok_or(error),
        };
        let found = found.first().filter(|found| found.position == position);
        let differs = found.is_some_and(|found| found.id != event);
        Ok(differs.then_some(Outdated::OtherHistory { position }))
    }

    /// Returns the types whose events before the checkpoint the rows lack, if there are any.
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
        let is_missed = first.first().is_some_and(|event| event.position <= checkpoint.position);
        Ok(is_missed.then_some(Outdated::NewTypes { types }))
    }

    /// The types that the rows are not made from; none where that is not known.
    pub(super) fn added_types<'n>(&self, names: &[&'n str]) -> impl Iterator<Item = &'n str> {
        let known = self.event_types.as_deref();
        names
            .iter()
            .copied()
            .filter(move |name| known.is_some_and(|known| known.iter().all(|one| one != name)))
    }

    /// Whether the read model keeps another event set than this one.
    pub(super) fn has_other_types(&self, names: &[&str]) -> bool {
        let kept = self.event_types.as_deref().unwrap_or_default();
        self.event_types.is_none() || kept.len() != names.len() || kept.iter().ne(sorted(names))
    }
}

fn sorted<'n>(names: &[&'n str]) -> Vec<&'n str> {
    let mut names = names.to_vec();
    names.sort_unstable();
    names
}

/// Keeps the event set that the rows are made from.
pub(super) async fn keep_event_types(
    tx: &mut impl ReadModelTx,
    names: &[&str],
) -> Result<(), DatabaseError> {
    let names = serde_json::json!(sorted(names)).to_string();
    tx.set_property(EVENT_TYPES, &names).await
}

/// Keeps the head of the store, when a read model is made.
pub(super) async fn keep_fills_to(
    tx: &mut impl ReadModelTx,
    head: Position,
) -> Result<(), DatabaseError> {
    tx.set_property(FILLS_TO, &head.to_string()).await
}

/// The number of changes of dead letters that operators have ordered.
pub(super) async fn letters_changed(tx: &mut impl ReadModelTx) -> Result<u64, DatabaseError> {
    let kept = tx.property(LETTERS_CHANGED).await?;
    Ok(kept.and_then(|text| text.parse().ok()).unwrap_or_default())
}

/// Counts one more change, so that another program on the same read model looks again.
pub(super) async fn count_letters_change(tx: &mut impl ReadModelTx) -> Result<(), DatabaseError> {
    let changed = letters_changed(tx).await?.wrapping_add(1);
    tx.set_property(LETTERS_CHANGED, &changed.to_string()).await
}

/// Whether this is the read model's refusal to go on, named for the log.
pub(super) fn warn(read_model: &ReadModelId, outdated: &Outdated) {
    tracing::warn!(%read_model, %outdated, "the read model is filled anew from the first event on");
}
