//! The handle of a store, which callers clone.
//!
//! Owns: opening and closing, and the capabilities. Invariants: every call hands its work to the
//! thread of the store; what the protocol cannot do is refused before a call.

use std::{str::FromStr, sync::Arc};

use gesta_store::{
    Append, Appended, Capabilities, Capability, CapabilitySet, DeleteStream, Durability, EventId,
    EventStore, Head, Pages, ReadAll, ReadStream, StoreError, StoreFuture, StreamDescription,
    StreamName, Subscribe, Subscription, TombstoneStream,
};
use tokio::{
    sync::{RwLock, oneshot},
    time::timeout,
};

use crate::{
    append::{self, limits},
    cluster::Cluster,
    core::{Core, Features},
    deletion,
    describe::describe,
    head::head,
    link::{CallHeaders, Dialer},
    open_error::OpenError,
    pages,
    shared::Shared,
    subscribe::subscribe,
    tls::client_config,
    url::KurrentUrl,
    wire::INCARNATION,
    worker::Worker,
};

/// An event store behind a server of KurrentDB's protocol.
///
/// Cheap to clone; all clones are the same store. Futures need no runtime: the store has a thread
/// of its own, which ends after [`close`](EventStore::close), or when the last handle, read and
/// subscription is dropped. A connection that breaks is made anew.
///
/// # Capabilities
///
/// The protocol has no append conditions and event queries, no ordinals, no starts at a time and no
/// lists of streams: they are refused. [`MultiStreamAppend`](Capability::MultiStreamAppend) needs
/// the second version of the streams (KurrentDB 26.1, or `gesta serve`), and
/// [`FindAppend`](Capability::FindAppend) needs `gesta serve`. Tags, schema versions and content
/// types are kept in an event's metadata, where other clients read them; the server does not find
/// events by them. The durability is that of KurrentDB with its default settings; a server over a
/// store in memory has none.
///
/// [`Visibility::Visible`](gesta_store::Visibility) is evaluated here, by the metadata that the
/// server has at that moment. An append that repeats one of another process may be answered as
/// [recorded now](gesta_store::RecordedWhen::Now), because the protocol does not tell.
///
/// ```no_run
/// use gesta_kurrentdb::KurrentStore;
/// use gesta_store::{
///     Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, StreamName,
///     conformance::block_on,
/// };
///
/// # block_on(async {
/// let store = KurrentStore::connect("kurrentdb://localhost:2113?tls=false").await?;
/// let event = NewEvent::json(EventId::random(), EventType::new("order-placed")?, "{}");
/// let append = Append::to(StreamName::new("order-1")?, ExpectedRevision::NoStream, [event]);
/// store.append(append).await?;
/// store.close().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).expect("a server runs");
/// ```
#[derive(Clone)]
pub struct KurrentStore {
    shared: Arc<Shared>,
    features: Features,
}

impl std::fmt::Debug for KurrentStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KurrentStore").field("url", self.shared.core().cluster.url()).finish()
    }
}

impl KurrentStore {
    /// The optional features that every server has.
    pub const CAPABILITIES: CapabilitySet = CapabilitySet::of(&[
        Capability::Tags,
        Capability::ContentTypes,
        Capability::GlobalOrder,
        Capability::StreamFilter,
        Capability::StreamPrefixFilter,
        Capability::CategoryFilter,
        Capability::EventTypeFilter,
        Capability::EventTypePrefixFilter,
        Capability::RegexFilter,
        Capability::StreamScopedIds,
        Capability::StreamMetadata,
        Capability::Deletion,
        Capability::Tombstones,
        Capability::SystemStreams,
        Capability::Close,
    ]);
    /// The optional features behind `gesta serve`.
    pub const CAPABILITIES_AT_MOST: CapabilitySet =
        Self::CAPABILITIES.with(Capability::MultiStreamAppend).with(Capability::FindAppend);

    /// Connects to the server behind a URL; see [`KurrentUrl`].
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub async fn connect(url: &str) -> Result<Self, OpenError> {
        Self::connect_to(KurrentUrl::from_str(url)?).await
    }

