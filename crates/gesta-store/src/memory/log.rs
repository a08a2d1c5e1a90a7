//! The events of a memory store and their indexes.
//!
//! Owns: [`Log`], which checks and records appends and answers lookups. The event at position *p*
//! is the *p*-th, and an append changes nothing unless all of it is accepted. Not here: locking,
//! the clock, paging.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    ops::{Bound, Range},
    task::Waker,
};

use crate::{
    Append, AppendCondition, Appended, Category, Conflict, EventId, ExpectedRevision, Invalid,
    ListCategories, ListStreams, NewEvent, Ordinal, OrdinalIndex, Position, RecordedAt,
    RecordedEvent, Revision, StoreError, StreamAppend, StreamDescription, StreamMetadata,
    StreamName, StreamState, TombstoneStream,
};

/// All events and their indexes.
#[derive(Default)]
pub(super) struct Log {
    /// In order of positions; the first is at position 1.
    events: Vec<RecordedEvent>,
    /// Index in `events` of each revision, by stream.
    streams: BTreeMap<StreamName, Vec<usize>>,
    metadata: HashMap<StreamName, StreamMetadata>,
    tombstoned: HashSet<StreamName>,
    categories: BTreeSet<Category>,
    /// By the id of the first event: one append for each stream that has an event with this id.
    appends: HashMap<EventId, Vec<PastAppend>>,
    /// Index in `events` of each ordinal.
    ordinals: HashMap<OrdinalIndex, Vec<usize>>,
    closed: bool,
    /// Wakers of subscriptions that wait at the head, by subscription id.
    wakers: BTreeMap<u64, Waker>,
    last_subscription_id: u64,
}

/// Identity and result of an append, to recognize a repeat.
#[derive(Clone)]
struct PastAppend {
    parts: Vec<StreamPart>,
    answer: Appended,
}

/// The events of one stream in a recorded append.
#[derive(Clone)]
struct StreamPart {
    stream: StreamName,
    first: Revision,
    ids: Vec<EventId>,
}

impl Log {
    /// Returns the same events without those who wait for more.
    pub(super) fn copy(&self) -> Self {
        Self {
            events: self.events.clone(),
            streams: self.streams.clone(),
            metadata: self.metadata.clone(),
            tombstoned: self.tombstoned.clone(),
            categories: self.categories.clone(),
            appends: self.appends.clone(),
            ordinals: self.ordinals.clone(),
            closed: self.closed,
            wakers: BTreeMap::new(),
            last_subscription_id: self.last_subscription_id,
        }
    }

    /// Checks an append and records it. Returns the wakers of the subscriptions that wait; the
    /// caller wakes them outside the lock.
    pub(super) fn append(
        &mut self,
        append: Append,
        now: RecordedAt,
    ) -> Result<(Appended, Vec<Waker>), StoreError> {
        self.check_open()?;
        // Repeats come first: the expectations no longer hold then.
        if let Some(first) = self.find_repeat(&append)? {
            return Ok((first, Vec::new()));
        }
        for part in &append.streams {
            self.check_expectation(part)?;
        }
        // At the time of the append's own events: one that has expired by then does not count.
        if let Some(condition) = &append.condition {
            self.check_condition(condition, self.recorded_at(now))?;
        }
        Ok(self.record(append, now))
    }

    /// Returns the first result if the append is a repeat.
    fn find_repeat(&self, append: &Append) -> Result<Option<Appended>, StoreError> {
        let with_events = || append.streams.iter().filter(|part| !part.events.is_empty());
        let Some(part) = with_events().next() else { return Ok(None) };
        let Some(first_event) = part.events.first().map(|event| event.id) else { return Ok(None) };
        // Appends are known by their first id and its stream, so ids that occur later in an append
        // are not found, as the contract requires.
        let Some(past) = self.past_append(first_event, &part.stream) else { return Ok(None) };
        let mut pairs = past.parts.iter().zip(with_events());
        let alike = pairs.all(|(past, part)| part.repeats(&past.stream, past.first, &past.ids));
        if alike && past.parts.len() == with_events().count() {
            return Ok(Some(past.answer.clone().earlier()));
        }
        Err(Conflict::PartialRepeat { first_event }.into())
    }

    fn past_append(&self, first_event: EventId, stream: &StreamName) -> Option<&PastAppend> {
        let mut known = self.appends.get(&first_event)?.iter();
        known.find(|past| past.parts.first().is_some_and(|part| part.stream == *stream))
    }

    fn check_expectation(&self, part: &StreamAppend) -> Result<(), StoreError> {
        let described = part.stream.described_stream();
        // A tombstone also forbids the stream of the metadata.
        let subject = described.as_ref().unwrap_or(&part.stream);
        if self.tombstoned.contains(subject) {
            return Err(StoreError::Deleted { stream: subject.clone() });
        }
        // Expectations see the state before this append.
        let head = self.stream_head(&part.stream);
        let live = head.filter(|_| !self.is_deleted(&part.stream));
        // Revisions continue after a deletion, so an exact revision is compared with the real head
        // and the others with that of a live stream.
        let compared = match part.expected {
            ExpectedRevision::Exact(_) => head,
            ExpectedRevision::Any | ExpectedRevision::NoStream | ExpectedRevision::StreamExists => {
                live
            }
        };
        if part.expected.admits(compared) {
            return Ok(());
        }
        let (stream, expected) = (part.stream.clone(), part.expected);
        Err(Conflict::Stream { stream, expected, head: compared }.into())
    }

