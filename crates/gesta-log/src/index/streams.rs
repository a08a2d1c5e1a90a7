//! Streams: their postings, names in order, and where each is in its life.
//!
//! Always holds: a stream's revision is found by counting, except past events that damage took,
//! where a new run of revisions begins.

use std::{
    collections::{BTreeSet, HashMap},
    ops::Bound,
};

use gesta_store::{Position, Revision, StreamMetadata, StreamName, StreamState, TombstoneStream};

use super::Entry;

/// Where a stream stands, as far as expectations go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tip {
    /// The last revision, hidden or not.
    pub(crate) head: Option<Revision>,
    pub(crate) truncate_before: Revision,
    pub(crate) tombstoned: bool,
}

impl Default for Tip {
    fn default() -> Self {
        Self { head: None, truncate_before: Revision::FIRST, tombstoned: false }
    }
}

impl Tip {
    /// The head, unless the stream is deleted.
    pub(crate) fn live(&self) -> Option<Revision> {
        self.head.filter(|head| *head >= self.truncate_before)
    }

    /// The revision that the next event gets.
    pub(crate) fn next(&self) -> Revision {
        self.head.map_or(Revision::FIRST, Revision::next)
    }
}

/// What an event in a metadata stream means for the stream that it describes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    Metadata(StreamMetadata),
    Tombstone,
}

/// Which stream an entry changes the life of, and how. Metadata were checked when they were
/// offered; what cannot be read any more changes nothing.
pub(crate) fn lifecycle_change(entry: &Entry) -> Option<(StreamName, Change)> {
    let described = entry.stream.described_stream()?;
    if entry.event_type.as_str() == TombstoneStream::EVENT_TYPE {
        return Some((described, Change::Tombstone));
    }
    let metadata = StreamMetadata::from_json(entry.metadata.as_ref()?).ok()?;
    Some((described, Change::Metadata(metadata)))
}

/// What is known of one stream.
#[derive(Debug, Default)]
pub(crate) struct StreamEntry {
    postings: Vec<u64>,
    /// Where counting starts anew: a revision and its ordinal in the postings.
    restarts: Vec<(Revision, usize)>,
    metadata: Option<Box<StreamMetadata>>,
    tombstoned: bool,
}

/// A revision that the stream should have, but damage took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Missing;

impl StreamEntry {
    /// The last revision, hidden or not.
    pub(crate) fn head(&self) -> Option<Revision> {
        let last = self.postings.len().checked_sub(1)?;
        let (revision, ordinal) = self.restart_of(|(_, ordinal)| *ordinal <= last);
        Some(Revision::new(revision.number() + (last - ordinal) as u64))
    }

    fn restart_of(&self, before: impl Fn(&(Revision, usize)) -> bool) -> (Revision, usize) {
        let restarts = self.restarts.partition_point(before);
        restarts
            .checked_sub(1)
            .and_then(|at| self.restarts.get(at))
            .copied()
            .unwrap_or((Revision::FIRST, 0))
    }

    /// Where an event is that the stream has.
    pub(crate) fn position(&self, revision: Revision) -> Result<Position, Missing> {
        let (first, ordinal) = self.restart_of(|(restart, _)| *restart <= revision);
        let ahead = usize::try_from(revision.number() - first.number()).map_err(|_| Missing)?;
        let posting = self.postings.get(ordinal + ahead).ok_or(Missing)?;
        let next = self.restarts.iter().find(|(restart, _)| *restart > revision);
        if next.is_some_and(|(_, next)| ordinal + ahead >= *next) {
            return Err(Missing);
        }
        Ok(Position::new(*posting))
    }

    pub(crate) fn metadata(&self) -> StreamMetadata {
        self.metadata.as_deref().cloned().unwrap_or_default()
    }

    pub(crate) fn tombstoned(&self) -> bool {
        self.tombstoned
    }

    pub(crate) fn tip(&self) -> Tip {
        let truncated = self.metadata.as_ref().and_then(|metadata| metadata.truncate_before);
        Tip {
            head: self.head(),
            truncate_before: truncated.unwrap_or(Revision::FIRST),
            tombstoned: self.tombstoned,
        }
    }

    pub(crate) fn state(&self) -> StreamState {
        let tip = self.tip();
        match (tip.tombstoned, tip.head, tip.live()) {
            (true, _, _) => StreamState::Tombstoned,
            (false, None, _) => StreamState::Missing,
            (false, Some(_), None) => StreamState::Deleted,
            (false, Some(_), Some(_)) => StreamState::Live,
        }
    }
}

/// All streams.
#[derive(Debug, Default)]
pub(super) struct Streams {
    entries: HashMap<StreamName, StreamEntry>,
    names: BTreeSet<StreamName>,
}

impl Streams {
    pub(super) fn push(&mut self, name: &StreamName, revision: Revision, position: u64) {
        let entry = match self.entries.get_mut(name) {
            Some(entry) => entry,
            None => self.entries.entry(name.clone()).or_default(),
        };
        if entry.postings.is_empty() {
            self.names.insert(name.clone());
        }
        if entry.tip().next() != revision {
            entry.restarts.push((revision, entry.postings.len()));
        }
        entry.postings.push(position);
    }

    pub(super) fn change(&mut self, name: StreamName, change: Change) {
        let entry = self.entries.entry(name).or_default();
        match change {
            Change::Metadata(metadata) => entry.metadata = Some(Box::new(metadata)),
            Change::Tombstone => entry.tombstoned = true,
        }
    }

    pub(super) fn get(&self, name: &StreamName) -> Option<&StreamEntry> {
        self.entries.get(name)
    }

    pub(super) fn postings(&self, name: &StreamName) -> &[u64] {
        self.entries.get(name).map_or(&[], |entry| &entry.postings)
    }

    pub(super) fn names<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a StreamName>,
    ) -> impl Iterator<Item = &'a StreamName> {
        let from = match after {
            Some(after) if after.as_str() >= prefix => Bound::Excluded(after.as_str()),
            Some(_) | None => Bound::Included(prefix),
        };
        let names = self.names.range::<str, _>((from, Bound::Unbounded));
        names.take_while(move |name| name.as_str().starts_with(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_found_by_counting_and_past_damage() {
        let mut streams = Streams::default();
        let name = StreamName::new("order-1").unwrap();
        for (revision, position) in [(0, 10), (1, 20), (4, 50), (5, 60)] {
            streams.push(&name, Revision::new(revision), position);
        }
        let entry = streams.get(&name).unwrap();
        assert_eq!(entry.head(), Some(Revision::new(5)));
        assert_eq!(entry.position(Revision::new(1)), Ok(Position::new(20)));
        assert_eq!(entry.position(Revision::new(2)), Err(Missing), "damage took it");
        assert_eq!(entry.position(Revision::new(4)), Ok(Position::new(50)));
        assert_eq!(entry.position(Revision::new(6)), Err(Missing));
    }
}
