//! Queries against read models, which can wait until they see the caller's own writes.
//!
//! Owns: [`Query`], [`Answer`], [`Ask`], [`Wait`]. Invariants: an answer requested at a position
//! reflects every event up to it, also if another node has applied them, and from the cache; every
//! wait is bounded, and none polls, except on a node that does not run the projection. Not here:
//! SQL, which belongs to the application, and reading through the cache ([`cache`](crate::cache)).

use std::{
    error::Error,
    future::{Future, IntoFuture},
    marker::PhantomData,
    pin::Pin,
    time::Duration,
};

use gesta_store::{DatabaseError, Position};

use crate::{
    Caching, Clock, Gesta, OtherRole, Projection, Receipt,
    cache::{AnswerCache, FreshAnswer, ReadPlace, ReadPlan, trouble_of},
    projection::{ProjectionHandle, ProjectionProgress},
};

/// Default time that a query or a wait allows the read model to catch up.
pub const WAIT_MAX: Duration = Duration::from_secs(5);

/// A query to the read model of one projection, answered by an [`Answer`].
///
/// ```
/// use gesta::{Answer, Apply, ApplyError, Gesta, Projection, Query, QueryError, prelude::*};
/// use gesta::{ReadTypedRows, TypedRows};
/// use gesta::store::{MemoryReadModels, MemoryReader, Rows};
/// # #[derive(Event, Serialize, Deserialize, Clone)]
/// # #[event(name = "door-opened")]
/// # struct DoorOpened;
/// # #[derive(EventSet, Clone)]
/// # enum DoorEvent {
/// #     Opened(DoorOpened),
/// # }
/// # #[derive(Default)]
/// # struct Door;
/// # impl Aggregate for Door {
/// #     const CATEGORY: &'static str = "door";
/// #     type Id = u32;
/// #     type Event = DoorEvent;
/// #     fn evolve(&mut self, _: &DoorEvent) {}
/// # }
/// # #[derive(Command, Serialize, Deserialize)]
/// # #[command(name = "open-door", on = Door, either)]
/// # struct OpenDoor {
/// #     #[command(id)]
/// #     door: u32,
/// # }
/// # impl Decide for OpenDoor {
/// #     type Rejection = std::convert::Infallible;
/// #     fn decide(&self, _: &Door) -> Decision<Self> { Ok(DoorOpened.into()) }
/// # }
///
/// struct LastOpenings;
///
/// impl Projection for LastOpenings {
///     const NAME: &'static str = "last-openings";
///     type Event = DoorEvent;
/// }
///
/// impl<Tx: Rows> Apply<Tx> for LastOpenings {
///     async fn apply(
///         &self,
///         tx: &mut Tx,
///         events: &[Recorded<DoorEvent>],
///     ) -> Result<(), ApplyError> {
///         for event in events {
///             tx.put("doors", event.stream.as_str(), &event.revision.number()).await?;
///         }
///         Ok(())
///     }
/// }
///
/// struct LastOpening {
///     door: u32,
/// }
///
/// impl Query for LastOpening {
///     type Reads = LastOpenings;
///     type Answer = Option<u64>;
/// }
///
/// impl Answer<MemoryReader> for LastOpening {
///     async fn answer(&self, rows: &mut MemoryReader) -> Result<Option<u64>, QueryError> {
///         Ok(rows.get("doors", &format!("door-{}", self.door)).await?)
///     }
/// }
///
/// # tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
/// let read_models = MemoryReadModels::new();
/// let gesta = Gesta::at("memory:").project(LastOpenings, &read_models).open().await?;
/// gesta.execute(OpenDoor { door: 7 }).await?;
/// let receipt = gesta.execute(OpenDoor { door: 7 }).await?;
/// let last = gesta.ask(LastOpening { door: 7 }).at_least(&receipt).await?;
/// assert_eq!(last, Some(1), "it reads its own write");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).expect("the door opens");
/// ```
pub trait Query: Send + Sync + 'static {
    /// The projection whose read model is queried.
    type Reads: Projection;
    /// The result of the query.
    type Answer: Send + 'static;

    /// Returns the rules by which answers are cached, for a query that opts in. Default: `None`.
    ///
    /// Has an effect only in an application with a cache
    /// ([`Builder::query_cache`](crate::Builder::query_cache)). `derive(Query)` takes a function
    /// for it: `#[query(reads = Sales, answer = Report, caching = Caching::of)]`.
    fn caching(&self) -> Option<Caching<Self::Answer>> {
        None
    }
}

