//! The cache of one process.
//!
//! Invariant: a mark that was dropped is never made again with the same number, so that answers
//! from before are invalid. Not here: loads in progress (`flights`), which are those of the process
//! anyway.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use gesta_store::{
    BeginLoad, CacheFuture, CacheKey, CacheScope, CacheUnavailable, CachedAnswer, LoadTicket,
    LoadTurn, Position, QueryCache,
};
use moka::{Expiry, future::Cache};

/// Maximum number of marks. With more, all are dropped, and all answers with them.
const MARKS_MAX: usize = 100_000;
/// Memory of an answer besides its bytes, roughly.
const OVERHEAD_BYTES: u32 = 256;
const EPOCH_BYTES: usize = size_of::<u64>();

/// A cache of answers in the memory of this process. Clones share it.
///
/// Suits one node, which sees each change of its read models. With
/// [`Nodes`](crate::Nodes), each node has a cache of its own, and takes every change of a
/// read model for a change of all of its rows.
///
/// ```
/// use std::sync::Arc;
/// use gesta::{Gesta, MemoryQueryCache};
///
/// # gesta::store::conformance::block_on(async {
/// let cache = Arc::new(MemoryQueryCache::new());
/// let gesta = Gesta::at("memory:").query_cache(cache).open().await?;
/// assert_eq!(gesta.query_cache_counts().hits, 0);
/// # Ok::<(), gesta::OpenError>(())
/// # }).expect("a memory store opens");
/// ```
#[derive(Clone)]
pub struct MemoryQueryCache {
    answers: Cache<CacheKey, Arc<StoredAnswer>>,
    marks: Arc<Mutex<Marks>>,
}

/// An answer with the numbers of its marks before it was read.
struct StoredAnswer {
    answer: CachedAnswer,
    epochs: Vec<u64>,
    ttl: Duration,
}

#[derive(Default)]
struct Marks {
    by_scope: HashMap<CacheScope, HashMap<String, Mark>>,
    count: usize,
    last_epoch: u64,
}

#[derive(Clone, Copy)]
struct Mark {
    /// Never given again.
    epoch: u64,
    position: Position,
}

/// Ends an answer after its own time to live.
struct OwnTtl;

impl Expiry<CacheKey, Arc<StoredAnswer>> for OwnTtl {
    fn expire_after_create(
        &self,
        _: &CacheKey,
        stored: &Arc<StoredAnswer>,
        _: Instant,
    ) -> Option<Duration> {
        Some(stored.ttl)
    }

    fn expire_after_update(
        &self,
        _: &CacheKey,
        stored: &Arc<StoredAnswer>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(stored.ttl)
    }
}

impl MemoryQueryCache {
    /// Default capacity in bytes: 64 MiB.
    pub const CAPACITY_BYTES: u64 = 64 * 1024 * 1024;

    /// Creates an empty cache with the default capacity.
    #[must_use]
    pub fn new() -> Self {
        Self::with_capacity(Self::CAPACITY_BYTES)
    }

