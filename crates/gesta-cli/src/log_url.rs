//! The directory of an embedded store (`gesta:DIR`) and the ways to open it.
//!
//! Invariants: a missing directory is never created. A store is created only in an empty directory,
//! and only by an append or import. The ids that the URL lists (`?index=`) are those of writers; a
//! reader takes the index as it is. Reading never blocks a writer, except briefly after a crash
//! (see [`LogUrl::open_to_read`]).

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow};
use gesta_log::{
    IndexedIds, LockError, LogStore, OpenError, Options, StoreExport, directory_of_url,
    options_of_url,
};
use gesta_store::Position;

use crate::exit::{Refusal, remedy};

/// The part of a URL `gesta:DIR` after the scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogUrl {
    path: PathBuf,
    /// Ids by which events are found; `None` for those that the store has.
    index: Option<IndexedIds>,
}

/// Contents of a directory, by its files.
enum Contents {
    Store,
    Backup,
    Nothing,
    OtherFiles,
}

impl LogUrl {
    /// Parses the part of a URL after `gesta:`.
    pub(crate) fn parse(rest: &str) -> Result<Self, String> {
        let parsed = directory_of_url(rest)
            .and_then(|path| Ok(Self { path, index: options_of_url(rest)?.index }));
        parsed.map_err(|wrong| wrong.to_string())
    }

    /// Returns the directory, whatever it holds.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the options of a writer.
    pub(crate) fn options(&self) -> Options {
        Options::default().index(self.index)
    }

    /// Returns `true` if the URL lists ids by which events are found.
    pub(crate) const fn has_index(&self) -> bool {
        self.index.is_some()
    }

    /// Returns the directory of an existing store.
    pub(crate) fn directory(&self) -> Result<&Path> {
        match self.contents()? {
            Contents::Store => Ok(&self.path),
            Contents::Backup => self.backup_error(),
            Contents::Nothing => {
                Err(no_store(format!("no store at {self}: the directory is empty")))
            }
            Contents::OtherFiles => Err(no_store(format!(
                "no store at {self}: none of the files there belongs to a store"
            ))),
        }
    }

    /// Opens the store to read its current events.
    ///
    /// After a crash the last events may be unconfirmed, and only a writer may recover them. This
    /// method then opens the store as a writer. If another process holds the lock, the unconfirmed
    /// events are left out.
    pub(crate) fn open_to_read(&self) -> Result<LogStore> {
        // Read-only: no lock is taken, so this is safe next to a running application.
        let store = self.open_to_follow()?;
        if store.report().unmarked.is_none() {
            return Ok(store);
        }
        // Opening as a writer runs the recovery that confirms the last events. No running process
        // is disturbed: the lock is refused while another one holds it.
        match LogStore::open(&self.path, self.options()) {
            Ok(complete) => Ok(complete),
            // In use, or not writable by this user: the confirmed events can still be read.
            Err(OpenError::Directory(_)) => Ok(store),
            Err(error) => Err(self.not_opened(error)),
        }
    }

    /// Opens the store read-only, to follow appends of another process.
    pub(crate) fn open_to_follow(&self) -> Result<LogStore> {
        let opened = LogStore::open(self.directory()?, Options::read_only());
        opened.map_err(|error| self.not_opened(error))
    }

    /// Adds the store to an error that does not name it.
    fn not_opened(&self, error: OpenError) -> anyhow::Error {
        match error {
            OpenError::Directory(_) => error.into(),
            error => anyhow::Error::new(error).context(format!("cannot open {self}")),
        }
    }

    /// Checks that the directory holds a store, or is empty. Returns `true` for an empty one, in
    /// which an append creates a store.
    pub(crate) fn check_for_append(&self) -> Result<bool> {
        if !self.path.exists() {
            let message = format!("no store at {self}: the directory does not exist");
            let hint = format!(
                "correct the path, or make the directory for a new store: mkdir '{}'",
                self.path.display()
            );
            return Err(Refusal::usage("no-store", message).hint(hint).into());
        }
        match self.contents()? {
            Contents::Store => Ok(false),
            Contents::Nothing => Ok(true),
            Contents::Backup => self.backup_error(),
            Contents::OtherFiles => Err(no_store(format!(
                "no store at {self}: the directory has other files, and a new store needs an empty one"
            ))),
        }
    }

