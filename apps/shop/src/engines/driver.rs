//! The calls that an engine has for its purposes.
//!
//! Invariant: an error does not repeat a URL, which may have a password.

use std::{
    future::{Future, ready},
    pin::Pin,
    sync::Arc,
};

use anyhow::{Result, anyhow};
use gesta::{
    Builder, OpenError, PartStatus, Position,
    store::{EventStore, QueryCache},
};
use gesta_http::Api;
use shop::read_models::ReadModels;
use tokio::sync::oneshot;

/// A purpose that an argument names a place for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The events.
    Store,
    ReadModels,
    /// Full-text indexes.
    Search,
    /// Answers to queries.
    Cache,
    /// States from which loads begin.
    Snapshots,
    /// Events that are published, and read there.
    Relay,
}

impl Purpose {
    /// The argument that names the place.
    pub(super) const fn argument(self) -> &'static str {
        match self {
            Self::Store => "--store",
            Self::ReadModels => "--read-models",
            Self::Search => "--search",
            Self::Cache => "--cache",
            Self::Snapshots => "--snapshots",
            Self::Relay => "--relay and --source",
        }
    }
}

/// The future of a driver's call.
pub(crate) type EngineFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// The calls of an engine, each for one of its purposes. A call for a purpose that it lacks fails;
/// no place of such a purpose is read.
pub(crate) trait Driver: Sync {
    /// Checks a URL, and returns it without its password. An error does not repeat it.
    fn check(&self, url: &str) -> Result<String, String>;

    /// Returns `false` if opening the store would create it. Creates and changes nothing.
    fn has_store<'a>(&'a self, url: &'a str) -> EngineFuture<'a, bool> {
        let _ = url;
        Box::pin(ready(Ok(true)))
    }

    fn open_read_models<'a>(&'a self, url: &'a str) -> EngineFuture<'a, ReadModels> {
        let _ = url;
        lacking(Purpose::ReadModels)
    }

    fn open_indexes<'a>(&'a self, url: &'a str) -> EngineFuture<'a, Box<dyn Indexes>> {
        let _ = url;
        lacking(Purpose::Search)
    }

    fn open_cache<'a>(&'a self, url: &'a str) -> EngineFuture<'a, Arc<dyn QueryCache>> {
        let _ = url;
        lacking(Purpose::Cache)
    }

    /// Lets loads begin at the states that are stored there.
    fn keep_snapshots<'a>(&'a self, url: &'a str, builder: Builder) -> EngineFuture<'a, Builder> {
        let _ = (url, builder);
        lacking(Purpose::Snapshots)
    }

    /// Makes a relay that publishes the events of a store until it is told to stop.
    fn relay(
        &self,
        url: &str,
        store: Arc<dyn EventStore>,
        stopped: oneshot::Receiver<()>,
    ) -> Result<NewRelay> {
        let _ = (url, store, stopped);
        Err(purpose_is_missing(Purpose::Relay))
    }

    /// Returns what a relay has published, as a store that can be read.
    fn feed(&self, url: &str) -> Result<Arc<dyn EventStore>> {
        let _ = url;
        Err(purpose_is_missing(Purpose::Relay))
    }
}

/// A relay that does not run yet.
pub(crate) struct NewRelay {
    /// Publishes until it is told to stop.
    pub(crate) work: EngineFuture<'static, ()>,
    pub(crate) watch: Arc<dyn RelayWatch>,
}

/// A view of a relay.
pub(crate) trait RelayWatch: Send + Sync {
    /// Returns how far it has come, and the failure for which it starts again, or has ended.
    fn status(&self) -> PartStatus;

    #[cfg(feature = "everything")]
    fn look(&self) -> RelayLook;

    /// Waits until every event up to a position is published. Returns `false` if the relay ended
    /// before.
    fn reached(&self, position: Position) -> Pin<Box<dyn Future<Output = bool> + Send + '_>>;
}

/// The state of a relay, for people.
#[cfg(feature = "everything")]
#[derive(Clone, Debug)]
pub(crate) struct RelayLook {
    /// State as a word.
    pub(crate) state: &'static str,
    /// Every event up to it is published. `None` before the checkpoint was looked up.
    pub(crate) position: Option<Position>,
    /// Number of events since the start, with repetitions.
    pub(crate) published: u64,
    /// The failure for which it starts again, or has ended.
    pub(crate) trouble: Option<String>,
}

fn lacking<'a, T: Send + 'a>(purpose: Purpose) -> EngineFuture<'a, T> {
    Box::pin(ready(Err(purpose_is_missing(purpose))))
}

fn purpose_is_missing(purpose: Purpose) -> anyhow::Error {
    anyhow!("this engine is none for {}", purpose.argument())
}

/// Open full-text indexes.
pub(crate) trait Indexes: Send + Sync {
    /// Registers the projections that fill the indexes.
    fn project(&self, builder: Builder) -> Builder;

    /// Returns the HTTP interface whose lists search the indexes.
    fn api(&self) -> Api;

    /// Returns the store of the indexes.
    #[cfg(feature = "everything")]
    fn store(&self) -> &gesta::search::SearchStore;

    fn close(self: Box<Self>) -> EngineFuture<'static, ()>;
}

/// Checks the URL of an event store as the framework does.
pub(super) fn check_store(url: &str) -> Result<String, String> {
    gesta::url_without_password(url).map_err(|error| match error {
        // Its text repeats what follows the scheme.
        OpenError::MemoryHasNoPlace { .. } => "`memory:` takes no path".to_owned(),
        other => other.to_string(),
    })
}
