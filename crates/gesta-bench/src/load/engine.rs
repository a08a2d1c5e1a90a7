//! Interface of a benchmarked engine.
//!
//! Contract: an append blocks the calling thread until its events are durable, or visible in an
//! engine without persistence.

use std::sync::atomic::AtomicBool;

use anyhow::{Result, bail};

use super::workload::Payloads;

/// A store under measurement.
pub trait Engine: Send + Sync {
    /// Creates a writer for the calling thread.
    fn writer(&self) -> Result<Box<dyn Writer + '_>>;

    /// Creates a reader for the calling thread.
    fn reader(&self) -> Result<Box<dyn Reader + '_>> {
        bail!("this engine does not support reads")
    }

    /// Subscribes to events that are appended after this call.
    fn subscriber(&self, _interest: Interest) -> Result<Box<dyn Subscriber>> {
        bail!("this engine does not support subscriptions")
    }

    /// Closes the engine cleanly, so that the next open needs no recovery. All threads of the load
    /// have ended by then.
    fn close(self: Box<Self>) -> Result<()>;
}

/// Appender of one thread.
pub trait Writer {
    /// Appends all events atomically, waits until they are durable, and returns the last position.
    fn append(&mut self, offer: &Offer<'_>) -> Result<u64>;
}

/// Reader of one thread. Passes the data of each event to a callback.
pub trait Reader {
    /// Reads all events in order, by the fastest path that verifies checksums. Returns their
    /// number.
    fn scan(&mut self, show: Show<'_>) -> Result<u64>;

    /// Reads a category in order, or returns `None` if the engine has no categories.
    fn category(&mut self, category: &str, show: Show<'_>) -> Result<Option<u64>>;

    /// Reads events of a stream. Returns their number.
    fn stream(&mut self, stream: &str, part: Part, show: Show<'_>) -> Result<u64>;
}

/// Callback that receives the data of each event.
pub type Show<'a> = &'a mut dyn FnMut(&[u8]);

/// Part of a stream to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Whole,
    /// The last n events, latest first.
    Last(u64),
}

/// Filter of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    Everything,
    /// A tag that no event has.
    NoEvent,
}

/// A tag that no event has.
pub const ABSENT_TAG: &str = "bench:absent";

/// A live subscription.
pub trait Subscriber: Send {
    /// Waits for events and passes their data to the callback. Returns `false` at the end.
    ///
    /// To end a subscription, the caller sets `end`, unparks its thread and closes the engine.
    fn next(&mut self, end: &AtomicBool, show: Show<'_>) -> Result<bool>;
}

/// An append to one stream.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    pub stream: &'a str,
    pub tag: &'a str,
    /// Id of the first event. The others have the consecutive ids.
    pub first_id: u128,
    pub payloads: Payloads<'a>,
    pub demand: Demand,
}

/// Condition of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    Nothing,
    /// No event after this position has the append's tag.
    TagUnusedAfter(u64),
    /// The stream has this many events.
    StreamHas(u64),
}

/// Event type of all benchmark events.
pub const EVENT_TYPE: &str = "measured";
