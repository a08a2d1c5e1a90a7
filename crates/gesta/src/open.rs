//! The mapping of URLs to stores, the only place in the framework that names concrete stores.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use gesta_store::{CapabilitySet, EventStore, InvalidName, LeaseError, memory::MemoryStore};

use crate::{DuplicateEventName, TenantError};

/// Opens the store behind a URL.
///
/// | URL | store | feature |
/// | --- | --- | --- |
/// | `memory:` | a new store that ends with the process | |
/// | `gesta:DIRECTORY` | the embedded log in that directory | `embedded-store` (default) |
/// | `postgres://USER:PASSWORD@HOST:PORT/DATABASE` | tables in that database | `postgres` |
/// | `kurrentdb://USER:PASSWORD@HOST:PORT` | `gesta serve`, or KurrentDB | `kurrentdb` |
/// | `dynamodb://REGION/PREFIX` | a table in DynamoDB | `dynamodb` |
///
/// `gesta:DIRECTORY?index=event-id,correlation,causation,streams` opens a log that finds events by
/// these ids, too, and knows the order of its streams. A log that has them keeps them when it is
/// opened without `index`.
///
/// A log is read on a thread of its own, so the future does not block.
///
/// ```
/// # gesta::store::conformance::block_on(async {
/// assert!(gesta::open("memory:").await.is_ok());
/// let error = gesta::open("carrier-pigeon:ann").await.err().expect("unknown scheme");
/// assert!(error.to_string().starts_with("unknown store scheme `carrier-pigeon:`"));
/// # });
/// ```
///
/// # Errors
/// [`OpenError`] if the URL is invalid or the store does not open.
pub async fn open(url: &str) -> Result<Arc<dyn EventStore>, OpenError> {
    if is_postgres(url) {
        return open_postgres(url).await;
    }
    if is_kurrent(url) {
        return open_kurrent(url).await;
    }
    if is_dynamo(url) {
        return open_dynamo(url).await;
    }
    match directory_of(url)? {
        Some(directory) => {
            let rest = url.split_once(':').map_or(url, |(_, rest)| rest);
            open_log(&directory, rest).await
        }
        None => Ok(Arc::new(MemoryStore::new())),
    }
}

/// Returns the directory of the store behind a URL, or `None` for a store without one. Does not
/// open the store.
///
/// ```
/// assert_eq!(gesta::directory_of("memory:")?, None);
/// # #[cfg(all(unix, feature = "embedded-store"))]
/// assert_eq!(gesta::directory_of("gesta:./data")?, Some("./data".into()));
/// assert!(gesta::directory_of("gesta://data").is_err(), "it would mean /data");
/// # Ok::<(), gesta::OpenError>(())
/// ```
///
/// # Errors
/// [`OpenError`] if the URL is invalid.
pub fn directory_of(url: &str) -> Result<Option<PathBuf>, OpenError> {
    let Some((scheme, rest)) = url.split_once(':') else {
        return Err(OpenError::NoScheme { url: url.to_owned() });
    };
    match scheme {
        "memory" if rest.is_empty() => Ok(None),
        "memory" => Err(OpenError::MemoryHasNoPlace { rest: rest.to_owned() }),
        "gesta" if rest.is_empty() => Err(OpenError::NoDirectory),
        "gesta" => log_directory(rest).map(Some),
        "postgres" | "postgresql" => postgres_without_password(url).map(|_| None),
        "dynamodb" => dynamo_checked(url).map(|_| None),
        _ if is_kurrent(url) => kurrent_without_password(url).map(|_| None),
        "kafka" => Err(OpenError::KafkaIsNoStore),
        unknown => Err(OpenError::UnknownScheme { scheme: unknown.to_owned() }),
    }
}

