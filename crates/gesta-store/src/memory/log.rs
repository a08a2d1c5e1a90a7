//! The events of a memory store, and what is derived from them.
//!
//! Owns: [`Log`]: judging an append, recording it, and everything that is looked up. Always holds:
//! the event at position *p* is the *p*-th; nothing changes unless all of an append is accepted.
//! Not here: locking and time, which come from outside; paging.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    ops::{Bound, Range},
    task::Waker,
};

use crate::{
    Append, AppendCondition, Appended, Category, Conflict, EventId, ExpectedRevision, Invalid,
    ListCategories, ListStreams, NewEvent, Position, RecordedAt, RecordedEvent, Revision,
    StoreError, StreamAppend, StreamDescription, StreamMetadata, StreamName, StreamState,
    TombstoneStream,
};

/// Everything that was appended.
#[derive(Default)]
pub(super) struct Log {
    /// In order of positions, the first at position 1.
    events: Vec<RecordedEvent>,
    /// For each stream that has events, where each revision is in `events`.
    streams: BTreeMap<StreamName, Vec<usize>>,
    metadata: HashMap<StreamName, StreamMetadata>,
    tombstoned: HashSet<StreamName>,
    categories: BTreeSet<Category>,
    /// By first event id.
    appends: HashMap<EventId, PastAppend>,
    /// Who waits for the next append, by subscription.
    waiting: BTreeMap<u64, Waker>,
    subscriptions: u64,
}

/// What tells a repeat, and what it is answered.
struct PastAppend {
    parts: Vec<Part>,
    answer: Appended,
}

/// The events of one stream in an append.
#[derive(PartialEq)]
struct Part {
    stream: StreamName,
    expected: ExpectedRevision,
    ids: Vec<EventId>,
}

impl Log {
    /// Judges and records. Returns the wakers of whoever waits for events, to be woken outside of
    /// any lock.
    pub(super) fn append(
        &mut self,
        append: Append,
        now: RecordedAt,
    ) -> Result<(Appended, Vec<Waker>), StoreError> {
        if let Some(first) = self.repeated(&append)? {
            return Ok((first, Vec::new()));
        }
        for part in &append.streams {
            self.judge(part)?;
        }
        if let Some(condition) = &append.condition {
            self.judge_condition(condition, self.recorded_at(now))?;
        }
        Ok(self.record(append, now))
    }

    /// The first answer, if this append is the repeat of another.
    fn repeated(&self, append: &Append) -> Result<Option<Appended>, StoreError> {
        let Some(first) = append.events().next() else { return Ok(None) };
        let Some(past) = self.appends.get(&first.id) else { return Ok(None) };
        if past.parts == parts(append) {
            return Ok(Some(past.answer.clone()));
        }
        Err(Conflict::PartialRepeat { first_event: first.id }.into())
    }

    fn judge(&self, part: &StreamAppend) -> Result<(), StoreError> {
        let described = part.stream.described_stream();
        let forbidden = described.as_ref().unwrap_or(&part.stream);
        if self.tombstoned.contains(forbidden) {
            return Err(StoreError::Deleted { stream: forbidden.clone() });
        }
        let head = self.stream_head(&part.stream);
        let live = head.filter(|_| !self.is_deleted(&part.stream));
        let judged = match part.expected {
            ExpectedRevision::Exact(_) => head,
            ExpectedRevision::Any | ExpectedRevision::NoStream | ExpectedRevision::StreamExists => {
                live
            }
        };
        if part.expected.admits(judged) {
            return Ok(());
        }
        let (stream, expected) = (part.stream.clone(), part.expected);
        Err(Conflict::Stream { stream, expected, head: judged }.into())
    }

    /// Judges as of when the append would be recorded.
    fn judge_condition(
        &self,
        condition: &AppendCondition,
        recorded_at: RecordedAt,
    ) -> Result<(), StoreError> {
        self.reached(condition.after)?;
        let query = &condition.none_matching;
        let counts = |event: &&RecordedEvent| {
            query.matches(&event.event_type, &event.tags) && self.is_visible(event, recorded_at)
        };
        match self.after(condition.after).find(counts) {
            Some(event) => Err(Conflict::Condition { matching: event.position }.into()),
            None => Ok(()),
        }
    }

