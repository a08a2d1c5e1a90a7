//! Projections that are folded on read: a stored row and the events since.
//!
//! Invariant: an answer equals a fold of the whole stream. A row folded up to an earlier event
//! never replaces one folded up to a later event.
//!
//! Not here: projections that run by themselves.

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
    ApplyError, Projection, ReadTypedRows, TypedRows,
    provenance::{self, Provenance},
};
use crate::{
    AsOf, EventSet, Recorded, TruncatedHistory, UndecodableEvent,
    error_line::in_one_line,
    read::{ReadFailure, begins_anew, check_beginning},
};

/// Row table of on-read projections.
const TABLE: &str = "on_read";

/// A projection with a row for each stream, brought up to date when it is read.
///
/// Nothing runs between reads. Suited to rows that are read rarely or must always be current.
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
    /// Category of the streams that have rows.
    const CATEGORY: &'static str;
    /// Identifier of a stream within the category.
    type Id: Display + Send + Sync;
    /// Row folded from a stream, stored and returned.
    type Row: Default + Serialize + DeserializeOwned + Send + Sync + 'static;

    /// Applies one event to the row. Events outside the set are skipped.
    fn evolve(row: &mut Self::Row, event: &Recorded<Self::Event>);

    /// Returns the stream of an identifier.
    ///
    /// # Errors
    /// [`InvalidName`] when the identifier does not form a valid stream name.
    fn stream(id: &Self::Id) -> Result<StreamName, InvalidName> {
        StreamName::new(format!("{}-{id}", Self::CATEGORY))
    }
}

/// A row, with the last event folded into it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OnReadRow<Row> {
    /// The folded row.
    pub row: Row,
    /// Revision of the last folded event.
    pub revision: Revision,
    /// Position of the last folded event.
    pub position: Position,
}

