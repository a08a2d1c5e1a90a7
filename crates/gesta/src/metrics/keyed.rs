//! A table of values by name, which grows by its first uses.
//!
//! Invariants: a name has one place, which it keeps; a look-up of a name that is there takes no
//! lock; names beyond the maximum share one value.

use std::{
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::OnceLock,
};

/// Maximum number of names with a value of their own. A power of two.
pub const KEYS_MAX: usize = 512;

/// Maximum number of places that are tried for a name.
const PROBES_MAX: usize = 32;

/// The name under which names beyond the maximum are counted together.
pub const OTHER_KEYS: &str = "(other)";

/// Values by name, such as the counters of each command. A value is created on the first use of its
/// name, and never removed.
///
/// For names from a small set that the program defines: each name takes memory for the life of the
/// table. At most [`KEYS_MAX`] names have a value of their own.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use gesta::Keyed;
///
/// let visits: Keyed<AtomicU64> = Keyed::default();
/// visits.of("/docs").fetch_add(1, Ordering::Relaxed);
/// visits.of("/docs").fetch_add(1, Ordering::Relaxed);
/// let all = visits.iter().map(|(name, count)| (name, count.load(Ordering::Relaxed)));
/// assert_eq!(all.collect::<Vec<_>>(), [("/docs", 2)]);
/// ```
pub struct Keyed<T> {
    slots: Box<[OnceLock<Box<KeyedEntry<T>>>]>,
    /// Value of the names beyond the maximum. Empty until there is one.
    other: OnceLock<Box<KeyedEntry<T>>>,
}

struct KeyedEntry<T> {
    key: Box<str>,
    value: T,
}

impl<T: Default> Keyed<T> {
    /// Returns the value of a name. Allocates on the first use of the name only.
    pub fn of(&self, key: &str) -> &T {
        let first = place_of(key);
        for probe in 0..PROBES_MAX {
            let Some(slot) = self.slots.get((first + probe) % KEYS_MAX) else { break };
            // A thread that brings another name at the same time waits, and tries the next place.
            let entry = slot.get_or_init(|| KeyedEntry::of(key));
            if *entry.key == *key {
                return &entry.value;
            }
        }
        &self.other.get_or_init(|| KeyedEntry::of(OTHER_KEYS)).value
    }

    /// Returns all names that were used, with their values, sorted by name. The last one may be
    /// [`OTHER_KEYS`].
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        let mut entries: Vec<&KeyedEntry<T>> =
            self.slots.iter().filter_map(|slot| slot.get().map(Box::as_ref)).collect();
        entries.sort_by_key(|entry| &entry.key);
        entries.extend(self.other.get().map(Box::as_ref));
        entries.into_iter().map(|entry| (&*entry.key, &entry.value))
    }
}

impl<T: Default> KeyedEntry<T> {
    fn of(key: &str) -> Box<Self> {
        Box::new(Self { key: key.into(), value: T::default() })
    }
}

/// Returns the first place that is tried for a name. The same in each table.
fn place_of(key: &str) -> usize {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    usize::try_from(hasher.finish() % KEYS_MAX as u64).unwrap_or_default()
}

impl<T> Default for Keyed<T> {
    fn default() -> Self {
        Self { slots: (0..KEYS_MAX).map(|_| OnceLock::new()).collect(), other: OnceLock::new() }
    }
}

impl<T: Default + fmt::Debug> fmt::Debug for Keyed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn add(table: &Keyed<AtomicU64>, key: &str) {
        table.of(key).fetch_add(1, Ordering::Relaxed);
    }

    #[test]
    fn more_names_than_the_table_has_room_for_are_counted_together() {
        let table = Keyed::default();
        for name in 0..4 * KEYS_MAX {
            add(&table, &name.to_string());
        }
        let counts: Vec<(&str, u64)> =
            table.iter().map(|(name, count)| (name, count.load(Ordering::Relaxed))).collect();
        assert_eq!(counts.iter().map(|(_, count)| count).sum::<u64>(), 4 * KEYS_MAX as u64);
        assert!(counts.len() <= KEYS_MAX + 1, "{} names", counts.len());
        let (last, together) = *counts.last().unwrap();
        assert_eq!(last, OTHER_KEYS);
        assert!(together >= 3 * KEYS_MAX as u64, "{together}");
    }

    #[test]
    fn threads_that_bring_the_same_names_at_once_count_each_in_one_place() {
        let table = Keyed::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..100).for_each(|name| add(&table, &name.to_string())));
            }
        });
        assert_eq!(table.iter().count(), 100);
        assert!(table.iter().all(|(_, count)| count.load(Ordering::Relaxed) == 4));
    }
}
