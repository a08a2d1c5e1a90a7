//! A cache of the answers to queries.
//!
//! Owns: [`QueryCache`], its keys and its answers.
//!
//! Invariants of every cache:
//! - An answer carries a position of its read model, and reflects every event up to it. It is
//!   returned only to a caller that asked for this position or an earlier one.
//! - An answer depends on marks. It is not returned once a mark is at a later position, was made
//!   anew, or is gone. So a cache may lose anything at any time.
//! - No call waits for longer than a short limit of the cache's own.
//!
//! Not here: the encoding of answers, and the marks that a projection sets, which belong to the
//! `gesta` crate.

use std::{fmt, future::Future, pin::Pin, time::Duration};

use bytes::Bytes;

use crate::{Incarnation, Position, ReadModelId};

/// The boxed future that the methods of [`QueryCache`] return.
///
/// ```
/// use gesta_store::CacheFuture;
///
/// let answered: CacheFuture<'_, u32> = Box::pin(std::future::ready(7));
/// assert_eq!(gesta_store::conformance::block_on(answered), 7);
/// ```
pub type CacheFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One build of a read model, filled in one incarnation of the event store.
///
/// Positions of another incarnation cannot be compared with those of this one, so that answers of
/// different scopes never meet.
///
/// ```
/// use gesta_store::{CacheScope, Incarnation, ReadModelId};
/// use uuid::Uuid;
///
/// let read_model = ReadModelId { projection: "sales".to_owned(), build: 2 };
/// let scope = CacheScope { read_model, incarnation: Incarnation::new(Uuid::nil()) };
/// assert_eq!(scope.to_string(), "sales/2/00000000-0000-0000-0000-000000000000");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CacheScope {
    /// The read model that the answers are read from.
    pub read_model: ReadModelId,
    /// The incarnation of the event store that its positions belong to.
    pub incarnation: Incarnation,
}

impl fmt::Display for CacheScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { read_model: ReadModelId { projection, build }, incarnation } = self;
        write!(f, "{projection}/{build}/{incarnation}")
    }
}

/// Identity of one cached answer, with the marks that it depends on.
///
/// ```
/// use gesta_store::{CacheKey, CacheScope, Incarnation, ReadModelId};
/// use uuid::Uuid;
///
/// let read_model = ReadModelId { projection: "sales".to_owned(), build: 2 };
/// let scope = CacheScope { read_model, incarnation: Incarnation::new(Uuid::nil()) };
/// let key = CacheKey::new(scope, "report", ["*"]);
/// assert_eq!(key.marks, [CacheKey::EVERYTHING, "*"], "every answer depends on this mark");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct CacheKey {
    /// The read model.
    pub scope: CacheScope,
    /// Name, version and value of the query, as the caller has encoded them.
    pub query: String,
    /// Names of the marks, with [`EVERYTHING`](Self::EVERYTHING) first and the others sorted.
    pub marks: Vec<String>,
}

impl CacheKey {
    /// The mark that every answer of a scope depends on.
    pub const EVERYTHING: &'static str = "!";

    /// Creates the key of a query. Adds [`EVERYTHING`](Self::EVERYTHING) to its marks.
    #[must_use]
    pub fn new<M: Into<String>>(
        scope: CacheScope,
        query: impl Into<String>,
        marks: impl IntoIterator<Item = M>,
    ) -> Self {
        let mut others: Vec<String> = marks.into_iter().map(Into::into).collect();
        others.retain(|mark| mark != Self::EVERYTHING);
        others.sort_unstable();
        others.dedup();
        let mut marks = vec![Self::EVERYTHING.to_owned()];
        marks.append(&mut others);
        Self { scope, query: query.into(), marks }
    }
}

/// An encoded answer and its position.
///
/// ```
/// use gesta_store::{CachedAnswer, Position};
///
/// let answer = CachedAnswer { position: Position::new(7), bytes: "42".into() };
/// assert!(answer.position >= Position::new(6), "it may be returned to who asks for 6");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedAnswer {
    /// The answer reflects every event up to this position, and perhaps later ones.
    pub position: Position,
    /// The encoded answer.
    pub bytes: Bytes,
}

