//! What is offered: everything about an append but its expectations follows from who offers it.
//!
//! Always holds: the same id plans the same append, in any process.

use anyhow::Result;
use bytes::Bytes;
use clap::Args;
use gesta_store::{ContentType, EventId, EventType, NewEvent, StreamName, Tag};
use uuid::Uuid;

use crate::load::draw::Random;

const EVENT_TYPE: &str = "told";
/// Streams and tags that each writer has for itself, and that all writers race for.
const OWN: u64 = 8;
const RACED: u64 = 2;
/// Of a mixture, one event in so many is as large as this.
const LARGE_ONE_IN: u64 = 300;
const LARGE_BYTES: u64 = 20_000;
/// Of a mixture, batches have so many events at most.
const BATCH_MAX: u64 = 20;

/// What the appends of one process look like.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Which process this is of those that append to a store; each has a number of its own.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) life: u32,
    /// How many threads append, each waiting for its own append before the next.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(crate) writers: u16,
    /// How many events one append has. 0: a mixture of sizes, streams and conditions, some of which
    /// do not hold.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub(crate) events_per_append: u32,
    /// How many bytes the data of an event are; of a mixture, half as many on average.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    pub(crate) event_bytes: u64,
    /// How many streams there are.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) streams: u64,
    /// How many tags there are.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) tags: u64,
}

/// Which append: the first 96 bits of its events' ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct AppendId {
    pub(crate) life: u32,
    pub(crate) writer: u16,
    pub(crate) number: u64,
}

impl AppendId {
    const NUMBER_BITS: u32 = 48;
    const ORDINAL_BITS: u32 = 32;

    /// The id of one of its events.
    pub(crate) fn event(self, ordinal: u32) -> EventId {
        let writer = u128::from(self.life) << 16 | u128::from(self.writer);
        let append = writer << Self::NUMBER_BITS | u128::from(self.number);
        EventId::from(Uuid::from_u128(append << Self::ORDINAL_BITS | u128::from(ordinal)))
    }

    /// The append of an event, and which of its events this is.
    pub(crate) fn of(event: EventId) -> (Self, u32) {
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

/// What an append demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    Nothing,
    /// The revision that its stream has.
    Revision,
    /// That no event has its tag since its writer last looked.
    TagUnused,
    /// A revision that its stream never has.
    Impossible,
}

/// An append, but for what it expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    id: AppendId,
    /// Each stream, with how many of the events it gets.
    pub(crate) parts: Vec<(StreamName, u32)>,
    pub(crate) tag: Tag,
    pub(crate) demand: Demand,
    /// Data have so many bytes, or up to as many where they are mixed.
    event_bytes: u64,
    mixed: bool,
}

impl Shape {
    pub(crate) fn plan(&self, id: AppendId) -> Result<Planned> {
        if self.events_per_append == 0 {
            return self.plan_mixed(id);
        }
        let mut random = id.random();
        let stream = StreamName::new(format!("told-{}", random.below(self.streams)))?;
        let tag = Tag::of("told", &random.below(self.tags).to_string())?;
        let parts = vec![(stream, self.events_per_append)];
        let demand = Demand::Nothing;
        Ok(Planned { id, parts, tag, demand, event_bytes: self.event_bytes, mixed: false })
    }

    fn plan_mixed(&self, id: AppendId) -> Result<Planned> {
        let mut random = id.random();
        let choice = random.below(16);
        let demand = match choice {
            0..6 => Demand::Nothing,
            6..9 | 12..14 => Demand::Revision,
            9..12 | 14 => Demand::TagUnused,
            _ => Demand::Impossible,
        };
        // One's own, the one of all, or any.
        let name = |kind: u64, random: &mut Random, all: u64| match kind {
            6..12 => format!("own-{}-{}", id.writer, random.below(OWN)),
            12..15 => format!("raced-{}", random.below(RACED)),
            _ => format!("any-{}", random.below(all)),
        };
        let stream = StreamName::new(name(choice, &mut random, self.streams))?;
        let tag = Tag::of("told", &name(choice, &mut random, self.tags))?;
        let events = if random.below(3) > 0 { 1 } else { 1 + random.below(BATCH_MAX) as u32 };
        let mut parts = vec![(stream, events)];
        if demand == Demand::Nothing && random.below(4) == 0 {
            let other = StreamName::new(format!("other-{}", random.below(self.streams)))?;
            parts.push((other, 1 + random.below(3) as u32));
        }
        Ok(Planned { id, parts, tag, demand, event_bytes: self.event_bytes, mixed: true })
    }
}

impl Planned {
    pub(crate) fn count(&self) -> u32 {
        self.parts.iter().map(|(_, count)| count).sum()
    }

    /// Its events in order, each with its stream.
    pub(crate) fn events(&self) -> impl Iterator<Item = (&StreamName, NewEvent)> {
        let streams =
            self.parts.iter().flat_map(|(stream, count)| (0..*count).map(move |_| stream));
        (0_u32..).zip(streams).map(|(ordinal, stream)| (stream, self.event(ordinal)))
    }

    /// The event of this ordinal.
    pub(crate) fn event(&self, ordinal: u32) -> NewEvent {
        let mut random = self.id.random();
        let mut random = Random::of_seed(random.next() ^ u64::from(ordinal) << 32);
        let bytes = match self.mixed {
            false => self.event_bytes,
            true if random.below(LARGE_ONE_IN) == 0 => LARGE_BYTES,
            true => random.below(self.event_bytes + 1),
        };
        let metadata = if self.mixed { random.below(30) } else { 0 };
        NewEvent {
            schema_version: 1 + random.below(3) as u16,
            metadata: drawn(&mut random, metadata),
            tags: vec![self.tag.clone()],
            ..NewEvent::new(
                self.id.event(ordinal),
                EventType::new(EVENT_TYPE).expect("it is a name"),
                ContentType::OCTET_STREAM,
                drawn(&mut random, bytes),
            )
        }
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
        for demand in [Demand::Nothing, Demand::Revision, Demand::TagUnused, Demand::Impossible] {
            assert!(planned.iter().any(|append| append.demand == demand), "{demand:?}");
        }
        assert!(planned.iter().any(|append| append.parts.len() == 2));
        assert!(planned.iter().any(|append| append.count() == 1));
        let events = |append: &Planned| append.events().map(|(_, event)| event).collect::<Vec<_>>();
        for append in &planned {
            assert_eq!(events(append), events(append));
            assert_eq!(events(append).len(), append.count() as usize);
        }
        assert_ne!(planned[0].event(0).data, planned[1].event(0).data);
    }
}
