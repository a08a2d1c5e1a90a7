//! The trait that every event store implements.
//!
//! Owns: [`EventStore`], and its default implementations: refusals of optional features, and
//! setting metadata, deleting and tombstoning on top of `append`. The trait is object-safe and
//! asynchronous, has no synchronous twin, and depends on no runtime. The
//! [`conformance`](mod@crate::conformance) suite checks an implementation. Not here: the events
//! that the default implementations append ([`lifecycle`](crate::lifecycle)).

use std::{future::Future, pin::Pin, sync::Weak, time::Duration};

use crate::{
    Append, Appended, Capabilities, Capability, CapabilitySet, Category, DatabaseName,
    DeleteStream, EventId, Head, InlineConsumer, ListCategories, ListStreams, OrdinalPages, Pages,
    Position, ReadAll, ReadOrdinals, ReadStream, RecordedAt, RecordedEvent, Revision,
    SetStreamMetadata, StoreError, StreamDescription, StreamName, Subscribe, Subscription,
    TombstoneStream, event_by_event::compare, lifecycle,
};

/// The boxed future that the methods of [`EventStore`] return.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// An append-only store of events, ordered by stream and by position.
///
/// Methods take `&self` and may be called concurrently from any number of tasks.
///
/// # Implementing
///
/// - `append` calls [`Append::check`] first, so that all stores reject the same input.
/// - A [`Capability`] that the store lacks is refused with [`StoreError::Unsupported`], which names
///   it ([`Capabilities::check`]); a store never approximates it. Methods that belong to one
///   capability have a default implementation that refuses.
/// - An event that was acknowledged is visible to every read that begins afterwards.
/// - A future wakes its task when the result is ready. It must not depend on a particular runtime;
///   an adapter for a driver that needs one spawns its calls there.
/// - [`set_stream_metadata`](Self::set_stream_metadata), [`delete_stream`](Self::delete_stream) and
///   [`tombstone_stream`](Self::tombstone_stream) have default implementations on top of `append`.
///   They need [`Capability::MultiStreamAppend`]; a store without it implements them itself, or
///   lacks their capabilities.
///
/// # Blocking
///
/// No call, future, stream or destructor of a store waits for a device, a network or another thread
/// on the thread that runs it: a task that polls a store delays no other task. A store that does
/// blocking work has threads of its own for it. [`close`](Self::close) is the way to wait for the
/// end of a store; dropping the last handle finishes in the background.
///
/// # Examples
///
/// ```
/// use gesta_store::{
///     Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, ReadAll, RecordedWhen,
///     StreamName, memory::MemoryStore,
/// };
///
/// # gesta_store::conformance::block_on(async {
/// let store: &dyn EventStore = &MemoryStore::new();
/// let event = NewEvent::json(EventId::random(), EventType::new("order-placed")?, "{}");
/// let append = Append::to(StreamName::new("order-1")?, ExpectedRevision::NoStream, [event]);
/// let first = store.append(append.clone()).await?;
/// let repeat = store.append(append).await?;
/// assert_eq!(repeat.position, first.position, "a repeat returns the first answer");
/// assert_eq!(repeat.recorded, RecordedWhen::Earlier);
/// assert_eq!(store.read_all(ReadAll::forwards()).collect_events().await?.len(), 1);
/// # Ok::<(), gesta_store::StoreError>(())
/// # }).expect("a memory store appends and reads");
/// ```
pub trait EventStore: Send + Sync + 'static {
    /// Appends events to one or several streams atomically.
    ///
    /// All expectations and the condition are evaluated against one state of the store, the state
    /// before the first event of this append. Either all events are recorded, at increasing
    /// positions in the order of [`Append::events`], or none is. An append without events only
    /// checks its expectations and returns the head.
    ///
    /// # Repeats
    ///
    /// An append whose first event has the id of an earlier append's first event is compared with
    /// that append, before anything else is checked. It is a *repeat*, returns the first result as
    /// [recorded earlier](crate::RecordedWhen::Earlier) and records nothing, if
    ///
    /// - it has the same event ids for the same streams, in the same order, and
    /// - each [`Exact`](crate::ExpectedRevision::Exact) expectation of a stream with events names
    ///   the revision before the earlier append's first event in that stream.
    ///
    /// Otherwise it is a [`Conflict::PartialRepeat`](crate::Conflict::PartialRepeat). The other
    /// three expectations are met by every repeat, whatever the earlier append expected:
    ///
    /// | earlier, at *r* | `Any` | `NoStream` | `StreamExists` | `Exact(r - 1)` | other `Exact` |
    /// | --- | --- | --- | --- | --- | --- |
    /// | any expectation | repeat | repeat | repeat | repeat | conflict |
    ///
    /// Streams without events and the condition are not compared. The rule holds however the
    /// streams have changed since: grown, deleted, revived or tombstoned. An append without events
    /// is never a repeat.
    ///
    /// Every store recognizes, without limit, a repeat in which each stream with events is expected
    /// at `Exact`, or at `NoStream` if its events are the first of the stream. A store with
    /// [`Capability::UnconditionalRepeats`] recognizes every repeat, within the last
    /// [`Capabilities::repeat_window_appends`] appends. Without that feature, an append that cannot
    /// be recognized is a new one.
    ///
    /// With [`Capability::StreamScopedIds`] only appends whose first event is in the same stream
    /// are compared, so an event id may be used once in each stream.
    ///
    /// # Cancellation
    ///
    /// Dropping the future does not cancel the append: its outcome is unknown. Appending again with
    /// the same event ids is safe and returns the result.
    ///
    /// # Errors
    ///
    /// - [`Conflict`](StoreError::Conflict): an expectation or the condition failed. Load and
    ///   decide again.
    /// - [`Rejected`](StoreError::Rejected), [`Unsupported`](StoreError::Unsupported),
    ///   [`Deleted`](StoreError::Deleted): the call is wrong. Do not retry it.
    /// - [`Overloaded`](StoreError::Overloaded), [`Unreachable`](StoreError::Unreachable): nothing
    ///   was appended. Back off and retry.
    /// - [`Unavailable`](StoreError::Unavailable): the outcome is unknown. Retry with the same
    ///   event ids.
    /// - [`Denied`](StoreError::Denied), [`ReadOnly`](StoreError::ReadOnly),
    ///   [`Stopped`](StoreError::Stopped), [`Corrupt`](StoreError::Corrupt): not retryable. Alert
    ///   an operator.
    fn append(&self, append: Append) -> StoreFuture<'_, Appended>;

    /// Returns the result of the append whose first event has this id, as
    /// [recorded earlier](crate::RecordedWhen::Earlier), or `None`.
    ///
    /// Resolves the unknown outcome of an append: `Some` says that it was recorded. `None` is
    /// conclusive only within the range that [`Capabilities::find_append`] states, and only once
    /// the append is no longer in flight.
    ///
    /// If event ids are unique per stream ([`Capability::StreamScopedIds`]) and several appends
    /// begin with this one, returns one of them.
    ///
    /// # Errors
    ///
    /// - [`Unsupported`](StoreError::Unsupported) without [`Capability::FindAppend`].
    fn find_append(&self, first_event: EventId) -> StoreFuture<'_, Option<Appended>> {
        let _ = first_event;
        refused(Capability::FindAppend)
    }

    /// Returns the place of these events if they are in the stream one after another, the first of
    /// them at `first`, whichever appends have recorded them. Returns `None` otherwise, and without
    /// events.
    ///
    /// For writers that put the events of several appends together or take them apart when they
    /// repeat them: [`append`](Self::append) recognizes whole appends only, and answers with a
    /// conflict. Hidden events are not found.
    ///
    /// # Errors
    ///
    /// The same as [`read_stream`](Self::read_stream).
    fn find_events(
        &self,
        stream: &StreamName,
        first: Revision,
        ids: Vec<EventId>,
    ) -> StoreFuture<'_, Option<Appended>> {
        let read = ReadStream::forwards(stream.clone()).from(first).limit(ids.len() as u64);
        Box::pin(compare(self.read_stream(read), (stream.clone(), first), ids))
    }

    /// Reads a stream, in the order of revisions, without the events that its metadata hide.
    ///
    /// A stream that does not exist or is deleted has no events. Pages are read lazily, when they
    /// are polled.
    ///
    /// # Errors
    ///
    /// - [`Deleted`](StoreError::Deleted), as the item of the stream of pages, if the stream is
    ///   tombstoned.
    fn read_stream(&self, read: ReadStream) -> Pages;

    /// Reads the whole store, or the events that a filter selects, in the order of positions.
    ///
    /// Includes hidden events unless the read asks for [`Visibility::Visible`](crate::Visibility);
    /// a read with [`Filter::Query`](crate::Filter::Query) returns visible events only. Pages are
    /// read lazily.
    ///
    /// # Errors
    ///
    /// - [`Unsupported`](StoreError::Unsupported), as the item of the stream of pages, without
    ///   [`Capability::GlobalOrder`], for a filter that the store lacks, and for a start at a time
    ///   without [`Capability::TimeStarts`].
    fn read_all(&self, read: ReadAll) -> Pages {
        let _ = read;
        Pages::failed(StoreError::Unsupported { capability: Capability::GlobalOrder })
    }

    /// Reads the events of a category, of a type or of a conversation, or the first events of
    /// streams, by their ordinals.
    ///
    /// Cheap wherever the read starts. To subscribe from an ordinal, read the event before it with
    /// a limit of 1, and subscribe after its position with the filter of the same kind. First
    /// events of streams have no filter: subscribe to the whole store or to the category.
    ///
    /// # Errors
    ///
    /// - [`Unsupported`](StoreError::Unsupported), as the item of the stream of pages, without
    ///   [`OrdinalIndex::capability`](crate::OrdinalIndex::capability).
    fn read_ordinals(&self, read: ReadOrdinals) -> OrdinalPages {
        OrdinalPages::failed(StoreError::Unsupported { capability: read.of.capability() })
    }

    /// Subscribes to a stream or to the whole store: delivers past events, then new ones.
    ///
    /// Returns at once. Errors are delivered by the [`Subscription`], and end it.
    fn subscribe(&self, subscribe: Subscribe) -> Subscription;

    /// Returns the state, head and metadata of a stream.
    ///
    /// A stream without events has the state [`StreamState::Missing`](crate::StreamState), which is
    /// not an error.
    fn describe_stream(&self, stream: &StreamName) -> StoreFuture<'_, StreamDescription>;

    /// Returns names of streams, in byte order.
    ///
    /// Lists the streams at the time of the call. Pages of one listing are separate calls, so
    /// streams that are created or deleted in between may be missing.
    ///
    /// # Errors
    ///
    /// - [`Unsupported`](StoreError::Unsupported) without [`Capability::StreamListing`].
    fn list_streams(&self, list: ListStreams) -> StoreFuture<'_, Vec<StreamName>> {
        let _ = list;
        refused(Capability::StreamListing)
    }

    /// Returns categories, in byte order. A category stays listed when its streams are deleted.
    ///
    /// # Errors
    ///
    /// - [`Unsupported`](StoreError::Unsupported) without [`Capability::CategoryListing`].
    fn list_categories(&self, list: ListCategories) -> StoreFuture<'_, Vec<Category>> {
        let _ = list;
        refused(Capability::CategoryListing)
    }

    /// Returns the position of the last event, and the incarnation of the store.
    ///
    /// Reflects every append that was acknowledged before the call.
    ///
    /// # Errors
    ///
    /// - [`Unsupported`](StoreError::Unsupported) without [`Capability::GlobalOrder`].
    fn head(&self) -> StoreFuture<'_, Head> {
        refused(Capability::GlobalOrder)
    }

    /// Returns the space that the store takes where it is kept, in bytes. `None` if it does not
    /// know.
    ///
    /// Reads no events. Space that is reserved or not reclaimed yet may be counted.
    fn stored_bytes(&self) -> StoreFuture<'_, Option<u64>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Returns how far the last event's recorded time is ahead of `now`, or zero. Zero without
    /// [`Capability::GlobalOrder`].
    ///
    /// More than a minute means that the clock is or was wrong. Until the clock has caught up, all
    /// events are recorded at that time, and max age counts from it.
    fn recorded_ahead(&self, now: RecordedAt) -> StoreFuture<'_, Duration> {
        if !self.capabilities().has(Capability::GlobalOrder) {
            return Box::pin(std::future::ready(Ok(Duration::ZERO)));
        }
        let last = self.read_all(ReadAll::backwards().limit(1)).collect_events();
        Box::pin(async move {
            let last = last.await?;
            Ok(last.first().map_or(Duration::ZERO, |event| event.recorded_at.since(now)))
        })
    }

    /// Lets a consumer take part in the transaction of every later append of this handle and its
    /// clones, for as long as another owner keeps the consumer.
    ///
    /// # Errors
    ///
    /// - [`Unsupported`](StoreError::Unsupported) without [`Capability::InlineConsumers`].
    fn attach_inline(&self, consumer: Weak<dyn InlineConsumer>) -> Result<(), StoreError> {
        let _ = consumer;
        Err(StoreError::Unsupported { capability: Capability::InlineConsumers })
    }

    /// Returns the database that the events are in. `None` unless a store of read models may share
    /// a transaction with this store.
    fn database(&self) -> Option<DatabaseName> {
        None
    }

    /// Names the place of the events, for texts of errors: the address of a server, without
    /// secrets, or a directory. By default a text that says no more than what it is.
    fn place(&self) -> String {
        "the event store".to_owned()
    }

    /// Returns the limits and optional features of this store. The value never changes while the
    /// store is open.
    fn capabilities(&self) -> Capabilities;

    /// Finishes the accepted appends and releases what the store holds: its directory, its threads,
    /// its connections.
    ///
    /// Idempotent, and closes all handles of the store. Later calls fail with
    /// [`Stopped`](StoreError::Stopped), and open subscriptions and reads end with it. Dropping the
    /// future does not undo the closing. Without [`Capability::Close`] this does nothing: the
    /// resources are released when the last handle is dropped.
    ///
    /// # Errors
    ///
    /// - [`Unavailable`](StoreError::Unavailable) if the last appends could not be finished; the
    ///   store is closed all the same.
    fn close(&self) -> StoreFuture<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Replaces the metadata of a stream.
    ///
    /// Events that a deletion has hidden stay hidden, whatever the new metadata say. The default
    /// implementation looks the deletion up and retries after a concurrent change.
    ///
    /// # Errors
    ///
    /// The same as [`append`](Self::append), and [`Unsupported`](StoreError::Unsupported) without
    /// [`Capability::StreamMetadata`].
    fn set_stream_metadata(&self, change: SetStreamMetadata) -> StoreFuture<'_, Appended> {
        Box::pin(set_metadata(self, change))
    }

    /// Deletes a stream: hides all events that it has now. A later append revives the stream, and
    /// its revisions continue.
    ///
    /// Deleting a stream that does not exist or is already deleted appends nothing and returns the
    /// head, unless [`DeleteStream::expected`] says otherwise.
    ///
    /// # Errors
    ///
    /// The same as [`append`](Self::append), and [`Unsupported`](StoreError::Unsupported) without
    /// [`Capability::Deletion`].
    fn delete_stream(&self, delete: DeleteStream) -> StoreFuture<'_, Appended> {
        Box::pin(delete_stream(self, delete))
    }

    /// Tombstones a stream: hides all its events and refuses further appends. Cannot be undone.
    ///
    /// # Errors
    ///
    /// The same as [`append`](Self::append), and [`Unsupported`](StoreError::Unsupported) without
    /// [`Capability::Tombstones`].
    fn tombstone_stream(&self, tombstone: TombstoneStream) -> StoreFuture<'_, Appended> {
        Box::pin(async move {
            self.capabilities().check(CapabilitySet::of(&[Capability::Tombstones]))?;
            self.append(lifecycle::tombstone(tombstone)?).await
        })
    }
}

