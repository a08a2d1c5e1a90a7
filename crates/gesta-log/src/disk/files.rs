//! Real files in one directory.
//!
//! Owns the open file handles, and the I/O threads for pipelined and background operations.
//! Foreground operations run on the submitting thread, so a single writer needs no hand-off. Only
//! one process at a time holds a [`FileDisk`] with [`Access::ReadWrite`]. If another process takes
//! the directory over, this one notices before it reports an operation as done
//! ([`ownership`](super::ownership)). Write-through is in [`direct`](super::direct).

use std::{
    collections::{HashMap, VecDeque},
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{self, Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, mpsc},
    thread::JoinHandle,
};

use bytes::Bytes;
use foldhash::fast::RandomState;
use rustix::{
    fs::{CWD, RenameFlags},
    io::Errno,
};

use super::{
    Cache, Disk, Done, Lane, Operation,
    descriptors::{SpareDescriptors, is_out_of_descriptors, retry_interrupted},
    direct::WriteThrough,
    ownership::{LockError, Ownership, is_ownership_lost, not_started},
    platform::{drop_cached, open_direct, open_to_read},
};

/// Larger reads look up the file's size first.
const READ_UNASKED_BYTES: usize = 4 << 20;
/// Maximum number of files kept open for reading. Applies if the process may open four times as
/// many.
const READ_HANDLES_MAX: usize = 1_024;
/// Maximum number of files kept open because they were created here: the active segment, the next
/// one, and some that are sealed and therefore synced.
const MADE_HANDLES_MAX: usize = 8;

/// The mode in which a directory is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// Reads and appends. Exclusive.
    ReadWrite,
    /// Reads only. Takes no lock and changes nothing.
    ReadOnly,
}

/// A directory of real files.
#[derive(Debug)]
pub struct FileDisk {
    files: Arc<DirectoryFiles>,
    writing: Mutex<Option<WriterThreads>>,
}

/// The I/O threads and the lock of a directory opened for writing. Dropped in this order: the lock
/// is released once nothing can write.
#[derive(Debug)]
struct WriterThreads {
    pipelined: IoThread,
    background: IoThread,
    _owned: Arc<Ownership>,
}

impl FileDisk {
    /// Opens a directory. Creates it if it is missing and access is [`Access::ReadWrite`].
    ///
    /// # Errors
    /// [`LockError::InUse`]: another process appends to it. [`LockError::Io`]: see its source.
    pub fn open(directory: &Path, access: Access) -> Result<Self, LockError> {
        let failed = |source| LockError::Io { directory: directory.to_owned(), source };
        if access == Access::ReadOnly {
            fs::metadata(directory).map_err(failed)?;
            let files = Arc::new(DirectoryFiles::new(directory, Weak::new()));
            return Ok(Self { files, writing: Mutex::new(None) });
        }
        create_durably(directory).map_err(failed)?;
        // The lock first: nothing is opened in a directory of another process.
        let owned = Arc::new(Ownership::take(directory)?);
        let files = Arc::new(DirectoryFiles::new(directory, Arc::downgrade(&owned)));
        files.spare.fill();
        let start = |name| IoThread::start(name, Arc::clone(&files)).map_err(failed);
        let (pipelined, background) = (start("gesta-disk")?, start("gesta-background")?);
        let writing = WriterThreads { pipelined, background, _owned: owned };
        Ok(Self { files, writing: Mutex::new(Some(writing)) })
    }

