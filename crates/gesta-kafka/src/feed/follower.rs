//! A reader of a relay's topics that stays live.
//!
//! Owns: the consumer of all partitions and of the checkpoints. Blocks; the threads of reads and
//! subscriptions call it.

use std::time::Duration;

use gesta_store::{Incarnation, Invalid, Position, StoreError};
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::Consumer as _,
    error::{KafkaError, RDKafkaErrorCode},
};

use super::{
    error::{reading, refused},
    lanes::{Lane, Lanes, Merged},
    place::FeedPlace,
    search::{self, event_of},
};
use crate::{
    checkpoint::{self, RelayCheckpoint, StoredCheckpoint, assign},
    cluster::{Reader, is_passing},
};

/// Events of one page.
pub(crate) const PAGE_EVENTS_MAX: usize = 1_000;
/// Records that are taken from the consumer before the lanes are merged again.
const RECORDS_MAX: usize = 2_000;

pub(crate) struct Follower {
    place: FeedPlace,
    reader: Reader,
    lanes: Lanes,
    checkpoint_topic: String,
}

impl Follower {
    /// Begins after a position of an incarnation.
    pub(crate) fn open(
        place: FeedPlace,
        after: Position,
        incarnation: Option<Incarnation>,
    ) -> Result<Self, StoreError> {
        let StoredCheckpoint { offset, checkpoint } = place.last_checkpoint()?;
        let head = checkpoint.position;
        if after > head {
            return Err(match incarnation {
                Some(incarnation) if incarnation != checkpoint.incarnation => {
                    Invalid::OtherIncarnation { position: after, incarnation }.into()
                }
                _ => Invalid::BeyondHead { position: after, head }.into(),
            });
        }
        let lanes = search::lanes_after(&place, &checkpoint, after)?;
        let lanes = Lanes::new(lanes, checkpoint, after);
        let reader = place.cluster.reader()?;
        let checkpoint_topic = checkpoint::topic_of(&place.relay);
        let follower = Self { place, reader, lanes, checkpoint_topic };
        let lanes = follower.lanes.all.iter();
        let places = lanes.map(|lane| (&*lane.topic, lane.partition, lane.next));
        follower.assign(places.chain([(&*follower.checkpoint_topic, 0, offset + 1)]))?;
        Ok(follower)
    }

    /// Returns the position up to which the relay has published, as far as it is known here.
    pub(crate) fn head(&self) -> Position {
        self.lanes.target.position
    }

    /// Returns what is next. Waits for at most this time if nothing is there.
    pub(crate) fn step(&mut self, wait: Duration) -> Result<Merged, StoreError> {
        match self.lanes.merge(PAGE_EVENTS_MAX) {
            events @ Merged::Events(_) => return Ok(events),
            Merged::Level(_) | Merged::Starved => self.read(wait)?,
        }
        Ok(self.lanes.merge(PAGE_EVENTS_MAX))
    }

    fn read(&mut self, wait: Duration) -> Result<(), StoreError> {
        let mut wait = wait;
        let mut has_new_topics = false;
        for _ in 0..RECORDS_MAX {
            let Some(polled) = self.reader.poll(wait) else { break };
            // Only the first record is waited for.
            wait = Duration::ZERO;
            let record = match polled {
                Ok(record) => record,
                Err(error) if is_passing(&error) => continue,
                Err(error) => return Err(self.failed(&error)),
            };
            let (partition, offset) = (record.partition(), record.offset());
            if record.topic() == self.checkpoint_topic {
                let parsed = RelayCheckpoint::parse(record.payload().unwrap_or_default());
                let topic = &self.checkpoint_topic;
                let unread = |reason| refused(format!("offset {offset} of {topic}: {reason}"));
                has_new_topics |= self.lanes.aim_at(parsed.map_err(unread)?);
            } else if let Some(lane) = self.lanes.lane(record.topic(), partition) {
                lane.take_in(offset, event_of(&record)?);
            }
        }
        if has_new_topics {
            self.add_topics()?;
        }
        self.change_pauses()
    }

    fn failed(&self, error: &KafkaError) -> StoreError {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            let seen = self.reader.client().context().take_last();
            let reason = seen.unwrap_or_else(|| "no broker answers".to_owned());
            let doing = format!("read the topics of relay {}", self.place.relay);
            return self.place.cluster.reasoned(doing, reason).into();
        }
        reading((&self.place.cluster, &self.place.relay), &self.reader, error)
    }

    /// Begins to read topics that the relay has added.
    fn add_topics(&mut self) -> Result<(), StoreError> {
        let is_known = |topic: &str| self.lanes.all.iter().any(|lane| lane.topic == topic);
        let new = self.lanes.target.topics.iter().filter(|(topic, _)| !is_known(topic));
        let new = new.flat_map(|(topic, ends)| {
            // Its events are later than everything that has left.
            let lane = |partition| Lane::new(topic.clone(), partition, 0, Position::START);
            (0..i32::try_from(ends.len()).unwrap_or(i32::MAX)).map(lane)
        });
        let new: Vec<Lane> = new.collect();
        self.assign(new.iter().map(|lane| (&*lane.topic, lane.partition, lane.next)))?;
        self.lanes.all.extend(new);
        Ok(())
    }

    fn assign<'t>(
        &self,
        places: impl IntoIterator<Item = (&'t str, i32, i64)>,
    ) -> Result<(), StoreError> {
        let assigned = assign(&self.reader, places);
        assigned.map_err(|error| self.failed(&error))
    }

    fn change_pauses(&mut self) -> Result<(), StoreError> {
        let mut lists = (TopicPartitionList::new(), TopicPartitionList::new());
        for (topic, partition, pauses) in self.lanes.changed_pauses() {
            let list = if pauses { &mut lists.0 } else { &mut lists.1 };
            let added = list.add_partition_offset(&topic, partition, Offset::Invalid);
            added.map_err(|error| self.failed(&error))?;
        }
        let (paused, resumed) = lists;
        let changed = self.reader.pause(&paused).and_then(|()| self.reader.resume(&resumed));
        changed.map_err(|error| self.failed(&error))
    }
}
