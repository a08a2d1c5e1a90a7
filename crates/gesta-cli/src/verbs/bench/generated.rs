//! Appends of the benchmarks: streams and tags in turn, data that does not compress.

use anyhow::Result;
use bytes::Bytes;
use gesta_store::{
    Append, ContentType, EventId, EventType, ExpectedRevision, NewEvent, StreamName, Tag,
};

const EVENT_TYPE: &str = "measured";
/// Size of the buffer that the data of events is cut from.
const POOL_BYTES: usize = 4 << 20;

/// Source of the appends of one thread. Threads share streams.
#[derive(Clone, Debug)]
pub(super) struct AppendSource {
    event_type: EventType,
    pool: Bytes,
    event_bytes: usize,
    /// Start of the next event's data in the pool.
    offset: usize,
    streams: u64,
    /// Number of the next append; it determines stream and tag.
    next: u64,
}

impl AppendSource {
    pub(super) fn new(event_bytes: usize, streams: u64) -> Result<Self> {
        // A disk or file system that compresses would make zeros look fast.
        let mut pool = vec![0; POOL_BYTES + event_bytes];
        blake3::Hasher::new().finalize_xof().fill(&mut pool);
        let event_type = EventType::new(EVENT_TYPE)?;
        Ok(Self { event_type, pool: pool.into(), event_bytes, offset: 0, streams, next: 0 })
    }

    /// Returns the source of the n-th of several threads. They share the data in memory, and start
    /// at different streams.
    pub(super) fn of_thread(&self, thread: u64, threads: u64) -> Self {
        let next = self.streams / threads.max(1) * thread;
        Self { next, ..self.clone() }
    }

    /// Returns an append of some events to the next stream.
    pub(super) fn append(&mut self, events: usize) -> Result<Append> {
        let number = self.number();
        let tag = Tag::of("bench", &number.to_string())?;
        let events: Vec<_> = (0..events)
            .map(|_| {
                let data = self.data();
                self.event(data).tagged(vec![tag.clone()])
            })
            .collect();
        Ok(Append::to(stream(number)?, ExpectedRevision::Any, events))
    }

    /// Returns an append of one event with this data.
    pub(super) fn append_data(&mut self, data: Vec<u8>) -> Result<Append> {
        let number = self.number();
        Ok(Append::to(stream(number)?, ExpectedRevision::Any, [self.event(data.into())]))
    }

    /// Returns the data of the next event.
    pub(super) fn data(&mut self) -> Bytes {
        let data = self.pool.slice(self.offset..self.offset + self.event_bytes);
        self.offset = (self.offset + self.event_bytes) % POOL_BYTES;
        data
    }

    fn number(&mut self) -> u64 {
        let number = self.next % self.streams;
        self.next += 1;
        number
    }

    fn event(&self, data: Bytes) -> NewEvent {
        let id = EventId::random();
        NewEvent::new(id, self.event_type.clone(), ContentType::OCTET_STREAM, data)
    }
}

fn stream(number: u64) -> Result<StreamName> {
    Ok(StreamName::new(format!("bench-{number}"))?)
}
