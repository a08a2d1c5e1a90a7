//! What clients ask for: appends of every kind, sound ones and others.
//!
//! Owns: [`Client`], which makes up appends from what was seen so far. Always holds: event ids are
//! never made twice, so what is offered can be told from what was offered before. Not here: what
//! must come of it ([`model`](crate::model)).

use gesta_log::Rng;
use gesta_store::{
    Append, AppendCondition, ContentType, CorrelationId, EventId, EventQuery, EventType,
    ExpectedRevision, NewEvent, Position, QueryItem, Revision, StreamMetadata, StreamName, Tag,
    TombstoneStream,
};
use uuid::Uuid;

use crate::{
    chance::Chance,
    model::{Honesty, Model},
};

const STREAMS: [&str; 8] =
    ["order-1", "order-2", "order-3", "account-1", "account-2", "stock-ä", "shop", "order"];
const TYPES: [&str; 4] = ["placed", "paid", "shipped", "noted"];
const TAGS: [&str; 6] =
    ["customer:1", "customer:2", "customer:3", "product:a", "product:b", "email:a@example.org"];

/// More than a small segment holds.
const HUGE_BYTES: u64 = 40_000;
/// Forged headers in one payload.
const FORGED_FRAMES: usize = 48;
/// Where frames begin in a segment, and where small segments end.
const SEGMENT_START: u64 = 4_096;
const SMALL_SEGMENT_END: u64 = 24 << 10;

/// Makes up appends.
#[derive(Debug)]
pub(crate) struct Client {
    chance: Chance,
    /// The stream that everybody is after.
    favourite: &'static str,
}

impl Client {
    pub(crate) fn new(mut chance: Chance) -> Self {
        let favourite = chance.pick(&STREAMS);
        Self { chance, favourite }
    }

    /// An append that was not offered before.
    pub(crate) fn append(&mut self, model: &Model) -> (Append, Honesty) {
        match self.chance.below(100) {
            0..60 => (self.for_streams(model, 1), Honesty::Sound),
            60..72 => (self.for_streams(model, 3), Honesty::Sound),
            72..84 => (self.conditional(model), Honesty::Sound),
            84..88 => (self.check(model), Honesty::Sound),
            88..96 => (self.about_a_stream(model), Honesty::Sound),
            96..98 => (self.malformed(model), Honesty::Malformed),
            _ => self.forged(model).map_or_else(
                || (self.for_streams(model, 1), Honesty::Sound),
                |append| (append, Honesty::Forged),
            ),
        }
    }

    /// An append that nothing speaks against.
    pub(crate) fn certain_append(&mut self) -> Append {
        let stream = StreamName::new("last").expect("a valid name");
        Append::to(stream, ExpectedRevision::Any, self.events())
    }

    pub(crate) fn stream(&mut self) -> StreamName {
        let any = self.chance.pick(&STREAMS);
        let name = if self.chance.percent(25) { self.favourite } else { any };
        StreamName::new(name).expect("a valid name")
    }

    pub(crate) fn event_type(&mut self) -> EventType {
        EventType::new(self.chance.pick(&TYPES)).expect("a valid name")
    }

    /// A query of one or two alternatives.
    pub(crate) fn query(&mut self) -> EventQuery {
        let query = EventQuery::of(self.query_item());
        if self.chance.percent(30) { query.or(self.query_item()) } else { query }
    }

    fn query_item(&mut self) -> QueryItem {
        let tags = [self.tag()];
        match self.chance.below(3) {
            0 => QueryItem::every().of_types([self.event_type()]).tagged(tags),
            1 => QueryItem::every().tagged(tags),
            _ => QueryItem::every().tagged([self.tag(), self.tag()]),
        }
    }

    /// To so many streams at most, each once.
    fn for_streams(&mut self, model: &Model, streams_max: usize) -> Append {
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
        append
    }

    fn conditional(&mut self, model: &Model) -> Append {
        let mut append = self.for_streams(model, 2);
        if self.chance.percent(60) {
            // As a decision over tags does: the condition is all that it depends on.
            for part in &mut append.streams {
                part.expected = ExpectedRevision::Any;
            }
        }
        let condition = AppendCondition { none_matching: self.query(), after: self.place(model) };
        append.provided(condition)
    }

    /// Without events.
    fn check(&mut self, model: &Model) -> Append {
        let mut append = self.for_streams(model, 2);
        for part in &mut append.streams {
            part.events.clear();
        }
        append
    }

    /// Metadata, a delete or a tombstone.
    fn about_a_stream(&mut self, model: &Model) -> Append {
        let stream = self.described(model).unwrap_or_else(|| self.stream());
        let described = stream.metadata_stream().expect("the name is short");
        if self.chance.percent(4) {
            let event = self.event_of(TombstoneStream::EVENT_TYPE, b"{}".to_vec());
            return Append::to(described, ExpectedRevision::Any, [event]);
        }
        let head = model.history().next_revision(&stream);
        let before = self.chance.within(0..head.number() + 2);
        let metadata = match self.chance.below(3) {
            0 => StreamMetadata { truncate_before: Some(head), ..StreamMetadata::default() },
            1 => StreamMetadata {
                truncate_before: Some(Revision::new(before)),
                ..StreamMetadata::default()
            },
            _ => StreamMetadata {
                max_count: self.chance.within(1..6).try_into().ok(),
                ..StreamMetadata::default()
            },
        };
        let event = self.event_of(StreamMetadata::EVENT_TYPE, metadata.to_json());
        let expected = self.expectation(model, &described);
        let append = Append::to(described, expected, [event]);
        let checked = self.expectation(model, &stream);
        if self.chance.percent(50) { append.checking(stream, checked) } else { append }
    }

