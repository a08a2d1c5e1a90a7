//! Random client workload: appends of every kind, valid and invalid.
//!
//! Owns: [`Client`], which generates appends from the events seen so far. Invariant: an event id is
//! generated once, so an event identifies the append that it was submitted with. Not here: the
//! checks of the answers ([`model`](crate::model)).

use gesta_log::Rng;
use gesta_store::{
    Append, AppendCondition, ContentType, CorrelationId, EventId, EventQuery, EventType,
    ExpectedRevision, NewEvent, Position, QueryItem, Revision, StreamMetadata, StreamName, Tag,
    TombstoneStream,
};
use uuid::Uuid;

use crate::{
    model::{AppendKind, Model},
    rng::SimRng,
};

const STREAMS: [&str; 8] =
    ["order-1", "order-2", "order-3", "account-1", "account-2", "stock-ä", "shop", "order"];
const TYPES: [&str; 4] = ["placed", "paid", "shipped", "noted"];
const TAGS: [&str; 6] =
    ["customer:1", "customer:2", "customer:3", "product:a", "product:b", "email:a@example.org"];

/// Larger than a small segment.
const HUGE_BYTES: u64 = 40_000;
/// Share of runs, in percent, that have appends with several parts of one stream. Such appends
/// leave fewer frames for the faults of recovery, so most runs go without them.
const STREAM_PARTS_PERCENT: u64 = 25;
/// Number of forged frame headers in one payload.
const FORGED_FRAMES: usize = 48;
/// Offset of the first frame in a segment, and the size of a small segment.
const SEGMENT_START: u64 = 4_096;
const SMALL_SEGMENT_END: u64 = 24 << 10;

/// Generator of appends.
#[derive(Debug)]
pub(crate) struct Client {
    rng: SimRng,
    /// A stream picked more often than the others, to provoke conflicts.
    hot_stream: &'static str,
    /// Makes this run have appends with several parts of one stream.
    has_stream_parts: bool,
}

impl Client {
    pub(crate) fn new(mut rng: SimRng) -> Self {
        // From a generator of its own, so that the choice shifts no other draw.
        let mut of_run = SimRng::from_seed(!rng.clone().next_u64());
        let has_stream_parts = of_run.percent(STREAM_PARTS_PERCENT);
        let hot_stream = rng.pick(&STREAMS);
        Self { rng, hot_stream, has_stream_parts }
    }

    /// Generates an append that was not submitted before, with its kind.
    pub(crate) fn append(&mut self, model: &Model) -> (Append, AppendKind) {
        match self.rng.below(100) {
            0..60 => (self.append_to_streams(model, 1), AppendKind::Valid),
            60..72 => (self.append_to_streams(model, 3), AppendKind::Valid),
            72..84 => (self.conditional(model), AppendKind::Valid),
            84..88 => (self.check_only(model), AppendKind::Valid),
            88..96 => (self.stream_change(model), AppendKind::Valid),
            96..98 => (self.malformed(model), AppendKind::Malformed),
            _ => {
                let reused = match self.rng.percent(50) {
                    true => self.id_of_another_stream(model).map(|it| (it, AppendKind::Valid)),
                    false => self.reused_event_id(model).map(|it| (it, AppendKind::ReusedEventId)),
                };
                reused.unwrap_or_else(|| (self.append_to_streams(model, 1), AppendKind::Valid))
            }
        }
    }

    /// Generates an append that no expectation or condition can refuse.
    pub(crate) fn unconditional_append(&mut self) -> Append {
        let stream = StreamName::new("last").expect("a valid name");
        Append::to(stream, ExpectedRevision::Any, self.events())
    }

    pub(crate) fn stream(&mut self) -> StreamName {
        let any = self.rng.pick(&STREAMS);
        let name = if self.rng.percent(25) { self.hot_stream } else { any };
        StreamName::new(name).expect("a valid name")
    }

    pub(crate) fn event_type(&mut self) -> EventType {
        EventType::new(self.rng.pick(&TYPES)).expect("a valid name")
    }

    /// Generates a query of one or two alternatives.
    pub(crate) fn query(&mut self) -> EventQuery {
        let query = EventQuery::of(self.query_item());
        if self.rng.percent(30) { query.or(self.query_item()) } else { query }
    }

    fn query_item(&mut self) -> QueryItem {
        let tags = [self.tag()];
        match self.rng.below(3) {
            0 => QueryItem::every().of_types([self.event_type()]).tagged(tags),
            1 => QueryItem::every().tagged(tags),
            _ => QueryItem::every().tagged([self.tag(), self.tag()]),
        }
    }

