//! The locations of events, read models and mails.
//!
//! Invariant: a URL is printed without its password, also in an error.

use std::{
    convert::Infallible,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use gesta::{
    Builder, Gesta, Nodes, OpenError, Role,
    postgres::{self, OpenMode, PostgresReadModels, PostgresStore},
    sqlite::Sqlite,
    store::{EventStore as _, Leases as _},
};
use shop::{
    outbox::Outbox,
    processes::{self, ProcessDelays},
    reactors, read_side,
    sql::ReadModels,
};

/// Subdirectory of the read models.
const READ_MODELS: &str = "read-models";
/// Subdirectory of the mails.
const OUTBOX: &str = "outbox";
/// Directory of the mails of a store in a database.
const LOCAL_DEFAULT: &str = "shop-data";

/// Term of a node's leases. The work of a node that was killed waits for it.
const TERM: Duration = Duration::from_secs(5);

/// Arguments of the locations.
#[derive(Args, Debug)]
pub(crate) struct PlaceArguments {
    /// Event store: `gesta:DIRECTORY`, `postgres://USER:PASSWORD@HOST:PORT/DATABASE?schema=NAME`,
    /// `kurrentdb://USER:PASSWORD@HOST:PORT` (feature `kurrentdb`), or `memory:` for a store that
    /// is lost when the program ends
    #[arg(
        long,
        global = true,
        value_name = "URL",
        default_value = "gesta:./shop-data",
        env = "GESTA_STORE",
        hide_env_values = true
    )]
    store: GivenUrl,
    /// Read models: `sqlite:DIRECTORY`, `postgres://…` as for the event store, or `memory:` for
    /// read models that are lost when the program ends; by default next to the events: in the
    /// directory `read-models`, or in the same database
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "GESTA_READ_MODELS",
        hide_env_values = true
    )]
    read_models: Option<GivenUrl>,
    /// Directory of the outbox; by default that of a `gesta:` store, or `./shop-data`
    #[arg(long, global = true, value_name = "DIRECTORY", env = "GESTA_LOCAL")]
    local: Option<PathBuf>,
}

/// A URL as it was given. It may have a password and is never printed.
#[derive(Clone)]
pub(crate) struct GivenUrl(String);

impl FromStr for GivenUrl {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        // Read later: the parser of arguments repeats a text that it refuses.
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for GivenUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GivenUrl")
    }
}

/// Location of the event store.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum StoreUrl {
    Directory(PathBuf),
    Memory,
    Postgres(DatabaseUrl),
    /// A server of KurrentDB's protocol.
    Kurrent(DatabaseUrl),
}

/// The URL of a database or a server. It may have a password, which is not printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct DatabaseUrl {
    url: String,
    without_password: String,
}

/// Location of the read models.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum ReadModelsUrl {
    Directory(PathBuf),
    Postgres(DatabaseUrl),
    /// In a temporary directory, which ends with the program.
    Temporary,
}

/// Locations of everything that the shop keeps.
#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) store: StoreUrl,
    pub(crate) read_models: ReadModelsUrl,
    /// Directory of the outbox. A memory store has none: nothing of it is kept.
    pub(crate) local: Option<PathBuf>,
}

/// The place of this process among the nodes that share the work.
#[derive(Debug)]
pub(crate) struct Node<'a> {
    /// Name for operators.
    pub(crate) label: &'a str,
    pub(crate) role: Role,
}

/// An open shop with its read models.
pub(crate) struct OpenShop {
    pub(crate) gesta: Gesta,
    /// The event store, if it also has the leases of the nodes.
    shared: Option<Arc<PostgresStore>>,
    read_models: ReadModels,
}

impl OpenShop {
    /// Closes the application, then the files or connections of its read models.
    pub(crate) async fn close(self) {
        self.gesta.close().await;
        if let Some(store) = self.shared
            && let Err(error) = store.close().await
        {
            tracing::warn!(%error, "the event store was not closed in an orderly way");
        }
        self.read_models.close().await;
    }
}

