//! Projections on read: a stored row and the events since then, folded when somebody asks.
//!
//! Always holds: an answer equals a fold of the whole stream; a row that was folded further is
//! never replaced by one that was folded less. Not here: projections that run by themselves.

use std::{fmt::Display, marker::PhantomData, sync::Arc};

use gesta_store::{
    CreateReadModel, DatabaseError, EventStore, Incarnation, InvalidName, Position, ReadModelId,
    ReadModelStore, ReadModelTx, ReadRows, ReadStream, Revision, Rows, Stage, StoreError,
    StreamName,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::sync::OnceCell;

use super::{ApplyError, Projection, ReadTypedRows, TypedRows, in_one_line};
use crate::{
    AsOf, Recorded, TruncatedHistory, UndecodableEvent,
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
/// use gesta::{Fresh, Position, Revision};
///
/// let fresh = Fresh { row: 3, revision: Revision::new(2), position: Position::new(9) };
/// assert_eq!(fresh.row, 3);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fresh<Row> {
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
    row: Row,
}

impl<Row> Stored<Row> {
    /// Whether it already is what another one would bring it to.
    fn has<Other>(&self, other: &Stored<Other>) -> bool {
        self.incarnation == other.incarnation && self.revision >= other.revision
    }
}

/// Reads rows of one on-read projection, whatever its store's type is.
pub(crate) struct OnReadRows<P: OnRead>(Box<dyn KeepsRows<P>>);

impl<P: OnRead> OnReadRows<P> {
    pub(crate) fn new<S: ReadModelStore<Tx: Rows, Reader: ReadRows>>(
        plan: OnReadPlan<P, S>,
    ) -> Self {
        Self(Box::new(plan))
    }

    /// The row of a stream as of a moment; none where the stream had no events then.
    pub(crate) async fn read(
        &self,
        store: &Arc<dyn EventStore>,
        id: &P::Id,
        as_of: AsOf,
    ) -> Result<Option<Fresh<P::Row>>, ReadOnDemandError> {
        let stream = P::stream(id)?;
        let AsOf::Now = as_of else {
            let folded = Fold::<P>::nothing(&stream).go_on(store.as_ref(), as_of).await?;
            return Ok(folded.fresh());
        };
        let incarnation = store.head().await?.incarnation;
        let stored = self.stored(&stream, incarnation).await;
        let before = stored.as_ref().map(|stored| stored.revision);
        let fold = Fold::<P>::of(&stream, stored).go_on(store.as_ref(), as_of).await?;
        let Some(fresh) = fold.fresh() else { return Ok(None) };
        if before != Some(fresh.revision.number()) {
            self.keep(&stream, incarnation, &fresh).await;
        }
        Ok(Some(fresh))
    }

    /// A row that cannot be used, or not be read, is as good as none.
    async fn stored(&self, stream: &StreamName, life: Incarnation) -> Option<Stored<P::Row>> {
        let stored = self.0.stored(stream).await.unwrap_or_else(|error| {
            let error = in_one_line(&error);
            tracing::warn!(projection = P::NAME, %stream, %error, "stored row not read");
            None
        });
        stored.filter(|stored| stored.incarnation == life.to_string())
    }

    /// Not keeping it costs the next reader time and nothing else.
    async fn keep(&self, stream: &StreamName, life: Incarnation, fresh: &Fresh<P::Row>) {
        let kept = Stored {
            revision: fresh.revision.number(),
            position: fresh.position.number(),
            incarnation: life.to_string(),
            row: &fresh.row,
        };
        if let Err(error) = self.0.keep(stream, kept).await {
            let error = in_one_line(&error);
            tracing::warn!(projection = P::NAME, %stream, %error, "row not kept");
        }
    }
}

/// A row on its way from what was stored to what is asked for.
struct Fold<'a, P: OnRead> {
    stream: &'a StreamName,
    row: P::Row,
    last: Option<(Revision, Position)>,
    /// The last event of the stored row, which must still be the stream's.
    resumed: Option<(Revision, Position)>,
}

impl<'a, P: OnRead> Fold<'a, P> {
    fn nothing(stream: &'a StreamName) -> Self {
        Self { stream, row: P::Row::default(), last: None, resumed: None }
    }

    fn of(stream: &'a StreamName, stored: Option<Stored<P::Row>>) -> Self {
        let Some(stored) = stored else { return Self::nothing(stream) };
        let place = Some((Revision::new(stored.revision), Position::new(stored.position)));
        Self { stream, row: stored.row, last: place, resumed: place }
    }