/// Returns the URL of a store for messages and logs: without its password. Does not open the store.
///
/// ```
/// assert_eq!(gesta::url_without_password("memory:")?, "memory:");
/// # #[cfg(feature = "postgres")]
/// assert_eq!(
///     gesta::url_without_password("postgres://ann:secret@db/shop")?,
///     "postgres://ann@db:5432/shop?schema=gesta",
/// );
/// # Ok::<(), gesta::OpenError>(())
/// ```
///
/// # Errors
/// [`OpenError`] if the URL is invalid.
pub fn url_without_password(url: &str) -> Result<String, OpenError> {
    if is_postgres(url) {
        return postgres_without_password(url);
    }
    if is_kurrent(url) {
        return kurrent_without_password(url);
    }
    if is_dynamo(url) {
        return dynamo_checked(url);
    }
    directory_of(url).map(|_| url.to_owned())
}

fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres:") || url.starts_with("postgresql:")
}

/// Returns `true` for the schemes of servers of KurrentDB's protocol.
fn is_kurrent(url: &str) -> bool {
    let scheme = url.split("://").next().unwrap_or_default();
    let name = scheme.strip_suffix("+discover").unwrap_or(scheme);
    matches!(name, "kurrentdb" | "kurrent" | "kdb" | "esdb")
}

fn is_dynamo(url: &str) -> bool {
    url.starts_with("dynamodb:")
}

/// Checks the URL, which has no password, and returns it as it is printed.
#[cfg(feature = "dynamodb")]
fn dynamo_checked(url: &str) -> Result<String, OpenError> {
    let parsed = url.parse::<gesta_dynamodb::DynamoUrl>();
    let invalid = |invalid| Box::new(gesta_dynamodb::OpenError::from(invalid));
    Ok(parsed.map_err(invalid)?.to_string())
}

#[cfg(feature = "dynamodb")]
async fn open_dynamo(url: &str) -> Result<Arc<dyn EventStore>, OpenError> {
    let store = gesta_dynamodb::DynamoStore::connect(url).await.map_err(Box::new)?;
    Ok(Arc::new(store))
}

#[cfg(not(feature = "dynamodb"))]
fn dynamo_checked(_: &str) -> Result<String, OpenError> {
    Err(no_dynamo())
}

#[cfg(not(feature = "dynamodb"))]
async fn open_dynamo(_: &str) -> Result<Arc<dyn EventStore>, OpenError> {
    Err(no_dynamo())
}

#[cfg(not(feature = "dynamodb"))]
fn no_dynamo() -> OpenError {
    OpenError::NotBuiltIn { scheme: "dynamodb", feature: "dynamodb" }
}

#[cfg(feature = "kurrentdb")]
fn kurrent_without_password(url: &str) -> Result<String, OpenError> {
    let parsed = url.parse::<gesta_kurrentdb::KurrentUrl>();
    let invalid = |invalid| Box::new(gesta_kurrentdb::OpenError::from(invalid));
    Ok(parsed.map_err(invalid)?.to_string())
}

#[cfg(feature = "kurrentdb")]
async fn open_kurrent(url: &str) -> Result<Arc<dyn EventStore>, OpenError> {
    let store = gesta_kurrentdb::KurrentStore::connect(url).await.map_err(Box::new)?;
    Ok(Arc::new(store))
}

#[cfg(not(feature = "kurrentdb"))]
fn kurrent_without_password(_: &str) -> Result<String, OpenError> {
    Err(no_kurrent())
}

#[cfg(not(feature = "kurrentdb"))]
async fn open_kurrent(_: &str) -> Result<Arc<dyn EventStore>, OpenError> {
    Err(no_kurrent())
}

#[cfg(not(feature = "kurrentdb"))]
fn no_kurrent() -> OpenError {
    OpenError::NotBuiltIn { scheme: "kurrentdb", feature: "kurrentdb" }
}

#[cfg(feature = "postgres")]
fn postgres_without_password(url: &str) -> Result<String, OpenError> {
    let parsed = url.parse::<gesta_postgres::PostgresUrl>();
    let invalid = |invalid| Box::new(gesta_postgres::OpenError::from(invalid));
    Ok(parsed.map_err(invalid)?.to_string())
}

#[cfg(feature = "postgres")]
async fn open_postgres(url: &str) -> Result<Arc<dyn EventStore>, OpenError> {
    let store = gesta_postgres::PostgresStore::connect(url).await.map_err(Box::new)?;
    Ok(Arc::new(store))
}

