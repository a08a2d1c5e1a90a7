//! A look at a server, for operators: its version, and how much it keeps for this application.
//!
//! Not here: the circuit ([`Redis::trouble`]), which a refused look leaves as it is.

use redis::InfoDict;

use crate::Redis;

/// Keys that a look goes through at most. It takes some milliseconds.
const KEYS_MAX: u64 = 50_000;
/// Keys that the server looks at in one call.
const KEYS_AT_ONCE: u64 = 1_000;

/// A Redis server and its use by one application.
///
/// ```no_run
/// use gesta_redis::Redis;
///
/// # async fn look() -> Result<(), gesta_redis::InvalidRedisUrl> {
/// let redis = Redis::connect("redis://db?prefix=shop").await?;
/// match redis.look().await {
///     Ok(server) => println!("Redis {}: {} answers", server.version, server.answers),
///     Err(cause) => println!("{cause}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisServer {
    /// Version, as the server writes it.
    pub version: String,
    /// Memory that the server uses for all of its applications, in bytes.
    pub used_bytes: u64,
    /// Number of cached answers with the prefix of this connection.
    pub answers: u64,
    /// Number of snapshots with the prefix of this connection.
    pub snapshots: u64,
    /// `false` if the server has more keys than a look goes through. The numbers are lower bounds
    /// then.
    pub is_complete: bool,
}

impl Redis {
    /// Looks at the server. Needs the right to `INFO` and `SCAN`.
    ///
    /// Goes through up to 50,000 keys of the database, of all applications: meant for people, and
    /// not for each request.
    ///
    /// # Errors
    ///
    /// The cause if the server does not answer, or refuses. The password is not in it.
    pub async fn look(&self) -> Result<RedisServer, String> {
        let info: InfoDict = self.ask(&redis::cmd("INFO")).await?;
        let mut server = RedisServer {
            version: info.get("redis_version").unwrap_or_default(),
            used_bytes: info.get("used_memory").unwrap_or_default(),
            answers: 0,
            snapshots: 0,
            is_complete: false,
        };
        let snapshot = self.key("snapshot:");
        let (mut cursor, mut seen) = (0_u64, 0);
        while seen < KEYS_MAX {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(self.key("*")).arg("COUNT").arg(KEYS_AT_ONCE);
            let (next, keys): (u64, Vec<Vec<u8>>) = self.ask(&scan).await?;
            for key in &keys {
                let is_answer = key.windows(ANSWER.len()).any(|part| part == ANSWER);
                if key.starts_with(snapshot.as_bytes()) {
                    server.snapshots += 1;
                } else if is_answer {
                    server.answers += 1;
                }
            }
            cursor = next;
            seen += KEYS_AT_ONCE;
            // The server begins anew, so every key was seen.
            if cursor == 0 {
                server.is_complete = true;
                break;
            }
        }
        Ok(server)
    }
}

/// The part of a key that only answers of the query cache have, after the scope.
const ANSWER: &[u8] = b"}:answer:";