/// A request to load an answer that the cache lacks.
///
/// ```
/// use std::time::Duration;
/// use gesta_store::{BeginLoad, Position};
///
/// let begin = BeginLoad::new(Position::new(7), Duration::from_secs(300));
/// let begin = begin.expecting(Position::new(9));
/// assert_eq!((begin.at_least, begin.expected), (Position::new(7), Position::new(9)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BeginLoad {
    /// Position that the answer has to reflect.
    pub at_least: Position,
    /// Position that the answer of this loader will at least have.
    pub expected: Position,
    /// Time for which the answer will be kept.
    pub ttl: Duration,
}

impl BeginLoad {
    /// Requests an answer that reflects every event up to a position.
    #[must_use]
    pub const fn new(at_least: Position, ttl: Duration) -> Self {
        Self { at_least, expected: at_least, ttl }
    }

    /// Sets the position that the answer will at least have, if it is later than the requested one.
    #[must_use]
    pub fn expecting(self, position: Position) -> Self {
        Self { expected: self.at_least.max(position), ..self }
    }
}

/// The cache's reply to a request to load.
///
/// ```
/// use gesta_store::{LoadTicket, LoadTurn};
///
/// let turn = LoadTurn::Load(LoadTicket::new("state of the marks"));
/// assert_ne!(turn, LoadTurn::Busy);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoadTurn {
    /// An answer is there by now.
    Answer(CachedAnswer),
    /// Read the position of the read model, then its rows, then store the answer with this ticket.
    Load(LoadTicket),
    /// Another node loads an answer that will do. Ask again soon, or load without storing.
    Busy,
}

/// The state of an answer's marks before it was read. Passed back with the answer.
///
/// ```
/// use gesta_store::LoadTicket;
///
/// let ticket = LoadTicket::new("state of the marks");
/// assert_eq!(ticket.content(), b"state of the marks".as_slice());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadTicket(Bytes);

impl LoadTicket {
    /// Creates a ticket with content that the cache itself understands.
    #[must_use]
    pub fn new(content: impl Into<Bytes>) -> Self {
        Self(content.into())
    }

    /// Returns the content.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        &self.0
    }
}

/// The cache does not answer at the moment. Go on without it.
///
/// The cache itself logs the cause, once for each outage.
///
/// ```
/// assert_eq!(gesta_store::CacheUnavailable.to_string(), "the cache does not answer");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cache does not answer")]
pub struct CacheUnavailable;

