//! The published events as an outside observer knows them, and the answers that follow from them.
//!
//! Owns: [`History`]: reference answers to every kind of read, and the check whether an append was
//! allowed at a given head. Invariants: events are only added; scavenged ones are marked and stay
//! known. Written to be obviously correct: everything is recomputed on each call.

use std::collections::{BTreeMap, BTreeSet};

use gesta_store::{
    Append, AppendCondition, Category, ExpectedRevision, Position, RecordedAt, RecordedEvent,
    Revision, StreamAppend, StreamMetadata, StreamName, StreamState, TombstoneStream,
};

/// The published events, in order of position.
#[derive(Debug, Default)]
pub(crate) struct History {
    ever: Vec<RecordedEvent>,
    /// Events that were not scavenged.
    events: Vec<RecordedEvent>,
    /// Positions of scavenged events.
    gone: BTreeSet<Position>,
    /// Indexes into `ever`, by stream.
    streams: BTreeMap<StreamName, Vec<usize>>,
}

/// State of a stream while a given position was the head.
#[derive(Debug, PartialEq)]
pub(crate) struct StreamStateAt {
    pub(crate) state: StreamState,
    /// Last revision, including hidden events.
    pub(crate) head: Option<Revision>,
    pub(crate) metadata: StreamMetadata,
    pub(crate) metadata_head: Option<Revision>,
}

impl StreamStateAt {
    /// The head that an expected revision is compared with.
    pub(crate) fn head_for(&self, expected: ExpectedRevision) -> Option<Revision> {
        match expected {
            ExpectedRevision::Exact(_) => self.head,
            ExpectedRevision::Any | ExpectedRevision::NoStream | ExpectedRevision::StreamExists => {
                // A deleted stream counts as missing, except for an exact revision.
                self.head.filter(|_| self.state != StreamState::Deleted)
            }
        }
    }
}

impl History {
    /// Events that were not scavenged.
    pub(crate) fn events(&self) -> &[RecordedEvent] {
        &self.events
    }

    /// All events, scavenged ones included.
    pub(crate) fn ever(&self) -> &[RecordedEvent] {
        &self.ever
    }

    /// Positions of events that no stream read shows; they may be scavenged.
    pub(crate) fn hidden(&self) -> BTreeSet<Position> {
        let of_stream = |stream| {
            let first_shown = self.first_shown(stream, self.head());
            self.stream(stream).filter(move |event| event.revision < first_shown)
        };
        self.streams.keys().flat_map(of_stream).map(|event| event.position).collect()
    }

    /// Returns whether reads of its stream showed the event while `as_of` was the head.
    pub(crate) fn was_visible(&self, event: &RecordedEvent, as_of: Position) -> bool {
        event.position <= as_of && event.revision >= self.first_shown(&event.stream, as_of)
    }

    /// First revision that reads of the stream showed while `as_of` was the head.
    fn first_shown(&self, stream: &StreamName, as_of: Position) -> Revision {
        let past = self.stream_state_at(stream, as_of);
        match (past.state, past.head) {
            (StreamState::Tombstoned, _) => Revision::MAX,
            (_, Some(head)) => past.metadata.first_visible(head),
            (_, None) => Revision::FIRST,
        }
    }

    pub(crate) fn remove_scavenged(&mut self, positions: &[Position]) {
        self.gone.extend(positions);
        self.events.retain(|event| !self.gone.contains(&event.position));
    }

    /// Undoes the scavenging of an event.
    pub(crate) fn restore_scavenged(&mut self, position: Position) {
        if self.gone.remove(&position) {
            let there = self.ever.iter().filter(|event| !self.gone.contains(&event.position));
            self.events = there.cloned().collect();
        }
    }

    pub(crate) fn head(&self) -> Position {
        self.ever.last().map_or(Position::START, |event| event.position)
    }

    /// Time of the last event, or zero.
    pub(crate) fn last_recorded_at(&self) -> RecordedAt {
        self.ever.last().map_or(RecordedAt::from_micros(0), |event| event.recorded_at)
    }

    pub(crate) fn at(&self, position: Position) -> Option<&RecordedEvent> {
        let place = self.ever.binary_search_by_key(&position, |event| event.position).ok()?;
        self.ever.get(place)
    }

    pub(crate) fn push(&mut self, event: RecordedEvent) {
        let place = self.ever.len();
        self.streams.entry(event.stream.clone()).or_default().push(place);
        self.events.push(event.clone());
        self.ever.push(event);
    }

    /// Every position that was the head, starting with `first`.
    pub(crate) fn heads_since(&self, first: Position) -> impl Iterator<Item = Position> {
        let later = self.ever.iter().map(|event| event.position);
        std::iter::once(first).chain(later.filter(move |position| *position > first))
    }

