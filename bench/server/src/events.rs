//! Events that the loads append: 256 random bytes, each to one of a million streams.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::LazyLock,
};

use bytes::Bytes;
use uuid::Uuid;

pub(crate) const EVENT_BYTES: usize = 256;
/// Type of all events.
pub(crate) const EVENT_TYPE: &str = "measured";
const STREAMS: u64 = 1_000_000;
/// Bytes from which events take theirs.
const POOL_BYTES: usize = 1 << 20;

static POOL: LazyLock<Bytes> = LazyLock::new(|| {
    let mut draw = Draw::new();
    let bytes = std::iter::repeat_with(|| draw.number().to_le_bytes()).flatten();
    bytes.take(POOL_BYTES + EVENT_BYTES).collect()
});

#[derive(Clone, Debug)]
pub(crate) struct NewEvent {
    pub(crate) id: Uuid,
    pub(crate) data: Bytes,
}

/// Random numbers of one writer (xorshift).
#[derive(Clone, Debug)]
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) fn new() -> Self {
        Self(RandomState::new().hash_one(0) | 1)
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn stream(&mut self) -> String {
        format!("thing-{}", self.number() % STREAMS)
    }

    pub(crate) fn event(&mut self) -> NewEvent {
        let offset = usize::try_from(self.number()).unwrap_or_default() % POOL_BYTES;
        let data = POOL.slice(offset..offset + EVENT_BYTES);
        NewEvent { id: self.id(), data }
    }

    /// Returns an event that begins with a number.
    pub(crate) fn numbered(&mut self, number: u64) -> NewEvent {
        let mut event = self.event();
        let mut data = event.data.to_vec();
        data.splice(..size_of::<u64>(), number.to_le_bytes());
        event.data = data.into();
        event
    }

    fn id(&mut self) -> Uuid {
        Uuid::from_u64_pair(self.number(), self.number())
    }
}

/// Returns the number that an event begins with.
pub(crate) fn number_of(data: &[u8]) -> u64 {
    data.first_chunk().map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes))
}