/// The error for a location that cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidPlace {
    #[error("--store: {0}")]
    Store(String),
    #[error("--read-models: {0}")]
    ReadModels(String),
}

impl FromStr for StoreUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Parsed before anything is opened, so that a wrong URL is a usage error.
        if let Some(directory) = gesta::directory_of(text).map_err(without_url)? {
            return Ok(Self::Directory(directory));
        }
        let without_password = gesta::url_without_password(text).map_err(without_url)?;
        Ok(match without_password.as_str() {
            "memory:" => Self::Memory,
            _ if without_password.starts_with("kurrentdb") => {
                Self::Kurrent(DatabaseUrl { url: text.to_owned(), without_password })
            }
            _ => Self::Postgres(DatabaseUrl { url: text.to_owned(), without_password }),
        })
    }
}

/// Returns the text of an error, which must not repeat a URL: it may have a password.
fn without_url(error: OpenError) -> String {
    match error {
        OpenError::NoScheme { .. } | OpenError::UnknownScheme { .. } => {
            "the URL has no known scheme; expected `memory:`, `gesta:DIRECTORY`, `postgres://…` or \
             `kurrentdb://…`"
                .to_owned()
        }
        OpenError::MemoryHasNoPlace { .. } => "`memory:` takes no path".to_owned(),
        other => other.to_string(),
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(directory) => write!(f, "gesta:{}", directory.display()),
            Self::Memory => f.write_str("memory:"),
            Self::Postgres(database) | Self::Kurrent(database) => {
                f.write_str(&database.without_password)
            }
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreUrl({self})")
    }
}

impl StoreUrl {
    /// Returns `false` if opening the store would create it. Creates and changes nothing.
    async fn exists(&self) -> Result<bool> {
        match self {
            // A server has its store.
            Self::Memory | Self::Kurrent(_) => Ok(true),
            Self::Directory(directory) => Ok(directory.try_exists()?),
            Self::Postgres(database) => {
                let opened = PostgresStore::connect_to(database.url.parse()?, OpenMode::Existing);
                match opened.await {
                    Ok(store) => {
                        store.close().await?;
                        Ok(true)
                    }
                    Err(postgres::OpenError::NoStore { .. }) => Ok(false),
                    // Opening brings its tables to this version.
                    Err(postgres::OpenError::OlderSchema { .. }) => Ok(true),
                    Err(error) => Err(error.into()),
                }
            }
        }
    }

    /// Returns the text that opens the store, with the password.
    fn to_open(&self) -> String {
        match self {
            Self::Postgres(database) | Self::Kurrent(database) => database.url.clone(),
            Self::Directory(_) | Self::Memory => self.to_string(),
        }
    }
}

impl FromStr for ReadModelsUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("sqlite", "")) => {
                Err("`sqlite:` needs a directory, as in `sqlite:./read-models`".to_owned())
            }
            // It would become a directory with the password in its name.
            Some(("sqlite", url)) if url.contains("://") => {
                Err("`sqlite:` is followed by a directory; got another URL".to_owned())
            }
            Some(("sqlite", directory)) => Ok(Self::Directory(directory.into())),
            Some(("memory", "")) => Ok(Self::Temporary),
            Some(("postgres" | "postgresql", _)) => match text.parse()? {
                StoreUrl::Postgres(database) => Ok(Self::Postgres(database)),
                StoreUrl::Directory(_) | StoreUrl::Memory | StoreUrl::Kurrent(_) => {
                    unreachable!("of another scheme")
                }
            },
            _ => Err("expected `sqlite:DIRECTORY`, `postgres://…` or `memory:`".to_owned()),
        }
    }
}

impl fmt::Display for ReadModelsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(directory) => write!(f, "sqlite:{}", directory.display()),
            Self::Postgres(database) => f.write_str(&database.without_password),
            Self::Temporary => f.write_str("memory:"),
        }
    }
}