/// Answers a query on a connection of type `Conn`.
///
/// ```
/// use gesta::{Answer, AskError, Gesta, Projection, Query, QueryError, WaitError, prelude::*};
/// use gesta::store::MemoryReader;
/// # #[derive(Event, Serialize, Deserialize, Clone)]
/// # #[event(name = "door-opened")]
/// # struct DoorOpened;
/// # #[derive(EventSet, Clone)]
/// # enum DoorEvent {
/// #     Opened(DoorOpened),
/// # }
/// # struct Doors;
/// # impl Projection for Doors {
/// #     const NAME: &'static str = "doors";
/// #     type Event = DoorEvent;
/// # }
///
/// struct CountDoors;
///
/// impl Query for CountDoors {
///     type Reads = Doors;
///     type Answer = usize;
/// }
///
/// impl Answer<MemoryReader> for CountDoors {
///     async fn answer(&self, _: &mut MemoryReader) -> Result<usize, QueryError> {
///         Err(QueryError::because("nobody counts doors"))
///     }
/// }
///
/// # gesta::store::conformance::block_on(async {
/// let gesta = Gesta::at("memory:").open().await?;
/// let error = gesta.ask(CountDoors).await.expect_err("nothing is projected");
/// assert!(matches!(error, AskError::Wait(WaitError::NotRegistered { projection: "doors" })));
/// # Ok::<(), gesta::OpenError>(())
/// # }).expect("a memory store opens");
/// ```
pub trait Answer<Conn>: Query {
    /// Answers from the connection, whose reads all see one snapshot of the read model.
    ///
    /// # Errors
    /// A database error, or a failure of the query itself.
    fn answer(
        &self,
        connection: &mut Conn,
    ) -> impl Future<Output = Result<Self::Answer, QueryError>> + Send;
}

/// An error of answering a query.
///
/// ```
/// use gesta::QueryError;
///
/// assert_eq!(QueryError::because("a page has 100 rows at most").to_string(),
///     "a page has 100 rows at most");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The query failed, or a row does not decode.
    #[error(transparent)]
    Failed(Box<dyn Error + Send + Sync>),
}

impl QueryError {
    /// Creates a failure from a text or another error.
    pub fn because(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed(reason.into())
    }
}

impl From<crate::ApplyError> for QueryError {
    fn from(error: crate::ApplyError) -> Self {
        match error {
            crate::ApplyError::Database(error) => Self::Database(error),
            other => Self::Failed(Box::new(other)),
        }
    }
}

/// An error of waiting for a read model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The projection does not run in this application. Register it.
    #[error("projection {projection} is not registered")]
    NotRegistered {
        /// Name of the projection.
        projection: &'static str,
    },
    /// The projection stopped at an event that it cannot apply, or is paused. Inspect its state and
    /// its dead letters.
    #[error(
        "projection {projection} is halted or paused at position {reached}, before position {wanted}"
    )]
    Halted {
        /// Name of the projection.
        projection: &'static str,
        /// Position that it reached.
        reached: Position,
        /// Position waited for.
        wanted: Position,
    },
    /// The node answers no queries. Ask another one.
    #[error(transparent)]
    OtherRole(#[from] OtherRole),
    /// The application was closed, or the projection ended. Open it again.
    #[error("projection {projection} has stopped: the application was closed")]
    Closed {
        /// Name of the projection.
        projection: &'static str,
    },
    /// The events are appended but not yet visible: the read model lags behind. Ask again.
    #[error(
        "projection {projection} is at position {reached}; position {wanted} is not visible yet"
    )]
    TimedOut {
        /// Name of the projection.
        projection: &'static str,
        /// Position that it reached.
        reached: Position,
        /// Position waited for.
        wanted: Position,
    },
}

/// An error of a query.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The read model did not reach the requested position.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// The query failed on the connection.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The query's [`Answer`] is for a connection type other than that of the projection's
    /// database. Implement [`Answer`] for that type.
    #[error("projection {projection} has no connections of the query's type")]
    OtherDatabase {
        /// Name of the projection.
        projection: &'static str,
    },
}

