//! The seam to storage: everything that the engine reads or writes goes through [`Disk`].
//!
//! Owns: what can be asked of a directory of files, and when it is done. Always holds: an
//! operation that was submitted may take effect, wholly or in part, until its completion says
//! otherwise; operations submitted together may complete in any order; only a completed
//! [`Operation::Sync`] or [`Operation::WriteThrough`] makes written bytes durable, and only a completed
//! [`Operation::SyncDirectory`] makes names durable.
//! Not here: what the bytes mean, and who may open the directory ([`FileDisk`] locks it).

mod descriptors;
mod direct;
mod files;
mod ownership;

use std::{fmt, io, sync::mpsc};

use bytes::Bytes;

pub(crate) use descriptors::is_shortage;
pub use files::{Access, FileDisk};
pub use ownership::LockError;
pub(crate) use ownership::{is_ownership_lost, may_have_written};

/// One change to storage.
#[derive(Clone, PartialEq, Eq)]
pub enum Operation {
    /// Makes an empty file; one of that name that is there is emptied.
    Create {
        /// The file's name.
        file: String,
    },
    /// Writes bytes at an offset; the file grows where needed.
    Write {
        /// The file's name.
        file: String,
        /// Where, in bytes.
        offset: u64,
        /// What.
        bytes: Bytes,
    },
    /// Writes bytes at an offset and makes them durable, in one step or in two. For appending to a
    /// file that was made of zeros: nothing but zeros may lie after the bytes.
    WriteThrough {
        /// The file's name.
        file: String,
        /// Where, in bytes.
        offset: u64,
        /// What.
        bytes: Bytes,
    },
    /// Makes everything durable that was written to a file before this was submitted.
    Sync {
        /// The file's name.
        file: String,
    },
    /// Gives a file another name.
    Rename {
        /// The old name.
        from: String,
        /// The new name.
        to: String,
    },
    /// Gives a file another name that no file has yet; otherwise
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists).
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
            Self::RenameNoReplace { from, to } => write!(f, "name {from} {to}"),
            Self::SyncDirectory => f.write_str("sync directory"),
            Self::Remove { file } => write!(f, "remove {file}"),
        }
    }
}

/// How urgent an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Somebody waits for it, and the submitter has nothing else to do meanwhile.
    Foreground,
    /// Somebody waits for it, and the submitter goes on meanwhile. Done in the order of submission.
    Pipelined,
    /// Preparation; must not delay the foreground.
    Background,
}

/// From where a read takes its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// From wherever is fastest.
    Use,
    /// From the device: what the page cache holds after a failed sync may be a lie.
    Bypass,
}

/// Called once when an operation is done, from any thread.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// A directory of files.
pub trait Disk: Send + Sync + fmt::Debug + 'static {
    /// The names of all files, in any order.
    ///
    /// # Errors
    /// Whatever the system says.
    fn list(&self) -> io::Result<Vec<String>>;

    /// A file's length in bytes.
    ///
    /// # Errors
    /// Whatever the system says, [`io::ErrorKind::NotFound`] among it.
    fn length(&self, file: &str) -> io::Result<u64>;

    /// Reads up to `length` bytes; fewer only where the file ends.
    ///
    /// # Errors
    /// Whatever the system says, [`io::ErrorKind::NotFound`] among it.
    fn read(&self, file: &str, offset: u64, length: usize, cache: Cache) -> io::Result<Bytes>;

    /// Reads into a buffer, from wherever is fastest; says how many bytes: fewer than the buffer has
    /// only where the file ends.
    ///
    /// # Errors
    /// Whatever the system says, [`io::ErrorKind::NotFound`] among it.
    fn read_into(&self, file: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.read(file, offset, buffer.len(), Cache::Use)?;
        buffer.iter_mut().zip(&bytes).for_each(|(place, byte)| *place = *byte);
        Ok(bytes.len())
    }

    /// Begins an operation. `done` is called once it is done, maybe before this returns.
    fn submit(&self, operation: Operation, lane: Lane, done: Done);

    /// What is read from now on is read from the files that have their names now, which another
    /// process may have given to others since they were read last.
    fn reopen_files(&self) {}

    /// An error if another process may be changing the directory, although this one opened it to do so.
    ///
    /// # Errors
    /// The reason, which does not pass.
    fn check_owner(&self) -> io::Result<()> {
        Ok(())
    }

    /// Nothing will be submitted any more: lets others have the directory. Reads go on.
    fn release(&self) {}

    /// Does an operation and waits for it; for opening and maintenance, not for the writer.
    ///
    /// # Errors
    /// Whatever the system says.
    fn run(&self, operation: Operation) -> io::Result<()> {
        let (sender, receiver) = mpsc::channel();
        let done: Done = Box::new(move |result| drop(sender.send(result)));
        self.submit(operation, Lane::Foreground, done);
        receiver.recv().unwrap_or_else(|_| Err(io::Error::other("the disk gave no answer")))
    }
}
