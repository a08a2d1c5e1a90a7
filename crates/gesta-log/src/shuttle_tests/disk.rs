//! An in-memory disk with the threads of a real one.
//!
//! Foreground operations run on the calling thread; the pipelined and the background lane have a
//! thread each, which runs operations in order. Nothing is ever lost: crashes are simulated in
//! `gesta-sim`.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, PoisonError},
};

use bytes::Bytes;
use shuttle::sync::mpsc;

use crate::{
    disk::{Cache, Disk, Done, Lane, Operation},
    sync::{
        Mutex, MutexGuard,
        thread::{self, JoinHandle},
    },
};

/// A fault, which happens once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Nothing,
    /// This write of a group fails, counted from none.
    Write(usize),
    /// There is no room for this segment, counted from none.
    NoRoom(usize),
}

/// A disk whose files are byte vectors.
#[derive(Debug)]
pub(super) struct MemoryDisk {
    files: Arc<Mutex<Files>>,
    /// `None` after release, and for a disk that is only read.
    workers: Mutex<Option<[Worker; 2]>>,
    /// True if a read of a file has to wait.
    cold: bool,
}

#[derive(Debug)]
struct Files {
    by_name: BTreeMap<String, Vec<u8>>,
    fault: Fault,
    groups_written: usize,
    segments_made: usize,
}

impl MemoryDisk {
    /// An empty one.
    pub(super) fn new(fault: Fault) -> Self {
        let files = Files { by_name: BTreeMap::new(), fault, groups_written: 0, segments_made: 0 };
        let files = Arc::new(Mutex::new(files));
        let workers = [Worker::start(&files), Worker::start(&files)];
        Self { files, workers: Mutex::new(Some(workers)), cold: false }
    }

    /// An empty one whose reads have to wait.
    pub(super) fn cold() -> Self {
        Self { cold: true, ..Self::new(Fault::Nothing) }
    }

    /// Returns a copy of the current files, as another process would find them.
    pub(super) fn copied(&self) -> Self {
        let by_name = self.files().by_name.clone();
        let fault = Fault::Nothing;
        let files = Files { by_name, fault, groups_written: 0, segments_made: 0 };
        Self { files: Arc::new(Mutex::new(files)), workers: Mutex::new(None), cold: false }
    }

    /// Returns the number of groups and marks written.
    pub(super) fn groups_written(&self) -> usize {
        self.files().groups_written
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        lock(&self.files)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Files {
    fn get(&self, name: &str) -> io::Result<&Vec<u8>> {
        self.by_name.get(name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn apply(&mut self, operation: Operation) -> io::Result<()> {
        self.go_wrong(&operation)?;
        match operation {
            Operation::Create { file } => drop(self.by_name.insert(file, Vec::new())),
            Operation::Write { file, offset, bytes }
            | Operation::WriteThrough { file, offset, bytes } => {
                let file = self.by_name.get_mut(&file).ok_or(io::ErrorKind::NotFound)?;
                let (start, end) = (offset as usize, offset as usize + bytes.len());
                file.resize(file.len().max(end), 0);
                file[start..end].copy_from_slice(&bytes);
            }
            Operation::Sync { file } => drop(self.get(&file)?),
            Operation::Rename { from, to } | Operation::RenameNoReplace { from, to } => {
                let file = self.by_name.remove(&from).ok_or(io::ErrorKind::NotFound)?;
                self.by_name.insert(to, file);
            }
            Operation::SyncDirectory => {}
            Operation::Remove { file } => {
                self.by_name.remove(&file).ok_or(io::ErrorKind::NotFound)?;
            }
        }
        Ok(())
    }

    fn go_wrong(&mut self, operation: &Operation) -> io::Result<()> {
        let fault = self.fault;
        match operation {
            Operation::WriteThrough { .. } => {
                self.groups_written += 1;
                if fault == Fault::Write(self.groups_written - 1) {
                    return Err(io::Error::other("the disk fails here"));
                }
            }
            Operation::Create { .. } => {
                self.segments_made += 1;
                if fault == Fault::NoRoom(self.segments_made - 1) {
                    return Err(io::ErrorKind::StorageFull.into());
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Disk for MemoryDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files().by_name.keys().cloned().collect())
    }

    fn length(&self, file: &str) -> io::Result<u64> {
        Ok(self.files().get(file)?.len() as u64)
    }

    fn read(&self, file: &str, offset: u64, length: usize, _: Cache) -> io::Result<Bytes> {
        let files = self.files();
        let file = files.get(file)?;
        let start = file.len().min(offset as usize);
        let end = file.len().min(start.saturating_add(length));
        Ok(Bytes::copy_from_slice(&file[start..end]))
    }

    fn never_waits(&self) -> bool {
        !self.cold
    }

    fn submit(&self, operation: Operation, lane: Lane, done: Done) {
        let workers = lock(&self.workers);
        match (lane, &*workers) {
            (Lane::Pipelined, Some([beside, _])) => beside.hand_over(operation, done),
            (Lane::Background, Some([_, background])) => background.hand_over(operation, done),
            (Lane::Foreground, _) | (_, None) => {
                drop(workers);
                done(self.run(operation));
            }
        }
    }

    fn release(&self) {
        let workers = lock(&self.workers).take();
        workers.into_iter().flatten().for_each(Worker::end);
    }

    fn run(&self, operation: Operation) -> io::Result<()> {
        self.files().apply(operation)
    }
}

/// A thread that does things in the order in which they are handed over.
#[derive(Debug)]
struct Worker {
    work: mpsc::Sender<(Operation, HiddenDone)>,
    thread: JoinHandle<()>,
}

/// A callback without a `Debug` output, which the sender's error requires.
struct HiddenDone(Done);

impl std::fmt::Debug for HiddenDone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Done")
    }
}

impl Worker {
    fn start(files: &Arc<Mutex<Files>>) -> Self {
        let (work, operations) = mpsc::channel::<(Operation, HiddenDone)>();
        let files = Arc::clone(files);
        let thread = thread::spawn(move || {
            for (operation, HiddenDone(done)) in operations {
                // A device takes its time.
                thread::yield_now();
                let result = lock(&files).apply(operation);
                done(result);
            }
        });
        Self { work, thread }
    }

    fn hand_over(&self, operation: Operation, done: Done) {
        self.work.send((operation, HiddenDone(done))).unwrap();
    }

    fn end(self) {
        drop(self.work);
        self.thread.join().unwrap();
    }
}