#[cfg(not(feature = "postgres"))]
fn postgres_without_password(_: &str) -> Result<String, OpenError> {
    Err(no_postgres())
}

#[cfg(not(feature = "postgres"))]
async fn open_postgres(_: &str) -> Result<Arc<dyn EventStore>, OpenError> {
    Err(no_postgres())
}

#[cfg(not(feature = "postgres"))]
fn no_postgres() -> OpenError {
    OpenError::NotBuiltIn { scheme: "postgres", feature: "postgres" }
}

#[cfg(all(unix, feature = "embedded-store"))]
fn log_directory(rest: &str) -> Result<PathBuf, OpenError> {
    Ok(gesta_log::directory_of_url(rest)?)
}

#[cfg(all(unix, feature = "embedded-store"))]
async fn open_log(directory: &Path, rest: &str) -> Result<Arc<dyn EventStore>, OpenError> {
    let options = gesta_log::options_of_url(rest)?;
    // The store itself logs the findings of its recovery.
    Ok(Arc::new(gesta_log::LogStore::open_async(directory, options).await?))
}

#[cfg(not(all(unix, feature = "embedded-store")))]
fn log_directory(_: &str) -> Result<PathBuf, OpenError> {
    Err(no_log())
}

#[cfg(not(all(unix, feature = "embedded-store")))]
async fn open_log(_: &Path, _: &str) -> Result<Arc<dyn EventStore>, OpenError> {
    Err(no_log())
}

#[cfg(not(all(unix, feature = "embedded-store")))]
fn no_log() -> OpenError {
    if cfg!(unix) {
        OpenError::NotBuiltIn { scheme: "gesta", feature: "embedded-store" }
    } else {
        OpenError::NotOnThisPlatform
    }
}