impl Gesta {
    /// Runs a query when the returned value is awaited.
    pub fn ask<Q, Conn>(&self, query: Q) -> Ask<'_, Q, Conn>
    where
        Q: Answer<Conn>,
        Conn: Send + 'static,
    {
        let (at_least, within) = (Position::START, WAIT_MAX);
        let uses_cache = true;
        Ask { gesta: self, query, at_least, within, uses_cache, connection: PhantomData }
    }

    /// Waits until the read model of a projection reflects a command.
    pub fn wait_for<P: Projection>(&self, receipt: &Receipt) -> Wait<'_, P> {
        self.wait_for_position(receipt.position)
    }

    /// Waits until the read model of a projection reflects every event up to a position.
    pub fn wait_for_position<P: Projection>(&self, position: Position) -> Wait<'_, P> {
        Wait { gesta: self, position, within: WAIT_MAX, projection: PhantomData }
    }
}

/// A pending query, run when awaited.
///
/// ```
/// use std::time::Duration;
/// use gesta::{Answer, AskError, Gesta, Position, Projection, Query, QueryError, prelude::*};
/// use gesta::store::MemoryReader;
/// # #[derive(Event, Serialize, Deserialize, Clone)]
/// # #[event(name = "door-opened")]
/// # struct DoorOpened;
/// # #[derive(EventSet, Clone)]
/// # enum DoorEvent {
/// #     Opened(DoorOpened),
/// # }
/// # struct Doors;
/// # impl Projection for Doors {
/// #     const NAME: &'static str = "doors";
/// #     type Event = DoorEvent;
/// # }
/// # struct CountDoors;
/// # impl Query for CountDoors {
/// #     type Reads = Doors;
/// #     type Answer = usize;
/// # }
/// # impl Answer<MemoryReader> for CountDoors {
/// #     async fn answer(&self, _: &mut MemoryReader) -> Result<usize, QueryError> { Ok(0) }
/// # }
///
/// # gesta::store::conformance::block_on(async {
/// let gesta = Gesta::at("memory:").open().await?;
/// let asked = gesta.ask(CountDoors).at_least_position(Position::new(7));
/// let outcome = asked.within(Duration::from_secs(1)).await;
/// assert!(matches!(outcome, Err(AskError::Wait(_))), "nothing is projected here");
/// # Ok::<(), gesta::OpenError>(())
/// # }).expect("a memory store opens");
/// ```
#[must_use = "nothing is asked until it is awaited"]
#[derive(Debug)]
pub struct Ask<'g, Q, Conn> {
    gesta: &'g Gesta,
    query: Q,
    at_least: Position,
    within: Duration,
    uses_cache: bool,
    connection: PhantomData<fn() -> Conn>,
}

/// An answer, and the position that it reflects.
///
/// ```
/// use gesta::{Positioned, Position};
///
/// let answer = Positioned::new(42, Position::new(7));
/// assert_eq!((answer.answer, answer.position), (42, Position::new(7)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Positioned<A> {
    /// The answer.
    pub answer: A,
    /// Every event up to this position is reflected; later ones may be.
    pub position: Position,
}

impl<A> Positioned<A> {
    /// Creates an answer with its position.
    #[must_use]
    pub const fn new(answer: A, position: Position) -> Self {
        Self { answer, position }
    }
}