    /// Reads from the stored row's last event on: if that is no longer the stream's (the stream
    /// was deleted, or truncated), the row is of no use and everything is folded again.
    async fn go_on(self, store: &dyn EventStore, as_of: AsOf) -> Result<Self, ReadOnDemandError> {
        let Some((revision, position)) = self.resumed else {
            return self.fold_from(Revision::FIRST, store, as_of).await;
        };
        let check = ReadStream::forwards(self.stream.clone()).from(revision).limit(1);
        let found = store.read_stream(check).collect_events().await?;
        let Some(shown) = found.first() else {
            return Self::nothing(self.stream).fold_from(Revision::FIRST, store, as_of).await;
        };
        let same = shown.revision == revision && shown.position == position;
        // The row covers all that a truncation hides, and the stream has not begun anew since.
        let covers = shown.revision == revision.next() && !begins_anew(store, shown).await?;
        if same || covers {
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
                self.last = Some((event.revision, event.position));
                if <P::Event as crate::EventSet>::NAMES.contains(&event.event_type.as_str()) {
                    Recorded::read_each(event, &mut |event| P::evolve(&mut self.row, &event))?;
                }
            }
        }
        Ok(self)
    }

    fn fresh(self) -> Option<Fresh<P::Row>> {
        let (revision, position) = self.last?;
        Some(Fresh { row: self.row, revision, position })
    }
}

/// An on-read projection and where it keeps its rows.
pub(crate) struct OnReadPlan<P, S> {
    read_models: S,
    /// The read model of this version, once somebody has read.
    id: OnceCell<ReadModelId>,
    projection: PhantomData<fn() -> P>,
}

impl<P: OnRead, S: ReadModelStore> OnReadPlan<P, S> {
    pub(crate) fn new(read_models: S) -> Self {
        Self { read_models, id: OnceCell::new(), projection: PhantomData }
    }

    async fn id(&self) -> Result<&ReadModelId, DatabaseError> {
        self.id.get_or_try_init(|| self.find()).await
    }

    /// Rows of another version are of no use: they are dropped, and folded again when read.
    async fn find(&self) -> Result<ReadModelId, DatabaseError> {
        let listed = self.read_models.list_read_models(P::NAME).await?;
        let usable =
            |stage: Stage, version: u32| stage == Stage::Answering && version == P::VERSION;
        let mut listed = listed.into_iter();
        if let Some(found) = listed.find(|listed| usable(listed.stage, listed.version)) {
            return Ok(found.id);
        }
        let stage = Stage::Rebuilding;
        let create = CreateReadModel { projection: P::NAME, version: P::VERSION, stage };
        let id = self.read_models.create_read_model(create).await?;
        self.read_models.switch_to(&id).await?;
        Ok(id)
    }
}

type Keeping<'a, T> = std::pin::Pin<Box<dyn Future<Output = Result<T, ApplyError>> + Send + 'a>>;

trait KeepsRows<P: OnRead>: Send + Sync {
    fn stored<'a>(&'a self, stream: &'a StreamName) -> Keeping<'a, Option<Stored<P::Row>>>;
    fn keep<'a>(&'a self, stream: &'a StreamName, row: Stored<&'a P::Row>) -> Keeping<'a, ()>;
}

impl<P, S> KeepsRows<P> for OnReadPlan<P, S>
where
    P: OnRead,
    S: ReadModelStore<Tx: Rows, Reader: ReadRows>,
{
    fn stored<'a>(&'a self, stream: &'a StreamName) -> Keeping<'a, Option<Stored<P::Row>>> {
        Box::pin(async move {
            let mut reader = self.read_models.reader(self.id().await?).await?;
            reader.get(TABLE, stream.as_str()).await
        })
    }

    /// Compares within the transaction, so that of two readers the one that saw more wins.
    fn keep<'a>(&'a self, stream: &'a StreamName, row: Stored<&'a P::Row>) -> Keeping<'a, ()> {
        Box::pin(async move {
            let mut tx = self.read_models.begin(self.id().await?).await?;
            let stored = tx.get::<Stored<serde_json::Value>>(TABLE, stream.as_str()).await?;
            if stored.is_some_and(|stored| stored.has(&row)) {
                return Ok(tx.rollback().await?);
            }
            tx.put(TABLE, stream.as_str(), &row).await?;
            Ok(tx.commit().await?)
        })
    }
}
