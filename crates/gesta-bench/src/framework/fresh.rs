//! New stores, one for each turn.
//!
//! Invariant: a closed store leaves no files. Not here: filling.

use std::path::{Path, PathBuf};

use anyhow::Result;
use gesta_log::{IndexedIds, LogStore, Options, finish_dropped_stores};
use gesta_store::memory::MemoryStore;
use tempfile::TempDir;

/// The place of new logs, and the ids that they index.
#[derive(Clone, Debug)]
pub struct Place {
    pub directory: PathBuf,
    pub index: Option<IndexedIds>,
}

/// A new store with the directory that it is in.
#[derive(Debug)]
pub struct Fresh<Store> {
    pub store: Store,
    directory: Option<TempDir>,
}

impl Place {
    /// Opens a new log in a directory of its own.
    pub fn log(&self) -> Result<Fresh<LogStore>> {
        let directory = self.directory()?;
        let options = Options::default().index(self.index);
        let store = LogStore::open(directory.path(), options)?;
        Ok(Fresh { store, directory: Some(directory) })
    }

    /// Creates a directory that is removed when it is dropped.
    pub fn directory(&self) -> Result<TempDir> {
        Ok(tempfile::Builder::new().prefix("turn-").tempdir_in(&self.directory)?)
    }
}

impl Fresh<MemoryStore> {
    /// Creates a memory store.
    pub fn memory() -> Self {
        Self { store: MemoryStore::new(), directory: None }
    }
}

impl<Store> Fresh<Store> {
    /// Returns the directory of the store, or `None` for a store in memory.
    pub fn path(&self) -> Option<&Path> {
        self.directory.as_ref().map(TempDir::path)
    }

    /// Closes the store and removes its files. All other handles are dropped by then.
    pub fn close(self) -> Result<()> {
        drop(self.store);
        // A dropped log is closed in the background.
        finish_dropped_stores();
        Ok(self.directory.map_or(Ok(()), TempDir::close)?)
    }
}