impl<'g, Q, Conn> Ask<'g, Q, Conn>
where
    Q: Answer<Conn>,
    Conn: Send + 'static,
{
    /// Waits until the read model reflects this command.
    pub fn at_least(self, receipt: &Receipt) -> Self {
        self.at_least_position(receipt.position)
    }

    /// Waits until the read model reflects every event up to this position.
    pub fn at_least_position(self, position: Position) -> Self {
        Self { at_least: position, ..self }
    }

    /// Limits the wait for the read model to catch up. Default: [`WAIT_MAX`].
    pub fn within(self, limit: Duration) -> Self {
        Self { within: limit, ..self }
    }

    /// Answers from the read model, also if the query opts in to the cache.
    pub fn uncached(self) -> Self {
        Self { uses_cache: false, ..self }
    }

    /// Runs the query, and returns its answer with the position that it reflects: the requested one
    /// or a later one.
    ///
    /// # Errors
    /// The same as those of the query itself.
    pub async fn with_position(self) -> Result<Positioned<Q::Answer>, AskError> {
        self.run().await
    }

    async fn run(self) -> Result<Positioned<Q::Answer>, AskError> {
        let Self { gesta, query, at_least, within, uses_cache, connection: _ } = self;
        let waiting = Waiting::of::<Q::Reads>(gesta, at_least)?;
        let cache = gesta.answers().filter(|_| uses_cache && !waiting.handle.is_stopped());
        let plan = cache.map(|cache| plan(cache, &query, &waiting)).transpose()?.flatten();
        let load = load::<Q, Conn>(&waiting, within, query);
        let (answer, position) = match (cache, plan) {
            (Some(cache), Some(plan)) => cache.read_through(plan, load).await?,
            (Some(_) | None, _) => {
                let fresh = load.await?;
                (fresh.answer, fresh.position)
            }
        };
        Ok(Positioned { answer, position })
    }
}

/// Plans the read through the cache of a query that opts in. `None` while its read model or the
/// incarnation of its position is unknown.
fn plan<Q: Query>(
    cache: &AnswerCache,
    query: &Q,
    waiting: &Waiting<'_>,
) -> Result<Option<ReadPlan<Q::Answer>>, QueryError> {
    let Some(caching) = query.caching() else { return Ok(None) };
    let place = {
        let progress = waiting.handle.progress.borrow();
        let Some(scope) = progress.cache_scope() else { return Ok(None) };
        let changed_at = progress.checkpoint.map_or(Position::START, |it| it.position);
        let version = waiting.handle.version;
        ReadPlace { scope, position: progress.position, changed_at, version }
    };
    let planned = cache.plan(caching, place, waiting.wanted);
    Ok(Some(planned.map_err(|error| QueryError::because(trouble_of(&error)))?))
}

/// Waits for the read model, then answers from it.
async fn load<Q, Conn>(
    waiting: &Waiting<'_>,
    within: Duration,
    query: Q,
) -> Result<FreshAnswer<Q::Answer>, AskError>
where
    Q: Answer<Conn>,
    Conn: Send + 'static,
{
    waiting.wait(within).await?;
    // Read before the rows, which may be newer than this position, never older.
    let (position, scope) = {
        let progress = waiting.handle.progress.borrow();
        (progress.position, progress.cache_scope())
    };
    let answer = answer::<Q, Conn>(waiting.handle, query).await;
    // A damaged database file is reported by health from the first query that meets it.
    if let Err(AskError::Query(error)) = &answer
        && let Some(damage) = database_error_in(error)
    {
        waiting.handle.remember_damage(damage);
    }
    Ok(FreshAnswer { answer: answer?, position, scope })
}

/// Answers a query on a connection to the active read model.
async fn answer<Q, Conn>(handle: &ProjectionHandle, query: Q) -> Result<Q::Answer, AskError>
where
    Q: Answer<Conn>,
    Conn: Send + 'static,
{
    let answered = handle.read(|reader| async move {
        // The store's type is erased where it was registered, so a mismatch shows here.
        let Ok(mut connection) = reader.downcast::<Conn>() else {
            return Err(AskError::OtherDatabase { projection: Q::Reads::NAME });
        };
        Ok(query.answer(&mut connection).await?)
    });
    answered.await.map_err(QueryError::from)?
}

impl<'g, Q, Conn> IntoFuture for Ask<'g, Q, Conn>
where
    Q: Answer<Conn>,
    Conn: Send + 'static,
{
    type Output = Result<Q::Answer, AskError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'g>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { Ok(self.run().await?.answer) })
    }
}

