//! Projections on read: a stored row and the events since then, folded when somebody asks.
//!
//! Always holds: an answer equals a fold of the whole stream; a row that was folded further is
//! never replaced by one that was folded less. Not here: projections that run by themselves.

use std::{
    fmt::Display,
    marker::PhantomData,
    sync::{Arc, PoisonError},
};

use gesta_store::{
    CreateReadModel, DatabaseError, EventId, EventStore, Incarnation, InvalidName, Position,
    ReadModelId, ReadModelStore, ReadModelTx, ReadRows, ReadStream, RecordedEvent, Revision, Rows,
    Stage, StoreError, StreamName,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::sync::Mutex;

use super::{
    ApplyError, Projection, ReadTypedRows, TypedRows, in_one_line,
    provenance::{self, Provenance},
};
use crate::{
    AsOf, EventSet, Recorded, TruncatedHistory, UndecodableEvent,
    read::{ReadFailure, begins_anew, check_beginning},
};

/// The table of a read model that is filled on read.
const TABLE: &str = "on_read";

/// A projection with a row for each stream, brought up to date when it is read.
///
/// Nothing runs between reads: right for rows that are read seldom, or must be fresh always.
///
/// ```
/// use gesta::{OnRead, Projection, prelude::*};
///
/// #[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
/// #[event(name = "door-opened")]
/// struct DoorOpened;
///
/// #[derive(EventSet, Clone, Debug, PartialEq)]
/// enum DoorEvent {
///     Opened(DoorOpened),
/// }
///
/// struct DoorCard;
///
/// impl Projection for DoorCard {
///     const NAME: &'static str = "door-card";
///     type Event = DoorEvent;
/// }
///
/// impl OnRead for DoorCard {
///     const CATEGORY: &'static str = "door";
///     type Id = u32;
///     type Row = u64;
///
///     fn evolve(opened: &mut u64, event: &Recorded<DoorEvent>) {
///         match event.event {
///             DoorEvent::Opened(_) => *opened += 1,
///         }
///     }
/// }
///
/// assert_eq!(DoorCard::stream(&7)?.as_str(), "door-7");
/// # Ok::<(), gesta::InvalidName>(())
/// ```
pub trait OnRead: Projection {
    /// The category of the streams that have rows.
    const CATEGORY: &'static str;
    /// What tells one stream of the category from another.
    type Id: Display + Send + Sync;
    /// What is folded from a stream, stored, and answered.
    type Row: Default + Serialize + DeserializeOwned + Send + Sync + 'static;

    /// Takes in one event. Events of the stream that are not of the set do not come by.
    fn evolve(row: &mut Self::Row, event: &Recorded<Self::Event>);

    /// The stream of an id.
    ///
    /// # Errors
    /// [`InvalidName`] when the id makes no stream's name.
    fn stream(id: &Self::Id) -> Result<StreamName, InvalidName> {
        StreamName::new(format!("{}-{id}", Self::CATEGORY))
    }
}

/// A row as of a moment.
///
/// ```
/// use gesta::{OnReadRow, Position, Revision};
///
/// let row = OnReadRow { row: 3, revision: Revision::new(2), position: Position::new(9) };
/// assert_eq!(row.row, 3);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnReadRow<Row> {
    /// The row.
    pub row: Row,
    /// The last event that it has folded.
    pub revision: Revision,
    /// Where that event is in the store.
    pub position: Position,
}

/// Why a row was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadOnDemandError {
    /// The projection was not registered for reading on demand.
    #[error("projection {projection} is not registered")]
    NotRegistered {
        /// Its name.
        projection: &'static str,
    },
    /// The id makes no stream's name. Correct it.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// A stored event is not known to this program. Deploy code that knows it.
    #[error(transparent)]
    Undecodable(#[from] UndecodableEvent),
    /// The first events of the stream are hidden or gone, so its row cannot be folded. The error
    /// says what there is to do.
    #[error(transparent)]
    Truncated(#[from] TruncatedHistory),
    /// The store could not be read. What to do next is said by the error.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ReadFailure> for ReadOnDemandError {
    fn from(failure: ReadFailure) -> Self {
        match failure {
            ReadFailure::Undecodable(event) => Self::Undecodable(event),
            ReadFailure::Truncated(history) => Self::Truncated(history),
            ReadFailure::Store(error) => Self::Store(error),
        }
    }
}

/// A stored row, and up to where it was folded.
#[derive(Serialize, Deserialize)]
struct Stored<Row> {
    revision: u64,
    position: u64,
    incarnation: String,
    /// The id of the last event; rows of earlier versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event: Option<String>,
    row: Row,
}

impl<Row> Stored<Row> {
    /// Whether it already is what another one would bring it to.
    fn has<Other>(&self, other: &Stored<Other>) -> bool {
        self.incarnation == other.incarnation && self.revision >= other.revision
    }

    fn last(&self) -> LastEvent {
        let (revision, position) = (Revision::new(self.revision), Position::new(self.position));
        let id = self.event.as_deref().and_then(|id| id.parse().ok());
        LastEvent { revision, position, id }
    }
}

impl Stored<Value> {
    /// The row, if it was folded in this life of the store and still is of the type.
    fn typed<Row: DeserializeOwned>(self, life: Incarnation) -> Option<Stored<Row>> {
        let Self { revision, position, incarnation, event, row } = self;
        if incarnation != life.to_string() {
            return None;
        }
        let row = serde_json::from_value(row).ok()?;
        Some(Stored { revision, position, incarnation, event, row })
    }
}

/// The last event that a row has folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LastEvent {
    revision: Revision,
    position: Position,
    id: Option<EventId>,
}