    /// Generates an append to at most `streams_max` streams.
    fn append_to_streams(&mut self, model: &Model, streams_max: usize) -> Append {
        let mut append = Append::default();
        for _ in 0..streams_max {
            let stream = self.stream();
            if append.streams.iter().any(|part| part.stream == stream) {
                continue;
            }
            let expected = self.expectation(model, &stream);
            let events = self.events();
            append = append.and(stream, expected, events);
        }
        if self.has_stream_parts { self.with_another_part(append) } else { append }
    }

    /// Adds, half of the time, events of the first stream behind those of others.
    fn with_another_part(&mut self, append: Append) -> Append {
        let [first, _, ..] = append.streams.as_slice() else { return append };
        if !self.rng.percent(50) {
            return append;
        }
        let stream = first.stream.clone();
        let events = self.events();
        append.and(stream, ExpectedRevision::Any, events)
    }

    fn conditional(&mut self, model: &Model) -> Append {
        let mut append = self.append_to_streams(model, 2);
        if self.rng.percent(60) {
            // Like a decision over tags: the condition is its only dependency.
            for part in &mut append.streams {
                part.expected = ExpectedRevision::Any;
            }
        }
        let condition =
            AppendCondition { none_matching: self.query(), after: self.condition_position(model) };
        append.with_condition(condition)
    }

    /// Generates an append without events, which only checks its expectations.
    fn check_only(&mut self, model: &Model) -> Append {
        let mut append = self.append_to_streams(model, 2);
        for part in &mut append.streams {
            part.events.clear();
        }
        append
    }

    /// Generates an append of metadata, a deletion or a tombstone.
    fn stream_change(&mut self, model: &Model) -> Append {
        let stream = self.stream_with_metadata(model).unwrap_or_else(|| self.stream());
        let described = stream.metadata_stream().expect("the name is short");
        // Rarely: a tombstone makes the stream unusable for the rest of the run.
        if self.rng.percent(4) {
            let event = self.event_of(TombstoneStream::EVENT_TYPE, b"{}".to_vec());
            return Append::to(described, ExpectedRevision::Any, [event]);
        }
        let head = model.history().next_revision(&stream);
        let before = self.rng.in_range(0..head.number() + 2);
        let metadata = match self.rng.below(3) {
            0 => StreamMetadata::default().truncate_before(head),
            1 => StreamMetadata::default().truncate_before(Revision::new(before)),
            _ => StreamMetadata::default().max_count(self.rng.in_range(1..6).try_into().ok()),
        };
        let event = self.event_of(StreamMetadata::EVENT_TYPE, metadata.to_json());
        let expected = self.expectation(model, &described);
        let append = Append::to(described, expected, [event]);
        let checked = self.expectation(model, &stream);
        if self.rng.percent(50) { append.expecting(stream, checked) } else { append }
    }

    /// Picks, half of the time, a stream that has metadata: new metadata may make its hidden events
    /// visible again.
    fn stream_with_metadata(&mut self, model: &Model) -> Option<StreamName> {
        let described: Vec<_> =
            model.history().stream_names().filter_map(StreamName::described_stream).collect();
        let again = !described.is_empty() && self.rng.percent(50);
        again.then(|| self.rng.pick(&described))
    }

    fn malformed(&mut self, model: &Model) -> Append {
        let stream = self.stream();
        let event = self.event();
        // An empty append, the same event twice, in one or two parts, a condition after the head.
        match self.rng.below(4) {
            0 => Append::default(),
            1 => Append::to(stream, ExpectedRevision::Any, [event.clone(), event]),
            2 => Append::to(stream.clone(), ExpectedRevision::Any, [event.clone()]).and(
                stream,
                ExpectedRevision::Any,
                [event],
            ),
            _ => {
                let after = Position::new(model.history().head().number() + 1_000_000);
                let condition = AppendCondition { none_matching: self.query(), after };
                Append::to(stream, ExpectedRevision::Any, [event]).with_condition(condition)
            }
        }
    }

    /// Generates an append that starts with the first event of a published append and then differs
    /// from it.
    fn reused_event_id(&mut self, model: &Model) -> Option<Append> {
        let victim = self.rng.below(model.append_count());
        model.published(victim)?;
        let mut append = model.append(victim).clone();
        let first = append.streams.iter_mut().find(|part| !part.events.is_empty())?;
        // An append to a system stream can be refused for its content, which would hide the
        // conflict.
        if first.stream.is_system() {
            return None;
        }
        let another = self.event();
        first.events.push(another);
        Some(append)
    }