    pub(crate) fn stream(
        &self,
        stream: &StreamName,
    ) -> impl DoubleEndedIterator<Item = &RecordedEvent> {
        let places = self.streams.get(stream).map_or(&[][..], Vec::as_slice);
        places.iter().filter_map(|place| self.ever.get(*place))
    }

    /// Events of a stream that were not scavenged.
    pub(crate) fn remaining_of(
        &self,
        stream: &StreamName,
    ) -> impl DoubleEndedIterator<Item = &RecordedEvent> {
        self.stream(stream).filter(|event| !self.gone.contains(&event.position))
    }

    /// Returns whether `next` is the first remaining event of the stream after `one`.
    pub(crate) fn follows(&self, one: &RecordedEvent, next: &RecordedEvent) -> bool {
        // Scavenged events in between are no gap.
        let between = self
            .remaining_of(&one.stream)
            .filter(|event| event.revision > one.revision && event.revision < next.revision);
        one.revision < next.revision && between.count() == 0
    }

    pub(crate) fn stream_names(&self) -> impl Iterator<Item = &StreamName> {
        self.streams.keys()
    }

    pub(crate) fn categories(&self) -> BTreeSet<Category> {
        self.stream_names().filter_map(StreamName::category).collect()
    }

    pub(crate) fn next_revision(&self, stream: &StreamName) -> Revision {
        Revision::new(self.streams.get(stream).map_or(0, |places| places.len() as u64))
    }

    pub(crate) fn stream_state_at(&self, stream: &StreamName, as_of: Position) -> StreamStateAt {
        let last = |stream: &StreamName| {
            self.stream(stream).rev().find(|event| event.position <= as_of).cloned()
        };
        let head = last(stream).map(|event| event.revision);
        let described = stream.metadata_stream().ok();
        let of_metadata = |event_type: &str| {
            let mut past = self.stream(described.as_ref()?).rev();
            past.find(|e| e.position <= as_of && e.event_type.as_str() == event_type)
        };
        let metadata = of_metadata(StreamMetadata::EVENT_TYPE)
            .and_then(|event| StreamMetadata::from_json(&event.data).ok())
            .unwrap_or_default();
        let state = match head {
            // A tombstone is final and applies even to a stream without events.
            _ if of_metadata(TombstoneStream::EVENT_TYPE).is_some() => StreamState::Tombstoned,
            None => StreamState::Missing,
            Some(head) if metadata.deletes(head) => StreamState::Deleted,
            Some(_) => StreamState::Live,
        };
        let metadata_head = described.as_ref().and_then(last).map(|event| event.revision);
        StreamStateAt { state, head, metadata, metadata_head }
    }

    /// Events of a stream that its reads show now.
    pub(crate) fn shown(&self, stream: &StreamName) -> Vec<&RecordedEvent> {
        let past = self.stream_state_at(stream, self.head());
        let Some(head) = past.head else { return Vec::new() };
        let first = past.metadata.first_visible(head);
        self.remaining_of(stream).filter(|event| event.revision >= first).collect()
    }

    /// Returns the reason to refuse an append while `as_of` was the head.
    pub(crate) fn refusal_reason(&self, append: &Append, as_of: Position) -> Option<String> {
        let of_stream = append.streams.iter().find_map(|part| self.stream_refusal(part, as_of));
        of_stream.or_else(|| self.condition_refusal(append.condition.as_ref()?, as_of))
    }

    fn stream_refusal(&self, part: &StreamAppend, as_of: Position) -> Option<String> {
        let described = part.stream.described_stream();
        // A tombstone also forbids appends to the metadata stream.
        let forbidden = described.as_ref().unwrap_or(&part.stream);
        if self.stream_state_at(forbidden, as_of).state == StreamState::Tombstoned {
            return Some(format!("{forbidden} was tombstoned"));
        }
        let past = self.stream_state_at(&part.stream, as_of);
        let head = past.head_for(part.expected);
        let text = || format!("{} was at {head:?}, not at {}", part.stream, part.expected);
        (!part.expected.admits(head)).then(text)
    }

    fn condition_refusal(&self, condition: &AppendCondition, as_of: Position) -> Option<String> {
        let query = &condition.none_matching;
        // Only visible events count, as of the head at which the condition was checked.
        let mut later = self
            .events
            .iter()
            .filter(|event| event.position > condition.after && event.position <= as_of);
        let matching = later.find(|event| {
            query.matches(&event.event_type, &event.tags) && self.was_visible(event, as_of)
        })?;
        Some(format!("the event at {} matched its condition", matching.position))
    }
}