    /// When an append would be recorded that comes now: recorded times never fall.
    fn recorded_at(&self, now: RecordedAt) -> RecordedAt {
        self.events.last().map_or(now, |last| now.max(last.recorded_at))
    }

    fn record(&mut self, append: Append, now: RecordedAt) -> (Appended, Vec<Waker>) {
        let Some(first_event) = append.events().next().map(|event| event.id) else {
            return (Appended { position: self.head(), revisions: Vec::new() }, Vec::new());
        };
        let recorded_at = self.recorded_at(now);
        let parts = parts(&append);
        let mut revisions = Vec::with_capacity(parts.len());
        for part in append.streams {
            let mut head = None;
            for event in part.events {
                head = Some(self.record_event(&part.stream, event, recorded_at));
            }
            revisions.extend(head.map(|head| (part.stream, head)));
        }
        let answer = Appended { position: self.head(), revisions };
        self.appends.insert(first_event, PastAppend { parts, answer: answer.clone() });
        (answer, std::mem::take(&mut self.waiting).into_values().collect())
    }

    fn record_event(
        &mut self,
        stream: &StreamName,
        event: NewEvent,
        recorded_at: RecordedAt,
    ) -> Revision {
        let index = self.events.len();
        self.categories.extend(stream.category());
        let places = self.streams.entry(stream.clone()).or_default();
        let revision = Revision::new(places.len() as u64);
        places.push(index);
        let event = recorded(stream, event, Place { revision, position: at(index), recorded_at });
        self.take_effect(&event);
        self.events.push(event);
        revision
    }

    /// Metadata and tombstones are events of `$$name` and hold from there on.
    fn take_effect(&mut self, event: &RecordedEvent) {
        let Some(described) = event.stream.described_stream() else { return };
        match event.event_type.as_str() {
            TombstoneStream::EVENT_TYPE => {
                self.tombstoned.insert(described);
            }
            StreamMetadata::EVENT_TYPE => {
                let metadata = StreamMetadata::from_json(&event.data)
                    .expect("an append was checked before it is recorded");
                self.metadata.insert(described, metadata);
            }
            _ => {}
        }
    }

    pub(super) fn find_append(&self, first_event: EventId) -> Option<Appended> {
        self.appends.get(&first_event).map(|past| past.answer.clone())
    }

    /// The last event's position.
    pub(super) fn head(&self) -> Position {
        Position::new(self.events.len() as u64)
    }

    /// Refuses a position beyond the head.
    pub(super) fn reached(&self, position: Position) -> Result<(), StoreError> {
        let head = self.head();
        if position > head { Err(Invalid::BeyondHead { position, head }.into()) } else { Ok(()) }
    }

    /// Events after this position.
    pub(super) fn after(&self, position: Position) -> impl Iterator<Item = &RecordedEvent> {
        let skipped = usize::try_from(position.number()).unwrap_or(usize::MAX);
        self.events.get(skipped..).unwrap_or_default().iter()
    }

    pub(super) fn event(&self, position: Position) -> Option<&RecordedEvent> {
        let index = position.number().checked_sub(1)?;
        self.events.get(usize::try_from(index).ok()?)
    }

    pub(super) fn event_of(
        &self,
        stream: &StreamName,
        revision: Revision,
    ) -> Option<&RecordedEvent> {
        let places = self.streams.get(stream)?;
        let index = places.get(usize::try_from(revision.number()).ok()?)?;
        self.events.get(*index)
    }

    /// The revisions that reads of a stream show at `now`.
    ///
    /// Recorded times never fall, so those that are too old are a prefix.
    pub(super) fn shown(
        &self,
        stream: &StreamName,
        now: RecordedAt,
    ) -> Result<Range<u64>, StoreError> {
        if self.tombstoned.contains(stream) {
            return Err(StoreError::Deleted { stream: stream.clone() });
        }
        let Some(head) = self.stream_head(stream) else { return Ok(0..0) };
        let end = head.next().number();
        let Some(metadata) = self.metadata.get(stream) else { return Ok(0..end) };
        let places = self.streams.get(stream).map_or(&[][..], Vec::as_slice);
        let expired = places.partition_point(|index| {
            self.events.get(*index).is_some_and(|event| metadata.expires(event.recorded_at, now))
        });
        let first = metadata.first_shown(head).number().max(expired as u64);
        Ok(first.min(end)..end)
    }

