//! Real files in one directory.
//!
//! Owns: the directory lock, open file handles, and the threads that run operations beside the
//! writer and in the background. Always holds: foreground operations run on the thread that submits
//! them, so a lone writer pays no hand-off; while a [`FileDisk`] with [`Access::ReadWrite`] lives,
//! no other process has one. Not here: how bytes are written through ([`direct`](super::direct)).

use std::{
    collections::{HashMap, VecDeque},
    fs::{self, File, OpenOptions},
    io,
    num::NonZeroU64,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread::JoinHandle,
};

use bytes::Bytes;
use foldhash::fast::RandomState;
use rustix::fs::{Advice, FlockOperation, OFlags};

use super::{Cache, Disk, Done, Lane, Operation, direct::WriteThrough};

/// The file that is locked; its content is the owner's process id.
const LOCK_FILE: &str = "LOCK";
/// Larger reads first ask how much there is.
const READ_UNASKED_BYTES: usize = 4 << 20;
/// Files that are kept open for reading at most, where the process may have twice as many.
const READ_HANDLES_MAX: usize = 1_024;
/// Files that are kept open because they were made here, at most: the one that is written, the
/// next one, and some that were sealed, and so synced, before.
const MADE_HANDLES_MAX: usize = 8;

/// What a directory is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To read and append; at most one at a time.
    ReadWrite,
    /// To read; takes no lock and changes nothing.
    ReadOnly,
}

/// Why a directory could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{} is in use by process {owner}; stop it or open read-only", .directory.display())]
    InUse {
        /// The directory.
        directory: PathBuf,
        /// The process id that the lock file names, as text.
        owner: String,
    },
    /// The system said no.
    #[error("cannot open {}", .directory.display())]
    Io {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// A directory of real files.
#[derive(Debug)]
pub struct FileDisk {
    files: Arc<Files>,
    writing: Mutex<Option<Writing>>,
}

/// What a disk that is written to has, dropped in this order: the directory is free only once
/// nothing writes to it any more.
#[derive(Debug)]
struct Writing {
    beside: Worker,
    background: Worker,
    _lock: DirectoryLock,
}

/// The lock on a directory. Freed when dropped, even if a child process that is just being started
/// still holds a copy of the file.
#[derive(Debug)]
struct DirectoryLock(File);

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // Closing the file frees the lock as well, so a failure changes nothing.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

impl FileDisk {
    /// Opens a directory; made if it is not there and access is [`Access::ReadWrite`].
    ///
    /// # Errors
    /// [`LockError::InUse`]: another process appends to it. [`LockError::Io`]: see its source.
    pub fn open(directory: &Path, access: Access) -> Result<Self, LockError> {
        let failed = |source| LockError::Io { directory: directory.to_owned(), source };
        let files = Arc::new(Files {
            directory: directory.to_owned(),
            handles: Mutex::new(Handles::new(read_handles_max())),
            through: Mutex::default(),
        });
        let writing = match access {
            Access::ReadWrite => {
                create_durably(directory).map_err(failed)?;
                let lock = lock(directory)?;
                let start = |name| Worker::start(name, Arc::clone(&files)).map_err(failed);
                let (beside, background) = (start("gesta-disk")?, start("gesta-background")?);
                Some(Writing { beside, background, _lock: lock })
            }
            Access::ReadOnly => {
                fs::metadata(directory).map_err(failed)?;
                None
            }
        };
        Ok(Self { files, writing: Mutex::new(writing) })
    }

    fn writing(&self) -> MutexGuard<'_, Option<Writing>> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a directory and those above it that are not there, and makes their names durable.
fn create_durably(directory: &Path) -> io::Result<()> {
    if directory.as_os_str().is_empty() || directory.is_dir() {
        return Ok(());
    }
    let above = directory.parent().unwrap_or(Path::new(""));
    create_durably(above)?;
    match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
    File::open(above)?.sync_all()
}

fn lock(directory: &Path) -> Result<DirectoryLock, LockError> {
    let failed = |source| LockError::Io { directory: directory.to_owned(), source };
    let path = directory.join(LOCK_FILE);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(failed)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let owner = fs::read_to_string(&path).unwrap_or_default();
            let owner = if owner.is_empty() { "unknown".to_owned() } else { owner };
            return Err(LockError::InUse { directory: directory.to_owned(), owner });
        }
        Err(error) => return Err(failed(error.into())),
    }
    let lock = DirectoryLock(file);
    lock.0.set_len(0).map_err(failed)?;
    lock.0.write_all_at(std::process::id().to_string().as_bytes(), 0).map_err(failed)?;
    Ok(lock)
}