/// An error of opening a store and starting an application on it.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL has no `:`. Write, for example, `memory:`.
    #[error("`{url}` has no scheme; expected `memory:`, `gesta:DIRECTORY` or `postgres://…`")]
    NoScheme {
        /// The URL.
        url: String,
    },
    /// No store has this scheme. Correct it.
    #[error(
        "unknown store scheme `{scheme}:`; expected `memory:`, `gesta:DIRECTORY` or `postgres://…`"
    )]
    UnknownScheme {
        /// The part before the first `:`.
        scheme: String,
    },
    /// Kafka cannot keep the promises of an event store. Use another store, and a relay from it.
    #[error(
        "`kafka:` is no event store: a topic cannot refuse an event because another one came \
         first, so there is no expected revision; keep events in `gesta:DIRECTORY` or \
         `postgres://…`, and relay them to Kafka with gesta-kafka"
    )]
    KafkaIsNoStore,
    /// A memory store has no location. Remove the text after `memory:`.
    #[error("`memory:` takes no path; got `{rest}`")]
    MemoryHasNoPlace {
        /// The text after `memory:`.
        rest: String,
    },
    /// The directory of the log is missing. Write it after `gesta:`.
    #[error("`gesta:` needs a directory, as in `gesta:./data`")]
    NoDirectory,
    /// The path after `gesta:` names a directory other than it seems to. The error says how to
    /// write it.
    #[cfg(all(unix, feature = "embedded-store"))]
    #[error(transparent)]
    Url(#[from] gesta_log::InvalidUrl),
    /// The store lacks features that a part of the application needs. Use another store, or leave
    /// the part out.
    #[error("the store lacks {missing}, which {part} needs; {remedy}")]
    Unsupported {
        /// The part of the application.
        part: String,
        /// The missing features.
        missing: CapabilitySet,
        /// The possible reactions.
        remedy: &'static str,
    },
    /// The program was built without this store. Build it with the feature.
    #[error("`{scheme}:` stores require the feature `{feature}` of gesta")]
    NotBuiltIn {
        /// The scheme.
        scheme: &'static str,
        /// The feature of `gesta` that includes the store.
        feature: &'static str,
    },
    /// The embedded log does not run on this operating system. Use `memory:` here, or run on Linux.
    #[error(
        "`gesta:` stores run on Linux and macOS: durability relies on syncs of files and \
         directories, and on renames, as POSIX file systems have them; use `memory:` here"
    )]
    NotOnThisPlatform,
    /// The log did not open; nothing was changed. The error says what to do.
    #[cfg(all(unix, feature = "embedded-store"))]
    #[error(transparent)]
    Log(#[from] gesta_log::OpenError),
    /// The store in PostgreSQL did not open. The error says what to do.
    #[cfg(feature = "postgres")]
    #[error(transparent)]
    Postgres(#[from] Box<gesta_postgres::OpenError>),
    /// The server did not answer, or its URL cannot be read. The error says what to do.
    #[cfg(feature = "kurrentdb")]
    #[error(transparent)]
    Kurrent(#[from] Box<gesta_kurrentdb::OpenError>),
    /// The store in DynamoDB did not open. The error says what to do.
    #[cfg(feature = "dynamodb")]
    #[error(transparent)]
    Dynamo(#[from] Box<gesta_dynamodb::OpenError>),
    /// The partitions of a projection are invalid. Change
    /// [`Projection::PARTITIONS`](crate::Projection::PARTITIONS) or its failure policy.
    #[error("projection {projection}: {reason}")]
    Partitions {
        /// Name of the projection.
        projection: &'static str,
        /// The rule that they break.
        reason: &'static str,
    },
    /// A projection cannot be applied in the transactions of appends. The error says what to do.
    #[error("inline projection {projection}: {reason}")]
    Inline {
        /// Name of the projection.
        projection: &'static str,
        /// The obstacle, and the remedy.
        reason: String,
    },
    /// The term of the leases is out of range. Set another one with
    /// [`Nodes::term`](crate::Nodes::term).
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The store cannot be used for the tenant: it belongs to another one, or the owner was not
    /// found out.
    #[error(transparent)]
    Tenant(#[from] TenantError),
    /// Projections and process managers run on tokio. Call `open` within its runtime.
    #[error("projections and process managers need a tokio runtime")]
    NoRuntime,
    /// Two event types have the same name. The error says what to do.
    #[error(transparent)]
    DuplicateEventName(#[from] DuplicateEventName),
    /// Two process managers have the same name, which their streams are named by. Rename one.
    #[error("two process managers are named {process}")]
    DuplicateProcess {
        /// The name.
        process: &'static str,
    },
    /// Two reactors have the same name, which their journals are named by. Rename one.
    #[error("two reactors are named {reactor}")]
    DuplicateReactor {
        /// The name.
        reactor: &'static str,
    },
    /// The store failed while a new reactor recorded its starting position. Open again.
    #[error("the starting position of reactor {reactor} was not recorded: {reason}")]
    ReactorBegin {
        /// The name.
        reactor: &'static str,
        /// The error.
        reason: String,
    },
    /// A process manager cannot take over the streams of its former name: streams of both names
    /// exist, or another manager has the former name. See
    /// [`ProcessSetup::formerly`](crate::ProcessSetup::formerly).
    #[error(
        "process manager {process} cannot take over the streams of {formerly}: streams exist under \
         both names, or another manager is named {formerly}"
    )]
    ProcessFormerly {
        /// The current name.
        process: &'static str,
        /// The former name.
        formerly: String,
    },
    /// The store failed while a new process manager recorded its starting position. Open again.
    #[error("the starting position of process manager {process} was not recorded: {reason}")]
    ProcessBegin {
        /// The name.
        process: &'static str,
        /// The error of the store.
        reason: String,
    },
    /// Two projections have the same name, which their checkpoints are stored by. Rename one.
    #[error("two projections are named {projection}")]
    DuplicateProjection {
        /// The name.
        projection: &'static str,
    },
    /// Invalid projection name. Correct it.
    #[error("projection {projection:?} cannot run: {error}")]
    ProjectionName {
        /// The name.
        projection: &'static str,
        /// The problem with the name.
        #[source]
        error: crate::InvalidProjectionName,
    },
    /// A projection has a hand-written event with an invalid name. Correct it.
    #[error(transparent)]
    Name(InvalidName),
}

impl From<InvalidName> for OpenError {
    fn from(error: InvalidName) -> Self {
        Self::Name(error)
    }
}
