//! The location of the event store and its read models.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context as _, Result, anyhow};
use gesta::{Builder, Gesta, OpenError, sqlite::Sqlite};
use shop::{
    outbox::Outbox,
    processes::{self, ProcessDelays},
    reactors, read_side,
};

/// Subdirectory of the read models.
const READ_MODELS: &str = "read-models";
/// Subdirectory of the mails.
const OUTBOX: &str = "outbox";

/// An open shop with its read models.
pub(crate) struct OpenShop {
    pub(crate) gesta: Gesta,
    read_models: Sqlite,
}

impl OpenShop {
    /// Closes the application, then the files of its read models.
    pub(crate) async fn close(self) {
        self.gesta.close().await;
        self.read_models.close().await;
    }
}

/// Location of the event store.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum StoreUrl {
    Directory(PathBuf),
    Memory,
    Postgres(DatabaseUrl),
}

/// The URL of a store in a database. It may have a password, which is not printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct DatabaseUrl {
    url: String,
    without_password: String,
}

/// Locations of everything that the shop keeps.
#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) store: StoreUrl,
    /// Directory of the read models and the outbox, if it is not the store's.
    pub(crate) local: Option<PathBuf>,
}

/// The error for a text that is not a store URL.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct InvalidStoreUrl(OpenError);

impl FromStr for StoreUrl {
    type Err = InvalidStoreUrl;

    fn from_str(text: &str) -> Result<Self, InvalidStoreUrl> {
        // Parsed before anything is opened, so that a wrong URL is a usage error.
        if let Some(directory) = gesta::directory_of(text).map_err(InvalidStoreUrl)? {
            return Ok(Self::Directory(directory));
        }
        let without_password = gesta::url_without_password(text).map_err(InvalidStoreUrl)?;
        Ok(match without_password.as_str() {
            "memory:" => Self::Memory,
            _ => Self::Postgres(DatabaseUrl { url: text.to_owned(), without_password }),
        })
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

impl Places {
    /// Opens the shop without its process managers and reactors, for reports and imports.
    pub(crate) async fn open(&self) -> Result<OpenShop> {
        self.open_with(|builder| builder).await
    }

    /// Opens the shop with its process managers and reactors.
    pub(crate) async fn open_with_processes(&self, delays: ProcessDelays) -> Result<OpenShop> {
        let outbox = self.outbox()?;
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
        let opened = async {
            // Read models of a memory store are temporary as well: they would outlive the events.
            let read_models = self.read_models().await?;
            let builder = Gesta::at(self.store.to_open());
            let gesta = change(read_side::project_all(builder, &read_models)).open().await?;
            Ok::<_, anyhow::Error>(OpenShop { gesta, read_models })
        };
        opened.await.with_context(|| format!("cannot open {}", self.store))
    }

    /// Returns the directory of what is kept beside the events. A memory store has none: nothing of
    /// it is kept.
    fn directory(&self) -> Result<Option<&Path>> {
        match (&self.local, &self.store) {
            (_, StoreUrl::Memory) => Ok(None),
            (Some(directory), _) => Ok(Some(directory)),
            // Next to the log: moving the directory moves both.
            (None, StoreUrl::Directory(directory)) => Ok(Some(directory)),
            (None, StoreUrl::Postgres(_)) => Err(anyhow!(
                "read models need a directory beside a store in a database; say which with \
                 --local DIRECTORY"
            )),
        }
    }

    fn outbox(&self) -> Result<Option<Outbox>> {
        let Some(directory) = self.directory()? else { return Ok(None) };
        let directory = directory.join(OUTBOX);
        let outbox = Outbox::open(&directory);
        Ok(Some(outbox.with_context(|| format!("cannot open {}", directory.display()))?))
    }

    async fn read_models(&self) -> Result<Sqlite> {
        Ok(match self.directory()? {
            None => Sqlite::temporary().await?,
            // The read models may also be deleted, and are then rebuilt from the events.
            Some(directory) => Sqlite::open(directory.join(READ_MODELS)).await?,
        })
    }
}