fn refused<T: Send + 'static>(capability: Capability) -> StoreFuture<'static, T> {
    Box::pin(std::future::ready(Err(StoreError::Unsupported { capability })))
}

/// Sets metadata. A concurrent change of the metadata causes another round.
async fn set_metadata<S: EventStore + ?Sized>(
    store: &S,
    change: SetStreamMetadata,
) -> Result<Appended, StoreError> {
    store.capabilities().check(CapabilitySet::of(&[Capability::StreamMetadata]))?;
    let metadata_stream = change.stream.metadata_stream()?;
    loop {
        // Read, decide, and append on condition that nothing has changed.
        let description = store.describe_stream(&change.stream).await?;
        lifecycle::check_change(&change, &description)?;
        let deleted_before =
            deleted_before(store, &metadata_stream, &change.stream, &description).await?;
        let append = lifecycle::metadata_change(&change, &description, deleted_before)?;
        match store.append(append).await {
            // The metadata changed concurrently: read them again.
            Err(StoreError::Conflict(_)) => {}
            outcome => return outcome,
        }
    }
}

/// Returns the revision before which the events of a stream are deleted, or [`Revision::FIRST`] if
/// there was no deletion.
async fn deleted_before<S: EventStore + ?Sized>(
    store: &S,
    metadata_stream: &StreamName,
    stream: &StreamName,
    description: &StreamDescription,
) -> Result<Revision, StoreError> {
    let (Some(before), Some(head)) = (description.metadata.truncate_before, description.head)
    else {
        return Ok(Revision::FIRST);
    };
    // Everything is truncated, so the stream is currently deleted.
    if before > head {
        return Ok(head.next());
    }
    let last = ReadStream::backwards(metadata_stream.clone()).limit(1);
    let last = store.read_stream(last).collect_events().await?.pop();
    let current = last.filter(|event| Some(event.revision) == description.metadata_revision);
    // The metadata event is hidden by the metadata of `$$name`. Keep the truncation, to be safe.
    let Some(current) = current else { return Ok(before) };
    match lifecycle::deletion_note(&current) {
        Some(deleted) => Ok(deleted),
        None => deleted_before_without_note(store, stream, before, &current).await,
    }
}