    /// Evaluates visibility at the time at which the append would be recorded.
    fn check_condition(
        &self,
        condition: &AppendCondition,
        recorded_at: RecordedAt,
    ) -> Result<(), StoreError> {
        self.check_reached(condition.after)?;
        let query = &condition.none_matching;
        let counts = |event: &&RecordedEvent| {
            query.matches(&event.event_type, &event.tags) && self.is_visible(event, recorded_at)
        };
        // The first match is as good as any: one conflict is enough.
        match self.after(condition.after).find(counts) {
            Some(event) => Err(Conflict::Condition { matching: event.position }.into()),
            None => Ok(()),
        }
    }

    /// Returns the recorded time of the next append: the clock's, but never before the last one.
    fn recorded_at(&self, now: RecordedAt) -> RecordedAt {
        self.events.last().map_or(now, |last| now.max(last.recorded_at))
    }

    fn record(&mut self, append: Append, now: RecordedAt) -> (Appended, Vec<Waker>) {
        // A pure check: nothing to record.
        let Some(first_event) = append.events().next().map(|event| event.id) else {
            return (Appended::new(self.head(), Vec::new()), Vec::new());
        };
        let recorded_at = self.recorded_at(now);
        let mut parts = Vec::new();
        let mut revisions = Vec::new();
        for StreamAppend { stream, events, .. } in append.streams {
            if events.is_empty() {
                continue;
            }
            let ids = events.iter().map(|event| event.id).collect();
            let first = self.stream_head(&stream).map_or(Revision::FIRST, Revision::next);
            for event in events {
                self.record_event(&stream, event, recorded_at);
            }
            revisions.extend(self.stream_head(&stream).map(|head| (stream.clone(), head)));
            parts.push(StreamPart { stream, first, ids });
        }
        let answer = Appended::new(self.head(), revisions);
        let past = PastAppend { parts, answer: answer.clone() };
        self.appends.entry(first_event).or_default().push(past);
        // Subscriptions register again when they next reach the head.
        (answer, std::mem::take(&mut self.wakers).into_values().collect())
    }

    fn record_event(&mut self, stream: &StreamName, event: NewEvent, recorded_at: RecordedAt) {
        // Metadata and tombstones take effect with their own event, so that later events of the
        // same append see them.
        let index = self.events.len();
        self.categories.extend(stream.category());
        let indexes = self.streams.entry(stream.clone()).or_default();
        let revision = Revision::new(indexes.len() as u64);
        indexes.push(index);
        debug_assert!(self.events.last().is_none_or(|last| last.recorded_at <= recorded_at));
        let position = position_of(index);
        let event = RecordedEvent::new(event, stream.clone(), revision, position, recorded_at);
        self.apply_metadata_event(&event);
        self.count_ordinals(&event, index);
        self.events.push(event);
    }

    fn count_ordinals(&mut self, event: &RecordedEvent, index: usize) {
        let category = event.stream.category().map(OrdinalIndex::Category);
        let event_type = Some(OrdinalIndex::EventType(event.event_type.clone()));
        let correlation = event.correlation_id.clone().map(OrdinalIndex::Correlation);
        let begins = OrdinalIndex::begins_stream(&event.stream, event.revision);
        let streams = begins.then_some(OrdinalIndex::Streams);
        let streams_of = event.stream.category().filter(|_| begins).map(OrdinalIndex::StreamsOf);
        let counted = [category, event_type, correlation, streams, streams_of];
        for counted in counted.into_iter().flatten() {
            self.ordinals.entry(counted).or_default().push(index);
        }
    }

    /// Applies an event of `$$name` to the metadata and tombstones.
    fn apply_metadata_event(&mut self, event: &RecordedEvent) {
        let Some(described) = event.stream.described_stream() else { return };
        match event.event_type.as_str() {
            TombstoneStream::EVENT_TYPE => {
                self.tombstoned.insert(described);
            }
            StreamMetadata::EVENT_TYPE => {
                // `Append::check` has decoded the metadata already.
                let metadata = StreamMetadata::from_json(&event.data)
                    .expect("an append was checked before it is recorded");
                self.metadata.insert(described, metadata);
            }
            _ => {}
        }
    }

    pub(super) fn find_append(&self, first_event: EventId) -> Option<Appended> {
        self.appends.get(&first_event)?.last().map(|past| past.answer.clone().earlier())
    }

    /// Returns an error after the store was closed.
    pub(super) fn check_open(&self) -> Result<(), StoreError> {
        if self.closed { Err(StoreError::closed()) } else { Ok(()) }
    }

