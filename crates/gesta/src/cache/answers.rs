//! Reading answers through the cache.
//!
//! Invariants: a stored answer has the position of the read model from before its rows were read.
//! A cache that fails costs time and never an answer. A caller waits for one other load at most.
//!
//! Not here: the load itself, which is the caller's.

use std::{
    any::TypeId,
    collections::{HashMap, HashSet},
    fmt::{self, Write as _},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use gesta_store::{
    BeginLoad, CacheKey, CacheScope, CacheUnavailable, CachedAnswer, LoadTurn, Position, QueryCache,
};

use super::{
    Caching,
    caching::AnswerCodec,
    flights::{FlightTurn, Flights, landed},
};
use crate::{Clock, json::JsonError};

/// Pause before the next look for an answer that another node loads.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// Number of such looks before this node loads the answer itself.
const LOOKS_MAX: u32 = 50;

/// The cache of an application, as its queries see it.
#[derive(Clone)]
pub(crate) struct AnswerCache {
    cache: Arc<dyn QueryCache>,
    clock: Arc<dyn Clock>,
    flights: Flights,
    /// Each change of a read model that queries here see is marked in this cache.
    sees_all_marks: bool,
    shared: Arc<SharedState>,
}

#[derive(Default)]
struct SharedState {
    counts: Counts,
    /// Hashes of the shapes of answers, by type.
    shapes: Mutex<HashMap<TypeId, blake3::Hash>>,
    /// Queries whose answers could not be encoded, each logged once.
    warned: Mutex<HashSet<&'static str>>,
}

#[derive(Default)]
struct Counts {
    hits: AtomicU64,
    loads: AtomicU64,
    bypasses: AtomicU64,
}

/// Numbers of cached queries since the application was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueryCacheCounts {
    /// Queries that were answered from the cache.
    pub hits: u64,
    /// Queries that were answered from the read model, for the cache had no valid answer.
    pub loads: u64,
    /// Queries that were answered from the read model, for the cache did not answer.
    pub bypasses: u64,
}

/// A query that may be answered from the cache.
pub(crate) struct ReadPlan<A> {
    key: CacheKey,
    at_least: Position,
    /// Position that a load will at least have.
    expected: Position,
    ttl: Duration,
    query: &'static str,
    codec: AnswerCodec<A>,
}

/// An answer from the read model.
pub(crate) struct FreshAnswer<A> {
    pub(crate) answer: A,
    /// Position of the read model before the rows were read.
    pub(crate) position: Position,
    /// The read model that has the position. `None` if it is unknown.
    pub(crate) scope: Option<CacheScope>,
}

/// The read model that a query would be answered from, at one moment.
pub(crate) struct ReadPlace {
    pub(crate) scope: CacheScope,
    pub(crate) position: Position,
    /// Position up to which its rows have changed.
    pub(crate) changed_at: Position,
    /// Version of the projection in this program.
    pub(crate) version: u32,
}

impl AnswerCache {
    /// `has_other_writers`: other processes may change the rows that queries here read.
    pub(crate) fn new(
        cache: Arc<dyn QueryCache>,
        clock: Arc<dyn Clock>,
        has_other_writers: bool,
    ) -> Self {
        let sees_all_marks = cache.is_shared() || !has_other_writers;
        Self { cache, clock, flights: Flights::default(), sees_all_marks, shared: Arc::default() }
    }

    pub(crate) fn counts(&self) -> QueryCacheCounts {
        let Counts { hits, loads, bypasses } = &self.shared.counts;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        QueryCacheCounts { hits: read(hits), loads: read(loads), bypasses: read(bypasses) }
    }

