//! Names of files: what a listing shows, and what a power cut leaves.
//!
//! Always holds: a change of names is atomic by itself; until the directory is synced, any of the
//! changes may be lost, whatever became of the others.

use std::collections::BTreeMap;

use crate::chance::Chance;

/// Which file: files keep their number whatever they are called.
pub(crate) type FileNumber = usize;

#[derive(Clone, Debug)]
enum Change {
    Link { name: String, file: FileNumber },
    Move { from: String, to: String, file: FileNumber },
    Unlink { name: String },
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Directory {
    current: BTreeMap<String, FileNumber>,
    durable: BTreeMap<String, FileNumber>,
    /// Not durable yet, numbered in their order.
    pending: Vec<(u64, Change)>,
    changes: u64,
}

impl Directory {
    pub(crate) fn names(&self) -> Vec<String> {
        self.current.keys().cloned().collect()
    }

    pub(crate) fn find(&self, name: &str) -> Option<FileNumber> {
        self.current.get(name).copied()
    }

    pub(crate) fn files(&self) -> Vec<FileNumber> {
        self.current.values().copied().collect()
    }

    pub(crate) fn link(&mut self, name: String, file: FileNumber) {
        self.change(Change::Link { name, file });
    }

    pub(crate) fn rename(&mut self, from: String, to: String, file: FileNumber) {
        self.change(Change::Move { from, to, file });
    }

    pub(crate) fn unlink(&mut self, name: String) {
        self.change(Change::Unlink { name });
    }

    /// The last change that a sync submitted now covers.
    pub(crate) const fn covered(&self) -> u64 {
        self.changes
    }

    pub(crate) fn sync(&mut self, covered: u64) {
        let count = self.pending.partition_point(|(number, _)| *number <= covered);
        for (_, change) in self.pending.drain(..count) {
            change.make(&mut self.durable);
        }
    }

    /// Loses power. Returns the files whose current name was lost.
    pub(crate) fn cut_power(&mut self, chance: &mut Chance) -> Vec<FileNumber> {
        let kept_percent = chance.pick(&[0, 50, 90, 100]);
        for (_, change) in std::mem::take(&mut self.pending) {
            if chance.percent(kept_percent) {
                change.make(&mut self.durable);
            }
        }
        let before = std::mem::replace(&mut self.current, self.durable.clone());
        let is_lost = |(name, file): &(String, FileNumber)| self.durable.get(name) != Some(file);
        before.into_iter().filter(is_lost).map(|(_, file)| file).collect()
    }

    fn change(&mut self, change: Change) {
        self.changes += 1;
        change.make(&mut self.current);
        self.pending.push((self.changes, change));
    }
}

impl Change {
    fn make(&self, names: &mut BTreeMap<String, FileNumber>) {
        match self {
            Self::Link { name, file } => {
                names.insert(name.clone(), *file);
            }
            Self::Move { from, to, file } => {
                if names.get(from) == Some(file) {
                    names.remove(from);
                }
                names.insert(to.clone(), *file);
            }
            Self::Unlink { name } => {
                names.remove(name);
            }
        }
    }
}