/// A cache of answers to queries.
///
/// # Use
///
/// A reader calls [`get`](Self::get). Without an answer it calls [`begin_load`](Self::begin_load),
/// reads the position of the read model, then its rows, and calls [`store`](Self::store) with that
/// position.
///
/// A writer calls [`mark`](Self::mark) before the change of rows becomes visible, with the position
/// that the change brings the read model to. If the call fails, it calls [`reset`](Self::reset)
/// after the change. A change that moves no position is followed by a reset as well.
///
/// # Order
///
/// A load that begins before a mark is set has an earlier position or an earlier state of the mark
/// than a load that begins after it. So an answer from before the change is never returned after
/// the mark, in whichever order the calls arrive.
///
/// # Cancellation
///
/// Every future may be dropped. A call may then have taken effect or not.
///
/// ```
/// use std::time::Duration;
/// use gesta_store::{
///     BeginLoad, CacheFuture, CacheKey, CacheScope, CacheUnavailable, CachedAnswer, LoadTicket,
///     LoadTurn, Position, QueryCache,
/// };
///
/// /// A cache that is always down.
/// struct Down;
///
/// impl QueryCache for Down {
///     fn get<'a>(
///         &'a self,
///         _: &'a CacheKey,
///         _: Position,
///     ) -> CacheFuture<'a, Result<Option<CachedAnswer>, CacheUnavailable>> {
///         Box::pin(async { Err(CacheUnavailable) })
///     }
///
///     fn begin_load<'a>(
///         &'a self,
///         _: &'a CacheKey,
///         _: BeginLoad,
///     ) -> CacheFuture<'a, Result<LoadTurn, CacheUnavailable>> {
///         Box::pin(async { Err(CacheUnavailable) })
///     }
///
///     fn store<'a>(
///         &'a self,
///         _: &'a CacheKey,
///         _: LoadTicket,
///         _: CachedAnswer,
///         _: Duration,
///     ) -> CacheFuture<'a, ()> {
///         Box::pin(async {})
///     }
///
///     fn abandon<'a>(&'a self, _: &'a CacheKey, _: LoadTicket) -> CacheFuture<'a, ()> {
///         Box::pin(async {})
///     }
///
///     fn mark<'a>(
///         &'a self,
///         _: &'a CacheScope,
///         _: &'a [String],
///         _: Position,
///     ) -> CacheFuture<'a, Result<(), CacheUnavailable>> {
///         Box::pin(async { Err(CacheUnavailable) })
///     }
///
///     fn reset<'a>(&'a self, _: &'a CacheScope) -> CacheFuture<'a, ()> {
///         Box::pin(async {})
///     }
///
///     fn is_shared(&self) -> bool {
///         true
///     }
///
///     fn trouble(&self) -> Option<String> {
///         Some("the cache is down".to_owned())
///     }
/// }
///
/// assert!(Down.trouble().is_some());
/// ```
pub trait QueryCache: Send + Sync + 'static {
    /// Returns the stored answer, if its position is `at_least` or later and none of its marks was
    /// set to a later position, made anew or lost since it was loaded.
    ///
    /// # Errors
    ///
    /// - [`CacheUnavailable`]: load without storing.
    fn get<'a>(
        &'a self,
        key: &'a CacheKey,
        at_least: Position,
    ) -> CacheFuture<'a, Result<Option<CachedAnswer>, CacheUnavailable>>;

    /// Makes the missing marks of a key and returns a ticket with the state of all of them, if this
    /// caller is to load the answer. A cache of one process always lets the caller load.
    ///
    /// # Errors
    ///
    /// - [`CacheUnavailable`]: load without storing.
    fn begin_load<'a>(
        &'a self,
        key: &'a CacheKey,
        begin: BeginLoad,
    ) -> CacheFuture<'a, Result<LoadTurn, CacheUnavailable>>;

    /// Stores an answer for a time, in place of an earlier one. A failure costs the next reader
    /// time and nothing else.
    ///
    /// The position must have been read after the ticket was given, and before the rows.
    fn store<'a>(
        &'a self,
        key: &'a CacheKey,
        ticket: LoadTicket,
        answer: CachedAnswer,
        ttl: Duration,
    ) -> CacheFuture<'a, ()>;

    /// Ends a load without an answer, so that others need not wait for it.
    fn abandon<'a>(&'a self, key: &'a CacheKey, ticket: LoadTicket) -> CacheFuture<'a, ()>;

    /// Sets marks to a position. A mark at a later position stays there. A mark that does not
    /// exist is not made: no answer depends on it.
    ///
    /// Has taken effect for all readers when it returns `Ok`.
    ///
    /// # Errors
    ///
    /// - [`CacheUnavailable`]: call [`reset`](Self::reset) once the change is visible.
    fn mark<'a>(
        &'a self,
        scope: &'a CacheScope,
        marks: &'a [String],
        position: Position,
    ) -> CacheFuture<'a, Result<(), CacheUnavailable>>;

    /// Makes every answer of a scope invalid, those that are being loaded included. If the cache
    /// does not answer, this takes effect before its next answer to this process.
    fn reset<'a>(&'a self, scope: &'a CacheScope) -> CacheFuture<'a, ()>;

    /// Returns whether the marks that one node sets are seen by all nodes.
    fn is_shared(&self) -> bool;

    /// Returns the cause, without a password, if the cache does not answer at the moment.
    fn trouble(&self) -> Option<String>;
}
