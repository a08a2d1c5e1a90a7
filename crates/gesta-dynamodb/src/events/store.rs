//! The store: opening, and the calls of the contract.

use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use gesta_store::{
    Append, Appended, Capabilities, Capability, CapabilitySet, Category, Durability, EventId,
    EventStore, Head, Incarnation, Limits, ListCategories, ListStreams, Pages, ReadAll, ReadStream,
    StoreFuture, StreamDescription, StreamName, Subscribe, Subscription,
};
use uuid::Uuid;

use super::{
    append::{Queue, check_metadata},
    layout::{ID, STORE},
    lookups, read,
    shared::Shared,
    subscribe,
};
use crate::{
    client::{ConsumedUnits, Meter, connect},
    errors::CallError,
    item::{ALONE, Attributes as _, damaged, key, number, text},
    open_error::OpenError,
    open_mode::OpenMode,
    table::{Table, Update},
    url::DynamoUrl,
    worker::Worker,
};

/// Pause between looks at the mark while subscriptions wait.
const LOOK_PAUSE: Duration = Duration::from_millis(200);
/// The format of the items.
const FORMAT: u64 = 1;
const FORMAT_NAME: &str = "fmt";

/// An event store in a table of DynamoDB. Clones share the connection.
///
/// Appends of a process are recorded in groups, one after the other. Several processes may append;
/// each conflict between them costs a round. Reads are strongly consistent.
///
/// # Limits
///
/// All appends go through one partition of the table, which takes about 1 MB of events a second.
/// Filters other than streams scan the log from where they start. An event has at most 4 MiB, an
/// append 8 MiB, 1,000 events and 100 streams, and the metadata of streams 64 KiB.
///
/// ```no_run
/// use gesta_dynamodb::DynamoStore;
/// use gesta_store::EventStore;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let store = DynamoStore::connect("dynamodb://eu-central-1/shop").await?;
/// let head = store.head().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct DynamoStore {
    shared: Arc<Shared>,
    queue: Queue,
}

impl DynamoStore {
    /// The optional features of the store.
    ///
    /// Look-ups by ids and ordinals would need an index of their own, which every append would pay
    /// for. An append has one part for each stream.
    pub const CAPABILITIES: CapabilitySet = CapabilitySet::ALL
        .without(Capability::StreamParts)
        .without(Capability::InlineConsumers)
        .without(Capability::CorrelationFilter)
        .without(Capability::CausationFilter)
        .without(Capability::EventIdFilter)
        .without(Capability::CategoryOrdinals)
        .without(Capability::EventTypeOrdinals)
        .without(Capability::CorrelationOrdinals)
        .without(Capability::StreamOrdinals);

    /// Opens the store behind a URL ([`DynamoUrl`]), and creates its table if it is not there.
    /// Completes what a process that ended during an append has left.
    ///
    /// # Errors
    ///
    /// [`OpenError`] if the URL is invalid, the server does not answer, or the credentials lack a
    /// right.
    pub async fn connect(url: &str) -> Result<Self, OpenError> {
        Self::connect_to(url.parse()?, OpenMode::Create).await
    }

    /// Opens the store behind a URL that was parsed, and may refuse to create its table.
    ///
    /// # Errors
    ///
    /// The same as [`connect`](Self::connect). With [`OpenMode::Existing`] nothing is changed, and
    /// [`OpenError::NoStore`] says that there is none.
    pub async fn connect_to(url: DynamoUrl, mode: OpenMode) -> Result<Self, OpenError> {
        let worker = Worker::start().map_err(OpenError::Thread)?;
        let opening = open(url, mode, worker.clone());
        let shared = worker.run(opening).await.map_err(|_| OpenError::Closed)??;
        let queue = Queue::start(Arc::clone(&shared));
        worker.spawn(look_at_mark(Arc::downgrade(&shared)));
        let store = Self { shared, queue };
        if mode == OpenMode::Create {
            let caught_up = store.queue.catch_up().await;
            caught_up.map_err(|error| OpenError::of_store(&store.shared.url, error))?;
        }
        Ok(store)
    }

    /// Returns the capacity units that this store has consumed since it was opened.
    #[must_use]
    pub fn consumed_units(&self) -> ConsumedUnits {
        self.shared.meter.consumed()
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }
}

async fn open(url: DynamoUrl, mode: OpenMode, worker: Worker) -> Result<Arc<Shared>, OpenError> {
    let meter = Arc::new(Meter::default());
    let table = Table::new(connect(&url).await, &url, "events", Arc::clone(&meter));
    let failed = |error| match error {
        CallError::NoTable(_) if mode == OpenMode::Existing => {
            OpenError::NoStore { server: url.server(), table: table.name().to_owned() }
        }
        other => OpenError::of(&url, table.name(), other),
    };
    let table_id = table.open(mode).await.map_err(failed)?;
    let store_id = identify(&table, mode).await.map_err(failed)?;
    // A restored copy is another table, and another life of the store.
    let table_id = table_id.unwrap_or_default();
    let incarnation = Incarnation::new(Uuid::new_v5(&store_id, table_id.as_bytes()));
    let parts = (table.clone(), meter);
    Ok(Arc::new(Shared::new(worker, parts, url, incarnation)))
}

