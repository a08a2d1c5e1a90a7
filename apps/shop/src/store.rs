//! The location of the event store and its read models.

use std::{fmt, path::PathBuf, str::FromStr};

use anyhow::{Context as _, Result};
use gesta::{Builder, Gesta, OpenError, sqlite::Sqlite, store::DatabaseError};
use shop::{
    processes::{self, ProcessDelays},
    read_side,
};

/// Subdirectory of the read models.
const READ_MODELS: &str = "read-models";

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
    /// Opens the shop without its process managers, for reports and imports.
    pub(crate) async fn open(&self) -> Result<OpenShop> {
        self.open_with(|builder| builder).await
    }

    /// Opens the shop with its process managers.
    pub(crate) async fn open_with_processes(&self, delays: ProcessDelays) -> Result<OpenShop> {
        self.open_with(|builder| processes::run_all(builder, delays)).await
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

    async fn read_models(&self) -> Result<Sqlite, DatabaseError> {
        match self {
            Self::Memory => Sqlite::temporary().await,
            // Next to the log: moving the directory moves both. The read models may also be
            // deleted, and are then rebuilt from the log.
            Self::Directory(directory) => Sqlite::open(directory.join(READ_MODELS)).await,
        }
    }
}