    /// Closes the store. Returns the wakers of the subscriptions that wait; the caller wakes them
    /// outside the lock.
    pub(super) fn close(&mut self) -> Vec<Waker> {
        self.closed = true;
        std::mem::take(&mut self.wakers).into_values().collect()
    }

    /// Returns the n-th event of an index.
    pub(super) fn nth(&self, of: &OrdinalIndex, ordinal: Ordinal) -> Option<&RecordedEvent> {
        let indexes = self.ordinals.get(of)?;
        self.events.get(*indexes.get(usize::try_from(ordinal.number()).ok()?)?)
    }

    /// Returns the number of events of an index.
    pub(super) fn counted(&self, of: &OrdinalIndex) -> u64 {
        self.ordinals.get(of).map_or(0, Vec::len) as u64
    }

    /// Returns the number of events that `before` accepts, which must be a prefix.
    pub(super) fn events_while(&self, before: impl Fn(&RecordedEvent) -> bool) -> u64 {
        self.events.partition_point(before) as u64
    }

    /// The same for the events of one stream.
    pub(super) fn revisions_while(
        &self,
        stream: &StreamName,
        before: impl Fn(&RecordedEvent) -> bool,
    ) -> u64 {
        self.indexes_while(self.streams.get(stream), before)
    }

    /// The same for the events of an index.
    pub(super) fn ordinals_while(
        &self,
        of: &OrdinalIndex,
        before: impl Fn(&RecordedEvent) -> bool,
    ) -> u64 {
        self.indexes_while(self.ordinals.get(of), before)
    }

    fn indexes_while(
        &self,
        indexes: Option<&Vec<usize>>,
        before: impl Fn(&RecordedEvent) -> bool,
    ) -> u64 {
        let indexes = indexes.map_or(&[][..], Vec::as_slice);
        let accepted = |index: &usize| self.events.get(*index).is_some_and(&before);
        indexes.partition_point(accepted) as u64
    }

    pub(super) fn head(&self) -> Position {
        Position::new(self.events.len() as u64)
    }

    /// Rejects a position beyond the head.
    pub(super) fn check_reached(&self, position: Position) -> Result<(), StoreError> {
        let head = self.head();
        if position > head { Err(Invalid::BeyondHead { position, head }.into()) } else { Ok(()) }
    }

    pub(super) fn after(&self, position: Position) -> impl Iterator<Item = &RecordedEvent> {
        // The event at position *p* has index *p* - 1.
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
        let indexes = self.streams.get(stream)?;
        let index = indexes.get(usize::try_from(revision.number()).ok()?)?;
        self.events.get(*index)
    }

    /// Returns the revisions that a read of the stream at `now` shows.
    ///
    /// Recorded times never decrease, so expired events are a prefix.
    pub(super) fn visible_revisions(
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
        let indexes = self.streams.get(stream).map_or(&[][..], Vec::as_slice);
        // Binary search works because expired events are a prefix.
        let expired = indexes.partition_point(|index| {
            self.events.get(*index).is_some_and(|event| metadata.is_expired(event.recorded_at, now))
        });
        let first = metadata.first_visible(head).number().max(expired as u64);
        // Truncation may lie beyond the head.
        Ok(first.min(end)..end)
    }

    /// Returns `true` if a read of the event's stream at `now` shows it.
    pub(super) fn is_visible(&self, event: &RecordedEvent, now: RecordedAt) -> bool {
        if self.tombstoned.contains(&event.stream) {
            return false;
        }
        let Some(metadata) = self.metadata.get(&event.stream) else { return true };
        let head = self.stream_head(&event.stream);
        head.is_some_and(|head| metadata.is_visible(event, head, now))
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
        // Nested metadata streams may have no room for another prefix.
        let metadata_stream = stream.metadata_stream().ok();
        let metadata_revision = metadata_stream.and_then(|name| self.stream_head(&name));
        StreamDescription { state, head, metadata, metadata_revision }
    }

    pub(super) fn list_streams(&self, list: &ListStreams) -> Vec<StreamName> {
        // System streams are listed only on request.
        let system = list.prefix.starts_with('$');
        // `after` may lie before the prefix, or beyond its names.
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
            // Before the limit, so that a page is full if it can be.
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

    pub(super) fn next_subscription_id(&mut self) -> u64 {
        self.last_subscription_id += 1;
        self.last_subscription_id
    }

    /// Registers a waker for the next append. Returns an earlier one of the same subscription,
    /// which the caller drops outside the lock.
    #[must_use]
    pub(super) fn register_waker(&mut self, subscription: u64, waker: &Waker) -> Option<Waker> {
        self.wakers.insert(subscription, waker.clone())
    }

    /// Returns the waker, which the caller drops outside the lock.
    #[must_use]
    pub(super) fn remove_waker(&mut self, subscription: u64) -> Option<Waker> {
        self.wakers.remove(&subscription)
    }
}

fn position_of(index: usize) -> Position {
    Position::new(index as u64).next()
}
