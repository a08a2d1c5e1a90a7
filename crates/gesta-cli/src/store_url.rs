//! Store URLs (`gesta:DIR`, `postgres://…`, `kurrentdb://…`, `dynamodb://…`, `memory:`), and the
//! ways to open a store.
//!
//! Invariants: reading creates nothing and changes no tables. No printed text has a password. A
//! command that only the embedded store has says what serves instead.
//!
//! Not here: directories of embedded stores ([`log_url`](crate::log_url)).

use std::{fmt, str::FromStr, sync::Arc};

use anyhow::Result;
#[cfg(any(feature = "postgres", feature = "kurrentdb", feature = "dynamodb"))]
use futures_executor::block_on;
#[cfg(feature = "dynamodb")]
use gesta_dynamodb::{DynamoStore, DynamoUrl, OpenMode as DynamoMode};
#[cfg(feature = "kurrentdb")]
use gesta_kurrentdb::{KurrentStore, KurrentUrl};
use gesta_log::LogStore;
#[cfg(feature = "postgres")]
use gesta_postgres::{OpenMode, PostgresStore, PostgresUrl};
use gesta_store::EventStore;
#[cfg(feature = "server")]
use gesta_store::{Leases, memory::MemoryStore};

use crate::{exit::Refusal, log_url::LogUrl};

/// The forms of a URL in this build, for error texts.
fn forms() -> String {
    let all = [
        (true, "gesta:DIR"),
        (cfg!(feature = "postgres"), "postgres://USER@HOST:PORT/DATABASE"),
        (cfg!(feature = "dynamodb"), "dynamodb://REGION/PREFIX"),
        (cfg!(feature = "kurrentdb"), "kurrentdb://USER@HOST:PORT"),
    ];
    let built: Vec<&str> =
        all.into_iter().filter(|(is_built, _)| *is_built).map(|(_, form)| form).collect();
    match built.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

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
    #[cfg(feature = "dynamodb")]
    Dynamo(Box<DynamoUrl>),
}

/// A store that another process may be appending to.
pub(crate) enum FollowedStore {
    /// Sees appends of another process after a refresh.
    Log(LogStore),
    #[cfg(any(feature = "postgres", feature = "kurrentdb", feature = "dynamodb"))]
    Live(Arc<dyn EventStore>),
}

/// The place of a store that a server would open.
#[cfg(feature = "server")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PlaceToServe {
    Exists,
    /// The first start creates the store.
    New,
    /// It was not looked at, because a look would create the store.
    #[cfg(feature = "dynamodb")]
    Unknown,
}

#[cfg(feature = "server")]
impl PlaceToServe {
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Exists => "exists",
            Self::New => "is new: the first start creates it",
            #[cfg(feature = "dynamodb")]
            Self::Unknown => "is opened, or created, at the start",
        }
    }
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
            #[cfg(any(feature = "postgres", feature = "kurrentdb", feature = "dynamodb"))]
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
            #[cfg(any(feature = "postgres", feature = "kurrentdb", feature = "dynamodb"))]
            Self::Live(_) => Ok(false),
        }
    }
}

impl StoreUrl {
    /// Returns `true` for a store that has no exact copies: its events are copied by appends.
    #[cfg(any(feature = "kurrentdb", feature = "dynamodb"))]
    pub(crate) const fn is_copied_by_appends(&self) -> bool {
        match self {
            Self::Log(_) | Self::Memory => false,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => false,
            #[cfg(feature = "kurrentdb")]
            Self::Kurrent(_) => true,
            #[cfg(feature = "dynamodb")]
            Self::Dynamo(_) => true,
        }
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
            #[cfg(feature = "dynamodb")]
            Self::Dynamo(url) => Ok(Arc::new(dynamo_store(url, DynamoMode::Existing)?)),
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
            #[cfg(feature = "dynamodb")]
            Self::Dynamo(url) => {
                Ok(FollowedStore::Live(Arc::new(dynamo_store(url, DynamoMode::Existing)?)))
            }
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
            #[cfg(feature = "dynamodb")]
            Self::Dynamo(url) => Ok(Arc::new(dynamo_store(url, DynamoMode::Create)?)),
        }
    }

    /// Checks that the store can be served, without creating anything.
    #[cfg(feature = "server")]
    pub(crate) fn check_to_serve(&self) -> Result<PlaceToServe> {
        match self {
            Self::Memory => Ok(PlaceToServe::New),
            Self::Log(log) => Ok(match log.check_for_append()? {
                true => PlaceToServe::New,
                false => PlaceToServe::Exists,
            }),
            #[cfg(feature = "postgres")]
            Self::Postgres(url) => {
                match block_on(PostgresStore::connect_to(url.as_ref().clone(), OpenMode::Existing))
                {
                    Ok(_) => Ok(PlaceToServe::Exists),
                    Err(gesta_postgres::OpenError::NoStore { .. }) => Ok(PlaceToServe::New),
                    Err(error) => Err(error.into()),
                }
            }
            #[cfg(feature = "kurrentdb")]
            Self::Kurrent(url) => Err(served_already(url)),
            #[cfg(feature = "dynamodb")]
            Self::Dynamo(_) => Ok(PlaceToServe::Unknown),
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
                let store = log.open_to_serve()?;
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
            Self::Kurrent(url) => Err(served_already(url)),
            #[cfg(feature = "dynamodb")]
            Self::Dynamo(url) => {
                let store = Arc::new(dynamo_store(url, DynamoMode::Create)?);
                Ok(ServedStore { store: store.clone(), leases: Some(store), log: None })
            }
        }
    }

    /// Checks, as far as it costs little, that the store can be opened to append.
    pub(crate) fn check_for_append(&self) -> Result<()> {
        match self {
            Self::Log(log) => log.check_for_append().map(drop),
            Self::Memory => Err(no_memory()),
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => Ok(()),
            #[cfg(feature = "kurrentdb")]
            Self::Kurrent(_) => Ok(()),
            #[cfg(feature = "dynamodb")]
            Self::Dynamo(_) => Ok(()),
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
            #[cfg(feature = "dynamodb")]
            Self::Dynamo(url) => {
                let message =
                    format!("`gesta {command}` works on stores in a directory, not on {url}");
                let hint = "`gesta copy` copies the events to a directory; the vendor backs up \
                            tables";
                Err(Refusal::usage("unsupported", message).hint(hint).into())
            }
        }
    }
}

