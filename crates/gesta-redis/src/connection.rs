//! The connection to a server, and its circuit.
//!
//! Invariants:
//! - A call waits for the server up to a limit. The first one that fails opens the circuit.
//! - While the circuit is open, no call reaches the server. A task probes it, with growing pauses,
//!   and closes the circuit once the server reads, writes and runs scripts again.
//! - Keys that could not be deleted are deleted before the circuit closes, and so are those that
//!   must not outlive an outage: the server may have come back with older data.
//! - An outage is logged once when it begins and once when it ends.
//!
//! Not here: the meaning of keys.

use std::{
    collections::BTreeSet,
    fmt,
    future::Future,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Cmd, FromRedisValue, RedisError, RedisResult, Script, ScriptInvocation,
    aio::MultiplexedConnection,
};
use tokio::{runtime::Handle, time::timeout};
use uuid::Uuid;

use crate::{InvalidRedisUrl, RedisOptions, in_runtime::InRuntime};

/// Pause before the first probe of a server that has failed. Each further one doubles it.
const PROBE_PAUSE_MIN: Duration = Duration::from_millis(50);
const PROBE_PAUSE_MAX: Duration = Duration::from_secs(2);

/// A Redis server. Clones share one connection.
///
/// While the server does not answer, the parts of an application that use it go on without it. A
/// task probes the server meanwhile and connects again. The server is named in the log without its
/// password.
///
/// ```no_run
/// use std::sync::Arc;
/// use gesta_redis::Redis;
///
/// # async fn open() -> Result<(), gesta_redis::InvalidRedisUrl> {
/// let redis = Redis::connect("redis://:secret@db:6379/0?prefix=shop").await?;
/// let cache = Arc::new(redis.query_cache());
/// let snapshots = redis.snapshots();
/// # drop((cache, snapshots));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Redis(Arc<Circuit>);

struct Circuit {
    options: RedisOptions,
    probe: Script,
    /// The application's.
    runtime: Handle,
    state: Mutex<CircuitState>,
}

struct CircuitState {
    link: Link,
    /// Number of the connection. A call that fails on an earlier one says nothing about this one.
    number: u64,
    /// Keys to delete before the circuit closes.
    to_delete: BTreeSet<Vec<u8>>,
    /// Keys to delete in each outage.
    not_to_outlive: BTreeSet<Vec<u8>>,
}

enum Link {
    Up(MultiplexedConnection),
    Down { cause: String },
}

impl Redis {
    /// Connects to the server behind a URL; see [`RedisOptions`].
    ///
    /// A server that does not answer is no error: it is logged, and connected to later. Waits for
    /// it up to [`RedisOptions::CONNECT_WITHIN`].
    ///
    /// # Errors
    ///
    /// [`InvalidRedisUrl`] if the URL cannot be read.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn connect(url: &str) -> Result<Self, InvalidRedisUrl> {
        Ok(Self::connect_with(url.parse()?).await)
    }

    /// Connects to a server with these limits. Otherwise the same as [`connect`](Self::connect).
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn connect_with(options: RedisOptions) -> Self {
        let state = CircuitState {
            link: Link::Down { cause: "not connected yet".to_owned() },
            number: 0,
            to_delete: BTreeSet::new(),
            not_to_outlive: BTreeSet::new(),
        };
        let circuit = Arc::new(Circuit {
            options,
            probe: Script::new(include_str!("scripts/probe.lua")),
            runtime: Handle::current(),
            state: Mutex::new(state),
        });
        if let Err(cause) = circuit.try_to_close().await {
            circuit.say_open(&cause);
            circuit.lock().link = Link::Down { cause };
            circuit.runtime.spawn(probe_until_closed(Arc::downgrade(&circuit)));
        }
        Self(circuit)
    }

    /// Returns the cause if the server does not answer at the moment.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        match &self.0.lock().link {
            Link::Up(_) => None,
            Link::Down { cause } => Some(format!("{} is left out: {cause}", self.0.options.shown)),
        }
    }

    /// Returns the address of the server, without secrets.
    pub(crate) fn server(&self) -> &str {
        &self.0.options.shown
    }

    /// Returns the key of this name.
    pub(crate) fn key(&self, name: impl fmt::Display) -> String {
        format!("{}:{name}", self.0.options.prefix)
    }

    /// Runs a command. `None` if the server does not answer.
    pub(crate) async fn command<T: FromRedisValue + Send>(&self, command: &Cmd) -> Option<T> {
        let (mut connection, number) = self.0.connection()?;
        self.0.run(number, command.query_async(&mut connection)).await
    }

    /// Runs a script. `None` if the server does not answer.
    pub(crate) async fn script<T: FromRedisValue + Send>(
        &self,
        invocation: &ScriptInvocation<'_>,
    ) -> Option<T> {
        let (mut connection, number) = self.0.connection()?;
        self.0.run(number, invocation.invoke_async(&mut connection)).await
    }

    /// Runs a command that the application does not depend on: a refusal is returned, and does not
    /// open the circuit. A connection that fails opens it, and so is made anew.
    pub(crate) async fn ask<T: FromRedisValue + Send>(&self, command: &Cmd) -> Result<T, String> {
        let Some((mut connection, number)) = self.0.connection() else {
            return Err(self.trouble().unwrap_or_else(|| "the server answers again".to_owned()));
        };
        let asked = async move {
            match command.query_async(&mut connection).await {
                Err(error) if error.is_io_error() => Err(error),
                replied => Ok(replied),
            }
        };
        let replied = match self.0.within(self.0.options.answer_within, asked).await {
            Ok(replied) => replied.map_err(|refusal| text_of(&refusal)),
            Err(cause) => {
                self.0.open(number, cause.clone());
                Err(cause)
            }
        };
        replied.map_err(|cause| format!("{}: {cause}", self.0.options.shown))
    }

    /// Deletes a key in each outage from now on.
    pub(crate) fn not_to_outlive(&self, key: &str) {
        let mut state = self.0.lock();
        if !state.not_to_outlive.contains(key.as_bytes()) {
            state.not_to_outlive.insert(key.as_bytes().to_vec());
        }
    }

    /// Deletes a key, at the latest before the server is used again after an outage.
    pub(crate) async fn delete(&self, key: &str) {
        let mut delete = redis::cmd("DEL");
        delete.arg(key);
        loop {
            if self.command::<u64>(&delete).await.is_some() {
                return;
            }
            let mut state = self.0.lock();
            // The circuit may have closed since: then the server is asked again.
            if let Link::Down { .. } = state.link {
                state.to_delete.insert(key.as_bytes().to_vec());
                return;
            }
        }
    }
}