    /// Generates an append of new events to a stream, of which the first has the id of the first
    /// event of a published append to another stream.
    fn id_of_another_stream(&mut self, model: &Model) -> Option<Append> {
        let victim = self.rng.below(model.append_count());
        model.published(victim)?;
        let id = model.append(victim).events().next()?.id;
        let mut append = self.append_to_streams(model, 2);
        let part = append.streams.first_mut()?;
        if model.was_submitted(id, &part.stream) {
            return None;
        }
        part.events.first_mut()?.id = id;
        Some(append)
    }

    fn expectation(&mut self, model: &Model, stream: &StreamName) -> ExpectedRevision {
        let current = model.current_expectation(stream);
        let head = model.history().next_revision(stream).number();
        match self.rng.below(100) {
            0..45 => current,
            45..75 => ExpectedRevision::Any,
            // Correct if appends ahead of it in the queue succeed.
            75..88 => ExpectedRevision::Exact(Revision::new(head + self.rng.in_range(0..3))),
            88..91 => ExpectedRevision::NoStream,
            91..95 => ExpectedRevision::StreamExists,
            _ => ExpectedRevision::Exact(Revision::new(self.rng.in_range(0..head + 5))),
        }
    }

    /// Picks the position after which a condition applies: mostly the head.
    fn condition_position(&mut self, model: &Model) -> Position {
        let head = model.history().head();
        let earlier = self.rng.in_range(0..head.number() + 1);
        if self.rng.percent(70) { head } else { Position::new(earlier) }
    }

    fn events(&mut self) -> Vec<NewEvent> {
        let count = match self.rng.below(10) {
            0..6 => 1,
            6..9 => 2,
            _ => self.rng.in_range(3..9),
        };
        (0..count).map(|_| self.event()).collect()
    }

    fn event(&mut self) -> NewEvent {
        let event_type = self.event_type();
        let data = self.payload();
        let mut event = self.event_of(event_type.as_str(), data);
        event.event_type = event_type;
        if self.rng.percent(50) {
            event.content_type = ContentType::OCTET_STREAM;
            event.metadata = self.bytes(40).into();
            event.correlation_id = CorrelationId::new("conversation-7").ok();
            event.schema_version = 3;
        }
        let tags: std::collections::BTreeSet<Tag> =
            (0..self.rng.below(4)).map(|_| self.tag()).collect();
        event.tagged(tags)
    }

    fn event_of(&mut self, event_type: &str, data: Vec<u8>) -> NewEvent {
        let id = EventId::from(Uuid::from_bytes(self.rng.bytes()));
        let event_type = EventType::new(event_type).expect("a valid name");
        NewEvent::json(id, event_type, data)
    }

    fn payload(&mut self) -> Vec<u8> {
        let length = match self.rng.below(1_000) {
            0..15 => return self.forged_frames(),
            15..850 => self.rng.in_range(0..200),
            850..980 => self.rng.in_range(200..1_500),
            980..997 => self.rng.in_range(1_500..6_000),
            _ => HUGE_BYTES,
        };
        self.bytes(length)
    }

    /// Generates forged frame headers that are as convincing as possible without knowledge of the
    /// segment's salt: one at every alignment (offset modulo eight), with durable marks spread over
    /// a small segment.
    fn forged_frames(&mut self) -> Vec<u8> {
        let mut frames = Vec::new();
        for _ in 0..FORGED_FRAMES {
            let mark = self.rng.in_range(SEGMENT_START..SMALL_SEGMENT_END) & !7;
            frames.extend_from_slice(b"GFRM\x02\0\0\0");
            frames.extend_from_slice(&144_u32.to_le_bytes()); // bytes
            frames.extend_from_slice(&1_u32.to_le_bytes()); // records
            frames.extend_from_slice(&1_u64.to_le_bytes()); // position
            frames.extend_from_slice(&mark.to_le_bytes());
            frames.extend_from_slice(&self.bytes(32)); // chain
            frames.extend_from_slice(&[0; 4]); // checksum of the body
            frames.extend_from_slice(&self.bytes(4)); // checksum, which cannot be made up
            frames.push(0); // so that the next one is at another offset by eight
        }
        frames
    }

    fn bytes(&mut self, length: u64) -> Vec<u8> {
        // One draw per payload keeps long payloads cheap.
        let seed = self.rng.next_u64().to_le_bytes();
        seed.into_iter().cycle().take(usize::try_from(length).expect("small")).collect()
    }

    fn tag(&mut self) -> Tag {
        Tag::new(self.rng.pick(&TAGS)).expect("a valid tag")
    }
}
