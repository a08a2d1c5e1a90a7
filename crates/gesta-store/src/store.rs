//! The trait that every event store implements.
//!
//! Owns: [`EventStore`]. Always holds: it is object-safe, asynchronous, and has no synchronous
//! twin; it names no runtime. Whether something that implements it *is* a store is decided by the
//! [`conformance`](mod@crate::conformance) suite.

use std::{future::Future, pin::Pin, time::Duration};

use crate::{
    Append, Appended, Capabilities, Category, DeleteStream, EventId, Head, ListCategories,
    ListStreams, Pages, ReadAll, ReadStream, RecordedAt, SetStreamMetadata, StoreError,
    StreamDescription, StreamName, Subscribe, Subscription, TombstoneStream, lifecycle,
};

/// The future of an answer.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A place where events are appended and read again.
///
/// ```
/// use gesta_store::{
///     Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, ReadAll, StreamName,
///     memory::MemoryStore,
/// };
///
/// # gesta_store::conformance::block_on(async {
/// let store: &dyn EventStore = &MemoryStore::new();
/// let event = NewEvent::json(EventId::random(), EventType::new("order-placed")?, "{}");
/// let append = Append::to(StreamName::new("order-1")?, ExpectedRevision::NoStream, [event]);
/// let first = store.append(append.clone()).await?;
/// assert_eq!(store.append(append).await?, first, "a repeat returns the first answer");
/// assert_eq!(store.read_all(ReadAll::forwards()).collect_events().await?.len(), 1);
/// # Ok::<(), gesta_store::StoreError>(())
/// # }).expect("a memory store appends and reads");
/// ```
pub trait EventStore: Send + Sync + 'static {
    /// Appends events to one or several streams, all or nothing.
    ///
    /// Expectations and the condition are judged as of one moment, before any event of this
    /// append. **A repeat** is judged before them: an append with the event ids of an earlier one,
    /// for the same streams in the same order with the same expectations, returns the first
    /// answer, whatever became of its condition and its pure checks since; ids that are there only
    /// in part are a conflict. Where every stream that gets events has an exact or no-stream
    /// expectation a repeat is recognized for ever, else within
    /// [`Capabilities::repeat_window_appends`]. An append without events only checks, and is never
    /// a repeat.
    ///
    /// Dropping the future does not cancel the append; its outcome is then unknown.
    ///
    /// # Errors
    /// [`Conflict`](StoreError::Conflict): load and decide again.
    /// [`Rejected`](StoreError::Rejected), [`Unsupported`](StoreError::Unsupported),
    /// [`Deleted`](StoreError::Deleted): fix the call.
    /// [`Overloaded`](StoreError::Overloaded): back off and retry.
    /// [`Unavailable`](StoreError::Unavailable): outcome unknown, retry with the same event ids.
    /// [`Stopped`](StoreError::Stopped), [`Corrupt`](StoreError::Corrupt): a human's turn.
    fn append(&self, append: Append) -> Answer<'_, Appended>;

    /// What the append whose first event has this id returned, if it is there.
    ///
    /// # Errors
    /// [`Unsupported`](StoreError::Unsupported) where
    /// [`Capabilities::find_append`] says never.
    fn find_append(&self, first_event: EventId) -> Answer<'_, Option<Appended>>;

    /// Reads a stream, without what is hidden by its metadata.
    ///
    /// Ends with [`Deleted`](StoreError::Deleted) on a tombstoned stream.
    fn read_stream(&self, read: ReadStream) -> Pages;

    /// Reads the whole store, or what a filter lets through, in order of positions. Raw unless it is
    /// asked for visible events; an event query is about visible events only.
    fn read_all(&self, read: ReadAll) -> Pages;

    /// Catches up from a place, then stays live.
    fn subscribe(&self, subscribe: Subscribe) -> Subscription;

    /// What is known of a stream.
    fn describe_stream(&self, stream: &StreamName) -> Answer<'_, StreamDescription>;

    /// Names of streams, in byte order.
    fn list_streams(&self, list: ListStreams) -> Answer<'_, Vec<StreamName>>;

    /// Categories, in byte order.
    fn list_categories(&self, list: ListCategories) -> Answer<'_, Vec<Category>>;

    /// Where the store ends.
    fn head(&self) -> Answer<'_, Head>;

    /// How far the last event's recorded time is ahead of `now`; zero where it is not. More than a
    /// minute says that the clock is wrong or was: until it has caught up, all events are recorded at
    /// that time, and max ages count from it.
    fn recorded_ahead(&self, now: RecordedAt) -> Answer<'_, Duration> {
        let last = self.read_all(ReadAll::backwards().limit(1)).collect_events();
        Box::pin(async move {
            let last = last.await?;
            Ok(last.first().map_or(Duration::ZERO, |event| event.recorded_at.since(now)))
        })
    }

    /// What this store can do. Never changes while it is open.
    fn capabilities(&self) -> Capabilities;

    /// Sets a stream's metadata, all of them. What a deletion has hidden stays hidden.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    fn set_stream_metadata(&self, change: SetStreamMetadata) -> Answer<'_, Appended> {
        Box::pin(lifecycle::set_metadata(self, change))
    }

    /// Deletes a stream: hides all its events so far. An append revives it.
    ///
    /// Returns the head where there was nothing to delete and nothing was expected.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    fn delete_stream(&self, delete: DeleteStream) -> Answer<'_, Appended> {
        Box::pin(lifecycle::delete(self, delete))
    }

    /// Forbids a stream for ever.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    fn tombstone_stream(&self, tombstone: TombstoneStream) -> Answer<'_, Appended> {
        Box::pin(lifecycle::tombstone(self, tombstone))
    }
}