impl Disk for FileDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(&self.files.directory)?;
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
                rustix::fs::fadvise(&file, offset, length, Advice::DontNeed)?;
            }
        }
        // What asks for so much may have it from bytes that lie.
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
            Some(writing) if lane == Lane::Beside => writing.beside.hand_over(operation, done),
            Some(writing) => writing.background.hand_over(operation, done),
            None => done(Err(io::Error::other("the directory was freed"))),
        }
    }

    fn look_again(&self) {
        self.files.handles().read.clear();
    }

    fn release(&self) {
        // Not below the lock: an operation in the background may be told of its end meanwhile.
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

/// The directory and the handles of files in it.
#[derive(Debug)]
struct Files {
    directory: PathBuf,
    handles: Mutex<Handles>,
    /// For the file that is written through.
    through: Mutex<Option<WriteThrough>>,
}

/// Open files. A file that is being written keeps its one handle, so that a failure to write its
/// pages back is told to whoever syncs it.
#[derive(Debug)]
struct Handles {
    made: VecDeque<(String, Arc<File>)>,
    read: HashMap<String, Arc<File>, RandomState>,
    read_max: usize,
}

/// Half of the files that the process may have open: the rest is its own.
fn read_handles_max() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let half = limit.map_or(usize::MAX, |limit| usize::try_from(limit / 2).unwrap_or(usize::MAX));
    half.min(READ_HANDLES_MAX)
}

impl Handles {
    fn new(read_max: usize) -> Self {
        Self { made: VecDeque::new(), read: HashMap::default(), read_max }
    }

    fn get(&self, name: &str) -> Option<Arc<File>> {
        let made = self.made.iter().find(|(made, _)| made == name).map(|(_, file)| file);
        made.or_else(|| self.read.get(name)).map(Arc::clone)
    }

    fn keep_made(&mut self, name: String, file: Arc<File>) {
        if self.made.len() >= MADE_HANDLES_MAX {
            self.made.pop_front();
        }
        self.made.push_back((name, file));
    }

    fn keep_read(&mut self, name: &str, file: Arc<File>) {
        if self.read.len() >= self.read_max {
            // Whoever uses one keeps it; the rest is opened again by name.
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

impl Files {
    fn run(&self, operation: Operation) -> io::Result<()> {
        match operation {
            Operation::Create { file } => self.create(&file),
            Operation::Write { file, offset, bytes } => {
                self.get(&file)?.write_all_at(&bytes, offset)
            }
            Operation::WriteThrough { file, offset, bytes } => {
                self.write_through(&file, offset, &bytes)
            }
            Operation::Sync { file } => self.get(&file)?.sync_data(),
            Operation::Rename { from, to } => self.rename(&from, &to),
            Operation::SyncDirectory => File::open(&self.directory)?.sync_all(),
            Operation::Remove { file } => {
                self.handles().forget(&file);
                *self.through.lock().unwrap_or_else(PoisonError::into_inner) = None;
                fs::remove_file(self.directory.join(file))
            }
        }
    }

    fn handles(&self) -> MutexGuard<'_, Handles> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, name: &str) -> io::Result<Arc<File>> {
        // Opened below the lock: a file that is given this name meanwhile must not be missed.
        let mut handles = self.handles();
        if let Some(file) = handles.get(name) {
            return Ok(file);
        }
        let path = self.directory.join(name);
        let file = Arc::new(open_to_read(&path)?);
        handles.keep_read(name, Arc::clone(&file));
        Ok(file)
    }

    fn write_through(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut through = self.through.lock().unwrap_or_else(PoisonError::into_inner);
        if through.as_ref().is_none_or(|through| through.name() != name) {
            let file = self.get(name)?;
            *through = Some(WriteThrough::open(name, &self.directory.join(name), file));
        }
        let through = through.as_mut().expect("it was just opened");
        through.write(offset, bytes)
    }

    fn create(&self, name: &str) -> io::Result<()> {
        let path = self.directory.join(name);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        let mut handles = self.handles();
        handles.forget(name);
        handles.keep_made(name.to_owned(), Arc::new(file));
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut handles = self.handles();
        fs::rename(self.directory.join(from), self.directory.join(to))?;
        handles.rename(from, to);
        Ok(())
    }
}

/// Opens a file to be read, and to be synced where that is allowed. That it was read is not noted
/// with the file where the system lets us do without, which takes a part of each small read.
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

/// A thread that runs operations in the order of their submission.
#[derive(Debug)]
struct Worker {
    work: Option<mpsc::Sender<(Operation, Done)>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    fn start(name: &str, files: Arc<Files>) -> io::Result<Self> {
        let (work, operations) = mpsc::channel::<(Operation, Done)>();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            for (operation, done) in operations {
                done(files.run(operation));
            }
        })?;
        Ok(Self { work: Some(work), thread: Some(thread) })
    }

    fn hand_over(&self, operation: Operation, done: Done) {
        let work = self.work.as_ref().expect("taken only when dropped");
        if let Err(mpsc::SendError((_, done))) = work.send((operation, done)) {
            done(Err(io::Error::other("the disk's thread ended")));
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
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