/// A pending wait, started when awaited.
///
/// ```
/// use gesta::{Gesta, Position, Projection, WaitError, prelude::*};
/// # #[derive(Event, Serialize, Deserialize, Clone)]
/// # #[event(name = "door-opened")]
/// # struct DoorOpened;
/// # #[derive(EventSet, Clone)]
/// # enum DoorEvent {
/// #     Opened(DoorOpened),
/// # }
/// # struct Doors;
/// # impl Projection for Doors {
/// #     const NAME: &'static str = "doors";
/// #     type Event = DoorEvent;
/// # }
///
/// # gesta::store::conformance::block_on(async {
/// let gesta = Gesta::at("memory:").open().await?;
/// let never = gesta.wait_for_position::<Doors>(Position::START).await;
/// assert_eq!(never, Err(WaitError::NotRegistered { projection: "doors" }));
/// # Ok::<(), gesta::OpenError>(())
/// # }).expect("a memory store opens");
/// ```
#[must_use = "a wait does nothing unless it is awaited"]
#[derive(Debug)]
pub struct Wait<'g, P> {
    gesta: &'g Gesta,
    position: Position,
    within: Duration,
    projection: PhantomData<fn() -> P>,
}

impl<P: Projection> Wait<'_, P> {
    /// Limits the wait. Default: [`WAIT_MAX`].
    pub fn within(self, limit: Duration) -> Self {
        Self { within: limit, ..self }
    }
}

impl<'g, P: Projection> IntoFuture for Wait<'g, P> {
    type Output = Result<(), WaitError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'g>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(
            async move { Waiting::of::<P>(self.gesta, self.position)?.wait(self.within).await },
        )
    }
}

/// Finds the database error within an error that the query may have wrapped.
fn database_error_in(error: &QueryError) -> Option<&DatabaseError> {
    let mut error: &(dyn Error + 'static) = match error {
        QueryError::Database(error) => return Some(error),
        QueryError::Failed(error) => error.as_ref(),
    };
    loop {
        if let Some(found) = error.downcast_ref::<DatabaseError>() {
            return Some(found);
        }
        // A transparent error returns the source of its inner error, so look for the inner one as
        // well.
        match error.downcast_ref::<crate::ApplyError>() {
            Some(crate::ApplyError::Database(found)) => return Some(found),
            Some(_) | None => error = error.source()?,
        }
    }
}

/// A wait for one projection, woken on each progress update.
struct Waiting<'g> {
    handle: &'g ProjectionHandle,
    clock: &'g dyn Clock,
    wanted: Position,
}

impl<'g> Waiting<'g> {
    fn of<P: Projection>(gesta: &'g Gesta, wanted: Position) -> Result<Self, WaitError> {
        gesta.role().check_queries()?;
        let handle = gesta.read_side().of::<P>();
        let handle = handle.ok_or(WaitError::NotRegistered { projection: P::NAME })?;
        Ok(Self { handle, clock: gesta.clock().as_ref(), wanted })
    }

    async fn wait(&self, within: Duration) -> Result<(), WaitError> {
        let mut progress = self.handle.progress.clone();
        // The last published progress outlives the task and must not count as present.
        if self.handle.is_stopped() {
            return Err(self.closed());
        }
        // Fast path: usually the position is reached already, and no timer is needed.
        if let Some(outcome) = self.decided(&progress.borrow()) {
            return outcome;
        }
        // If another node runs the projection, this one looks often from now on.
        let _waiter = self.handle.waiter();
        // Checks the current value first, so progress made since is not lost.
        let moved = progress.wait_for(|progress| self.decided(progress).is_some());
        tokio::select! {
            biased;
            moved = moved => match moved {
                Ok(progress) => self.decided(&progress).unwrap_or(Ok(())),
                Err(_) => Err(self.closed()),
            },
            () = self.clock.sleep(within) => Err(self.timed_out()),
        }
    }

    /// Returns the outcome, or `None` while waiting may still help.
    fn decided(&self, progress: &ProjectionProgress) -> Option<Result<(), WaitError>> {
        // Without an active read model there is nothing to query yet.
        progress.answering.as_ref()?;
        let (projection, reached, wanted) = (self.handle.name, progress.position, self.wanted);
        if reached >= wanted {
            return Some(Ok(()));
        }
        progress.halted.then_some(Err(WaitError::Halted { projection, reached, wanted }))
    }

    fn closed(&self) -> WaitError {
        WaitError::Closed { projection: self.handle.name }
    }

    fn timed_out(&self) -> WaitError {
        let (projection, wanted) = (self.handle.name, self.wanted);
        WaitError::TimedOut { projection, reached: self.reached(), wanted }
    }

    fn reached(&self) -> Position {
        self.handle.progress.borrow().position
    }
}