/// The reason why a row was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadOnDemandError {
    /// The projection was not registered with `project_on_read`.
    #[error("projection {projection} is not registered")]
    NotRegistered {
        /// Name of the projection.
        projection: &'static str,
    },
    /// The identifier does not form a valid stream name. Correct it.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// A stored event cannot be decoded by this program. Deploy code that can decode it.
    #[error(transparent)]
    Undecodable(#[from] UndecodableEvent),
    /// The first events of the stream are hidden or deleted, so its row cannot be folded. The error
    /// states the remedy.
    #[error(transparent)]
    Truncated(#[from] TruncatedHistory),
    /// The store could not be read. The error states the reaction.
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

/// A stored row, with the last event folded into it.
#[derive(Serialize, Deserialize)]
struct StoredRow<Row> {
    revision: u64,
    position: u64,
    incarnation: String,
    /// Identifier of the last event. `None` in rows of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event: Option<String>,
    row: Row,
}

impl<Row> StoredRow<Row> {
    /// Returns whether this row was folded at least as far as another of the same incarnation.
    fn has<Other>(&self, other: &StoredRow<Other>) -> bool {
        self.incarnation == other.incarnation && self.revision >= other.revision
    }

    /// Returns the row with its value as JSON.
    fn encoded(&self) -> Result<StoredRow<Value>, serde_json::Error>
    where
        Row: Serialize,
    {
        let (incarnation, event) = (self.incarnation.clone(), self.event.clone());
        let row = serde_json::to_value(&self.row)?;
        let (revision, position) = (self.revision, self.position);
        Ok(StoredRow { revision, position, incarnation, event, row })
    }

    fn last(&self) -> LastEvent {
        let (revision, position) = (Revision::new(self.revision), Position::new(self.position));
        let id = self.event.as_deref().and_then(|id| id.parse().ok());
        LastEvent { revision, position, id }
    }
}

impl StoredRow<Value> {
    /// Decodes the row. Returns `None` for another incarnation or an incompatible type.
    fn typed<Row: DeserializeOwned>(self, life: Incarnation) -> Option<StoredRow<Row>> {
        let Self { revision, position, incarnation, event, row } = self;
        // Positions of another incarnation cannot be compared with those of this one.
        if incarnation != life.to_string() {
            return None;
        }
        let row = serde_json::from_value(row).ok()?;
        Some(StoredRow { revision, position, incarnation, event, row })
    }
}

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

    /// Returns whether this is the same event at the same place.
    fn is(&self, event: &RecordedEvent) -> bool {
        let same_place = event.revision == self.revision && event.position == self.position;
        same_place && self.id.is_none_or(|id| id == event.id)
    }
}

/// Reader of one on-read projection's rows, without its store's type.
pub(crate) struct OnReadRows<P: OnRead> {
    rows: Box<dyn RowStore<P>>,
    /// The last logged error. Not logged again until a row is stored.
    logged_error: std::sync::Mutex<Option<String>>,
}

impl<P: OnRead> OnReadRows<P> {
    pub(crate) fn new<S: ReadModelStore<Tx: Rows, Reader: ReadRows>>(
        storage: OnReadStorage<P, S>,
    ) -> Self {
        Self { rows: Box::new(storage), logged_error: std::sync::Mutex::default() }
    }

    /// Returns the row of a stream, or `None` if the stream had no events then.
    pub(crate) async fn read(
        &self,
        store: &Arc<dyn EventStore>,
        id: &P::Id,
        as_of: AsOf,
    ) -> Result<Option<OnReadRow<P::Row>>, ReadOnDemandError> {
        let stream = P::stream(id)?;
        let AsOf::Now = as_of else {
            let folded = RowFold::<P>::nothing(&stream).continue_to(store.as_ref(), as_of).await?;
            return Ok(folded.fresh());
        };
        let incarnation = store.head().await?.incarnation;
        let stored = self.stored(&stream).await;
        // Remember which row was found, even if it cannot be used: only exactly this one may be
        // replaced unconditionally.
        let before = stored.as_ref().map(StoredRow::last);
        let usable = stored.and_then(|stored| stored.typed(incarnation));
        let fold = RowFold::<P>::of(&stream, usable).continue_to(store.as_ref(), as_of).await?;
        let Some(last) = fold.last else { return Ok(None) };
        // A stored row that was not used is wrong or of another version of the type. It is replaced
        // even if it was folded further.
        let useless = before.filter(|_| fold.resumed.is_none());
        // Nothing new since the stored row: reads of a quiet stream write nothing.
        let stays = useless.is_none() && before == Some(last);
        let Some(fresh) = fold.fresh() else { return Ok(None) };
        if !stays {
            let kept = StoredRow {
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

    /// Loads the stored row. An unreadable row counts as none: folding the stream replaces it.
    async fn stored(&self, stream: &StreamName) -> Option<StoredRow<Value>> {
        self.rows.stored(stream).await.unwrap_or_else(|error| {
            self.log_once(stream, in_one_line(&error));
            None
        })
    }

    /// Logs an error once, until a row is stored or the error changes.
    fn log_once(&self, stream: &StreamName, error: String) {
        let mut logged = self.logged_error.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.as_ref() != Some(&error) {
            tracing::warn!(
                projection = P::NAME, %stream, %error,
                "cannot store rows that are computed on read; each read folds the whole stream"
            );
            *logged = Some(error);
        }
    }

    /// Stores a row. A failure costs the next reader time and nothing else, so it is only logged.
    async fn keep(
        &self,
        stream: &StreamName,
        kept: StoredRow<&P::Row>,
        useless: Option<LastEvent>,
    ) {
        match self.rows.keep(stream, kept, useless).await {
            Ok(()) => *self.logged_error.lock().unwrap_or_else(PoisonError::into_inner) = None,
            Err(error) => self.log_once(stream, in_one_line(&error)),
        }
    }
}

/// A row during its fold.
struct RowFold<'a, P: OnRead> {
    stream: &'a StreamName,
    row: P::Row,
    last: Option<LastEvent>,
    /// Last event of the stored row. The stream must still have it.
    resumed: Option<LastEvent>,
}

impl<'a, P: OnRead> RowFold<'a, P> {
    fn nothing(stream: &'a StreamName) -> Self {
        Self { stream, row: P::Row::default(), last: None, resumed: None }
    }

    fn of(stream: &'a StreamName, stored: Option<StoredRow<P::Row>>) -> Self {
        let Some(stored) = stored else { return Self::nothing(stream) };
        let last = Some(stored.last());
        Self { stream, row: stored.row, last, resumed: last }
    }

    /// Folds the events after the stored row.
    ///
    /// If the stream no longer has the row's last event (it was deleted or truncated, or is of
    /// another history), the row is discarded and the whole stream is folded.
    async fn continue_to(
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
            // The stream has no visible event at that revision or later.
            return Self::nothing(self.stream).fold_from(Revision::FIRST, store, as_of).await;
        };
        if resumed.is(shown) {
            self.last = Some(LastEvent::of(shown));
            return self.fold_from(revision.next(), store, as_of).await;
        }
        // A truncation hid the row's last event, and the stream was not created again since: the
        // row already includes all hidden events.
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
                // Events of other types move the revision of the row, but do not change it.
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

/// An on-read projection and the store of its rows.
pub(crate) struct OnReadStorage<P, S> {
    read_models: S,
    /// Read model of this version. `None` until first used.
    id: Mutex<Option<ReadModelId>>,
    projection: PhantomData<fn() -> P>,
}

impl<P: OnRead, S: ReadModelStore> OnReadStorage<P, S> {
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

    /// Returns a usable read model, or creates one.
    ///
    /// Rows of another version, or from before an event type was added, are dropped and folded
    /// again. Damaged ones are renamed.
    async fn find(&self) -> Result<ReadModelId, DatabaseError> {
        let listed = self.read_models.list_read_models(P::NAME).await?;
        let usable = |stage: Stage, version: u32| stage == Stage::Live && version == P::VERSION;
        let found = listed.into_iter().find(|listed| usable(listed.stage, listed.version));
        if let Some(found) = found {
            match self.knows_all_types(&found.id).await {
                Ok(true) => return Ok(found.id),
                Ok(false) => {}
                Err(DatabaseError::Corrupt { reason, .. }) => {
                    self.quarantine(&found.id, &reason).await?;
                }
                Err(error) => return Err(error),
            }
        }
        // Becomes live only with its event types recorded, so a crash leaves no live read model
        // without them.
        let stage = Stage::Rebuilding;
        let create = CreateReadModel::new(P::NAME, P::VERSION, stage);
        let id = self.read_models.create_read_model(create).await?;
        let mut tx = self.read_models.begin(&id).await?;
        provenance::keep_event_types(&mut tx, None, P::Event::NAMES).await?;
        tx.commit().await?;
        self.read_models.switch_to(&id).await?;
        Ok(id)
    }

    /// Returns whether the rows include all event types. Rows of earlier versions do not record
    /// them and are accepted.
    async fn knows_all_types(&self, id: &ReadModelId) -> Result<bool, DatabaseError> {
        let mut tx = self.read_models.begin(id).await?;
        let provenance = Provenance::read(&mut tx).await?;
        if provenance.added_types(P::Event::NAMES).next().is_some() {
            tx.rollback().await?;
            return Ok(false);
        }
        if provenance.has_other_types(P::Event::NAMES) {
            provenance::keep_event_types(&mut tx, None, P::Event::NAMES).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    async fn quarantine(&self, id: &ReadModelId, damage: &str) -> Result<(), DatabaseError> {
        let kept_at = self.read_models.quarantine(id).await?.unwrap_or_default();
        tracing::warn!(
            projection = P::NAME,
            damage,
            kept_at,
            "rows that are computed on read are damaged; the file is renamed, and the rows are \
             folded again"
        );
        Ok(())
    }

    /// Returns the read model for a second attempt, if the error is damage of the one that was
    /// used.
    async fn after(
        &self,
        error: ApplyError,
        used: &ReadModelId,
    ) -> Result<ReadModelId, ApplyError> {
        let ApplyError::Database(DatabaseError::Corrupt { reason, .. }) = &error else {
            return Err(error);
        };
        let mut known = self.id.lock().await;
        // Another reader may have replaced it already.
        if known.as_ref() == Some(used) {
            self.quarantine(used, reason).await?;
            *known = None;
        }
        drop(known);
        Ok(self.id().await?)
    }
}

type RowFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = Result<T, ApplyError>> + Send + 'a>>;

trait RowStore<P: OnRead>: Send + Sync {
    fn stored<'a>(&'a self, stream: &'a StreamName) -> RowFuture<'a, Option<StoredRow<Value>>>;
    fn keep<'a>(
        &'a self,
        stream: &'a StreamName,
        row: StoredRow<&'a P::Row>,
        useless: Option<LastEvent>,
    ) -> RowFuture<'a, ()>;
}

impl<P, S> RowStore<P> for OnReadStorage<P, S>
where
    P: OnRead,
    S: ReadModelStore<Tx: Rows, Reader: ReadRows>,
{
    fn stored<'a>(&'a self, stream: &'a StreamName) -> RowFuture<'a, Option<StoredRow<Value>>> {
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
        row: StoredRow<&'a P::Row>,
        useless: Option<LastEvent>,
    ) -> RowFuture<'a, ()> {
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
) -> Result<Option<StoredRow<Value>>, ApplyError> {
    let (store, id, stream) = (read_models.clone(), id.clone(), stream.clone());
    // As one piece of work, which changes threads once.
    let get = async move { store.reader(&id).await?.get(TABLE, stream.as_str()).await };
    read_models.run_read(get).await?
}

/// Stores a row unless the stored one was folded further. A row found useless is always replaced.
async fn keep_in<S: ReadModelStore<Tx: Rows>, Row: Serialize + Sync>(
    read_models: &S,
    id: &ReadModelId,
    (stream, row): (&StreamName, &StoredRow<Row>),
    useless: Option<LastEvent>,
) -> Result<(), ApplyError> {
    let (store, id, stream) = (read_models.clone(), id.clone(), stream.clone());
    let row = row.encoded()?;
    let work_id = id.clone();
    let keep = async move {
        let mut tx = store.begin(&work_id).await?;
        // Compare inside the transaction: of two concurrent readers, the one that read further
        // wins.
        let stored = tx.get::<StoredRow<Value>>(TABLE, stream.as_str()).await?;
        if stored.is_some_and(|stored| stored.has(&row) && Some(stored.last()) != useless) {
            return Ok(tx.rollback().await?);
        }
        tx.put(TABLE, stream.as_str(), &row).await?;
        Ok::<(), ApplyError>(tx.commit().await?)
    };
    read_models.run_write(&id, keep).await?
}