    fn writing(&self) -> MutexGuard<'_, Option<WriterThreads>> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Creates a directory with its missing parents, and makes their names durable.
fn create_durably(directory: &Path) -> io::Result<()> {
    if directory.as_os_str().is_empty() || directory.is_dir() {
        return Ok(());
    }
    let above = directory.parent().unwrap_or(Path::new(""));
    create_durably(above)?;
    match fs::create_dir(directory) {
        // Another process may create the directory at the same time.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
    // The new name is an entry of the parent directory.
    File::open(above)?.sync_all()
}

impl Disk for FileDisk {
    /// The directory, in full: readers of an error text do not know where this process was started.
    fn place(&self) -> String {
        let directory = &self.files.directory;
        path::absolute(directory).as_ref().unwrap_or(directory).display().to_string()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let entries = self.files.opened(|| fs::read_dir(&self.files.directory))?;
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn length(&self, file: &str) -> io::Result<u64> {
        Ok(self.files.get(file)?.metadata()?.len())
    }

    /// Opens no file, so that the descriptors of those that are read stay open.
    fn stored_bytes(&self) -> io::Result<u64> {
        let mut entries = self.files.opened(|| fs::read_dir(&self.files.directory))?;
        entries.try_fold(0, |sum, entry| match entry?.metadata() {
            Ok(metadata) if metadata.is_file() => Ok(sum + metadata.len()),
            Ok(_) => Ok(sum),
            // Removed since it was listed, as a compaction does.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(sum),
            Err(error) => Err(error),
        })
    }

    fn read(&self, file: &str, offset: u64, length: usize, cache: Cache) -> io::Result<Bytes> {
        let file = self.files.get(file)?;
        match cache {
            Cache::Use => {}
            Cache::Bypass => drop_cached(&file, offset, length)?,
        }
        // A length this large may come from a corrupt header, so clamp it to the file's size before
        // allocating.
        let length = match length {
            0..=READ_UNASKED_BYTES => length,
            _ => {
                let left = file.metadata()?.len().saturating_sub(offset);
                length.min(usize::try_from(left).unwrap_or(usize::MAX))
            }
        };
        let mut buffer = vec![0; length];
        let read = read_full(&file, offset, &mut buffer)?;
        buffer.truncate(read);
        Ok(buffer.into())
    }

    fn read_into(&self, file: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        read_full(&*self.files.get(file)?, offset, buffer)
    }

    fn read_cached(&self, file: &str, offset: u64, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        // Opening a file may wait for the device.
        let Some(file) = self.files.handles().get(file) else { return Ok(None) };
        read_full_cached(&file, offset, buffer)
    }

    fn submit(&self, operation: Operation, lane: Lane, done: Done) {
        if lane == Lane::Foreground {
            return done(self.files.run(operation));
        }
        match &*self.writing() {
            Some(writing) if lane == Lane::Pipelined => writing.pipelined.submit(operation, done),
            Some(writing) => writing.background.submit(operation, done),
            None => done(Err(io::Error::other("the directory was released"))),
        }
    }

    fn reopen_files(&self) {
        self.files.handles().take_read();
    }

    fn check_owner(&self) -> io::Result<()> {
        let Some(owned) = self.files.owned.upgrade() else { return Ok(()) };
        // Any other error does not say who the owner is.
        owned.check().or_else(|error| if is_ownership_lost(&error) { Err(error) } else { Ok(()) })
    }

    fn begin_release(&self) {
        if let Some(owned) = self.files.owned.upgrade() {
            owned.begin_release();
        }
    }

    fn release(&self) {
        // Without the lock: joining the threads may complete operations whose callbacks submit
        // others.
        let writing = self.writing().take();
        drop(writing);
    }
}

/// Reads until the buffer is full or the file ends.
fn read_full(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// As [`read_full`] from the page cache. `None` if a part of it is not there, or if the file system
/// cannot tell.
#[cfg(target_os = "linux")]
fn read_full_cached(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    use rustix::io::{ReadWriteFlags, preadv2};
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let mut rest = [io::IoSliceMut::new(rest)];
        match preadv2(file, &mut rest, offset + filled as u64, ReadWriteFlags::NOWAIT) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Some(filled))
}

/// Other systems cannot tell what the page cache has.
#[cfg(not(target_os = "linux"))]
fn read_full_cached(_: &File, _: u64, _: &mut [u8]) -> io::Result<Option<usize>> {
    Ok(None)
}

/// The directory and its open files.
#[derive(Debug)]
struct DirectoryFiles {
    directory: PathBuf,
    /// Held while a file is opened, created or renamed, so that a handle belongs to the file that
    /// has the name. Taken before `handles`.
    names: Mutex<()>,
    /// Never held during a system call: threads that must not wait lock it.
    handles: Mutex<FileHandles>,
    /// The file that is written through.
    through: Mutex<Option<WriteThrough>>,
    spare: SpareDescriptors,
    /// The lock of a directory opened for writing, until it is released.
    owned: Weak<Ownership>,
}

/// Handles of files that are read, by name.
type ReadHandles = HashMap<String, Arc<File>, RandomState>;

/// Open file handles. A file being written keeps a single handle: the kernel reports a write-back
/// error only to handles that were open when it occurred.
#[derive(Debug)]
struct FileHandles {
    made: VecDeque<(String, Arc<File>)>,
    read: ReadHandles,
    read_max: usize,
}

/// A quarter of the process's limit of open files. The rest is for connections and the application.
fn read_handles_max() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let part = limit.map_or(usize::MAX, |limit| usize::try_from(limit / 4).unwrap_or(usize::MAX));
    part.clamp(1, READ_HANDLES_MAX)
}

/// Returns whether a file is a segment or becomes one.
fn is_segment(name: &str) -> bool {
    let is_of_index = name.contains(".run") || name.starts_with("INDEX");
    !is_of_index && (name.ends_with(".seg") || name.ends_with(".new"))
}

impl FileHandles {
    fn new(read_max: usize) -> Self {
        Self { made: VecDeque::new(), read: ReadHandles::default(), read_max }
    }

    fn get(&self, name: &str) -> Option<Arc<File>> {
        let made = self.made.iter().find(|(made, _)| made == name).map(|(_, file)| file);
        made.or_else(|| self.read.get(name)).map(Arc::clone)
    }

    fn keep_made(&mut self, name: String, file: Arc<File>) {
        if self.made.len() >= MADE_HANDLES_MAX {
            self.forget_made();
        }
        self.made.push_back((name, file));
    }

    /// Closes the oldest handle of a created file that is no longer needed. Returns false if there
    /// is none. The active and the next segment and the latest file of the index stay open:
    /// reopening them could fail.
    fn forget_made(&mut self) -> bool {
        // Segments and files of the index are kept separately: either kind must not evict the
        // other.
        let names = self.made.iter().map(|(name, _)| name).enumerate();
        let (mut segments, mut others): (Vec<_>, Vec<_>) =
            names.partition(|(_, name)| is_segment(name));
        segments.truncate(segments.len().saturating_sub(2));
        others.truncate(others.len().saturating_sub(1));
        let oldest = segments.iter().chain(&others).map(|(at, _)| *at).min();
        oldest.is_some_and(|at| self.made.remove(at).is_some())
    }

    /// Keeps a handle for reading. Returns handles to close.
    fn keep_read(&mut self, name: &str, file: Arc<File>) -> ReadHandles {
        // Users of a handle hold their own reference; the files are reopened by name.
        let is_full = self.read.len() >= self.read_max;
        let closed = if is_full { self.take_read() } else { ReadHandles::default() };
        self.read.insert(name.to_owned(), file);
        closed
    }

    fn take_read(&mut self) -> ReadHandles {
        std::mem::take(&mut self.read)
    }

    /// Removes the handles of a file and returns them: closing the last handle of a removed file
    /// takes a while.
    fn forget(&mut self, name: &str) -> Vec<Arc<File>> {
        let made = self.made.iter().position(|(made, _)| made == name);
        let made = made.and_then(|at| self.made.remove(at)).map(|(_, file)| file);
        made.into_iter().chain(self.read.remove(name)).collect()
    }

    /// Moves the handle of a created file to its new name. Returns handles to close.
    fn rename(&mut self, from: &str, to: &str) -> Vec<Arc<File>> {
        let mut closed = self.forget(to);
        for (name, _) in &mut self.made {
            if name == from {
                to.clone_into(name);
            }
        }
        closed.extend(self.read.remove(from));
        closed
    }
}

impl DirectoryFiles {
    fn new(directory: &Path, owned: Weak<Ownership>) -> Self {
        Self {
            directory: directory.to_owned(),
            names: Mutex::default(),
            handles: Mutex::new(FileHandles::new(read_handles_max())),
            through: Mutex::default(),
            spare: SpareDescriptors::default(),
            owned,
        }
    }

    fn run(&self, operation: Operation) -> io::Result<()> {
        let owned = self.owned.upgrade();
        // A process that lost the lock must not create or remove files of the new owner.
        if let (Some(owned), true) = (&owned, changes_names(&operation)) {
            owned.check().map_err(not_started)?;
        }
        match operation {
            Operation::Create { file } => self.create(&file),
            Operation::Write { file, offset, bytes } => {
                self.get(&file)?.write_all_at(&bytes, offset)
            }
            Operation::WriteThrough { file, offset, bytes } => {
                // Before, so that no segment is begun that another owner did not see; and after, so
                // that nothing is acknowledged that another owner did not adopt.
                let check = || owned.as_ref().map_or(Ok(()), |owned| owned.check());
                if let Some(lost) = check().err().filter(is_ownership_lost) {
                    return Err(not_started(lost));
                }
                self.write_through(&file, offset, &bytes)?;
                check()
            }
            Operation::Sync { file } => self.get(&file)?.sync_data(),
            Operation::Rename { from, to } => self.rename(&from, &to),
            Operation::RenameNoReplace { from, to } => self.name(&from, &to),
            Operation::SyncDirectory => match &owned {
                Some(owned) => owned.sync_directory(),
                None => File::open(&self.directory)?.sync_all(),
            },
            Operation::Remove { file } => {
                drop(self.forget(&file));
                // It may be the removed file, and a new file may get its name.
                *self.through.lock().unwrap_or_else(PoisonError::into_inner) = None;
                let path = self.directory.join(file);
                retry_interrupted(|| fs::remove_file(&path))
            }
        }
    }

    fn handles(&self) -> MutexGuard<'_, FileHandles> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn names(&self) -> MutexGuard<'_, ()> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the handles of a file and returns them, unlocked.
    fn forget(&self, name: &str) -> Vec<Arc<File>> {
        self.handles().forget(name)
    }

    fn get(&self, name: &str) -> io::Result<Arc<File>> {
        let kept = self.handles().get(name);
        if let Some(file) = kept {
            return Ok(file);
        }
        // Opened under the lock, so that a concurrent rename to this name is not missed.
        let _names = self.names();
        let opened_since = self.handles().get(name);
        if let Some(file) = opened_since {
            return Ok(file);
        }
        let path = self.directory.join(name);
        let file = Arc::new(self.opened(|| open_to_read(&path))?);
        let closed = self.handles().keep_read(name, Arc::clone(&file));
        drop(closed);
        Ok(file)
    }

    /// Opens a file. If no descriptor is left, closes cached handles and spare descriptors one
    /// after the other until one is available.
    fn opened<T>(&self, open: impl Fn() -> io::Result<T>) -> io::Result<T> {
        let mut opened = open();
        if opened.as_ref().is_err_and(is_out_of_descriptors) {
            // Cached read handles go first: they are the cheapest to open again.
            let closed = self.handles().take_read();
            drop(closed);
            opened = open();
        }
        while opened.as_ref().is_err_and(is_out_of_descriptors) && self.handles().forget_made() {
            opened = open();
        }
        while opened.as_ref().is_err_and(is_out_of_descriptors) && self.spare.close_one() {
            opened = open();
        }
        opened
    }

    fn write_through(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut through = self.through.lock().unwrap_or_else(PoisonError::into_inner);
        if through.as_ref().is_none_or(|through| through.name() != name) {
            // Close it first: its descriptor may be the only one available.
            *through = None;
            let file = self.get(name).map_err(not_started)?;
            let path = self.directory.join(name);
            let direct = self.opened(|| open_direct(&path));
            *through = Some(WriteThrough::new(name, file, direct.ok()));
        }
        let through = through.as_mut().expect("it was just opened");
        through.write(offset, bytes)
    }

    fn create(&self, name: &str) -> io::Result<()> {
        // A new file is about to need descriptors: refill while there may be some.
        self.spare.fill();
        let path = self.directory.join(name);
        let mut options = OpenOptions::new();
        // Readable too: the same handle serves reads of the segment's tail.
        let options = options.read(true).write(true).create(true).truncate(true);
        let _names = self.names();
        let file = self.opened(|| options.open(&path))?;
        drop(self.forget(name));
        self.handles().keep_made(name.to_owned(), Arc::new(file));
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let _names = self.names();
        let (old, new) = (self.directory.join(from), self.directory.join(to));
        retry_interrupted(|| fs::rename(&old, &new))?;
        self.rename_handles(from, to);
        Ok(())
    }

    fn name(&self, from: &str, to: &str) -> io::Result<()> {
        let _names = self.names();
        let (old, new) = (self.directory.join(from), self.directory.join(to));
        let named = retry_interrupted(|| {
            match rustix::fs::renameat_with(
                CWD,
                old.as_path(),
                CWD,
                new.as_path(),
                RenameFlags::NOREPLACE,
            ) {
                // Not every file system supports an atomic rename without replacement.
                Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) if new.exists() => {
                    Err(io::ErrorKind::AlreadyExists.into())
                }
                Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => fs::rename(&old, &new),
                renamed => Ok(renamed?),
            }
        });
        named.map(|()| self.rename_handles(from, to))
    }

    fn rename_handles(&self, from: &str, to: &str) {
        let closed = self.handles().rename(from, to);
        drop(closed);
    }
}

/// Returns whether an operation creates, renames or removes a file.
fn changes_names(operation: &Operation) -> bool {
    match operation {
        Operation::Create { .. }
        | Operation::Rename { .. }
        | Operation::RenameNoReplace { .. }
        | Operation::Remove { .. } => true,
        Operation::Write { .. }
        | Operation::WriteThrough { .. }
        | Operation::Sync { .. }
        | Operation::SyncDirectory => false,
    }
}

/// A thread that runs operations in the order of submission.
#[derive(Debug)]
struct IoThread {
    work: Option<mpsc::Sender<(Operation, Done)>>,
    thread: Option<JoinHandle<()>>,
}

impl IoThread {
    fn start(name: &str, files: Arc<DirectoryFiles>) -> io::Result<Self> {
        let (work, operations) = mpsc::channel::<(Operation, Done)>();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            for (operation, done) in operations {
                done(files.run(operation));
            }
        })?;
        Ok(Self { work: Some(work), thread: Some(thread) })
    }

    fn submit(&self, operation: Operation, done: Done) {
        let work = self.work.as_ref().expect("taken only when dropped");
        if let Err(mpsc::SendError((_, done))) = work.send((operation, done)) {
            done(Err(io::Error::other("the I/O thread has ended")));
        }
    }
}

impl Drop for IoThread {
    fn drop(&mut self) {
        // Closing the channel ends the thread after the operations that are queued.
        drop(self.work.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_files_are_held_open_than_the_process_can_spare() {
        let directory = tempfile::tempdir().unwrap();
        let disk = FileDisk::open(directory.path(), Access::ReadWrite).unwrap();
        disk.files.handles().read_max = 3;
        for number in 0..20_u8 {
            let name = number.to_string();
            fs::write(directory.path().join(&name), [number]).unwrap();
            let mut read = [0];
            assert_eq!(disk.read_into(&name, 0, &mut read).unwrap(), 1);
            assert_eq!(read, [number]);
            assert!(disk.files.handles().read.len() <= 3);
        }
        assert!(read_handles_max() <= READ_HANDLES_MAX);
    }
}