    /// Half of the time, a stream that has metadata already: what they hide may come to light again.
    fn described(&mut self, model: &Model) -> Option<StreamName> {
        let described: Vec<_> =
            model.history().stream_names().filter_map(StreamName::described_stream).collect();
        let again = !described.is_empty() && self.chance.percent(50);
        again.then(|| self.chance.pick(&described))
    }

    fn malformed(&mut self, model: &Model) -> Append {
        let stream = self.stream();
        let event = self.event();
        match self.chance.below(4) {
            0 => Append::default(),
            1 => Append::to(stream, ExpectedRevision::Any, [event.clone(), event]),
            2 => Append::to(stream.clone(), ExpectedRevision::Any, [event])
                .checking(stream, ExpectedRevision::Any),
            _ => {
                let after = Position::new(model.history().head().number() + 1_000_000);
                let condition = AppendCondition { none_matching: self.query(), after };
                Append::to(stream, ExpectedRevision::Any, [event]).provided(condition)
            }
        }
    }

    /// Begins with the first event of another append that is there, and goes on differently.
    fn forged(&mut self, model: &Model) -> Option<Append> {
        let victim = self.chance.below(model.offers());
        model.published(victim)?;
        let mut append = model.append(victim).clone();
        let first = append.streams.iter_mut().find(|part| !part.events.is_empty())?;
        if first.stream.is_system() {
            return None;
        }
        let another = self.event();
        first.events.push(another);
        Some(append)
    }

    fn expectation(&mut self, model: &Model, stream: &StreamName) -> ExpectedRevision {
        let present = model.present_expectation(stream);
        let head = model.history().next_revision(stream).number();
        match self.chance.below(100) {
            0..45 => present,
            45..75 => ExpectedRevision::Any,
            // Right if appends before it in the queue succeed.
            75..88 => ExpectedRevision::Exact(Revision::new(head + self.chance.within(0..3))),
            88..91 => ExpectedRevision::NoStream,
            91..95 => ExpectedRevision::StreamExists,
            _ => ExpectedRevision::Exact(Revision::new(self.chance.within(0..head + 5))),
        }
    }

    /// Up to where a client says it has looked: the head, mostly.
    fn place(&mut self, model: &Model) -> Position {
        let head = model.history().head();
        let earlier = self.chance.within(0..head.number() + 1);
        if self.chance.percent(70) { head } else { Position::new(earlier) }
    }

    fn events(&mut self) -> Vec<NewEvent> {
        let count = match self.chance.below(10) {
            0..6 => 1,
            6..9 => 2,
            _ => self.chance.within(3..9),
        };
        (0..count).map(|_| self.event()).collect()
    }

    fn event(&mut self) -> NewEvent {
        let event_type = self.event_type();
        let data = self.payload();
        let mut event = self.event_of(event_type.as_str(), data);
        event.event_type = event_type;
        if self.chance.percent(50) {
            event.content_type = ContentType::OCTET_STREAM;
            event.metadata = self.bytes(40).into();
            event.correlation_id = CorrelationId::new("conversation-7").ok();
            event.schema_version = 3;
        }
        let tags: std::collections::BTreeSet<Tag> =
            (0..self.chance.below(4)).map(|_| self.tag()).collect();
        event.tagged(tags)
    }

    fn event_of(&mut self, event_type: &str, data: Vec<u8>) -> NewEvent {
        let id = EventId::from(Uuid::from_bytes(self.chance.bytes()));
        let event_type = EventType::new(event_type).expect("a valid name");
        NewEvent::json(id, event_type, data)
    }

    fn payload(&mut self) -> Vec<u8> {
        let length = match self.chance.below(1_000) {
            0..15 => return self.forged_frames(),
            15..850 => self.chance.within(0..200),
            850..980 => self.chance.within(200..1_500),
            980..997 => self.chance.within(1_500..6_000),
            _ => HUGE_BYTES,
        };
        self.bytes(length)
    }

    /// What looks like headers of frames, as far as somebody can make them up who does not know a
    /// segment's salt: at every offset by eight, with durable marks all over a small segment.
    fn forged_frames(&mut self) -> Vec<u8> {
        let mut frames = Vec::new();
        for _ in 0..FORGED_FRAMES {
            let mark = self.chance.within(SEGMENT_START..SMALL_SEGMENT_END) & !7;
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
        let seed = self.chance.number().to_le_bytes();
        seed.into_iter().cycle().take(usize::try_from(length).expect("small")).collect()
    }

    fn tag(&mut self) -> Tag {
        Tag::new(self.chance.pick(&TAGS)).expect("a valid tag")
    }
}