    /// Connects to the server behind a URL.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub async fn connect_to(url: KurrentUrl) -> Result<Self, OpenError> {
        let tls = client_config(&url.tls)?;
        let printed = url.to_string();
        let dialer = Dialer {
            headers: Arc::new(CallHeaders::of(&url)),
            tls,
            ping_interval: url.ping_interval,
            ping_timeout: url.ping_timeout,
        };
        let deadline = url.deadline;
        let (ready, opened) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let appends = Arc::new(RwLock::new(()));
        let running = Arc::clone(&appends);
        let thread = async move {
            let core = Core::open(Cluster::new(url, dialer)).await;
            let is_open = core.is_ok();
            if ready.send(core).is_err() || !is_open {
                return;
            }
            // Both a message and a dropped sender say that it is over.
            drop(stopped.await);
            // No append lasts longer than its call.
            drop(timeout(deadline.saturating_mul(2), running.write()).await);
        };
        let worker = Worker::start(thread).map_err(OpenError::Thread)?;
        // The thread answers before it ends.
        let core = opened.await.unwrap_or_else(|_| Err(StoreError::closed()));
        let core = core.map_err(|error| OpenError::Server { url: printed, error })?;
        let features = core.features;
        let shared = Arc::new(Shared::new(Arc::new(core), worker, stop, appends));
        Ok(Self { shared, features })
    }

    /// Runs a call on the thread of the store.
    async fn run<T, Call>(
        &self,
        call: impl FnOnce(Arc<Core>) -> Call + Send,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        Call: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let work = call(Arc::clone(self.shared.core()));
        self.shared.run(work)?.await.ok_or_else(StoreError::closed)?
    }

    /// Runs a change on the thread of the store, which continues when the caller does not wait.
    async fn change<Change>(
        &self,
        change: impl FnOnce(Arc<Core>) -> Change + Send,
    ) -> Result<Appended, StoreError>
    where
        Change: Future<Output = Result<Appended, StoreError>> + Send + 'static,
    {
        let work = change(Arc::clone(self.shared.core()));
        let guard = self.shared.begin_append()?;
        let running = self.shared.run(async move {
            let answer = work.await;
            drop(guard);
            answer
        });
        let lost = || StoreError::unavailable("the store was closed before the server answered");
        running?.kept().await.ok_or_else(lost)?
    }
}

impl EventStore for KurrentStore {
    fn append(&self, append: Append) -> StoreFuture<'_, Appended> {
        Box::pin(async move {
            self.capabilities().check(append.capabilities())?;
            append.check(&limits())?;
            self.change(|core| async move { append::append(&core, append).await }).await
        })
    }

    fn place(&self) -> String {
        self.shared.core().cluster.url().to_string()
    }

    fn find_append(&self, first_event: EventId) -> StoreFuture<'_, Option<Appended>> {
        Box::pin(async move {
            self.capabilities().check(CapabilitySet::of(&[Capability::FindAppend]))?;
            self.run(|core| async move { append::find(&core, first_event).await }).await
        })
    }

    fn read_stream(&self, read: ReadStream) -> Pages {
        match self.capabilities().check(read.capabilities()) {
            Ok(()) => pages::of_stream(Arc::clone(&self.shared), read),
            Err(error) => Pages::failed(error),
        }
    }

    fn read_all(&self, read: ReadAll) -> Pages {
        match self.capabilities().check(read.capabilities()) {
            Ok(()) => pages::of_all(Arc::clone(&self.shared), read),
            Err(error) => Pages::failed(error),
        }
    }

    fn subscribe(&self, request: Subscribe) -> Subscription {
        match self.capabilities().check(request.capabilities()) {
            Ok(()) => subscribe(Arc::clone(&self.shared), request),
            Err(error) => Subscription::failed(error),
        }
    }

    fn describe_stream(&self, stream: &StreamName) -> StoreFuture<'_, StreamDescription> {
        let stream = stream.clone();
        Box::pin(self.run(|core| async move { describe(&core, &stream).await }))
    }

    fn head(&self) -> StoreFuture<'_, Head> {
        Box::pin(self.run(|core| async move {
            Ok(Head { position: head(&core).await?, incarnation: INCARNATION })
        }))
    }

    fn capabilities(&self) -> Capabilities {
        let mut supported = Self::CAPABILITIES;
        if self.features.appends_records {
            supported = supported.with(Capability::MultiStreamAppend);
        }
        if self.features.finds_appends {
            supported = supported.with(Capability::FindAppend);
        }
        let mut capabilities = Capabilities::new(supported, Durability::Synced);
        capabilities.limits = limits();
        capabilities
    }

    fn close(&self) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            self.shared.close().await;
            Ok(())
        })
    }

    fn delete_stream(&self, delete: DeleteStream) -> StoreFuture<'_, Appended> {
        Box::pin(self.change(|core| async move { deletion::delete(&core, delete).await }))
    }

    fn tombstone_stream(&self, tombstone: TombstoneStream) -> StoreFuture<'_, Appended> {
        Box::pin(self.change(|core| async move { deletion::tombstone(&core, tombstone).await }))
    }
}
