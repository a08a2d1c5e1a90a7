//! Which store: `gesta:DIRECTORY` or `memory:`, and how each kind of verb opens it.
//!
//! Always holds: a directory that is not there is never made, and one without a store stays
//! without, unless it is empty and something is appended; who only reads keeps nobody from
//! appending, as far as that can be had.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Result, anyhow};
use gesta_log::{LockError, LogStore, OpenError, Options, StoreExport, directory_of_url};
use gesta_store::Position;

use crate::exit::Refusal;

/// The name of a store, as `--store` takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreUrl {
    Directory(PathBuf),
    /// One that begins and ends with the program.
    Memory,
}

/// What a directory holds.
enum Holds {
    Store,
    /// A backup of one.
    Backup,
    Nothing,
    OtherFiles,
}

impl StoreUrl {
    fn named_directory(&self) -> Result<&Path> {
        match self {
            Self::Directory(directory) => Ok(directory),
            Self::Memory => Err(no_store(
                "a memory store lives in its program and cannot be reached from here; name one on \
                 disk: gesta:DIR",
            )),
        }
    }

    /// The store's directory, if there is a store.
    pub(crate) fn directory(&self) -> Result<&Path> {
        match self.holds()? {
            Holds::Store => self.named_directory(),
            Holds::Backup => self.is_a_backup(),
            Holds::Nothing => Err(no_store(format!("no store at {self}: the directory is empty"))),
            Holds::OtherFiles => {
                Err(no_store(format!("no store at {self}: no file there is a store's")))
            }
        }
    }

    /// Opens the store to look at what there is now.
    ///
    /// After a crash the last events may be unconfirmed; only who could append may take them for
    /// events. The lock is taken for their sake alone, and if somebody has it, they do without.
    pub(crate) fn open_to_read(&self) -> Result<LogStore> {
        let store = self.open_to_follow()?;
        if store.report().unmarked.is_none() {
            return Ok(store);
        }
        match LogStore::open(self.named_directory()?, Options::default()) {
            Ok(complete) => Ok(complete),
            Err(OpenError::Directory(_)) => Ok(store),
            Err(
                error @ (OpenError::Io { .. }
                | OpenError::OtherVersion { .. }
                | OpenError::Restoring
                | OpenError::Importing
                | OpenError::AnotherStore { .. }),
            ) => Err(error.into()),
        }
    }

    /// Opens the store to learn from time to time what another process has appended.
    pub(crate) fn open_to_follow(&self) -> Result<LogStore> {
        Ok(LogStore::open(self.directory()?, Options::read_only())?)
    }

    /// Whether there is a store to append to, or an empty directory where one can begin.
    pub(crate) fn check_for_append(&self) -> Result<()> {
        match self.holds()? {
            Holds::Store | Holds::Nothing => Ok(()),
            Holds::Backup => self.is_a_backup(),
            Holds::OtherFiles => Err(no_store(format!(
                "no store at {self}: a new one begins in an empty directory, this is not one"
            ))),
        }
    }

    /// Whether there is nothing in the directory yet.
    pub(crate) fn is_empty(&self) -> Result<bool> {
        match self.holds()? {
            Holds::Nothing => Ok(true),
            Holds::Store | Holds::Backup | Holds::OtherFiles => Ok(false),
        }
    }

    /// The directory, if a store can be made in it: it is empty, or its store never had an event, or
    /// an import into it did not end.
    pub(crate) fn directory_to_import(&self) -> Result<Option<&Path>> {
        let directory = self.named_directory()?;
        let begun = directory.join("IMPORTING").exists();
        let fresh = match self.holds()? {
            Holds::Nothing => true,
            Holds::Store => {
                StoreExport::of(directory).is_ok_and(|there| there.head() == Position::START)
            }
            Holds::Backup | Holds::OtherFiles => false,
        };
        Ok((begun || fresh).then_some(directory))
    }

    /// The directory, in which there has to be nothing; none of a memory store.
    pub(crate) fn empty_directory(&self) -> Result<Option<&Path>> {
        match self {
            Self::Memory => Ok(None),
            Self::Directory(directory) => match self.holds()? {
                Holds::Nothing => Ok(Some(directory)),
                Holds::Store | Holds::Backup | Holds::OtherFiles => Err(anyhow!(
                    "{self} is not empty: what a measurement appends would stay in it for good; \
                     name an empty directory"
                )),
            },
        }
    }

    /// Opens the store for appending, for which nobody else may have it.
    pub(crate) fn open_to_append(&self) -> Result<LogStore> {
        self.open_to_append_with(Options::default())
    }

    /// The same, with options.
    pub(crate) fn open_to_append_with(&self, options: Options) -> Result<LogStore> {
        self.check_for_append()?;
        match LogStore::open(self.named_directory()?, options) {
            Err(OpenError::Directory(LockError::InUse { owner, .. })) => Err(in_use(format!(
                "cannot append: process {owner} has {self} open; append through that process, or \
                 stop it first"
            ))),
            opened => Ok(opened?),
        }
    }

    /// Opens a store that is there to scavenge it, for which nobody else may have it.
    pub(crate) fn open_to_scavenge(&self) -> Result<LogStore> {
        match LogStore::open(self.directory()?, Options::default()) {
            Err(OpenError::Directory(LockError::InUse { owner, .. })) => Err(in_use(format!(
                "cannot scavenge: process {owner} has {self} open; let that process scavenge it, or \
                 stop it first"
            ))),
            opened => Ok(opened?),
        }
    }

    fn is_a_backup<T>(&self) -> Result<T> {
        Err(no_store(format!(
            "no store at {self}: it is a backup; `gesta restore` makes a store of it"
        )))
    }

    /// By the names of files that `docs/format.md` gives.
    fn holds(&self) -> Result<Holds> {
        let none = |error| no_store(format!("no store at {self}: {error}"));
        let (mut store, mut backup, mut any) = (false, false, false);
        for entry in fs::read_dir(self.named_directory()?).map_err(none)? {
            let name = entry.map_err(none)?.file_name();
            let end = Path::new(&name).extension().and_then(|end| end.to_str());
            store |= name == "LOCK" || end == Some("seg");
            backup |= name == "MANIFEST" || end == Some("segment");
            any = true;
        }
        Ok(match (backup, store, any) {
            (true, ..) => Holds::Backup,
            (false, true, _) => Holds::Store,
            (false, false, true) => Holds::OtherFiles,
            (false, false, false) => Holds::Nothing,
        })
    }
}

fn no_store(message: impl Into<String>) -> anyhow::Error {
    Refusal::usage("no-store", message).into()
}

fn in_use(message: String) -> anyhow::Error {
    Refusal::usage("store-in-use", message).into()
}

impl FromStr for StoreUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("gesta", directory)) => {
                directory_of_url(directory).map(Self::Directory).map_err(|wrong| wrong.to_string())
            }
            Some(("memory", "")) => Ok(Self::Memory),
            None if text.is_empty() => Err("it is empty; a store is named gesta:DIR".to_owned()),
            Some((scheme, _)) => Err(format!("no store is known by {scheme}:, only gesta:DIR")),
            None => Err(format!("a store is named gesta:DIR; try gesta:{text}")),
        }
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
