//! Store URLs (`gesta:DIR`, `postgres://…`, `kurrentdb://…`, `memory:`), and the ways to open a
//! store.
//!
//! Invariants: reading creates nothing and changes no tables. No printed text has a password. A
//! command that only the embedded store has says what serves instead.
//!
//! Not here: directories of embedded stores ([`log_url`](crate::log_url)).

use std::{fmt, str::FromStr, sync::Arc};

use anyhow::Result;
#[cfg(any(feature = "postgres", feature = "kurrentdb"))]
use futures_executor::block_on;
#[cfg(feature = "kurrentdb")]
use gesta_kurrentdb::{KurrentStore, KurrentUrl};
use gesta_log::LogStore;
#[cfg(feature = "postgres")]
use gesta_postgres::{OpenMode, PostgresStore, PostgresUrl};
use gesta_store::EventStore;
#[cfg(feature = "server")]
use gesta_store::{Leases, memory::MemoryStore};

use crate::{exit::Refusal, log_url::LogUrl};

/// The forms of a URL, for error texts.
const FORMS: &str = match (cfg!(feature = "postgres"), cfg!(feature = "kurrentdb")) {
    (true, true) => "gesta:DIR, postgres://USER@HOST:PORT/DATABASE or kurrentdb://USER@HOST:PORT",
    (true, false) => "gesta:DIR or postgres://USER@HOST:PORT/DATABASE",
    (false, true) => "gesta:DIR or kurrentdb://USER@HOST:PORT",
    (false, false) => "gesta:DIR",
};

/// Value of `--store`.
#[derive(Clone, Debug)]
pub(crate) enum StoreUrl {
    Log(LogUrl),
    /// A store that lives as long as the process.
    Memory,
    #[cfg(feature = "postgres")]
    Postgres(Box<PostgresUrl>),
    /// A server of KurrentDB's protocol.
    #[cfg(feature = "kurrentdb")]
    Kurrent(Box<KurrentUrl>),
}

/// A store that another process may be appending to.
pub(crate) enum FollowedStore {
    /// Sees appends of another process after a refresh.
    Log(LogStore),
    #[cfg(any(feature = "postgres", feature = "kurrentdb"))]
    Live(Arc<dyn EventStore>),
}

/// A store that a server opens.
#[cfg(feature = "server")]
pub(crate) struct ServedStore {
    pub(crate) store: Arc<dyn EventStore>,
    /// The leases of a store that other servers may open, too.
    pub(crate) leases: Option<Arc<dyn Leases>>,
    /// The store again, if it can be scavenged.
    pub(crate) log: Option<LogStore>,
}

impl FollowedStore {
    pub(crate) fn store(&self) -> &dyn EventStore {
        match self {
            Self::Log(store) => store,
            #[cfg(any(feature = "postgres", feature = "kurrentdb"))]
            Self::Live(store) => store.as_ref(),
        }
    }

    /// Looks for appends of another process. Returns `false` if the store announces them itself.
    pub(crate) fn refresh(&self) -> Result<bool> {
        match self {
            Self::Log(store) => {
                store.refresh()?;
                Ok(true)
            }
            #[cfg(any(feature = "postgres", feature = "kurrentdb"))]
            Self::Live(_) => Ok(false),
        }
    }
}

impl StoreUrl {
    /// Returns `true` for a server, which has no exact copies.
    #[cfg(feature = "kurrentdb")]
    pub(crate) const fn is_server(&self) -> bool {
        matches!(self, Self::Kurrent(_))
    }

    /// Opens the store to read its current events.
    pub(crate) fn open_to_read(&self) -> Result<Arc<dyn EventStore>> {
        match self {
            Self::Log(log) => Ok(Arc::new(log.open_to_read()?)),
            Self::Memory => Err(no_memory()),
            #[cfg(feature = "postgres")]
            Self::Postgres(url) => Ok(Arc::new(existing(url)?)),
            #[cfg(feature = "kurrentdb")]
            Self::Kurrent(url) => Ok(Arc::new(connected(url)?)),
        }
    }

    /// Opens the store to follow appends of other processes.
    pub(crate) fn open_to_follow(&self) -> Result<FollowedStore> {
        match self {
            Self::Log(log) => Ok(FollowedStore::Log(log.open_to_follow()?)),
            Self::Memory => Err(no_memory()),
            #[cfg(feature = "postgres")]
            Self::Postgres(url) => Ok(FollowedStore::Live(Arc::new(existing(url)?))),
            #[cfg(feature = "kurrentdb")]
            Self::Kurrent(url) => Ok(FollowedStore::Live(Arc::new(connected(url)?))),
        }
    }

    /// Opens the store to append. An empty directory becomes a store, and so does a schema that
    /// does not exist.
    pub(crate) fn open_to_append(&self) -> Result<Arc<dyn EventStore>> {
        match self {
            Self::Log(log) => Ok(Arc::new(log.open_to_append()?)),
            Self::Memory => Err(no_memory()),
            #[cfg(feature = "postgres")]
            Self::Postgres(url) => {
                let opened = PostgresStore::connect_to(url.as_ref().clone(), OpenMode::Create);
                Ok(Arc::new(block_on(opened)?))
            }
            #[cfg(feature = "kurrentdb")]
            Self::Kurrent(url) => Ok(Arc::new(connected(url)?)),
        }
    }

