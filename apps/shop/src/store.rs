//! The location of the event store and its read models.

use std::{fmt, path::PathBuf, str::FromStr};

use anyhow::{Context as _, Result};
use gesta::{Builder, Gesta, OpenError, sqlite::Sqlite, store::DatabaseError};
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreUrl {
    Directory(PathBuf),
    Memory,
}

/// The error for a text that is not a store URL.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct InvalidStoreUrl(OpenError);

impl FromStr for StoreUrl {
    type Err = InvalidStoreUrl;

    fn from_str(text: &str) -> Result<Self, InvalidStoreUrl> {
        // Parsed before anything is opened, so that a wrong URL is a usage error.
        let directory = gesta::directory_of(text).map_err(InvalidStoreUrl)?;
        Ok(directory.map_or(Self::Memory, Self::Directory))
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(directory) => write!(f, "gesta:{}", directory.display()),
            Self::Memory => f.write_str("memory:"),
        }
    }
}

impl StoreUrl {
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
            let builder = Gesta::at(self.to_string());
            let gesta = change(read_side::project_all(builder, &read_models)).open().await?;
            Ok::<_, anyhow::Error>(OpenShop { gesta, read_models })
        };
        opened.await.with_context(|| format!("cannot open {self}"))
    }

    /// Opens the outbox next to the log. A memory store has none: nothing of it is kept.
    fn outbox(&self) -> Result<Option<Outbox>> {
        let Self::Directory(directory) = self else { return Ok(None) };
        let directory = directory.join(OUTBOX);
        let outbox = Outbox::open(&directory);
        Ok(Some(outbox.with_context(|| format!("cannot open {}", directory.display()))?))
    }

    async fn read_models(&self) -> Result<Sqlite, DatabaseError> {
        match self {
            Self::Memory => Sqlite::temporary().await,
            // Next to the log: moving the directory moves both. The read models may also be
            // deleted, and are then rebuilt from the log.
            Self::Directory(directory) => Sqlite::open(directory.join(READ_MODELS)).await,
        }
    }
}
