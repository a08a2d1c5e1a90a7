//! A store that records where reads of streams begin.

use std::sync::{Arc, Mutex};

use gesta::store::{
    Append, Appended, Capabilities, EventId, EventStore, Head, Pages, ReadAll, ReadFrom,
    ReadStream, StoreFuture, StreamDescription, StreamName, Subscribe, Subscription,
    memory::MemoryStore,
};

/// A store in memory that records where reads of streams begin.
#[derive(Default)]
pub(crate) struct RecordedReads {
    store: MemoryStore,
    begins: Arc<Mutex<Vec<u64>>>,
}

impl RecordedReads {
    /// Returns the revision at which the last read of a stream has begun.
    pub(crate) fn last_begin(&self) -> u64 {
        *self.begins.lock().unwrap().last().unwrap()
    }
}

impl EventStore for RecordedReads {
    fn append(&self, append: Append) -> StoreFuture<'_, Appended> {
        self.store.append(append)
    }

    fn find_append(&self, first_event: EventId) -> StoreFuture<'_, Option<Appended>> {
        self.store.find_append(first_event)
    }

    fn read_stream(&self, read: ReadStream) -> Pages {
        let begin = match read.from {
            ReadFrom::At(revision) => revision.number(),
            _ => 0,
        };
        self.begins.lock().unwrap().push(begin);
        self.store.read_stream(read)
    }

    fn read_all(&self, read: ReadAll) -> Pages {
        self.store.read_all(read)
    }

    fn subscribe(&self, subscribe: Subscribe) -> Subscription {
        self.store.subscribe(subscribe)
    }

    fn describe_stream(&self, stream: &StreamName) -> StoreFuture<'_, StreamDescription> {
        self.store.describe_stream(stream)
    }

    fn head(&self) -> StoreFuture<'_, Head> {
        self.store.head()
    }

    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }
}