/// The same for metadata without a note, as earlier versions wrote them.
///
/// They deleted the stream if the first event that they show was appended after them.
async fn deleted_before_without_note<S: EventStore + ?Sized>(
    store: &S,
    stream: &StreamName,
    before: Revision,
    current: &RecordedEvent,
) -> Result<Revision, StoreError> {
    let first = ReadStream::forwards(stream.clone()).from(before).limit(1);
    let first = store.read_stream(first).collect_events().await?.pop();
    // Events from before the metadata were hidden by a truncation.
    let truncated = first.is_some_and(|first| first.position < current.position);
    Ok(if truncated { Revision::FIRST } else { before })
}

/// Truncates up to the head. A concurrent append to the stream causes another round.
async fn delete_stream<S: EventStore + ?Sized>(
    store: &S,
    delete: DeleteStream,
) -> Result<Appended, StoreError> {
    let capabilities = store.capabilities();
    capabilities.check(CapabilitySet::of(&[Capability::Deletion]))?;
    loop {
        let description = store.describe_stream(&delete.stream).await?;
        // Nothing to hide: report the head without an append.
        let Some(append) = lifecycle::deletion(&delete, &description)? else {
            let position = match capabilities.has(Capability::GlobalOrder) {
                true => store.head().await?.position,
                false => Position::START,
            };
            return Ok(Appended::new(position, Vec::new()));
        };
        match store.append(append).await {
            // The stream or its metadata changed concurrently: read them again.
            Err(StoreError::Conflict(_)) => {}
            outcome => return outcome,
        }
    }
}
