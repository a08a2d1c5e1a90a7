//! A cache of query results, and snapshots, in Redis.
//!
//! Owns: [`Redis`], the connection to a server with its circuit; [`RedisQueryCache`], the cache
//! that nodes share; [`RedisSnapshots`]; [`RedisServer`], a look at the server.
//!
//! Invariants:
//! - Everything here can be lost at any time. A server that is down, slow, full or refuses the
//!   password makes an application slower, and none of its answers wrong.
//! - A call waits for the server up to a limit. After a failure no call reaches it until a probe
//!   was answered, and the failure is logged once.
//! - An answer in the cache is judged by marks that were read together with it, in one command.
//! - No log line and no error has the password.
//!
//! Connections are encrypted with the feature `tls`. Not here: Redis Cluster, and the contracts
//! ([`QueryCache`], [`SnapshotStore`]), which are those of `gesta-store`.
//!
//! [`QueryCache`]: gesta_store::QueryCache
//! [`SnapshotStore`]: gesta_store::SnapshotStore

mod connection;
mod encryption;
mod in_runtime;
mod invalid_url;
mod layout;
mod options;
mod query_cache;
mod server;
mod snapshots;

pub use connection::Redis;
pub use invalid_url::InvalidRedisUrl;
pub use options::RedisOptions;
pub use query_cache::RedisQueryCache;
pub use server::RedisServer;
pub use snapshots::RedisSnapshots;

// The example of the README is compiled, and run if it needs no server.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
