//! Tests of runs against a naive model, on a disk in memory. Everything is generated from a seed
//! and repeatable.

mod answers;
mod damage;
mod model;
mod order;

use std::{
    collections::BTreeMap,
    io,
    ops::ControlFlow,
    sync::{Arc, Mutex},
};

use bytes::Bytes;

use super::{
    BlockCache, MergeInput, Run, RunContents, RunIdentity, RunName, merge_runs, write_run,
};
use crate::disk::{Cache, Disk, Done, Lane, Operation};

/// A generator of random numbers (SplitMix64).
#[derive(Debug)]
struct TestRng(u64);

impl TestRng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }
}

/// Files in memory. Records every operation, and makes a chosen one fail.
#[derive(Debug, Default)]
struct RecordingDisk {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    operations: Mutex<Vec<Operation>>,
    failing: Option<usize>,
}

impl RecordingDisk {
    fn file(&self, name: &str) -> Vec<u8> {
        self.files.lock().unwrap()[name].clone()
    }

    fn put(&self, name: &str, bytes: Vec<u8>) {
        self.files.lock().unwrap().insert(name.to_owned(), bytes);
    }

    fn operations(&self) -> Vec<String> {
        self.operations.lock().unwrap().iter().map(|operation| format!("{operation:?}")).collect()
    }

    fn apply(&self, operation: Operation) -> io::Result<()> {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let mut files = self.files.lock().unwrap();
        match operation {
            Operation::Create { file } => drop(files.insert(file, Vec::new())),
            Operation::Write { file, offset, bytes }
            | Operation::WriteThrough { file, offset, bytes } => {
                let file = files.get_mut(&file).ok_or_else(missing)?;
                let (start, end) = (offset as usize, offset as usize + bytes.len());
                file.resize(file.len().max(end), 0);
                file[start..end].copy_from_slice(&bytes);
            }
            Operation::Sync { file } => drop(files.get(&file).ok_or_else(missing)?),
            Operation::Rename { from, to } | Operation::RenameNoReplace { from, to } => {
                let file = files.remove(&from).ok_or_else(missing)?;
                files.insert(to, file);
            }
            Operation::SyncDirectory => {}
            Operation::Remove { file } => drop(files.remove(&file).ok_or_else(missing)?),
        }
        Ok(())
    }
}

impl Disk for RecordingDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files.lock().unwrap().keys().cloned().collect())
    }

    fn length(&self, file: &str) -> io::Result<u64> {
        let files = self.files.lock().unwrap();
        let file = files.get(file).ok_or(io::ErrorKind::NotFound)?;
        Ok(file.len() as u64)
    }

    fn read(&self, file: &str, offset: u64, length: usize, _: Cache) -> io::Result<Bytes> {
        let files = self.files.lock().unwrap();
        let file = files.get(file).ok_or(io::ErrorKind::NotFound)?;
        let start = file.len().min(offset as usize);
        let end = file.len().min(start.saturating_add(length));
        Ok(Bytes::copy_from_slice(&file[start..end]))
    }

    fn submit(&self, operation: Operation, _: Lane, done: Done) {
        let mut operations = self.operations.lock().unwrap();
        let number = operations.len();
        operations.push(operation.clone());
        drop(operations);
        if self.failing == Some(number) {
            return done(Err(io::Error::other("the disk fails here")));
        }
        done(self.apply(operation));
    }
}

const STORE: [u8; 16] = [5; 16];

fn origin(random: u8) -> RunIdentity {
    RunIdentity { store: STORE, random: [random; 16] }
}

fn cache() -> Arc<BlockCache> {
    Arc::new(BlockCache::new(1 << 20))
}

fn open(disk: &dyn Disk, name: RunName) -> Arc<Run> {
    Arc::new(Run::open(disk, name, cache()).unwrap())
}

fn write(disk: &dyn Disk, contents: &RunContents) -> Arc<Run> {
    open(disk, write_run(disk, &origin(1), contents.clone()).unwrap())
}

fn merge(disk: &dyn Disk, inputs: &[Arc<Run>]) -> Arc<Run> {
    let mut on_bytes = |_| ControlFlow::Continue(());
    open(disk, merge_runs(disk, &origin(2), &plain(inputs), &mut on_bytes).unwrap())
}

fn plain(runs: &[Arc<Run>]) -> Vec<MergeInput<'_>> {
    runs.iter().map(|run| MergeInput { run, overrides: &[] }).collect()
}
