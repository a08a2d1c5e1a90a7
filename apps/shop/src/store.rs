//! The locations of events, read models and mails.
//!
//! Invariant: a URL is printed without its password, also in an error.

use std::{
    convert::Infallible,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context as _, Result};
use clap::Args;
use gesta::{Builder, Gesta, OpenError, sqlite::Sqlite};
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

/// Arguments of the locations.
#[derive(Args, Debug)]
pub(crate) struct PlaceArguments {
    /// Event store: `gesta:DIRECTORY`, `postgres://USER:PASSWORD@HOST:PORT/DATABASE?schema=NAME`,
    /// or `memory:` for a store that is lost when the program ends
    #[arg(
        long,
        global = true,
        value_name = "URL",
        default_value = "gesta:./shop-data",
        env = "GESTA_STORE",
        hide_env_values = true
    )]
    store: GivenUrl,
    /// Read models: `sqlite:DIRECTORY`, or `memory:` for read models that are lost when the program
    /// ends; by default `read-models` in the local directory
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
}

/// The URL of a database. It may have a password, which is not printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct DatabaseUrl {
    url: String,
    without_password: String,
}

/// Location of the read models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReadModelsUrl {
    Directory(PathBuf),
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

/// An open shop with its read models.
pub(crate) struct OpenShop {
    pub(crate) gesta: Gesta,
    read_models: ReadModels,
}

impl OpenShop {
    /// Closes the application, then the files or connections of its read models.
    pub(crate) async fn close(self) {
        self.gesta.close().await;
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
            _ => Self::Postgres(DatabaseUrl { url: text.to_owned(), without_password }),
        })
    }
}

/// Returns the text of an error, which must not repeat a URL: it may have a password.
fn without_url(error: OpenError) -> String {
    match error {
        OpenError::NoScheme { .. } | OpenError::UnknownScheme { .. } => {
            "the URL has no known scheme; expected `memory:`, `gesta:DIRECTORY` or `postgres://…`"
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
            Self::Postgres(database) => f.write_str(&database.without_password),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreUrl({self})")
    }
}

impl StoreUrl {
    /// Returns the text that opens the store, with the password.
    fn to_open(&self) -> String {
        match self {
            Self::Postgres(database) => database.url.clone(),
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
            Some(("sqlite", directory)) => Ok(Self::Directory(directory.into())),
            Some(("memory", "")) => Ok(Self::Temporary),
            _ => Err("expected `sqlite:DIRECTORY` or `memory:`".to_owned()),
        }
    }
}

impl fmt::Display for ReadModelsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(directory) => write!(f, "sqlite:{}", directory.display()),
            Self::Temporary => f.write_str("memory:"),
        }
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
            (None, StoreUrl::Postgres(_)) => Some(LOCAL_DEFAULT.into()),
        };
        let read_models = match (&self.read_models, &local) {
            (Some(given), _) => given.0.parse().map_err(InvalidPlace::ReadModels)?,
            (None, Some(directory)) => ReadModelsUrl::Directory(directory.join(READ_MODELS)),
            // Read models of a memory store are temporary as well: they would outlive the events.
            (None, None) => ReadModelsUrl::Temporary,
        };
        Ok(Places { store, read_models, local })
    }
}

impl Places {
    /// Opens the shop without its process managers and reactors, for reports and imports.
    pub(crate) async fn open(&self) -> Result<OpenShop> {
        self.open_with(|builder| builder).await
    }

    /// Opens the shop with its process managers and reactors.
    pub(crate) async fn open_with_processes(&self, delays: ProcessDelays) -> Result<OpenShop> {
        let outbox = self.local.as_deref().map(open_outbox).transpose()?;
        self.open_with(|builder| {
            let builder = processes::run_all(builder, delays);
            match outbox {
                Some(outbox) => reactors::run_all(builder, outbox),
                None => builder,
            }
        })
        .await
    }

    async fn open_with(&self, change: impl FnOnce(Builder) -> Builder) -> Result<OpenShop> {
        let opened = self.read_models.open().await;
        let read_models = opened.with_context(|| format!("cannot open {}", self.read_models))?;
        let builder = read_side::project_all(Gesta::at(self.store.to_open()), &read_models);
        let gesta = change(builder).open().await;
        let gesta = gesta.with_context(|| format!("cannot open {}", self.store))?;
        Ok(OpenShop { gesta, read_models })
    }
}

impl ReadModelsUrl {
    async fn open(&self) -> Result<ReadModels> {
        Ok(match self {
            // They may also be deleted, and are then rebuilt from the events.
            Self::Directory(directory) => Sqlite::open(directory).await?.into(),
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
        ] {
            let error = places(store, read_models).unwrap_err().to_string();
            assert!(error.starts_with(reason) && !error.contains("secret"), "{error}");
        }
    }
}
