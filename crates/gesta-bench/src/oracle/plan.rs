//! Appends whose content follows from their id.
//!
//! Invariant: an id determines everything about its append except the expected revisions, in any
//! process.

use anyhow::Result;
use bytes::Bytes;
use clap::Args;
use gesta_store::{ContentType, EventId, EventType, NewEvent, StreamName, Tag};
use uuid::Uuid;

use crate::load::workload::Random;

const EVENT_TYPE: &str = "recorded";
/// Streams and tags that each writer has for itself, and that all writers compete for.
const OWN: u64 = 8;
const RACED: u64 = 2;
/// In a mixed load, one in this many events has [`LARGE_BYTES`].
const LARGE_ONE_IN: u64 = 300;
const LARGE_BYTES: u64 = 20_000;
/// Limit on the events per stream of an append, in a mixed load.
const BATCH_MAX: u64 = 20;

/// Options of one recording process.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Number of this process; unique among the processes that append to the store
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub life: u32,
    /// Threads that append, each waiting for its append before the next
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub writers: u16,
    /// Events per append; 0 for a mix of sizes, streams and conditions, some of which fail
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub events_per_append: u32,
    /// Bytes of data per event; in a mix, half as many on average
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    pub event_bytes: u64,
    /// Number of streams
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub streams: u64,
    /// Number of tags
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub tags: u64,
}

/// Identity of an append: the first 96 bits of its events' ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AppendId {
    pub life: u32,
    pub writer: u16,
    pub number: u64,
}

impl AppendId {
    const NUMBER_BITS: u32 = 48;
    const ORDINAL_BITS: u32 = 32;

    /// Returns the id of the n-th event.
    pub fn event(self, ordinal: u32) -> EventId {
        let writer = u128::from(self.life) << 16 | u128::from(self.writer);
        let append = writer << Self::NUMBER_BITS | u128::from(self.number);
        EventId::from(Uuid::from_u128(append << Self::ORDINAL_BITS | u128::from(ordinal)))
    }

    /// Returns the append of an event and the event's index in it.
    pub fn of(event: EventId) -> (Self, u32) {
        let all = event.as_uuid().as_u128();
        let append = all >> Self::ORDINAL_BITS;
        let writer = append >> Self::NUMBER_BITS;
        let id = Self {
            life: (writer >> 16) as u32,
            writer: writer as u16,
            number: append as u64 & ((1 << Self::NUMBER_BITS) - 1),
        };
        (id, all as u32)
    }

    fn random(self) -> Random {
        let mut random = Random::of_seed(u64::from(self.life) << 16 | u64::from(self.writer));
        Random::of_seed(random.next() ^ self.number)
    }
}

/// Condition of a planned append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expectation {
    Nothing,
    /// The current revision of its stream.
    Revision,
    /// No event has its tag since the writer last checked.
    TagUnused,
    /// A revision that its stream never has.
    Impossible,
}

/// An append without its expected revisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedAppend {
    id: AppendId,
    /// Each stream with the number of its events.
    pub parts: Vec<(StreamName, u32)>,
    pub tag: Tag,
    pub demand: Expectation,
    /// Bytes of data per event, or the maximum in a mixed load.
    event_bytes: u64,
    mixed: bool,
}

impl Shape {
    pub fn plan(&self, id: AppendId) -> Result<PlannedAppend> {
        if self.events_per_append == 0 {
            return self.plan_mixed(id);
        }
        let mut random = id.random();
        let stream = StreamName::new(format!("recorded-{}", random.below(self.streams)))?;
        let tag = Tag::of("recorded", &random.below(self.tags).to_string())?;
        let parts = vec![(stream, self.events_per_append)];
        let demand = Expectation::Nothing;
        Ok(PlannedAppend { id, parts, tag, demand, event_bytes: self.event_bytes, mixed: false })
    }

