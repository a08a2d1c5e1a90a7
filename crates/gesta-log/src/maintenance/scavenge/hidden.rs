//! Selects the events that no stream read returns.
//!
//! Invariants:
//! - An event that a stream read returns, or could return without a change of its stream's
//!   metadata, is never selected.
//! - Metadata in force and tombstones are never selected, whatever the metadata of their own
//!   streams are.

use foldhash::HashMap;
use gesta_store::{
    Position, RecordedAt, RecordedEvent, Revision, StoreError, StreamMetadata, StreamName,
};

use crate::{mutations::mutated, read::Reader};

/// Selects hidden events, and caches the rule of each stream.
#[derive(Debug)]
pub(super) struct HiddenEvents<'a> {
    reader: &'a Reader,
    now: RecordedAt,
    /// The streams that may have hidden events.
    streams: HashMap<StreamName, HiddenRule>,
}

/// The hidden part of one stream.
#[derive(Clone, Debug)]
struct HiddenRule {
    /// All events before this revision are hidden.
    before: Revision,
    /// Expired events before this revision are hidden as well.
    age: Option<(StreamMetadata, Revision)>,
    head: Revision,
}

impl<'a> HiddenEvents<'a> {
    pub(super) fn new(reader: &'a Reader) -> Self {
        Self { reader, now: reader.clock.now(), streams: HashMap::default() }
    }

    /// Returns whether an event is hidden.
    pub(super) fn is_hidden(&mut self, event: &RecordedEvent) -> Result<bool, StoreError> {
        let Some(rule) = self.rule(&event.stream)? else { return Ok(false) };
        let revision = event.revision;
        let counted =
            revision < rule.before || (mutated!(ScavengeOneTooMany) && revision == rule.before);
        let aged = rule.age.as_ref().is_some_and(|(metadata, before)| {
            revision < *before && metadata.is_expired(event.recorded_at, self.now)
        });
        Ok(counted || aged)
    }

    /// Returns whether this was the last event of its stream when the rule was cached.
    pub(super) fn was_last(&self, stream: &StreamName, revision: Revision) -> bool {
        self.streams.get(stream).is_some_and(|rule| rule.head == revision)
    }

    fn rule(&mut self, stream: &StreamName) -> Result<Option<HiddenRule>, StoreError> {
        if let Some(rule) = self.streams.get(stream) {
            return Ok(Some(rule.clone()));
        }
        let published = &self.reader.published;
        let meta = published.index().stream_meta(stream);
        let metadata = meta.metadata();
        // Most streams have no metadata: skip the lookup of their head.
        if !meta.tombstoned && metadata == StreamMetadata::default() {
            return Ok(None);
        }
        let head = self
            .reader
            .retry_if_files_replaced(|| published.index().stream_head(stream, Position::START))?;
        let Some(head) = head else { return Ok(None) };
        // A tombstone hides the whole stream, and forever.
        let mut rule = if meta.tombstoned {
            HiddenRule { before: head.next(), age: None, head }
        } else {
            let before = metadata.first_visible(head);
            let age = metadata.max_age.is_some().then_some((metadata, Revision::MAX));
            HiddenRule { before, age, head }
        };
        if let Some(described) = stream.described_stream() {
            // A metadata stream: its last event is in force. With a tombstone two may be, so all of
            // them stay.
            let tombstoned = published.index().stream_meta(&described).tombstoned;
            let in_force = if tombstoned { Revision::FIRST } else { head };
            rule.before = rule.before.min(in_force);
            rule.age = rule.age.map(|(metadata, _)| (metadata, in_force));
        }
        self.streams.insert(stream.clone(), rule.clone());
        Ok(Some(rule))
    }
}
