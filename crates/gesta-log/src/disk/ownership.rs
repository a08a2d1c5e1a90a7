//! Ownership of a directory: the lock file and its identity.
//!
//! Owns the lock on the file `LOCK`, and the check that the name `LOCK` still means the locked
//! file. A lock is on a file, not on its name: when the file is removed or replaced, another
//! process can lock the new one and write as well.
//!
//! A store of this process that is being closed holds the lock for a little longer. Opening its
//! directory again waits for it; every other holder of the lock is an error at once.
//!
//! Invariant: [`Ownership::check`] fails from the moment at which another process can have the
//! lock. An owner that checks after its bytes are durable and before it acknowledges them never
//! acknowledges what the other process did not adopt. An owner that checks before it writes never
//! begins a segment that the other process did not see.

use std::{
    error::Error,
    fmt,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::fs::{AtFlags, FlockOperation};

use super::{descriptors::retry_interrupted, platform::device_and_inode};

/// The locked file. Contains the owner's process id.
const LOCK_FILE: &str = "LOCK";
/// Maximum number of attempts, as the lock file may be replaced while it is being locked.
const TRIES_MAX: usize = 16;
/// Maximum wait for a store of this process that is being closed. Sealing the log and flushing the
/// index take much less.
const RELEASE_WAIT_MAX: Duration = Duration::from_secs(60);

/// The locks that this process holds.
static HELD: Mutex<Vec<HeldLock>> = Mutex::new(Vec::new());
/// Signals that a lock was released.
static RELEASED: Condvar = Condvar::new();

/// A lock that this process holds.
#[derive(Debug)]
struct HeldLock {
    identity: FileIdentity,
    releasing: bool,
}

/// Device and inode, which identify a file regardless of its name.
type FileIdentity = (u64, u64);

fn held() -> MutexGuard<'static, Vec<HeldLock>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until the store of this process that is being closed has released its lock. Returns at
/// once if there is none.
fn wait_for_release(identity: FileIdentity) {
    let releasing = |held: &mut Vec<HeldLock>| {
        held.iter().any(|held| held.identity == identity && held.releasing)
    };
    drop(RELEASED.wait_timeout_while(held(), RELEASE_WAIT_MAX, releasing));
}

/// Blocks until every store of this process whose last handle was dropped is closed. For the end of
/// a program, which ends threads that still seal a log. Not needed after
/// [`close`](gesta_store::EventStore::close).
///
/// ```
/// use gesta_log::{LogStore, Options, finish_dropped_stores};
///
/// # let directory = tempfile::tempdir().expect("a directory");
/// drop(LogStore::open(directory.path(), Options::default())?);
/// finish_dropped_stores();
/// assert!(LogStore::open(directory.path(), Options::default()).is_ok());
/// # Ok::<(), gesta_log::OpenError>(())
/// ```
pub fn finish_dropped_stores() {
    let releasing = |held: &mut Vec<HeldLock>| held.iter().any(|held| held.releasing);
    drop(RELEASED.wait_while(held(), releasing));
}

/// The reason why a directory could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process holds the lock.
    #[error("{} is in use by process {owner}; stop it or open read-only", .directory.display())]
    InUse {
        /// The directory.
        directory: PathBuf,
        /// The process id that the lock file names, as text.
        owner: String,
    },
    /// The system reported an error.
    #[error("cannot open {}", .directory.display())]
    Io {
        /// The directory.
        directory: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

/// The lock on a directory.
///
/// The lock is released when this is dropped, even if a child process that is being started still
/// holds a copy of the file.
#[derive(Debug)]
pub(super) struct Ownership {
    path: PathBuf,
    /// Kept open, so that syncing names needs no descriptor.
    directory: File,
    lock: File,
    identity: FileIdentity,
}

impl Ownership {
    pub(super) fn take(path: &Path) -> Result<Self, LockError> {
        let failed = |source| LockError::Io { directory: path.to_owned(), source };
        let directory = File::open(path).map_err(failed)?;
        for _ in 0..TRIES_MAX {
            let lock = lock(path)?;
            let identity = identity(&lock).map_err(failed)?;
            let directory = directory.try_clone().map_err(failed)?;
            held().push(HeldLock { identity, releasing: false });
            let owned = Self { path: path.to_owned(), directory, lock, identity };
            // The file may have been replaced between opening and locking it.
            if owned.check().is_ok() {
                owned.sign().map_err(failed)?;
                return Ok(owned);
            }
        }
        Err(failed(io::Error::other(
            "the file LOCK was replaced repeatedly while it was being locked; make sure that nothing removes it",
        )))
    }

    fn sign(&self) -> io::Result<()> {
        self.lock.set_len(0)?;
        self.lock.write_all_at(std::process::id().to_string().as_bytes(), 0)
    }

    /// Returns an error if the name `LOCK` no longer means the locked file.
    pub(super) fn check(&self) -> io::Result<()> {
        let look = || rustix::fs::statat(&self.directory, LOCK_FILE, AtFlags::empty());
        match retry_interrupted(|| Ok(look()?)) {
            // Same device and inode: the name still means the locked file.
            Ok(stat) if device_and_inode(&stat) == self.identity => Ok(()),
            Ok(_) => Err(self.disowned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(self.disowned()),
            Err(error) => Err(error),
        }
    }

    /// Notes that the lock will be released soon.
    pub(super) fn begin_release(&self) {
        for held in held().iter_mut().filter(|held| held.identity == self.identity) {
            held.releasing = true;
        }
    }

    fn disowned(&self) -> io::Error {
        io::Error::other(OwnershipLost { directory: self.path.clone() })
    }

    /// Makes the directory's names durable.
    pub(super) fn sync_directory(&self) -> io::Result<()> {
        self.directory.sync_all()
    }
}

impl Drop for Ownership {
    fn drop(&mut self) {
        // Closing the file releases the lock as well, so a failure here changes nothing.
        let _ = rustix::fs::flock(&self.lock, FlockOperation::Unlock);
        // One entry: a file has one lock at a time, and the next owner may have registered its own
        // already.
        let mut held = held();
        if let Some(own) = held.iter().position(|held| held.identity == self.identity) {
            held.remove(own);
        }
        drop(held);
        RELEASED.notify_all();
    }
}

fn lock(directory: &Path) -> Result<File, LockError> {
    let failed = |source| LockError::Io { directory: directory.to_owned(), source };
    let path = directory.join(LOCK_FILE);
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false);
    let file = options.open(&path).map_err(failed)?;
    let try_lock = || {
        retry_interrupted(|| {
            Ok(rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?)
        })
    };
    let mut locked = try_lock();
    if locked.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
        wait_for_release(identity(&file).map_err(failed)?);
        locked = try_lock();
    }
    match locked {
        Ok(()) => Ok(file),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            // Best effort: the owner may be writing its process id at the moment.
            let owner = fs::read_to_string(&path).unwrap_or_default();
            let owner = if owner.is_empty() { "unknown".to_owned() } else { owner };
            Err(LockError::InUse { directory: directory.to_owned(), owner })
        }
        Err(error) => Err(failed(error)),
    }
}