impl LastEvent {
    fn of(event: &RecordedEvent) -> Self {
        Self { revision: event.revision, position: event.position, id: Some(event.id) }
    }

    /// Whether the stream still has it at its place.
    fn is(&self, event: &RecordedEvent) -> bool {
        let same_place = event.revision == self.revision && event.position == self.position;
        same_place && self.id.is_none_or(|id| id == event.id)
    }
}

/// Reads rows of one on-read projection, whatever its store's type is.
pub(crate) struct OnReadRows<P: OnRead> {
    rows: Box<dyn KeepsRows<P>>,
    /// The trouble that the log has a line of.
    told: std::sync::Mutex<Option<String>>,
}

impl<P: OnRead> OnReadRows<P> {
    pub(crate) fn new<S: ReadModelStore<Tx: Rows, Reader: ReadRows>>(
        plan: OnReadPlan<P, S>,
    ) -> Self {
        Self { rows: Box::new(plan), told: std::sync::Mutex::default() }
    }

    /// The row of a stream as of a moment; none where the stream had no events then.
    pub(crate) async fn read(
        &self,
        store: &Arc<dyn EventStore>,
        id: &P::Id,
        as_of: AsOf,
    ) -> Result<Option<OnReadRow<P::Row>>, ReadOnDemandError> {
        let stream = P::stream(id)?;
        let AsOf::Now = as_of else {
            let folded = Fold::<P>::nothing(&stream).go_on(store.as_ref(), as_of).await?;
            return Ok(folded.fresh());
        };
        let incarnation = store.head().await?.incarnation;
        let stored = self.stored(&stream).await;
        let before = stored.as_ref().map(Stored::last);
        let usable = stored.and_then(|stored| stored.typed(incarnation));
        let fold = Fold::<P>::of(&stream, usable).go_on(store.as_ref(), as_of).await?;
        let Some(last) = fold.last else { return Ok(None) };
        let useless = before.filter(|_| fold.resumed.is_none());
        let stays = useless.is_none() && before == Some(last);
        let Some(fresh) = fold.fresh() else { return Ok(None) };
        if !stays {
            let kept = Stored {
                revision: fresh.revision.number(),
                position: fresh.position.number(),
                incarnation: incarnation.to_string(),
                event: last.id.map(|id| id.to_string()),
                row: &fresh.row,
            };
            self.keep(&stream, kept, useless).await;
        }
        Ok(Some(fresh))
    }

    /// A row that cannot be read is as good as none.
    async fn stored(&self, stream: &StreamName) -> Option<Stored<Value>> {
        self.rows.stored(stream).await.unwrap_or_else(|error| {
            self.tell(stream, in_one_line(&error));
            None
        })
    }

    /// Writes a line about a trouble once, until rows are kept again or it is another one.
    fn tell(&self, stream: &StreamName, error: String) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.as_ref() != Some(&error) {
            tracing::warn!(
                projection = P::NAME, %stream, %error,
                "rows on read are not kept, and are folded again for each read"
            );
            *told = Some(error);
        }
    }

    /// Not keeping it costs the next reader time and nothing else.
    async fn keep(&self, stream: &StreamName, kept: Stored<&P::Row>, useless: Option<LastEvent>) {
        match self.rows.keep(stream, kept, useless).await {
            Ok(()) => *self.told.lock().unwrap_or_else(PoisonError::into_inner) = None,
            Err(error) => self.tell(stream, in_one_line(&error)),
        }
    }
}