/// Returns the id of the store. Gives it one when it is new, or refuses that by
/// [`CallError::NoTable`].
async fn identify(table: &Table, mode: OpenMode) -> Result<Uuid, CallError> {
    let mut item = key(STORE, ALONE);
    item.insert(ID.to_owned(), text(Uuid::new_v4().to_string()));
    item.insert(FORMAT_NAME.to_owned(), number(FORMAT));
    let item = match table.get(STORE, ALONE).await? {
        Some(known) => known,
        None if mode == OpenMode::Existing => {
            return Err(CallError::NoTable("the table has no store".to_owned()));
        }
        None => {
            let absent = Update { condition: "attribute_not_exists(pk)", ..Update::default() };
            match table.put(item.clone(), absent).await {
                Ok(()) => item,
                Err(CallError::Condition(Some(known))) => known,
                Err(error) => return Err(error),
            }
        }
    };
    let format = item.number(FORMAT_NAME)?;
    if format != FORMAT {
        let reason = format!("its format is {format}, and this version reads {FORMAT}");
        return Err(CallError::Invalid(reason));
    }
    item.text(ID)?.parse().map_err(|_| damaged(&item, ID))
}

/// Looks at the mark while subscriptions wait, until the store is gone. A look that fails is made
/// again; reads report the failure.
async fn look_at_mark(shared: Weak<Shared>) {
    loop {
        tokio::time::sleep(LOOK_PAUSE).await;
        let Some(shared) = shared.upgrade() else { return };
        if shared.has_followers()
            && let Err(error) = shared.mark().await
        {
            let error = error.of_read().into_store();
            tracing::debug!(%error, "the mark was not read");
        }
    }
}

impl fmt::Debug for DynamoStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DynamoStore").field(&self.shared.url.to_string()).finish()
    }
}

const fn limits() -> Limits {
    let mut limits = Limits::DEFAULT;
    limits.event_bytes_max = 4 << 20;
    limits.append_bytes_max = 8 << 20;
    limits.events_per_append_max = 1_000;
    limits.streams_per_append_max = 100;
    limits
}

impl EventStore for DynamoStore {
    fn append(&self, append: Append) -> StoreFuture<'_, Appended> {
        Box::pin(async move {
            let capabilities = self.capabilities();
            append.check(&capabilities.limits)?;
            capabilities.check(append.capabilities())?;
            check_metadata(&append, &capabilities.limits)?;
            self.shared.check_open()?;
            self.queue.append(append).await
        })
    }

    fn place(&self) -> String {
        self.shared.url.to_string()
    }

    fn find_append(&self, first_event: EventId) -> StoreFuture<'_, Option<Appended>> {
        Box::pin(async move {
            let find = async || {
                let shared = Arc::clone(&self.shared);
                let work = async move { lookups::find_append(&shared, first_event).await };
                self.shared.call(work).await
            };
            if let Some(found) = find().await? {
                return Ok(Some(found));
            }
            // A writer may have ended between the log and the mark.
            let tail = Arc::clone(&self.shared);
            let has_tail = async move { lookups::has_tail(&tail).await };
            if !self.shared.call(has_tail).await? {
                return Ok(None);
            }
            self.queue.catch_up().await?;
            find().await
        })
    }

    fn read_stream(&self, read: ReadStream) -> Pages {
        match self.shared.check_open() {
            Ok(()) => read::stream_of(Arc::clone(&self.shared), read),
            Err(error) => Pages::failed(error),
        }
    }

    fn read_all(&self, read: ReadAll) -> Pages {
        let checked = self.capabilities().check(read.capabilities());
        match checked.and_then(|()| self.shared.check_open()) {
            Ok(()) => read::all(Arc::clone(&self.shared), read),
            Err(error) => Pages::failed(error),
        }
    }

    fn subscribe(&self, subscribe: Subscribe) -> Subscription {
        let checked = self.capabilities().check(subscribe.capabilities());
        match checked.and_then(|()| self.shared.check_open()) {
            Ok(()) => subscribe::open(&self.shared, subscribe),
            Err(error) => Subscription::failed(error),
        }
    }

    fn describe_stream(&self, stream: &StreamName) -> StoreFuture<'_, StreamDescription> {
        let (shared, stream) = (Arc::clone(&self.shared), stream.clone());
        let work = async move { lookups::describe(&shared, &stream).await };
        Box::pin(self.shared.call(work))
    }

    fn list_streams(&self, list: ListStreams) -> StoreFuture<'_, Vec<StreamName>> {
        let shared = Arc::clone(&self.shared);
        let work = async move { lookups::list_streams(&shared, &list).await };
        Box::pin(self.shared.call(work))
    }

    fn list_categories(&self, list: ListCategories) -> StoreFuture<'_, Vec<Category>> {
        let shared = Arc::clone(&self.shared);
        let work = async move { lookups::list_categories(&shared, &list).await };
        Box::pin(self.shared.call(work))
    }

    fn head(&self) -> StoreFuture<'_, Head> {
        Box::pin(async move {
            let shared = Arc::clone(&self.shared);
            let position = self.shared.call(async move { shared.mark().await }).await?;
            Ok(Head { position, incarnation: self.shared.incarnation })
        })
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::new(Self::CAPABILITIES, Durability::Synced);
        capabilities.limits = limits();
        capabilities
    }

    fn close(&self) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            self.shared.close();
            self.queue.end().await;
            self.shared.worker.stop();
            Ok(())
        })
    }
}