    /// Whether a read of the event's stream shows it at `now`.
    pub(super) fn is_visible(&self, event: &RecordedEvent, now: RecordedAt) -> bool {
        if self.tombstoned.contains(&event.stream) {
            return false;
        }
        let Some(metadata) = self.metadata.get(&event.stream) else { return true };
        let head = self.stream_head(&event.stream);
        head.is_some_and(|head| metadata.shows(event, head, now))
    }

    pub(super) fn describe(&self, stream: &StreamName) -> StreamDescription {
        let head = self.stream_head(stream);
        let state = match head {
            _ if self.tombstoned.contains(stream) => StreamState::Tombstoned,
            None => StreamState::Missing,
            Some(_) if self.is_deleted(stream) => StreamState::Deleted,
            Some(_) => StreamState::Live,
        };
        let metadata = self.metadata.get(stream).cloned().unwrap_or_default();
        let metadata_stream = stream.metadata_stream().ok();
        let metadata_revision = metadata_stream.and_then(|name| self.stream_head(&name));
        StreamDescription { state, head, metadata, metadata_revision }
    }

    pub(super) fn list_streams(&self, list: &ListStreams) -> Vec<StreamName> {
        let system = list.prefix.starts_with('$');
        let from = match &list.after {
            Some(after) if after.as_str() >= list.prefix.as_str() => {
                Bound::Excluded(after.as_str())
            }
            Some(_) | None => Bound::Included(list.prefix.as_str()),
        };
        self.streams
            .range::<str, _>((from, Bound::Unbounded))
            .map(|(name, _)| name)
            .take_while(|name| name.as_str().starts_with(&list.prefix))
            .filter(|name| system || !name.is_system())
            .filter(|name| !self.is_deleted(name) && !self.tombstoned.contains(*name))
            .take(list.limit)
            .cloned()
            .collect()
    }

    pub(super) fn list_categories(&self, list: &ListCategories) -> Vec<Category> {
        let from = list.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        self.categories
            .range::<Category, _>((from, Bound::Unbounded))
            .take(list.limit)
            .cloned()
            .collect()
    }

    fn stream_head(&self, stream: &StreamName) -> Option<Revision> {
        let events = self.streams.get(stream)?.len() as u64;
        Revision::new(events).previous()
    }

    fn is_deleted(&self, stream: &StreamName) -> bool {
        let head = self.stream_head(stream);
        head.zip(self.metadata.get(stream)).is_some_and(|(head, metadata)| metadata.deletes(head))
    }

    /// A number for a new subscription, by which it waits.
    pub(super) fn subscription(&mut self) -> u64 {
        self.subscriptions += 1;
        self.subscriptions
    }

    /// Wakes this subscription with the next append, once.
    pub(super) fn wake(&mut self, subscription: u64, waker: &Waker) {
        self.waiting.insert(subscription, waker.clone());
    }

    pub(super) fn forget(&mut self, subscription: u64) {
        self.waiting.remove(&subscription);
    }
}

/// The parts of an append that have events.
fn parts(append: &Append) -> Vec<Part> {
    let with_events = append.streams.iter().filter(|part| !part.events.is_empty());
    with_events
        .map(|part| Part {
            stream: part.stream.clone(),
            expected: part.expected,
            ids: part.events.iter().map(|event| event.id).collect(),
        })
        .collect()
}

fn at(index: usize) -> Position {
    Position::new(index as u64).next()
}

/// Where and when an event is recorded.
struct Place {
    revision: Revision,
    position: Position,
    recorded_at: RecordedAt,
}

fn recorded(stream: &StreamName, event: NewEvent, place: Place) -> RecordedEvent {
    let Place { revision, position, recorded_at } = place;
    RecordedEvent {
        stream: stream.clone(),
        revision,
        position,
        recorded_at,
        id: event.id,
        event_type: event.event_type,
        schema_version: event.schema_version,
        content_type: event.content_type,
        data: event.data,
        metadata: event.metadata,
        tags: event.tags,
        correlation_id: event.correlation_id,
        causation_id: event.causation_id,
    }
}
