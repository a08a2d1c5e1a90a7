//! What a load needs of an engine, whichever it is.
//!
//! Owns: [`Engine`] and what it is told. Always holds: an append returns once its events are
//! durable, or in an engine that keeps nothing, once they are there; the calling thread waits.

use anyhow::Result;

use super::draw::Payloads;

/// Something that events are appended to.
pub(crate) trait Engine: Send + Sync {
    /// The side that appends, for the calling thread alone.
    fn writer(&self) -> Result<Box<dyn Writer + '_>>;

    /// Ends it so that it can be opened again without any recovery. Called when all threads of
    /// the load have ended.
    fn close(self: Box<Self>) -> Result<()>;
}

/// One thread's way of appending.
pub(crate) trait Writer {
    /// Appends all events of an offer or none, waits for it, and returns the position of the last.
    fn append(&mut self, offer: &Offer<'_>) -> Result<u64>;
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
