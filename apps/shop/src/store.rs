//! Where the events are, and the read models beside them.

use std::{fmt, path::PathBuf, str::FromStr};

use anyhow::{Context as _, Result};
use gesta::{Builder, Gesta, OpenError, sqlite::Sqlite, store::DatabaseError};
use shop::{
    processes::{self, Waits},
    read_side,
};

/// Where the read models are, in the directory of the events.
const READ_MODELS: &str = "read-models";

/// Where the events are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreUrl {
    /// In a directory.
    Directory(PathBuf),
    /// Nowhere: they end with the program.
    Memory,
}

/// A text that names no store.
#[derive(Debug, thiserror::Error)]
#[error("a store is gesta:DIRECTORY or memory: ({0})")]
pub(crate) struct NoStoreUrl(OpenError);

impl FromStr for StoreUrl {
    type Err = NoStoreUrl;

    fn from_str(text: &str) -> Result<Self, NoStoreUrl> {
        let directory = gesta::directory_of(text).map_err(NoStoreUrl)?;
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
    /// Opens the shop there, to look or to import: nothing happens by itself.
    pub(crate) async fn open(&self) -> Result<Gesta> {
        self.open_as(|builder| builder).await
    }

    /// Opens the shop there, with all that happens by itself.
    pub(crate) async fn open_for_business(&self, waits: Waits) -> Result<Gesta> {
        self.open_as(|builder| processes::run_all(builder, waits)).await
    }

    async fn open_as(&self, change: impl FnOnce(Builder) -> Builder) -> Result<Gesta> {
        let opened = async {
            let read_models = self.read_models()?;
            let builder = Gesta::on(gesta::open(&self.to_string())?);
            Ok::<_, anyhow::Error>(
                change(read_side::project_all(builder, &read_models)).open().await?,
            )
        };
        opened.await.with_context(|| format!("cannot open {self}"))
    }

    fn read_models(&self) -> Result<Sqlite, DatabaseError> {
        match self {
            Self::Memory => Sqlite::temporary(),
            Self::Directory(directory) => Sqlite::open(directory.join(READ_MODELS)),
        }
    }
}
