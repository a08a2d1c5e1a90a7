//! The store under test, by its URL.

use std::{
    fs,
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context as _, Result, ensure};
use gesta_log::{LogStore, Options, directory_of_url};

/// Value of `--store`.
#[derive(Clone, Debug)]
pub(crate) struct StoreUrl(PathBuf);

impl FromStr for StoreUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let directory = text.strip_prefix("gesta:").ok_or("expected a URL gesta:DIR")?;
        directory_of_url(directory).map(Self).map_err(|wrong| wrong.to_string())
    }
}

impl StoreUrl {
    pub(crate) fn directory(&self) -> &Path {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> Result<bool> {
        let mut entries = fs::read_dir(&self.0).with_context(|| self.0.display().to_string())?;
        Ok(entries.next().is_none())
    }

    /// Opens a new store. Fails if the directory is not empty, because a load's events remain.
    pub(crate) fn create(&self) -> Result<LogStore> {
        ensure!(self.is_empty()?, "{} is not empty: use an empty directory", self.0.display());
        self.open(Options::default())
    }

    pub(crate) fn open(&self, options: Options) -> Result<LogStore> {
        Ok(LogStore::open(&self.0, options)?)
    }
}
