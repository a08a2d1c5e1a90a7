//! The store under test, by its URL.

use std::{
    fs,
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context as _, Result, ensure};
use gesta_log::{IndexedIds, LogStore, Options, directory_of_url, options_of_url};

/// Value of `--store`.
#[derive(Clone, Debug)]
pub(crate) struct StoreUrl {
    directory: PathBuf,
    /// The ids by which a new store finds events. `None`: those of the existing store, or none.
    index: Option<IndexedIds>,
}

impl FromStr for StoreUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("gesta:").ok_or("expected a URL gesta:DIR")?;
        let directory = directory_of_url(rest).map_err(|wrong| wrong.to_string())?;
        let options = options_of_url(rest).map_err(|wrong| wrong.to_string())?;
        Ok(Self { directory, index: options.index })
    }
}

impl StoreUrl {
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn index(&self) -> Option<IndexedIds> {
        self.index
    }

    pub(crate) fn is_empty(&self) -> Result<bool> {
        let directory = &self.directory;
        let mut entries =
            fs::read_dir(directory).with_context(|| directory.display().to_string())?;
        Ok(entries.next().is_none())
    }

    /// Opens a new store that indexes the ids of the URL. Fails if the directory is not empty,
    /// because a load's events remain.
    pub(crate) fn create(&self) -> Result<LogStore> {
        let directory = self.directory.display();
        ensure!(self.is_empty()?, "{directory} is not empty: use an empty directory");
        self.open(Options::default())
    }

    pub(crate) fn open(&self, options: Options) -> Result<LogStore> {
        Ok(LogStore::open(&self.directory, options.index(self.index))?)
    }
}
