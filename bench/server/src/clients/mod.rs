//! The clients. Each is one connection, as an application has it.

pub(crate) mod official;
pub(crate) mod official_batch;
pub(crate) mod raw;
pub(crate) mod raw_batch;
#[cfg(feature = "umadb")]
pub(crate) mod umadb;

use anyhow::Result;
use tokio::{sync::mpsc::UnboundedSender, time::Instant};

use crate::events::{NewEvent, number_of};

/// Something that appends.
pub(crate) trait Appender: Clone + Send + Sync + 'static {
    /// Appends events to a stream in any state, and waits until they are durable.
    fn append(
        &self,
        stream: String,
        events: Vec<NewEvent>,
    ) -> impl Future<Output = Result<()>> + Send;
}

/// A client that also reads. Reads return the number of events.
pub(crate) trait Client: Appender {
    fn read_stream(&self, stream: &str, limit: u64) -> impl Future<Output = Result<u64>> + Send;

    fn read_all(&self, limit: u64) -> impl Future<Output = Result<u64>> + Send;

    /// Tells of each new event, until the future is dropped.
    fn subscribe(&self, seen: UnboundedSender<Seen>) -> impl Future<Output = Result<()>> + Send;
}

/// An event that a subscription delivered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) number: u64,
    pub(crate) at: Instant,
}

impl Seen {
    fn now(data: &[u8]) -> Self {
        Self { number: number_of(data), at: Instant::now() }
    }
}