    /// Opens the store to serve it. A store in memory begins empty.
    #[cfg(feature = "server")]
    pub(crate) fn open_to_serve(&self) -> Result<ServedStore> {
        match self {
            Self::Memory => {
                let store = Arc::new(MemoryStore::new());
                Ok(ServedStore { store, leases: None, log: None })
            }
            Self::Log(log) => {
                let store = log.open_to_append()?;
                let log = Some(store.clone());
                Ok(ServedStore { store: Arc::new(store), leases: None, log })
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(url) => {
                let opened = PostgresStore::connect_to(url.as_ref().clone(), OpenMode::Create);
                let store = Arc::new(block_on(opened)?);
                Ok(ServedStore { store: store.clone(), leases: Some(store), log: None })
            }
            #[cfg(feature = "kurrentdb")]
            Self::Kurrent(url) => {
                let message = format!("{url} is served already");
                let refusal = Refusal::usage("unsupported", message);
                Err(refusal.hint("serve gesta:DIR, postgres://… or memory:").into())
            }
        }
    }

    /// Checks, as far as it costs little, that the store can be opened to append.
    pub(crate) fn check_for_append(&self) -> Result<()> {
        match self {
            Self::Log(log) => log.check_for_append(),
            Self::Memory => Err(no_memory()),
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => Ok(()),
            #[cfg(feature = "kurrentdb")]
            Self::Kurrent(_) => Ok(()),
        }
    }

    /// Returns the directory for a command that only an embedded store has.
    ///
    /// # Errors
    ///
    /// For another store, what serves there `instead`.
    pub(crate) fn log(&self, command: &str, instead: &str) -> Result<&LogUrl> {
        match self {
            Self::Log(log) => Ok(log),
            Self::Memory => Err(no_memory()),
            #[cfg(feature = "postgres")]
            Self::Postgres(url) => {
                let message =
                    format!("`gesta {command}` works on stores in a directory, not on {url}");
                Err(Refusal::usage("unsupported", message).hint(instead).into())
            }
            #[cfg(feature = "kurrentdb")]
            Self::Kurrent(url) => {
                let message =
                    format!("`gesta {command}` works on stores in a directory, not on {url}");
                let hint =
                    format!("run `gesta {command}` where the server runs, with --store gesta:DIR");
                Err(Refusal::usage("unsupported", message).hint(hint).into())
            }
        }
    }
}

/// Opens a store that exists, without changing its tables.
#[cfg(feature = "postgres")]
pub(crate) fn existing(url: &PostgresUrl) -> Result<PostgresStore> {
    Ok(block_on(PostgresStore::connect_to(url.clone(), OpenMode::Existing))?)
}

/// Connects to a server.
#[cfg(feature = "kurrentdb")]
pub(crate) fn connected(url: &KurrentUrl) -> Result<KurrentStore> {
    Ok(block_on(KurrentStore::connect_to(url.clone()))?)
}

/// Refuses an exact copy: the protocol has neither append boundaries nor incarnations.
#[cfg(feature = "kurrentdb")]
pub(crate) fn no_exact_copy(url: &KurrentUrl) -> anyhow::Error {
    let message = format!("exact copies and exports are made of stores, not over {url}");
    let hint = "run the command where the server runs, with --store gesta:DIR";
    Refusal::usage("unsupported", message).hint(hint).into()
}

pub(crate) fn no_memory() -> anyhow::Error {
    let message = format!("a memory store exists only within its own process; use {FORMS}");
    Refusal::usage("no-store", message).into()
}

impl FromStr for StoreUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("gesta", rest)) => LogUrl::parse(rest).map(Self::Log),
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("postgres" | "postgresql", _)) => postgres(text),
            Some((scheme, _)) if is_kurrent(scheme) => kurrent(text),
            None if text.is_empty() => Err(format!("the store URL is empty; expected {FORMS}")),
            Some((scheme, _)) => {
                Err(format!("the URL scheme {scheme}: is not supported; expected {FORMS}"))
            }
            // A bare path is refused: `gesta:` keeps the meaning of a URL open for other stores.
            None => Err(format!("expected a URL gesta:DIR; did you mean gesta:{text}?")),
        }
    }
}

#[cfg(feature = "postgres")]
fn postgres(text: &str) -> Result<StoreUrl, String> {
    let url = text.parse::<PostgresUrl>().map_err(|invalid| invalid.to_string())?;
    Ok(StoreUrl::Postgres(Box::new(url)))
}

#[cfg(not(feature = "postgres"))]
fn postgres(_: &str) -> Result<StoreUrl, String> {
    Err("this build of gesta has no PostgreSQL; install it with the feature `postgres`".to_owned())
}

fn is_kurrent(scheme: &str) -> bool {
    let name = scheme.split('+').next().unwrap_or_default();
    matches!(name, "kurrentdb" | "kurrent" | "kdb" | "esdb")
}

#[cfg(feature = "kurrentdb")]
fn kurrent(text: &str) -> Result<StoreUrl, String> {
    let url = text.parse::<KurrentUrl>().map_err(|invalid| invalid.to_string())?;
    Ok(StoreUrl::Kurrent(Box::new(url)))
}

#[cfg(not(feature = "kurrentdb"))]
fn kurrent(_: &str) -> Result<StoreUrl, String> {
    Err("this build of gesta connects to no server; install it with the feature `kurrentdb`"
        .to_owned())
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(log) => log.fmt(f),
            Self::Memory => f.write_str("memory:"),
            #[cfg(feature = "postgres")]
            Self::Postgres(url) => url.fmt(f),
            #[cfg(feature = "kurrentdb")]
            Self::Kurrent(url) => url.fmt(f),
        }
    }
}