impl fmt::Debug for ReadModelsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReadModelsUrl({self})")
    }
}

impl PlaceArguments {
    /// Reads the URLs, and completes what was not given.
    pub(crate) fn places(&self) -> Result<Places, InvalidPlace> {
        let store = self.store.0.parse().map_err(InvalidPlace::Store)?;
        let local = match (&self.local, &store) {
            (_, StoreUrl::Memory) => None,
            (Some(directory), _) => Some(directory.clone()),
            // Next to the log: moving the directory moves both.
            (None, StoreUrl::Directory(directory)) => Some(directory.clone()),
            (None, StoreUrl::Postgres(_) | StoreUrl::Kurrent(_)) => Some(LOCAL_DEFAULT.into()),
        };
        let read_models = match (&self.read_models, &store, &local) {
            (Some(given), ..) => given.0.parse().map_err(InvalidPlace::ReadModels)?,
            (None, StoreUrl::Postgres(database), _) => ReadModelsUrl::Postgres(database.clone()),
            (None, _, Some(directory)) => ReadModelsUrl::Directory(directory.join(READ_MODELS)),
            // Read models of a memory store are temporary as well: they would outlive the events.
            (None, _, None) => ReadModelsUrl::Temporary,
        };
        Ok(Places { store, read_models, local })
    }
}

impl Places {
    /// Opens the shop for a report, without its process managers and reactors. A store that does
    /// not exist is refused, because opening would create an empty one.
    pub(crate) async fn open_existing(&self, verb: &str) -> Result<OpenShop> {
        let is_there = self.store.exists().await;
        let is_there = is_there.with_context(|| format!("cannot open {}", self.store))?;
        ensure!(
            is_there,
            "no store at {}; check --store, or begin one with `shop import` or `shop demo`",
            self.store,
        );
        self.open(verb).await
    }

    /// Opens the shop without its process managers and reactors. `verb` is what operators see.
    pub(crate) async fn open(&self, verb: &str) -> Result<OpenShop> {
        self.open_with(&Node { label: verb, role: Role::All }, |builder| builder).await
    }

    /// Opens the shop with its process managers and reactors.
    pub(crate) async fn open_with_processes(
        &self,
        node: &Node<'_>,
        delays: ProcessDelays,
    ) -> Result<OpenShop> {
        let outbox = self.local.as_deref().map(open_outbox).transpose()?;
        let checked = self.check_sole_node().await;
        checked.with_context(|| format!("cannot open {}", self.store))?;
        self.open_with(node, |builder| {
            let builder = processes::run_all(builder, delays);
            match outbox {
                Some(outbox) => reactors::run_all(builder, outbox),
                None => builder,
            }
        })
        .await
    }

    /// Refuses to run next to nodes with leases if this one would take none, because its read
    /// models are its own: each process manager and reactor would run twice.
    async fn check_sole_node(&self) -> Result<()> {
        let (StoreUrl::Postgres(database), ReadModelsUrl::Directory(_) | ReadModelsUrl::Temporary) =
            (&self.store, &self.read_models)
        else {
            return Ok(());
        };
        let store = PostgresStore::connect(&database.url).await?;
        let leases = store.list().await;
        store.close().await?;
        // Each node that may run parts has such a lease; other programs have other names.
        let is_node = |name: &str| name.starts_with("node:");
        if let Some(lease) = leases?.iter().find(|lease| is_node(lease.name.as_str())) {
            bail!(
                "node `{}` works on this store, and would share no work with a node that has \
                 --read-models {}; leave --read-models out, or stop the other nodes",
                lease.node,
                self.read_models,
            );
        }
        tracing::warn!(
            read_models = %self.read_models,
            "read models of this node alone: it runs every process manager and reactor without \
             leases; start no other node on this store"
        );
        Ok(())
    }

