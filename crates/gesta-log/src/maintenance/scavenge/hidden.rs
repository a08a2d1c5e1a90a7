//! Which events no stream read shows.
//!
//! Always holds: of an event that a stream read shows, or may come to show without a change of its
//! stream's metadata, it never says that it is hidden; metadata in force and tombstones are not
//! hidden whatever their own streams' metadata say.

use foldhash::HashMap;
use gesta_store::{
    Position, RecordedAt, RecordedEvent, Revision, StoreError, StreamMetadata, StreamName,
};

use crate::{mutations::mutated, read::Reader};

/// See the module.
#[derive(Debug)]
pub(super) struct Hidden<'a> {
    reader: &'a Reader,
    now: RecordedAt,
    /// Streams of which something may be hidden.
    streams: HashMap<StreamName, Rule>,
}

/// What is hidden of one stream.
#[derive(Clone, Debug)]
struct Rule {
    /// Everything before this revision.
    before: Revision,
    /// And what is too old, of these revisions.
    age: Option<(StreamMetadata, Revision)>,
    head: Revision,
}

impl<'a> Hidden<'a> {
    pub(super) fn new(reader: &'a Reader) -> Self {
        Self { reader, now: reader.clock.now(), streams: HashMap::default() }
    }

    /// Whether an event is hidden.
    pub(super) fn is(&mut self, event: &RecordedEvent) -> Result<bool, StoreError> {
        let Some(rule) = self.rule(&event.stream)? else { return Ok(false) };
        let revision = event.revision;
        let counted =
            revision < rule.before || (mutated!(ScavengeOneTooMany) && revision == rule.before);
        let aged = rule.age.as_ref().is_some_and(|(metadata, before)| {
            revision < *before && metadata.is_expired(event.recorded_at, self.now)
        });
        Ok(counted || aged)
    }

    /// Whether this was the last event of its stream when it was looked at.
    pub(super) fn was_last(&self, stream: &StreamName, revision: Revision) -> bool {
        self.streams.get(stream).is_some_and(|rule| rule.head == revision)
    }

    fn rule(&mut self, stream: &StreamName) -> Result<Option<Rule>, StoreError> {
        if let Some(rule) = self.streams.get(stream) {
            return Ok(Some(rule.clone()));
        }
        let published = &self.reader.published;
        let life = published.index().stream_meta(stream);
        let metadata = life.metadata();
        if !life.tombstoned && metadata == StreamMetadata::default() {
            return Ok(None);
        }
        let head = self
            .reader
            .retry_if_files_replaced(|| published.index().stream_head(stream, Position::START))?;
        let Some(head) = head else { return Ok(None) };
        let mut rule = if life.tombstoned {
            Rule { before: head.next(), age: None, head }
        } else {
            let before = metadata.first_visible(head);
            let age = metadata.max_age.is_some().then_some((metadata, Revision::MAX));
            Rule { before, age, head }
        };
        if let Some(described) = stream.described_stream() {
            // Its last event is in force, or two are, where the last one is a tombstone.
            let tombstoned = published.index().stream_meta(&described).tombstoned;
            let in_force = if tombstoned { Revision::FIRST } else { head };
            rule.before = rule.before.min(in_force);
            rule.age = rule.age.map(|(metadata, _)| (metadata, in_force));
        }
        self.streams.insert(stream.clone(), rule.clone());
        Ok(Some(rule))
    }
}