    /// Returns the cause if the cache does not answer at the moment.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.cache.trouble()
    }

    /// Plans the read of a query that opts in.
    ///
    /// # Errors
    /// The query has no JSON form.
    pub(crate) fn plan<A>(
        &self,
        caching: Caching<A>,
        place: ReadPlace,
        at_least: Position,
    ) -> Result<ReadPlan<A>, JsonError> {
        let Caching { query, value, version, ttl, groups, codec } = caching;
        let value = value?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.shape_of(&codec).as_bytes());
        hasher.update(&version.to_be_bytes());
        hasher.update(&place.version.to_be_bytes());
        // The length keeps the name and the value apart.
        hasher.update(&(query.len() as u64).to_be_bytes());
        hasher.update(query.as_bytes());
        hasher.update(&value);
        let name = hasher.finalize().to_hex().to_string();
        // Without the marks of all writers, any later change counts as one of these rows.
        let seen = if self.sees_all_marks { Position::START } else { place.changed_at };
        Ok(ReadPlan {
            key: CacheKey::new(place.scope, name, groups.depended_on()),
            at_least: at_least.max(seen),
            expected: place.position,
            ttl,
            query,
            codec,
        })
    }

    /// Returns a valid answer from the cache, with its position, or loads and stores it.
    pub(crate) async fn read_through<A, E>(
        &self,
        plan: ReadPlan<A>,
        load: impl Future<Output = Result<FreshAnswer<A>, E>>,
    ) -> Result<(A, Position), E> {
        let counts = &self.shared.counts;
        match self.find(&plan).await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(CacheUnavailable) => {
                counts.bypasses.fetch_add(1, Ordering::Relaxed);
                return load.await.map(|fresh| (fresh.answer, fresh.position));
            }
        }
        let own = match self.flights.begin(&plan.key, plan.at_least, plan.expected) {
            FlightTurn::Own(own) => Some(own),
            FlightTurn::Beside => None,
            FlightTurn::Others(flight) => {
                landed(flight).await;
                // At most one wait: under steady changes each answer is invalid when it arrives.
                if let Ok(Some(found)) = self.find(&plan).await {
                    return Ok(found);
                }
                None
            }
        };
        let ticket = match self.ticket(&plan).await {
            Some(LoadTurn::Answer(answer)) => match self.decode(&plan, &answer) {
                Some(found) => return Ok(found),
                None => None,
            },
            Some(LoadTurn::Load(ticket)) => Some(ticket),
            // `LoadTurn` may grow: an unknown reply is none.
            Some(_) | None => None,
        };
        counts.loads.fetch_add(1, Ordering::Relaxed);
        let loaded = load.await;
        if let Some(ticket) = ticket {
            match loaded.as_ref().ok().and_then(|fresh| self.encode(&plan, fresh)) {
                Some(answer) => self.cache.store(&plan.key, ticket, answer, plan.ttl).await,
                None => self.cache.abandon(&plan.key, ticket).await,
            }
        }
        drop(own);
        loaded.map(|fresh| (fresh.answer, fresh.position))
    }

    async fn find<A>(&self, plan: &ReadPlan<A>) -> Result<Option<(A, Position)>, CacheUnavailable> {
        let found = self.cache.get(&plan.key, plan.at_least).await?;
        Ok(found.and_then(|answer| self.decode(plan, &answer)))
    }

    /// Decodes a cached answer. One that does not decode is as good as none.
    fn decode<A>(&self, plan: &ReadPlan<A>, found: &CachedAnswer) -> Option<(A, Position)> {
        let answer = (plan.codec.decode)(&found.bytes).ok()?;
        self.shared.counts.hits.fetch_add(1, Ordering::Relaxed);
        Some((answer, found.position))
    }

    /// Asks for the turn to load, and waits a while for another node that loads.
    async fn ticket<A>(&self, plan: &ReadPlan<A>) -> Option<LoadTurn> {
        let begin = BeginLoad::new(plan.at_least, plan.ttl).expecting(plan.expected);
        for _ in 0..LOOKS_MAX {
            match self.cache.begin_load(&plan.key, begin).await {
                Ok(LoadTurn::Busy) => self.clock.pause(LOOK_AGAIN).await,
                Ok(turn) => return Some(turn),
                Err(CacheUnavailable) => return None,
            }
        }
        None
    }

    /// Returns the form of a fresh answer that is stored, or `None` if it is not to be stored.
    fn encode<A>(&self, plan: &ReadPlan<A>, fresh: &FreshAnswer<A>) -> Option<CachedAnswer> {
        // After a switch-over or in another incarnation, the position is not of this key.
        if fresh.scope.as_ref() != Some(&plan.key.scope) {
            return None;
        }
        let encoded = (plan.codec.encode)(&fresh.answer);
        let bytes = encoded.map_err(|error| self.warn_once(plan.query, &error)).ok()?;
        Some(CachedAnswer { position: fresh.position, bytes: bytes.into() })
    }

    fn warn_once(&self, query: &'static str, error: &JsonError) {
        let mut warned = self.shared.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.insert(query) {
            let trouble = trouble_of(error);
            tracing::warn!(query, trouble, "the answers to a query cannot be cached");
        }
    }

    /// Returns the hash of an answer type's shape, so that programs with another one do not share
    /// answers.
    fn shape_of<A>(&self, codec: &AnswerCodec<A>) -> blake3::Hash {
        let mut shapes = self.shared.shapes.lock().unwrap_or_else(PoisonError::into_inner);
        *shapes.entry(codec.of).or_insert_with(|| blake3::hash((codec.shape)().as_bytes()))
    }
}

/// Returns the text of an error of encoding.
pub(crate) fn trouble_of(error: &JsonError) -> String {
    let JsonError { what, field, reason } = error;
    let mut text = what.clone();
    if !field.is_empty() {
        // Writing to a text does not fail.
        let _ = write!(text, " at `{field}`");
    }
    let _ = write!(text, " {reason}");
    text
}

impl fmt::Debug for AnswerCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerCache").field("counts", &self.counts()).finish_non_exhaustive()
    }
}