impl Circuit {
    fn lock(&self) -> MutexGuard<'_, CircuitState> {
        // Every change is one step, so a panic cannot leave it inconsistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connection(&self) -> Option<(MultiplexedConnection, u64)> {
        let state = self.lock();
        match &state.link {
            Link::Up(connection) => Some((connection.clone(), state.number)),
            Link::Down { .. } => None,
        }
    }

    /// Waits for the reply up to the limit. Opens the circuit if there is none.
    async fn run<T: Send>(
        self: &Arc<Self>,
        number: u64,
        call: impl Future<Output = RedisResult<T>> + Send,
    ) -> Option<T> {
        let replied = self.within(self.options.answer_within, call).await;
        replied.map_err(|cause| self.open(number, cause)).ok()
    }

    async fn within<T: Send>(
        &self,
        limit: Duration,
        call: impl Future<Output = RedisResult<T>> + Send,
    ) -> Result<T, String> {
        let bounded = async move { timeout(limit, call).await };
        match InRuntime::new(self.runtime.clone(), bounded).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => Err(text_of(&error)),
            Err(_) => Err(format!("no answer within {} ms", limit.as_millis())),
        }
    }

    /// Lets calls go on without the server, and probes it from now on.
    fn open(self: &Arc<Self>, number: u64, cause: String) {
        if !self.mark_down(number, &cause) {
            return;
        }
        self.say_open(&cause);
        self.runtime.spawn(probe_until_closed(Arc::downgrade(self)));
    }

    /// Returns `false` if the connection of this number is not in use any more.
    fn mark_down(&self, number: u64, cause: &str) -> bool {
        let mut state = self.lock();
        if state.number != number || matches!(state.link, Link::Down { .. }) {
            return false;
        }
        state.link = Link::Down { cause: cause.to_owned() };
        let state = &mut *state;
        state.to_delete.extend(state.not_to_outlive.iter().cloned());
        true
    }

    fn say_open(&self, cause: &str) {
        tracing::warn!(
            server = %self.options.shown, cause,
            "Redis does not answer: the application goes on without it"
        );
    }

    /// Connects, probes, deletes what is to be deleted, and closes the circuit.
    async fn try_to_close(&self) -> Result<(), String> {
        let RedisOptions { client, connect_within, answer_within, .. } = &self.options;
        let config = AsyncConnectionConfig::new()
            // Later than the limit here, whose error says more.
            .set_connection_timeout(Some(*connect_within * 2))
            .set_response_timeout(Some(*connect_within * 2));
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        let mut connection = self.within(*connect_within, connecting).await?;
        let (key, sent) = (format!("{}:probe", self.options.prefix), Uuid::new_v4().to_string());
        let mut invocation = self.probe.key(key);
        let probing = invocation.arg(&sent).invoke_async::<String>(&mut connection);
        // Another node may probe at the same time, so the text may be its own.
        self.within(*answer_within, probing).await?;
        loop {
            let keys = mem::take(&mut self.lock().to_delete);
            if !keys.is_empty() {
                let mut delete = redis::cmd("DEL");
                delete.arg(keys.iter().collect::<Vec<_>>());
                let deleted: Result<u64, String> =
                    self.within(*answer_within, delete.query_async(&mut connection)).await;
                if let Err(cause) = deleted {
                    self.lock().to_delete.extend(keys);
                    return Err(cause);
                }
            }
            let mut state = self.lock();
            // Under the lock, so that a key that is added from now on is deleted by its caller.
            if state.to_delete.is_empty() {
                state.number += 1;
                state.link = Link::Up(connection);
                return Ok(());
            }
        }
    }
}

/// Probes the server until it answers, or all handles are dropped.
async fn probe_until_closed(circuit: Weak<Circuit>) {
    let mut pause = PROBE_PAUSE_MIN;
    loop {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PROBE_PAUSE_MAX);
        let Some(circuit) = circuit.upgrade() else { return };
        match circuit.try_to_close().await {
            Ok(()) => {
                tracing::info!(server = %circuit.options.shown, "Redis answers again");
                return;
            }
            Err(cause) => circuit.lock().link = Link::Down { cause },
        }
    }
}

/// Returns the text of an error. The library leaves the password out of it.
fn text_of(error: &RedisError) -> String {
    match error.detail() {
        Some(detail) if !error.to_string().contains(detail) => format!("{error}: {detail}"),
        Some(_) | None => error.to_string(),
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redis at {}", self.0.options.shown)
    }
}