    fn plan_mixed(&self, id: AppendId) -> Result<PlannedAppend> {
        let mut random = id.random();
        let choice = random.below(16);
        let demand = match choice {
            0..6 => Expectation::Nothing,
            6..9 | 12..14 => Expectation::Revision,
            9..12 | 14 => Expectation::TagUnused,
            _ => Expectation::Impossible,
        };
        // A name of this writer alone, one that all writers compete for, or any.
        let name = |kind: u64, random: &mut Random, all: u64| match kind {
            6..12 => format!("own-{}-{}", id.writer, random.below(OWN)),
            12..15 => format!("raced-{}", random.below(RACED)),
            _ => format!("any-{}", random.below(all)),
        };
        let stream = StreamName::new(name(choice, &mut random, self.streams))?;
        let tag = Tag::of("recorded", &name(choice, &mut random, self.tags))?;
        let events = if random.below(3) > 0 { 1 } else { 1 + random.below(BATCH_MAX) as u32 };
        let mut parts = vec![(stream, events)];
        if demand == Expectation::Nothing && random.below(4) == 0 {
            let other = StreamName::new(format!("other-{}", random.below(self.streams)))?;
            parts.push((other, 1 + random.below(3) as u32));
        }
        Ok(PlannedAppend { id, parts, tag, demand, event_bytes: self.event_bytes, mixed: true })
    }
}

impl PlannedAppend {
    pub fn count(&self) -> u32 {
        self.parts.iter().map(|(_, count)| count).sum()
    }

    /// Returns the events in order, each with its stream.
    pub fn events(&self) -> impl Iterator<Item = (&StreamName, NewEvent)> {
        let streams =
            self.parts.iter().flat_map(|(stream, count)| (0..*count).map(move |_| stream));
        (0_u32..).zip(streams).map(|(ordinal, stream)| (stream, self.event(ordinal)))
    }

    /// Returns the n-th event.
    pub fn event(&self, ordinal: u32) -> NewEvent {
        let mut random = self.id.random();
        let mut random = Random::of_seed(random.next() ^ u64::from(ordinal) << 32);
        let bytes = match self.mixed {
            false => self.event_bytes,
            true if random.below(LARGE_ONE_IN) == 0 => LARGE_BYTES,
            true => random.below(self.event_bytes + 1),
        };
        let metadata = if self.mixed { random.below(30) } else { 0 };
        NewEvent::new(
            self.id.event(ordinal),
            EventType::new(EVENT_TYPE).expect("it is a name"),
            ContentType::OCTET_STREAM,
            drawn(&mut random, bytes),
        )
        .schema_version(1 + random.below(3) as u16)
        .metadata(drawn(&mut random, metadata))
        .tagged(vec![self.tag.clone()])
    }
}

fn drawn(random: &mut Random, bytes: u64) -> Bytes {
    let bytes = bytes as usize;
    let words = (0..bytes.div_ceil(8)).flat_map(|_| random.next().to_le_bytes());
    words.take(bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: AppendId = AppendId { life: 7, writer: 300, number: 1 << 40 };

    #[test]
    fn an_events_id_says_which_append_it_is_of() {
        assert_eq!(AppendId::of(ID.event(19)), (ID, 19));
        let last = AppendId { life: u32::MAX, writer: u16::MAX, number: (1 << 48) - 1 };
        assert_eq!(AppendId::of(last.event(u32::MAX)), (last, u32::MAX));
    }

    #[test]
    fn a_mixture_has_every_demand_and_appends_of_one_and_of_several_streams() {
        let shape = Shape {
            life: 1,
            writers: 2,
            events_per_append: 0,
            event_bytes: 100,
            streams: 9,
            tags: 9,
        };
        let planned: Vec<_> = (0..200)
            .map(|number| shape.plan(AppendId { life: 1, writer: 1, number }).unwrap())
            .collect();
        for demand in [
            Expectation::Nothing,
            Expectation::Revision,
            Expectation::TagUnused,
            Expectation::Impossible,
        ] {
            assert!(planned.iter().any(|append| append.demand == demand), "{demand:?}");
        }
        assert!(planned.iter().any(|append| append.parts.len() == 2));
        assert!(planned.iter().any(|append| append.count() == 1));
        let events =
            |append: &PlannedAppend| append.events().map(|(_, event)| event).collect::<Vec<_>>();
        for append in &planned {
            assert_eq!(events(append), events(append));
            assert_eq!(events(append).len(), append.count() as usize);
        }
        assert_ne!(planned[0].event(0).data, planned[1].event(0).data);
    }
}
