//! The cache of answers to queries that nodes share.
//!
//! Keys of a scope begin alike, with the scope in braces, so that they are in one slot.
//!
//! Not here: the server and its failures (`connection`), the form of values (`layout`).

use std::{fmt, time::Duration};

use bytes::Bytes;
use gesta_store::{
    BeginLoad, CacheFuture, CacheKey, CacheScope, CacheUnavailable, CachedAnswer, LoadTicket,
    LoadTurn, Position, QueryCache,
};
use redis::Script;
use uuid::Uuid;

use crate::{
    Redis,
    layout::{EPOCH_LENGTH, TOKEN_LENGTH, digits, read_answer, valid_answer, write_answer},
};

/// Maximum length of an encoded answer. A longer one is not stored.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Life of a turn to load whose node does not end it.
const TURN_LIFE: Duration = Duration::from_secs(2);
/// Life of a mark, as a multiple of that of the answers that depend on it.
const MARK_LIFE: u32 = 2;

/// A cache of answers in Redis, which all nodes share. Clones share one connection.
///
/// The `prefix` of the [URL](crate::RedisOptions) keeps applications apart. Answers end by their
/// time to live, and earlier if the server evicts them. A server that keeps its data over a restart
/// needs no setting for it.
///
/// ```no_run
/// use std::sync::Arc;
/// use gesta::Gesta;
/// use gesta_redis::Redis;
///
/// # async fn open() -> Result<(), Box<dyn std::error::Error>> {
/// let redis = Redis::connect("redis://:secret@db:6379/0?prefix=shop").await?;
/// let gesta = Gesta::at("memory:").query_cache(Arc::new(redis.query_cache())).open().await?;
/// # drop(gesta);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RedisQueryCache {
    redis: Redis,
    begin_load: Script,
    end_load: Script,
    mark: Script,
}

impl Redis {
    /// Returns a cache of answers to queries on this server.
    #[must_use]
    pub fn query_cache(&self) -> RedisQueryCache {
        RedisQueryCache::new(self.clone())
    }
}

impl RedisQueryCache {
    fn new(redis: Redis) -> Self {
        Self {
            redis,
            begin_load: Script::new(include_str!("scripts/begin_load.lua")),
            end_load: Script::new(include_str!("scripts/end_load.lua")),
            mark: Script::new(include_str!("scripts/mark.lua")),
        }
    }

    fn answer_key(&self, key: &CacheKey) -> String {
        self.redis.key(format_args!("{{{}}}:answer:{}", key.scope, key.query))
    }

    fn turn_key(&self, key: &CacheKey) -> String {
        self.redis.key(format_args!("{{{}}}:turn:{}", key.scope, key.query))
    }

    fn mark_key(&self, scope: &CacheScope, mark: &str) -> String {
        self.redis.key(format_args!("{{{scope}}}:mark:{mark}"))
    }

    async fn turn(&self, key: &CacheKey, begin: BeginLoad) -> Option<LoadTurn> {
        // One random number serves all marks that are made: an epoch differs from earlier ones of
        // the same mark.
        let epoch = Uuid::new_v4().simple().to_string();
        let token = Uuid::new_v4().simple().to_string();
        let mut invocation = self.begin_load.prepare_invoke();
        invocation.key(self.answer_key(key)).key(self.turn_key(key));
        for mark in &key.marks {
            invocation.key(self.mark_key(&key.scope, mark));
        }
        invocation
            .arg(epoch.get(..EPOCH_LENGTH))
            .arg(digits(begin.at_least))
            .arg(digits(begin.expected))
            .arg(&token)
            .arg(millis(begin.ttl.saturating_mul(MARK_LIFE)))
            .arg(millis(TURN_LIFE));
        let reply: Vec<Vec<u8>> = self.redis.script(&invocation).await?;
        let (kind, rest) = reply.split_first()?;
        match (kind.as_slice(), rest) {
            (b"answer", [stored]) => {
                let stored = Bytes::copy_from_slice(stored);
                read_answer(stored, key.marks.len()).map(LoadTurn::Answer)
            }
            (b"busy", []) => Some(LoadTurn::Busy),
            (b"load", epochs) if epochs.len() == key.marks.len() => {
                let epochs = epochs.concat();
                let content = [token.as_bytes(), &epochs].concat();
                Some(LoadTurn::Load(LoadTicket::new(content)))
            }
            // Another version of this program wrote it: no turn, so the answer is not stored.
            _ => None,
        }
    }