/// A row on its way from what was stored to what is asked for.
struct Fold<'a, P: OnRead> {
    stream: &'a StreamName,
    row: P::Row,
    last: Option<LastEvent>,
    /// The last event of the stored row, which must still be the stream's.
    resumed: Option<LastEvent>,
}

impl<'a, P: OnRead> Fold<'a, P> {
    fn nothing(stream: &'a StreamName) -> Self {
        Self { stream, row: P::Row::default(), last: None, resumed: None }
    }

    fn of(stream: &'a StreamName, stored: Option<Stored<P::Row>>) -> Self {
        let Some(stored) = stored else { return Self::nothing(stream) };
        let last = Some(stored.last());
        Self { stream, row: stored.row, last, resumed: last }
    }

    /// Reads from the stored row's last event on: if that is no longer the stream's (the stream
    /// was deleted, or truncated, or is of another history), the row is of no use and everything is
    /// folded again.
    async fn go_on(
        mut self,
        store: &dyn EventStore,
        as_of: AsOf,
    ) -> Result<Self, ReadOnDemandError> {
        let Some(resumed) = self.resumed else {
            return self.fold_from(Revision::FIRST, store, as_of).await;
        };
        let revision = resumed.revision;
        let check = ReadStream::forwards(self.stream.clone()).from(revision).limit(1);
        let found = store.read_stream(check).collect_events().await?;
        let Some(shown) = found.first() else {
            return Self::nothing(self.stream).fold_from(Revision::FIRST, store, as_of).await;
        };
        if resumed.is(shown) {
            self.last = Some(LastEvent::of(shown));
            return self.fold_from(revision.next(), store, as_of).await;
        }
        // The row covers all that a truncation hides, and the stream has not begun anew since.
        if shown.revision == revision.next() && !begins_anew(store, shown).await? {
            return self.fold_from(revision.next(), store, as_of).await;
        }
        Self::nothing(self.stream).fold_from(Revision::FIRST, store, as_of).await
    }

    async fn fold_from(
        mut self,
        revision: Revision,
        store: &dyn EventStore,
        as_of: AsOf,
    ) -> Result<Self, ReadOnDemandError> {
        let mut pages = store.read_stream(ReadStream::forwards(self.stream.clone()).from(revision));
        while let Some(page) = pages.next().await {
            for event in &page? {
                if self.last.is_none() {
                    check_beginning(store, event, None).await?;
                }
                if !as_of.includes(event) {
                    return Ok(self);
                }
                self.last = Some(LastEvent::of(event));
                if P::Event::NAMES.contains(&event.event_type.as_str()) {
                    Recorded::read_each(event, &mut |event| P::evolve(&mut self.row, &event))?;
                }
            }
        }
        Ok(self)
    }

    fn fresh(self) -> Option<OnReadRow<P::Row>> {
        let LastEvent { revision, position, .. } = self.last?;
        Some(OnReadRow { row: self.row, revision, position })
    }
}

/// An on-read projection and where it keeps its rows.
pub(crate) struct OnReadPlan<P, S> {
    read_models: S,
    /// The read model of this version, once it was used.
    id: Mutex<Option<ReadModelId>>,
    projection: PhantomData<fn() -> P>,
}

impl<P: OnRead, S: ReadModelStore> OnReadPlan<P, S> {
    pub(crate) fn new(read_models: S) -> Self {
        Self { read_models, id: Mutex::new(None), projection: PhantomData }
    }

    async fn id(&self) -> Result<ReadModelId, DatabaseError> {
        let mut known = self.id.lock().await;
        match &*known {
            Some(id) => Ok(id.clone()),
            None => Ok(known.insert(self.find().await?).clone()),
        }
    }

    /// Rows of another version, or from before an event type was added, are of no use: they are
    /// dropped, and folded again when read. Damaged ones are kept aside.
    async fn find(&self) -> Result<ReadModelId, DatabaseError> {
        let listed = self.read_models.list_read_models(P::NAME).await?;
        let usable = |stage: Stage, version: u32| stage == Stage::Live && version == P::VERSION;
        let found = listed.into_iter().find(|listed| usable(listed.stage, listed.version));
        if let Some(found) = found {
            match self.knows_all_types(&found.id).await {
                Ok(true) => return Ok(found.id),
                Ok(false) => {}
                Err(DatabaseError::Corrupt { reason, .. }) => {
                    self.set_aside(&found.id, &reason).await?;
                }
                Err(error) => return Err(error),
            }
        }
        let stage = Stage::Rebuilding;
        let create = CreateReadModel { projection: P::NAME, version: P::VERSION, stage };
        let id = self.read_models.create_read_model(create).await?;
        let mut tx = self.read_models.begin(&id).await?;
        provenance::keep_event_types(&mut tx, P::Event::NAMES).await?;
        tx.commit().await?;
        self.read_models.switch_to(&id).await?;
        Ok(id)
    }

