//! The storage seam: everything that the engine reads or writes goes through [`Disk`].
//!
//! Rules for implementations and their users:
//! - A submitted operation may take effect, wholly or in part, until its completion says otherwise.
//! - Operations that are submitted together may complete in any order.
//! - Only a completed [`Operation::Sync`] or [`Operation::WriteThrough`] makes written bytes
//!   durable, and only a completed [`Operation::SyncDirectory`] makes names durable.
//!
//! The meaning of the bytes is defined in other modules. [`FileDisk`] locks its directory.

mod descriptors;
mod direct;
mod files;
mod ownership;
mod platform;
pub(crate) mod waiting;

use std::{fmt, io, sync::mpsc};

use bytes::Bytes;

pub(crate) use descriptors::is_shortage;
pub use files::{Access, FileDisk};
pub use ownership::{LockError, finish_dropped_stores};
pub(crate) use ownership::{is_ownership_lost, may_have_written};

/// A change to storage.
#[derive(Clone, PartialEq, Eq)]
pub enum Operation {
    /// Creates an empty file, or truncates an existing one.
    Create {
        /// The file's name.
        file: String,
    },
    /// Writes bytes at an offset. The file grows as needed.
    Write {
        /// The file's name.
        file: String,
        /// Offset in bytes.
        offset: u64,
        /// Bytes to write.
        bytes: Bytes,
    },
    /// Writes bytes at an offset and makes them durable. For appending to a preallocated file: only
    /// zeros may follow the bytes.
    WriteThrough {
        /// The file's name.
        file: String,
        /// Offset in bytes.
        offset: u64,
        /// Bytes to write.
        bytes: Bytes,
    },
    /// Makes all bytes durable that were written to a file before this was submitted.
    Sync {
        /// The file's name.
        file: String,
    },
    /// Renames a file, replacing any file with the new name.
    Rename {
        /// The old name.
        from: String,
        /// The new name.
        to: String,
    },
    /// Renames a file. Fails with [`AlreadyExists`](io::ErrorKind::AlreadyExists) if a file with
    /// the new name exists.
    RenameNoReplace {
        /// The old name.
        from: String,
        /// The new name.
        to: String,
    },
    /// Makes the directory's names durable.
    SyncDirectory,
    /// Removes a file.
    Remove {
        /// The file's name.
        file: String,
    },
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { file } => write!(f, "create {file}"),
            Self::Write { file, offset, bytes } => {
                write!(f, "write {} bytes at {offset} of {file}", bytes.len())
            }
            Self::WriteThrough { file, offset, bytes } => {
                write!(f, "write {} bytes through at {offset} of {file}", bytes.len())
            }
            Self::Sync { file } => write!(f, "sync {file}"),
            Self::Rename { from, to } => write!(f, "rename {from} to {to}"),
            Self::RenameNoReplace { from, to } => {
                write!(f, "rename {from} to {to} unless it exists")
            }
            Self::SyncDirectory => f.write_str("sync directory"),
            Self::Remove { file } => write!(f, "remove {file}"),
        }
    }
}

/// The urgency of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// A caller waits for it, and the submitter has nothing else to do. May run on the submitting
    /// thread.
    Foreground,
    /// A caller waits for it while the submitter continues. Performed in the order of submission.
    Pipelined,
    /// Preparation. Must not delay the foreground.
    Background,
}

/// The source of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// The page cache or the device, whichever is faster.
    Use,
    /// The device: after a failed sync the page cache may differ from it.
    Bypass,
}

/// Completion callback. Called once, from any thread.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// A directory of files.
pub trait Disk: Send + Sync + fmt::Debug + 'static {
    /// Names the place of the files, for texts of errors: a directory. By default a text that says
    /// no more than what it is.
    fn place(&self) -> String {
        "the disk of the event store".to_owned()
    }

    /// Returns the names of all files, in any order.
    ///
    /// # Errors
    /// Any error of the system.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Returns a file's length in bytes.
    ///
    /// # Errors
    /// Any error of the system, including [`io::ErrorKind::NotFound`].
    fn length(&self, file: &str) -> io::Result<u64>;

    /// Returns the lengths of all files together, in bytes.
    ///
    /// # Errors
    /// Any error of the system.
    fn stored_bytes(&self) -> io::Result<u64> {
        self.list()?.iter().try_fold(0, |sum, file| match self.length(file) {
            Ok(length) => Ok(sum + length),
            // Removed since it was listed, as a compaction does.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(sum),
            Err(error) => Err(error),
        })
    }

    /// Reads up to `length` bytes. Returns fewer only at the end of the file.
    ///
    /// # Errors
    /// Any error of the system, including [`io::ErrorKind::NotFound`].
    fn read(&self, file: &str, offset: u64, length: usize, cache: Cache) -> io::Result<Bytes>;

    /// Reads into a buffer and returns the number of bytes, which is less than the buffer's length
    /// only at the end of the file. May use the page cache.
    ///
    /// # Errors
    /// Any error of the system, including [`io::ErrorKind::NotFound`].
    fn read_into(&self, file: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.read(file, offset, buffer.len(), Cache::Use)?;
        buffer.iter_mut().zip(&bytes).for_each(|(place, byte)| *place = *byte);
        Ok(bytes.len())
    }

    /// Returns whether no call waits for a device, as on a disk in memory. Threads that poll
    /// futures then make all calls themselves.
    fn never_waits(&self) -> bool {
        false
    }

    /// Reads as [`read_into`](Self::read_into) if that needs no waiting for a device, and returns
    /// `None` otherwise. Runs on threads that poll futures.
    ///
    /// By default nothing is known to be in memory, and every read takes a thread of its own.
    ///
    /// # Errors
    /// Any error of the system.
    fn read_cached(
        &self,
        _file: &str,
        _offset: u64,
        _buffer: &mut [u8],
    ) -> io::Result<Option<usize>> {
        Ok(None)
    }

    /// Submits an operation. `done` is called when it completes, possibly before this returns.
    fn submit(&self, operation: Operation, lane: Lane, done: Done);

    /// Closes cached handles, so that later reads see files that another process has replaced
    /// since.
    fn reopen_files(&self) {}

    /// Checks that no other process can be changing a directory that this one opened for writing.
    ///
    /// # Errors
    /// The reason. It is permanent.
    fn check_owner(&self) -> io::Result<()> {
        Ok(())
    }

    /// Announces that the directory will be [released](Self::release). Does not wait: a store of
    /// this process that opens the directory waits for the release instead of being refused.
    fn begin_release(&self) {}

    /// Releases the directory to other processes. Waits for operations that are under way. Nothing
    /// may be submitted afterwards; reads still work.
    fn release(&self) {}

    /// Runs an operation and waits for it. For opening and maintenance; the writer submits.
    ///
    /// # Errors
    /// Any error of the system.
    fn run(&self, operation: Operation) -> io::Result<()> {
        // Completion may be reported from another thread.
        let (sender, receiver) = mpsc::channel();
        let done: Done = Box::new(move |result| drop(sender.send(result)));
        // Usually completes on this thread, before `submit` returns.
        self.submit(operation, Lane::Foreground, done);
        receiver.recv().unwrap_or_else(|_| {
            Err(io::Error::other("the disk dropped the operation without completing it"))
        })
    }
}