    async fn end(&self, key: &CacheKey, token: &[u8], answer: Option<(Vec<u8>, Duration)>) {
        let mut invocation = self.end_load.prepare_invoke();
        invocation.key(self.answer_key(key)).key(self.turn_key(key)).arg(token);
        if let Some((answer, ttl)) = answer {
            invocation.arg(answer).arg(millis(ttl));
        }
        // A failure opens the circuit, and is logged there.
        let _: Option<String> = self.redis.script(&invocation).await;
    }
}

/// Returns a duration as the server takes it: at least 1 ms, at most about a century.
fn millis(duration: Duration) -> u64 {
    const MAX: u64 = 100 * 365 * 24 * 3600 * 1000;
    u64::try_from(duration.as_millis()).unwrap_or(MAX).clamp(1, MAX)
}

/// Splits a ticket into the token of the turn and the epochs of the marks.
fn split(ticket: &LoadTicket) -> (&[u8], &[u8]) {
    ticket.content().split_at_checked(TOKEN_LENGTH).unwrap_or_default()
}

impl QueryCache for RedisQueryCache {
    fn get<'a>(
        &'a self,
        key: &'a CacheKey,
        at_least: Position,
    ) -> CacheFuture<'a, Result<Option<CachedAnswer>, CacheUnavailable>> {
        Box::pin(async move {
            // The server may lose marks in an outage, and still have the answers.
            self.redis.not_to_outlive(&self.mark_key(&key.scope, CacheKey::EVERYTHING));
            // One command, so that the answer and its marks are those of one moment.
            let mut get = redis::cmd("MGET");
            get.arg(self.answer_key(key));
            for mark in &key.marks {
                get.arg(self.mark_key(&key.scope, mark));
            }
            let found: Option<Vec<Option<Vec<u8>>>> = self.redis.command(&get).await;
            let mut found = found.ok_or(CacheUnavailable)?.into_iter();
            let Some(stored) = found.next().flatten() else { return Ok(None) };
            let marks: Vec<_> = found.collect();
            let is_whole = marks.len() == key.marks.len();
            let answer = valid_answer(stored.into(), &marks).filter(|_| is_whole);
            Ok(answer.filter(|answer| answer.position >= at_least))
        })
    }

    fn begin_load<'a>(
        &'a self,
        key: &'a CacheKey,
        begin: BeginLoad,
    ) -> CacheFuture<'a, Result<LoadTurn, CacheUnavailable>> {
        Box::pin(async move { self.turn(key, begin).await.ok_or(CacheUnavailable) })
    }

    fn store<'a>(
        &'a self,
        key: &'a CacheKey,
        ticket: LoadTicket,
        answer: CachedAnswer,
        ttl: Duration,
    ) -> CacheFuture<'a, ()> {
        Box::pin(async move {
            let (token, epochs) = split(&ticket);
            let fits = answer.bytes.len() <= ANSWER_BYTES_MAX;
            let stored = fits.then(|| (write_answer(&answer, epochs), ttl));
            self.end(key, token, stored).await;
        })
    }

    fn abandon<'a>(&'a self, key: &'a CacheKey, ticket: LoadTicket) -> CacheFuture<'a, ()> {
        Box::pin(async move { self.end(key, split(&ticket).0, None).await })
    }

    fn mark<'a>(
        &'a self,
        scope: &'a CacheScope,
        marks: &'a [String],
        position: Position,
    ) -> CacheFuture<'a, Result<(), CacheUnavailable>> {
        Box::pin(async move {
            let mut invocation = self.mark.prepare_invoke();
            for mark in marks {
                invocation.key(self.mark_key(scope, mark));
            }
            invocation.arg(digits(position));
            let marked: Option<String> = self.redis.script(&invocation).await;
            marked.map(drop).ok_or(CacheUnavailable)
        })
    }

    fn reset<'a>(&'a self, scope: &'a CacheScope) -> CacheFuture<'a, ()> {
        // Every answer depends on this mark, and it is made anew with another epoch.
        Box::pin(
            async move { self.redis.delete(&self.mark_key(scope, CacheKey::EVERYTHING)).await },
        )
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn trouble(&self) -> Option<String> {
        self.redis.trouble()
    }
}

impl fmt::Debug for RedisQueryCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisQueryCache in {:?}", self.redis)
    }
}