    /// Rows of an earlier version do not say which types they know, and are taken as they are.
    async fn knows_all_types(&self, id: &ReadModelId) -> Result<bool, DatabaseError> {
        let mut tx = self.read_models.begin(id).await?;
        let provenance = Provenance::read(&mut tx).await?;
        if provenance.added_types(P::Event::NAMES).next().is_some() {
            tx.rollback().await?;
            return Ok(false);
        }
        if provenance.has_other_types(P::Event::NAMES) {
            provenance::keep_event_types(&mut tx, P::Event::NAMES).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    async fn set_aside(&self, id: &ReadModelId, damage: &str) -> Result<(), DatabaseError> {
        let kept_at = self.read_models.quarantine(id).await?.unwrap_or_default();
        tracing::warn!(
            projection = P::NAME,
            damage,
            kept_at,
            "rows on read are damaged: they are kept aside and folded again"
        );
        Ok(())
    }

    /// The read model to try once more with, if this error is damage of the one that was used.
    async fn after(
        &self,
        error: ApplyError,
        used: &ReadModelId,
    ) -> Result<ReadModelId, ApplyError> {
        let ApplyError::Database(DatabaseError::Corrupt { reason, .. }) = &error else {
            return Err(error);
        };
        let mut known = self.id.lock().await;
        if known.as_ref() == Some(used) {
            self.set_aside(used, reason).await?;
            *known = None;
        }
        drop(known);
        Ok(self.id().await?)
    }
}

type Keeping<'a, T> = std::pin::Pin<Box<dyn Future<Output = Result<T, ApplyError>> + Send + 'a>>;

trait KeepsRows<P: OnRead>: Send + Sync {
    fn stored<'a>(&'a self, stream: &'a StreamName) -> Keeping<'a, Option<Stored<Value>>>;
    fn keep<'a>(
        &'a self,
        stream: &'a StreamName,
        row: Stored<&'a P::Row>,
        useless: Option<LastEvent>,
    ) -> Keeping<'a, ()>;
}

impl<P, S> KeepsRows<P> for OnReadPlan<P, S>
where
    P: OnRead,
    S: ReadModelStore<Tx: Rows, Reader: ReadRows>,
{
    fn stored<'a>(&'a self, stream: &'a StreamName) -> Keeping<'a, Option<Stored<Value>>> {
        Box::pin(async move {
            let id = self.id().await?;
            match stored_in(&self.read_models, &id, stream).await {
                Err(error) => {
                    let id = self.after(error, &id).await?;
                    stored_in(&self.read_models, &id, stream).await
                }
                found => found,
            }
        })
    }

    fn keep<'a>(
        &'a self,
        stream: &'a StreamName,
        row: Stored<&'a P::Row>,
        useless: Option<LastEvent>,
    ) -> Keeping<'a, ()> {
        Box::pin(async move {
            let id = self.id().await?;
            match keep_in(&self.read_models, &id, (stream, &row), useless).await {
                Err(error) => {
                    let id = self.after(error, &id).await?;
                    keep_in(&self.read_models, &id, (stream, &row), useless).await
                }
                kept => kept,
            }
        })
    }
}

async fn stored_in<S: ReadModelStore<Reader: ReadRows>>(
    read_models: &S,
    id: &ReadModelId,
    stream: &StreamName,
) -> Result<Option<Stored<Value>>, ApplyError> {
    read_models.reader(id).await?.get(TABLE, stream.as_str()).await
}

/// Compares within the transaction, so that of two readers the one that saw more wins. A row that
/// was found useless is replaced, however far it was folded.
async fn keep_in<S: ReadModelStore<Tx: Rows>, Row: Serialize + Sync>(
    read_models: &S,
    id: &ReadModelId,
    (stream, row): (&StreamName, &Stored<Row>),
    useless: Option<LastEvent>,
) -> Result<(), ApplyError> {
    let mut tx = read_models.begin(id).await?;
    let stored = tx.get::<Stored<Value>>(TABLE, stream.as_str()).await?;
    if stored.is_some_and(|stored| stored.has(row) && Some(stored.last()) != useless) {
        return Ok(tx.rollback().await?);
    }
    tx.put(TABLE, stream.as_str(), row).await?;
    Ok(tx.commit().await?)
}
