//! Snapshots in Redis.
//!
//! Invariant: a snapshot never takes the place of a later one of the same fold and incarnation.
//! Not here: the server and its failures (`connection`).

use std::fmt;

use bytes::Bytes;
use gesta_store::{
    DatabaseError, DatabaseFuture, Fingerprint, Incarnation, Revision, Snapshot, SnapshotStore,
    StreamName,
};
use redis::Script;
use uuid::Uuid;

use crate::Redis;

/// A store of snapshots in Redis. Clones share one connection.
///
/// Snapshots stay until the server evicts them. While the server does not answer there are no
/// snapshots: loads start at the first event, and what is saved is lost. The connection logs this
/// once, so that a load is no error.
///
/// ```no_run
/// use gesta_redis::Redis;
/// use gesta_store::{SnapshotStore, StreamName};
///
/// # async fn load() -> Result<(), Box<dyn std::error::Error>> {
/// let snapshots = Redis::connect("redis://db").await?.snapshots();
/// let last = snapshots.load_snapshot(&StreamName::new("order-1")?).await?;
/// # drop(last);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RedisSnapshots {
    redis: Redis,
    save: Script,
}

impl Redis {
    /// Returns a store of snapshots on this server.
    #[must_use]
    pub fn snapshots(&self) -> RedisSnapshots {
        RedisSnapshots::new(self.clone())
    }
}

impl RedisSnapshots {
    fn new(redis: Redis) -> Self {
        Self { redis, save: Script::new(include_str!("scripts/save_snapshot.lua")) }
    }

    fn key(&self, stream: &StreamName) -> String {
        self.redis.key(format_args!("snapshot:{stream}"))
    }
}

/// The fields of a stored snapshot. All or none are there.
type StoredFields = [Option<Vec<u8>>; 4];

/// Reads a stored snapshot.
fn read(stream: &StreamName, fields: StoredFields) -> Option<Snapshot> {
    let [revision, incarnation, fingerprint, state] = fields;
    let revision = str::from_utf8(&revision?).ok()?.parse().ok()?;
    let incarnation = Uuid::try_parse_ascii(&incarnation?).ok()?;
    let fingerprint = u64::from_str_radix(str::from_utf8(&fingerprint?).ok()?, 16).ok()?;
    Some(Snapshot::new(
        stream.clone(),
        Revision::new(revision),
        Incarnation::new(incarnation),
        Fingerprint::new(fingerprint),
        Bytes::from(state?),
    ))
}

impl SnapshotStore for RedisSnapshots {
    fn place(&self) -> String {
        self.redis.server().to_owned()
    }

    fn load_snapshot<'a>(&'a self, stream: &'a StreamName) -> DatabaseFuture<'a, Option<Snapshot>> {
        Box::pin(async move {
            let mut get = redis::cmd("HMGET");
            get.arg(self.key(stream));
            get.arg(&["revision", "incarnation", "fingerprint", "state"]);
            let fields: Option<StoredFields> = self.redis.command(&get).await;
            let Some(fields) = fields else { return Ok(None) };
            if fields.iter().all(Option::is_none) {
                return Ok(None);
            }
            let reason = format!("the snapshot of {stream} in Redis has another form");
            let damaged = DatabaseError::Corrupt { reason, source: None };
            read(stream, fields).map(Some).ok_or(damaged)
        })
    }

    fn save_snapshot(&self, snapshot: Snapshot) -> DatabaseFuture<'_, ()> {
        Box::pin(async move {
            let mut invocation = self.save.key(self.key(&snapshot.stream));
            invocation
                // All digits of the greatest number: the script compares texts.
                .arg(format!("{:020}", snapshot.revision.number()))
                .arg(snapshot.incarnation.to_string())
                .arg(snapshot.fingerprint.to_string())
                .arg(snapshot.state.as_ref());
            // A failure opens the circuit, and is logged there.
            let _: Option<String> = self.redis.script(&invocation).await;
            Ok(())
        })
    }

    fn delete_snapshot<'a>(&'a self, stream: &'a StreamName) -> DatabaseFuture<'a, ()> {
        Box::pin(async move {
            self.redis.delete(&self.key(stream)).await;
            Ok(())
        })
    }
}

impl fmt::Debug for RedisSnapshots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisSnapshots in {:?}", self.redis)
    }
}