/// Refuses to serve what another server serves.
#[cfg(all(feature = "kurrentdb", feature = "server"))]
fn served_already(url: &KurrentUrl) -> anyhow::Error {
    let refusal = Refusal::usage("unsupported", format!("{url} is served already"));
    refusal.hint("serve gesta:DIR, postgres://… or memory:").into()
}

/// Opens a store that exists, without changing its tables.
#[cfg(feature = "postgres")]
pub(crate) fn existing(url: &PostgresUrl) -> Result<PostgresStore> {
    Ok(block_on(PostgresStore::connect_to(url.clone(), OpenMode::Existing))?)
}

/// Connects to a server. The password of a login without one is that of `GESTA_PASSWORD`.
#[cfg(feature = "kurrentdb")]
pub(crate) fn connected(url: &KurrentUrl) -> Result<KurrentStore> {
    let mut url = url.clone();
    if url.lacks_password()
        && let Ok(password) = std::env::var("GESTA_PASSWORD")
    {
        url = url.password(password);
    }
    Ok(block_on(KurrentStore::connect_to(url))?)
}

/// Opens a store in DynamoDB.
#[cfg(feature = "dynamodb")]
pub(crate) fn dynamo_store(url: &DynamoUrl, mode: DynamoMode) -> Result<DynamoStore> {
    Ok(block_on(DynamoStore::connect_to(url.clone(), mode))?)
}

/// Refuses an exact copy, which only directories and PostgreSQL have.
#[cfg(feature = "dynamodb")]
pub(crate) fn no_exact_copy_of_dynamo(url: &DynamoUrl) -> anyhow::Error {
    let message = format!("exact copies and exports are not made of {url}");
    let hint = "`gesta copy` moves the events by appends, in both directions";
    Refusal::usage("unsupported", message).hint(hint).into()
}

/// Refuses an exact copy: the protocol has neither append boundaries nor incarnations.
#[cfg(feature = "kurrentdb")]
pub(crate) fn no_exact_copy(url: &KurrentUrl) -> anyhow::Error {
    let message = format!("exact copies and exports are made of stores, not over {url}");
    let hint = "run the command where the server runs, with --store gesta:DIR";
    Refusal::usage("unsupported", message).hint(hint).into()
}

pub(crate) fn no_memory() -> anyhow::Error {
    let forms = forms();
    let message = format!("a memory store exists only within its own process; use {forms}");
    Refusal::usage("no-store", message).into()
}

impl FromStr for StoreUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("gesta", rest)) => LogUrl::parse(rest).map(Self::Log),
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("postgres" | "postgresql", _)) => postgres(text),
            Some(("dynamodb", _)) => dynamo(text),
            Some((scheme, _)) if is_kurrent(scheme) => kurrent(text),
            Some(("kafka", _)) => Err(format!(
                "kafka: is no event store, because a topic has no expected revision; keep events \
                 in {}, and relay them to Kafka with the crate gesta-kafka",
                forms()
            )),
            None if text.is_empty() => Err(format!("the store URL is empty; expected {}", forms())),
            Some((scheme, _)) => {
                let forms = forms();
                Err(format!("the URL scheme {scheme}: is not supported; expected {forms}"))
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

#[cfg(feature = "dynamodb")]
fn dynamo(text: &str) -> Result<StoreUrl, String> {
    let url = text.parse::<DynamoUrl>().map_err(|invalid| invalid.to_string())?;
    Ok(StoreUrl::Dynamo(Box::new(url)))
}

#[cfg(not(feature = "dynamodb"))]
fn dynamo(_: &str) -> Result<StoreUrl, String> {
    Err("this build of gesta has no DynamoDB; install it with the feature `dynamodb`".to_owned())
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
            #[cfg(feature = "dynamodb")]
            Self::Dynamo(url) => url.fmt(f),
        }
    }
}