    async fn open_with(
        &self,
        node: &Node<'_>,
        change: impl FnOnce(Builder) -> Builder,
    ) -> Result<OpenShop> {
        let opened = self.read_models.open().await;
        let read_models = opened.with_context(|| format!("cannot open {}", self.read_models))?;
        let opened = self.open_on(&read_models, node, change).await;
        let (gesta, shared) = opened.with_context(|| format!("cannot open {}", self.store))?;
        Ok(OpenShop { gesta, shared, read_models })
    }

    async fn open_on(
        &self,
        read_models: &ReadModels,
        node: &Node<'_>,
        change: impl FnOnce(Builder) -> Builder,
    ) -> Result<(Gesta, Option<Arc<PostgresStore>>)> {
        let (builder, shared) = match (&self.store, &self.read_models) {
            (StoreUrl::Postgres(database), ReadModelsUrl::Postgres(_)) => {
                let store = Arc::new(PostgresStore::connect(&database.url).await?);
                let nodes = Nodes::new(store.clone(), node.label)?.term(TERM);
                (Gesta::on(store.clone()).nodes(nodes).role(node.role), Some(store))
            }
            _ => {
                // Its read models are its own, so it has to fill them itself.
                ensure!(
                    node.role == Role::All,
                    "--role {} needs events and read models that all nodes share: give \
                     postgres://… for --store and --read-models",
                    node.role,
                );
                (Gesta::at(self.store.to_open()), None)
            }
        };
        let gesta = change(read_side::project_all(builder, read_models)).open().await?;
        Ok((gesta, shared))
    }
}

impl ReadModelsUrl {
    async fn open(&self) -> Result<ReadModels> {
        Ok(match self {
            // They may also be deleted, and are then rebuilt from the events.
            Self::Directory(directory) => Sqlite::open(directory).await?.into(),
            Self::Postgres(database) => PostgresReadModels::connect(&database.url).await?.into(),
            Self::Temporary => Sqlite::temporary().await?.into(),
        })
    }
}

fn open_outbox(directory: &Path) -> Result<Outbox> {
    let directory = directory.join(OUTBOX);
    Outbox::open(&directory).with_context(|| format!("cannot open {}", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(store: &str, read_models: Option<&str>) -> Result<Places, InvalidPlace> {
        let given = |url: &str| GivenUrl(url.to_owned());
        let (store, read_models) = (given(store), read_models.map(given));
        PlaceArguments { store, read_models, local: None }.places()
    }

    #[test]
    fn read_models_are_beside_the_events_unless_they_are_placed() {
        for (store, given, expected) in [
            ("gesta:./data", None, "sqlite:./data/read-models"),
            ("memory:", None, "memory:"),
            ("gesta:./data", Some("sqlite:rows"), "sqlite:rows"),
            ("postgres://ann:secret@db/shop", None, "postgres://ann@db:5432/shop?schema=gesta"),
            ("postgres://ann:secret@db/shop", Some("sqlite:rows"), "sqlite:rows"),
        ] {
            let places = places(store, given).unwrap();
            assert_eq!(places.read_models.to_string(), expected);
        }
    }

    #[test]
    fn a_url_that_cannot_be_read_is_refused_without_its_text() {
        for (store, read_models, reason) in [
            ("//ann:secret@db/shop", None, "--store: the URL has no known scheme"),
            ("postgres://ann:secret@db:port/shop", None, "--store: the URL cannot be read"),
            ("memory:", Some("mysql://ann:secret@db"), "--read-models: expected `sqlite:"),
            ("memory:", Some("sqlite:"), "--read-models: `sqlite:` needs a directory"),
            ("memory:", Some("sqlite:postgres://ann:secret@db"), "--read-models: `sqlite:` is"),
        ] {
            let error = places(store, read_models).unwrap_err().to_string();
            assert!(error.starts_with(reason) && !error.contains("secret"), "{error}");
        }
    }
}