    /// Returns the directory if an exact import can create a store in it: it is empty, its store
    /// has no events yet, or an earlier import into it did not finish.
    pub(crate) fn directory_to_import(&self) -> Result<Option<&Path>> {
        let directory = &self.path;
        // This file exists from the beginning of an import until the store is complete.
        let begun = directory.join("IMPORTING").exists();
        let fresh = match self.contents()? {
            Contents::Nothing => true,
            // A store without events loses nothing. One that cannot be read may have some.
            Contents::Store => {
                StoreExport::of(directory).is_ok_and(|there| there.head() == Position::START)
            }
            Contents::Backup | Contents::OtherFiles => false,
        };
        Ok((begun || fresh).then_some(directory.as_path()))
    }

    /// Checks that the directory is empty, so that a benchmark may append to it.
    pub(crate) fn check_empty(&self) -> Result<()> {
        match self.contents()? {
            Contents::Nothing => Ok(()),
            Contents::Store | Contents::Backup | Contents::OtherFiles => Err(anyhow!(
                "{self} is not empty, and the events of a benchmark stay in the store; use an \
                 empty directory"
            )),
        }
    }

    /// Creates the directory of a copy, if it does not exist. Its parent must exist: a longer path
    /// may be a typing error.
    pub(crate) fn create_directory(&self) -> Result<()> {
        match fs::create_dir(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(error).with_context(|| format!("cannot create the directory of {self}"))
            }
            _ => Ok(()),
        }
    }

    /// Opens the store with exclusive access, to serve it.
    pub(crate) fn open_to_serve(&self) -> Result<LogStore> {
        self.check_for_append()?;
        match LogStore::open(&self.path, self.options()) {
            Err(OpenError::Directory(LockError::InUse { owner, .. })) => {
                let message = format!("cannot serve {self}: process {owner} has it open");
                let hint = "one process at a time serves a directory; use the server that runs, or \
                            stop it first";
                Err(Refusal::usage("store-in-use", message).hint(hint).into())
            }
            opened => opened.map_err(|error| self.not_opened(error)),
        }
    }

    /// Opens the store with exclusive access, to append.
    pub(crate) fn open_to_append(&self) -> Result<LogStore> {
        self.open_to_append_with(self.options())
    }

    /// Same as [`LogUrl::open_to_append`], with options.
    pub(crate) fn open_to_append_with(&self, options: Options) -> Result<LogStore> {
        // Without this check, a mistyped directory full of other files would become a store.
        self.check_for_append()?;
        match LogStore::open(&self.path, options) {
            Err(OpenError::Directory(LockError::InUse { owner, .. })) => Err(in_use(format!(
                "cannot append: process {owner} has {self} open, and one process at a time may \
                 append; use that process, or stop it first"
            ))),
            opened => opened.map_err(|error| self.not_opened(error)),
        }
    }

    /// Opens an existing store with exclusive access, to scavenge.
    pub(crate) fn open_to_scavenge(&self) -> Result<LogStore> {
        match LogStore::open(self.directory()?, self.options()) {
            Err(OpenError::Directory(LockError::InUse { owner, .. })) => Err(in_use(format!(
                "cannot scavenge: process {owner} has {self} open; scavenge through that process, or \
                 stop it first"
            ))),
            opened => opened.map_err(|error| self.not_opened(error)),
        }
    }

    fn backup_error<T>(&self) -> Result<T> {
        Err(no_store(format!(
            "no store at {self}: this is a backup; create a store from it with `gesta restore`"
        )))
    }

    /// Classifies the directory by the file names that `docs/format.md` documents.
    fn contents(&self) -> Result<Contents> {
        let none = |error: io::Error| {
            let refusal = Refusal::usage("no-store", format!("no store at {self}: {error}"));
            match remedy(&error) {
                Some(hint) => refusal.hint(hint),
                None => refusal,
            }
        };
        // The names alone decide, so that a damaged store is still recognized as a store.
        let (mut store, mut backup, mut any) = (false, false, false);
        for entry in fs::read_dir(&self.path).map_err(none)? {
            let name = entry.map_err(none)?.file_name();
            let end = Path::new(&name).extension().and_then(|end| end.to_str());
            store |= name == "LOCK" || end == Some("seg");
            backup |= name == "MANIFEST" || end == Some("segment");
            any = true;
        }
        // A directory with files of both counts as a backup, so that nothing is appended there.
        Ok(match (backup, store, any) {
            (true, ..) => Contents::Backup,
            (false, true, _) => Contents::Store,
            (false, false, true) => Contents::OtherFiles,
            (false, false, false) => Contents::Nothing,
        })
    }
}

fn no_store(message: impl Into<String>) -> anyhow::Error {
    Refusal::usage("no-store", message).into()
}

fn in_use(message: String) -> anyhow::Error {
    Refusal::usage("store-in-use", message).into()
}

impl fmt::Display for LogUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gesta:{}", self.path.display())
    }
}
