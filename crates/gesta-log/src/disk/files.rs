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
    num::NonZeroU64,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, mpsc},
    thread::JoinHandle,
};

use bytes::Bytes;
use foldhash::fast::RandomState;
use rustix::{
    fs::{Advice, CWD, OFlags, RenameFlags},
    io::Errno,
};

use super::{
    Cache, Disk, Done, Lane, Operation,
    descriptors::{SpareDescriptors, is_out_of_descriptors, retry_interrupted},
    direct::{WriteThrough, open_direct},
    ownership::{LockError, Ownership, is_ownership_lost, not_started},
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
    fn list(&self) -> io::Result<Vec<String>> {
        let open = || fs::read_dir(&self.files.directory);
        let entries = self.files.opened(&mut self.files.handles(), open)?;
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn length(&self, file: &str) -> io::Result<u64> {
        Ok(self.files.get(file)?.metadata()?.len())
    }

    fn read(&self, file: &str, offset: u64, length: usize, cache: Cache) -> io::Result<Bytes> {
        let file = self.files.get(file)?;
        match cache {
            Cache::Use => {}
            Cache::Bypass => {
                let length = NonZeroU64::new(length as u64);
                retry_interrupted(|| {
                    Ok(rustix::fs::fadvise(&file, offset, length, Advice::DontNeed)?)
                })?;
            }
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
        self.files.handles().read.clear();
    }

    fn check_owner(&self) -> io::Result<()> {
        let Some(owned) = self.files.owned.upgrade() else { return Ok(()) };
        // Any other error does not say who the owner is.
        owned.check().or_else(|error| if is_ownership_lost(&error) { Err(error) } else { Ok(()) })
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

/// The directory and its open files.
#[derive(Debug)]
struct DirectoryFiles {
    directory: PathBuf,
    handles: Mutex<FileHandles>,
    /// The file that is written through.
    through: Mutex<Option<WriteThrough>>,
    spare: SpareDescriptors,
    /// The lock of a directory opened for writing, until it is released.
    owned: Weak<Ownership>,
}

/// Open file handles. A file being written keeps a single handle: the kernel reports a write-back
/// error only to handles that were open when it occurred.
#[derive(Debug)]
struct FileHandles {
    made: VecDeque<(String, Arc<File>)>,
    read: HashMap<String, Arc<File>, RandomState>,
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
        Self { made: VecDeque::new(), read: HashMap::default(), read_max }
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

    fn keep_read(&mut self, name: &str, file: Arc<File>) {
        if self.read.len() >= self.read_max {
            // Users of a handle hold their own reference; the files are reopened by name.
            self.read.clear();
        }
        self.read.insert(name.to_owned(), file);
    }

    fn forget(&mut self, name: &str) {
        self.made.retain(|(made, _)| made != name);
        self.read.remove(name);
    }

    fn rename(&mut self, from: &str, to: &str) {
        self.forget(to);
        for (name, _) in &mut self.made {
            if name == from {
                to.clone_into(name);
            }
        }
        self.read.remove(from);
    }
}

impl DirectoryFiles {
    fn new(directory: &Path, owned: Weak<Ownership>) -> Self {
        Self {
            directory: directory.to_owned(),
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
                self.handles().forget(&file);
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

    fn get(&self, name: &str) -> io::Result<Arc<File>> {
        // Opened under the lock, so that a concurrent rename to this name is not missed.
        let mut handles = self.handles();
        if let Some(file) = handles.get(name) {
            return Ok(file);
        }
        let path = self.directory.join(name);
        let file = Arc::new(self.opened(&mut handles, || open_to_read(&path))?);
        handles.keep_read(name, Arc::clone(&file));
        Ok(file)
    }

    /// Opens a file. If no descriptor is left, closes cached handles and spare descriptors one
    /// after the other until one is available.
    fn opened<T>(
        &self,
        handles: &mut FileHandles,
        open: impl Fn() -> io::Result<T>,
    ) -> io::Result<T> {
        let mut opened = open();
        if opened.as_ref().is_err_and(is_out_of_descriptors) {
            // Cached read handles go first: they are the cheapest to open again.
            handles.read.clear();
            opened = open();
        }
        while opened.as_ref().is_err_and(is_out_of_descriptors) && handles.forget_made() {
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
            let direct = self.opened(&mut self.handles(), || open_direct(&path));
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
        let mut handles = self.handles();
        let file = self.opened(&mut handles, || options.open(&path))?;
        handles.forget(name);
        handles.keep_made(name.to_owned(), Arc::new(file));
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut handles = self.handles();
        let (old, new) = (self.directory.join(from), self.directory.join(to));
        retry_interrupted(|| fs::rename(&old, &new))?;
        handles.rename(from, to);
        Ok(())
    }

    fn name(&self, from: &str, to: &str) -> io::Result<()> {
        let mut handles = self.handles();
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
        named.map(|()| handles.rename(from, to))
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

/// Opens a file for reading, and for syncing where that is allowed. Uses `O_NOATIME` where
/// permitted: updates of access times are measurable on small reads.
fn open_to_read(path: &Path) -> io::Result<File> {
    let open = |flags: OFlags| {
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)
    };
    match open(OFlags::NOATIME) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open(OFlags::empty()).or_else(|_| File::open(path))
        }
        opened => opened.or_else(|_| File::open(path)),
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
