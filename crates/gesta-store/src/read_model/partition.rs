//! Partitions of a projection: parts of its events, each with a checkpoint in the one read model.
//!
//! Owns: [`Partition`], and the text of the property with the checkpoints of all partitions.
//!
//! Invariants: the events of one stream belong to one partition, forever. The checkpoint of the
//! read model is the lowest one of its partitions: all events up to it are handled. Not here: the
//! transactions that read and write the property
//! ([`ReadModelTx::advance_partition`](crate::ReadModelTx::advance_partition)).

use std::fmt;

use crate::{Checkpoint, Incarnation, Position, StreamName};

/// Property with the checkpoints of all partitions, by index.
pub(super) const PROPERTY: &str = "$partitions";

/// One of several parts of a projection's events: those of the streams that a stable hash assigns
/// to it.
///
/// ```
/// use gesta_store::{Partition, StreamName};
///
/// let all: Vec<_> = Partition::all(4).collect();
/// let stream = StreamName::new("order-17")?;
/// assert_eq!(all.iter().filter(|partition| partition.has(&stream)).count(), 1);
/// assert_eq!(all[2].to_string(), "2 of 4");
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Partition {
    index: u32,
    count: u32,
}

impl Partition {
    /// Returns the partitions of a projection, by index from 0. Zero counts as one.
    pub fn all(count: u32) -> impl Iterator<Item = Self> {
        let count = count.max(1);
        (0..count).map(move |index| Self { index, count })
    }

    /// Returns the index, from 0.
    #[must_use]
    pub const fn index(self) -> u32 {
        self.index
    }

    /// Returns the number of partitions of the projection.
    #[must_use]
    pub const fn count(self) -> u32 {
        self.count
    }

    /// Returns whether the events of a stream belong to this partition.
    #[must_use]
    pub fn has(self, stream: &StreamName) -> bool {
        hash(stream.as_str()) % u64::from(self.count) == u64::from(self.index)
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.index, self.count)
    }
}

/// FNV-1a with 64 bits, and its bits mixed: the lowest ones decide. Checkpoints depend on it, so it
/// never changes.
fn hash(text: &str) -> u64 {
    let fnv = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    fnv ^ (fnv >> 32)
}

/// The checkpoints of all partitions, by index.
pub(super) struct PartitionCheckpoints(Vec<Option<Checkpoint>>);

impl PartitionCheckpoints {
    /// Those of a read model that was not divided before: it is handled up to its own checkpoint by
    /// each partition.
    pub(super) fn undivided(own: Option<Checkpoint>, count: u32) -> Self {
        Self(vec![own; count as usize])
    }

    /// Parses the value of the property. `None` if it is damaged.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let entries = text.split(',').map(|entry| {
            if entry == "-" {
                return Some(None);
            }
            let (position, incarnation) = entry.split_once('@')?;
            let position = Position::new(position.parse().ok()?);
            let incarnation = Incarnation::new(incarnation.parse().ok()?);
            Some(Some(Checkpoint { position, incarnation }))
        });
        entries.collect::<Option<Vec<_>>>().map(Self)
    }

    /// Returns the value of the property.
    pub(super) fn text(&self) -> String {
        let entry = |checkpoint: &Option<Checkpoint>| match checkpoint {
            Some(it) => format!("{}@{}", it.position, it.incarnation.as_uuid()),
            None => "-".to_owned(),
        };
        self.0.iter().map(entry).collect::<Vec<_>>().join(",")
    }

    /// Returns whether the read model is divided into this number.
    pub(super) fn has_count(&self, count: u32) -> bool {
        self.0.len() == count as usize
    }

    pub(super) fn of(&self, partition: Partition) -> Option<Checkpoint> {
        *self.0.get(partition.index as usize)?
    }

    pub(super) fn set(&mut self, partition: Partition, checkpoint: Checkpoint) {
        if let Some(entry) = self.0.get_mut(partition.index as usize) {
            *entry = Some(checkpoint);
        }
    }

    /// Returns the lowest checkpoint, or `None` while one is missing or of another incarnation.
    pub(super) fn lowest(&self) -> Option<Checkpoint> {
        let all: Option<Vec<Checkpoint>> = self.0.iter().copied().collect();
        let all = all?;
        let first = all.first()?;
        let is_one = all.iter().all(|it| it.incarnation == first.incarnation);
        all.into_iter().min_by_key(|it| it.position).filter(|_| is_one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_keeps_its_partition_for_ever() {
        let index = |name: &str| {
            let stream = StreamName::new(name).expect("a name");
            let all = Partition::all(8).filter(|partition| partition.has(&stream));
            all.map(Partition::index).collect::<Vec<_>>()
        };
        let expected = [2, 3, 0, 3].map(|index| vec![index]);
        assert_eq!(["order-1", "order-2", "order-3", "größe-ä"].map(index), expected);
    }

    #[test]
    fn streams_are_spread_evenly() {
        for partition in Partition::all(3) {
            let names = (0..3_000).map(|number| format!("order-{number}"));
            let streams = names.map(|name| StreamName::new(name).expect("a name"));
            let count = streams.filter(|stream| partition.has(stream)).count();
            assert!((900..1_100).contains(&count), "{partition} has {count}");
        }
    }
}