fn identity(file: &File) -> io::Result<FileIdentity> {
    let metadata = file.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

/// The error of an operation after the lock file was removed or replaced.
#[derive(Debug)]
struct OwnershipLost {
    directory: PathBuf,
}

impl fmt::Display for OwnershipLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the file LOCK in {} was removed or replaced while the store was open, so another \
             process may be writing to it; stop every process that uses the store, check it with \
             `gesta verify`, then start one process",
            self.directory.display()
        )
    }
}

impl Error for OwnershipLost {}

/// The error of an operation that failed before any of its bytes were passed to the system.
#[derive(Debug)]
struct NotStarted(io::Error);

impl fmt::Display for NotStarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for NotStarted {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// Marks an error as having occurred before anything was passed to the system.
pub(super) fn not_started(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), NotStarted(error))
}

/// Returns whether bytes may have been passed to the system before this error.
pub(crate) fn may_have_written(error: &io::Error) -> bool {
    !error.get_ref().is_some_and(|inner| inner.is::<NotStarted>())
}

/// Returns whether the error is the loss of ownership.
pub(crate) fn is_ownership_lost(error: &io::Error) -> bool {
    let Some(inner) = error.get_ref() else { return false };
    match inner.downcast_ref::<NotStarted>() {
        Some(NotStarted(inner)) => is_ownership_lost(inner),
        None => inner.is::<OwnershipLost>(),
    }
}