    /// Creates an empty cache that keeps about this many bytes of answers. Beyond it, answers that
    /// are rarely asked for are dropped.
    #[must_use]
    pub fn with_capacity(bytes: u64) -> Self {
        let weight = |key: &CacheKey, stored: &Arc<StoredAnswer>| {
            let length = stored.answer.bytes.len() + key.query.len();
            u32::try_from(length).unwrap_or(u32::MAX).saturating_add(OVERHEAD_BYTES)
        };
        let answers =
            Cache::builder().max_capacity(bytes).weigher(weight).expire_after(OwnTtl).build();
        Self { answers, marks: Arc::default() }
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        // A panic leaves marks that are there or not, and either is valid.
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryQueryCache {
    fn default() -> Self {
        Self::new()
    }
}

impl Marks {
    /// Returns the numbers of a key's marks, and makes those that are missing.
    fn of(&mut self, key: &CacheKey) -> Vec<u64> {
        if self.count + key.marks.len() > MARKS_MAX {
            self.by_scope.clear();
            self.count = 0;
        }
        let of_scope = self.by_scope.entry(key.scope.clone()).or_default();
        let epochs = key.marks.iter().map(|name| match of_scope.get(name) {
            Some(mark) => mark.epoch,
            None => {
                self.last_epoch += 1;
                self.count += 1;
                let mark = Mark { epoch: self.last_epoch, position: Position::START };
                of_scope.insert(name.clone(), mark);
                mark.epoch
            }
        });
        epochs.collect()
    }

    /// Returns whether no mark of the answer was set to a later position, dropped or made anew.
    fn allow(&self, key: &CacheKey, stored: &StoredAnswer) -> bool {
        let Some(of_scope) = self.by_scope.get(&key.scope) else { return false };
        let holds = |(name, epoch): (&String, &u64)| {
            let mark = of_scope.get(name);
            mark.is_some_and(|it| it.epoch == *epoch && it.position <= stored.answer.position)
        };
        key.marks.len() == stored.epochs.len() && key.marks.iter().zip(&stored.epochs).all(holds)
    }

    fn set(&mut self, scope: &CacheScope, marks: &[String], position: Position) {
        let Some(of_scope) = self.by_scope.get_mut(scope) else { return };
        for name in marks {
            if let Some(mark) = of_scope.get_mut(name) {
                mark.position = mark.position.max(position);
            }
        }
    }

    fn drop_scope(&mut self, scope: &CacheScope) {
        self.count -= self.by_scope.remove(scope).map_or(0, |of_scope| of_scope.len());
    }
}

impl QueryCache for MemoryQueryCache {
    fn get<'a>(
        &'a self,
        key: &'a CacheKey,
        at_least: Position,
    ) -> CacheFuture<'a, Result<Option<CachedAnswer>, CacheUnavailable>> {
        Box::pin(async move {
            let Some(stored) = self.answers.get(key).await else { return Ok(None) };
            let is_valid = stored.answer.position >= at_least && self.marks().allow(key, &stored);
            Ok(is_valid.then(|| stored.answer.clone()))
        })
    }

    fn begin_load<'a>(
        &'a self,
        key: &'a CacheKey,
        _: BeginLoad,
    ) -> CacheFuture<'a, Result<LoadTurn, CacheUnavailable>> {
        Box::pin(async move {
            let epochs = self.marks().of(key);
            let content: Vec<u8> = epochs.iter().flat_map(|epoch| epoch.to_be_bytes()).collect();
            Ok(LoadTurn::Load(LoadTicket::new(content)))
        })
    }

    fn store<'a>(
        &'a self,
        key: &'a CacheKey,
        ticket: LoadTicket,
        answer: CachedAnswer,
        ttl: Duration,
    ) -> CacheFuture<'a, ()> {
        Box::pin(async move {
            let (epochs, _) = ticket.content().as_chunks::<EPOCH_BYTES>();
            let epochs = epochs.iter().map(|epoch| u64::from_be_bytes(*epoch)).collect();
            // Without the rest of a buffer that the bytes may be a part of.
            let answer = CachedAnswer { bytes: Bytes::copy_from_slice(&answer.bytes), ..answer };
            self.answers.insert(key.clone(), Arc::new(StoredAnswer { answer, epochs, ttl })).await;
        })
    }

    fn abandon<'a>(&'a self, _: &'a CacheKey, _: LoadTicket) -> CacheFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }

    fn mark<'a>(
        &'a self,
        scope: &'a CacheScope,
        marks: &'a [String],
        position: Position,
    ) -> CacheFuture<'a, Result<(), CacheUnavailable>> {
        Box::pin(async move {
            self.marks().set(scope, marks, position);
            Ok(())
        })
    }

    fn reset<'a>(&'a self, scope: &'a CacheScope) -> CacheFuture<'a, ()> {
        Box::pin(async move { self.marks().drop_scope(scope) })
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn trouble(&self) -> Option<String> {
        None
    }
}

impl fmt::Debug for MemoryQueryCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryQueryCache of {} answers", self.answers.entry_count())
    }
}
