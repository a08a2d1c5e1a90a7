//! What a load needs of an engine, whichever it is.
//!
//! Owns: [`Engine`] and what it is told. Always holds: an append returns once its events are
//! durable, or in an engine that keeps nothing, once they are there; the calling thread waits.

use std::sync::atomic::AtomicBool;

use anyhow::{Result, bail};

use super::draw::Payloads;

/// Something that events are appended to.
pub(crate) trait Engine: Send + Sync {
    /// The side that appends, for the calling thread alone.
    fn writer(&self) -> Result<Box<dyn Writer + '_>>;

    /// The side that reads, for the calling thread alone.
    fn reader(&self) -> Result<Box<dyn Reader + '_>> {
        bail!("this engine is not read")
    }

    /// What gets all events from now on that are of interest.
    fn subscriber(&self, _interest: Interest) -> Result<Box<dyn Subscriber>> {
        bail!("this engine cannot be subscribed to")
    }

    /// Ends it so that it can be opened again without any recovery. Called when all threads of
    /// the load have ended.
    fn close(self: Box<Self>) -> Result<()>;
}

/// One thread's way of appending.
pub(crate) trait Writer {
    /// Appends all events of an offer or none, waits for it, and returns the position of the last.
    fn append(&mut self, offer: &Offer<'_>) -> Result<u64>;
}

/// One thread's way of reading. Each event's data are shown to whoever asked.
pub(crate) trait Reader {
    /// All events in order, the fastest way that verifies checksums; how many there were.
    fn scan(&mut self, show: Show<'_>) -> Result<u64>;

    /// All events of a category in order; none where the engine knows no categories.
    fn category(&mut self, category: &str, show: Show<'_>) -> Result<Option<u64>>;

    /// Events of a stream.
    fn stream(&mut self, stream: &str, part: Part, show: Show<'_>) -> Result<u64>;
}

/// Who is shown the data of an event.
pub(crate) type Show<'a> = &'a mut dyn FnMut(&[u8]);

/// Which part of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    /// So many of the latest, the last one first.
    Last(u64),
}

/// Which events a subscription is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    Everything,
    /// Those with a tag that no event has.
    NothingThatComes,
}

/// The tag that no event has.
pub(crate) const ABSENT_TAG: &str = "bench:absent";

/// What gets events as they come.
pub(crate) trait Subscriber: Send {
    /// Waits for the next events and shows their data; false once it has ended. When it is told to
    /// end, its thread is unparked and the engine closed, whichever it notices.
    fn next(&mut self, end: &AtomicBool, show: Show<'_>) -> Result<bool>;
}

/// Events for one stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer<'a> {
    pub(crate) stream: &'a str,
    pub(crate) tag: &'a str,
    /// The id of the first event; those of the others follow it.
    pub(crate) first_id: u128,
    pub(crate) payloads: Payloads<'a>,
    pub(crate) demand: Demand,
}

/// What must hold for an append to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    Nothing,
    /// No event after this position has the offer's tag.
    TagUnusedAfter(u64),
    /// The stream has so many events.
    StreamHas(u64),
}

/// The type of every event of a load.
pub(crate) const EVENT_TYPE: &str = "measured";
