//! File names: the current listing, and the names that survive a power cut.
//!
//! Invariants: each change of a name is atomic; until the directory is synced, any subset of the
//! changes may be lost.

use std::collections::BTreeMap;

use crate::rng::SimRng;

/// Index of a file in the disk's list; it stays the same across renames.
pub(crate) type FileNumber = usize;

#[derive(Clone, Debug)]
enum NameChange {
    Link { name: String, file: FileNumber },
    Move { from: String, to: String, file: FileNumber },
    Unlink { name: String },
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Directory {
    current: BTreeMap<String, FileNumber>,
    durable: BTreeMap<String, FileNumber>,
    /// Changes that are not durable, each with its sequence number.
    pending: Vec<(u64, NameChange)>,
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
        self.change(NameChange::Link { name, file });
    }

    pub(crate) fn rename(&mut self, from: String, to: String, file: FileNumber) {
        self.change(NameChange::Move { from, to, file });
    }

    pub(crate) fn unlink(&mut self, name: String) {
        self.change(NameChange::Unlink { name });
    }

    /// Returns the last change that a sync submitted now makes durable.
    pub(crate) const fn covered(&self) -> u64 {
        self.changes
    }

    pub(crate) fn sync(&mut self, covered: u64) {
        let count = self.pending.partition_point(|(number, _)| *number <= covered);
        for (_, change) in self.pending.drain(..count) {
            change.apply(&mut self.durable);
        }
    }

    /// Loses power. Returns the files whose current name was lost.
    pub(crate) fn cut_power(&mut self, rng: &mut SimRng) -> Vec<FileNumber> {
        // Changes reach the device independently of each other, so each is kept or lost separately.
        let kept_percent = rng.pick(&[0, 50, 90, 100]);
        for (_, change) in std::mem::take(&mut self.pending) {
            if rng.percent(kept_percent) {
                change.apply(&mut self.durable);
            }
        }
        let before = std::mem::replace(&mut self.current, self.durable.clone());
        let is_lost = |(name, file): &(String, FileNumber)| self.durable.get(name) != Some(file);
        before.into_iter().filter(is_lost).map(|(_, file)| file).collect()
    }

    fn change(&mut self, change: NameChange) {
        self.changes += 1;
        change.apply(&mut self.current);
        self.pending.push((self.changes, change));
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, FileNumber>) {
        match self {
            Self::Link { name, file } => {
                names.insert(name.clone(), *file);
            }
            Self::Move { from, to, file } => {
                // The old name may stand for another file by now.
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
