//! The handle of a store, which callers clone.
//!
//! Owns: opening and closing. Invariants: every call hands its work to the thread of the store; a
//! call of a closed store is refused. Not here: the state that calls share
//! ([`shared`](crate::shared)).

use std::{
    str::FromStr,
    sync::{Arc, Weak},
};

use gesta_store::{
    Append, Appended, Capabilities, Capability, CapabilitySet, Category, DatabaseName, Durability,
    EventId, EventStore, Head, InlineConsumer, Limits, ListCategories, ListStreams, OrdinalPages,
    Pages, Position, ReadAll, ReadOrdinals, ReadStream, StoreError, StoreFuture, StreamDescription,
    StreamName, Subscribe, Subscription,
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    append::{AppendQueue, Committer, InlineConsumers, find_append},
    connection::{Connection, Connector, Pool, database_of},
    errors::{Failure, OpenError},
    head::KnownHead,
    incarnation::History,
    number::from_sql,
    read::{
        all_pages::AllPages, directory, ordinal_pages::OrdinalReader, paging::pages,
        stream_pages::StreamPages,
    },
    replica::{PlacedReader, ReadReplica},
    schema::{Schema, SchemaError, VERSION},
    shared::{Core, Shared},
    subscribe::{announcements, deliveries::subscription},
    url::PostgresUrl,
    worker::Worker,
};

/// Oldest version of the server, as `server_version_num` counts.
const SERVER_VERSION_MIN: i32 = 150_000;

/// An event store in PostgreSQL.
///
/// Cheap to clone; all clones are the same store. It has every capability of the contract but
/// [`Capability::StreamOrdinals`]. Appends of one process that wait at the same time are committed
/// together. Futures need no runtime: the store has a thread of its own, which ends after
/// [`close`](EventStore::close), or when the last handle, read and subscription is dropped.
///
/// ```no_run
/// use gesta_postgres::PostgresStore;
/// use gesta_store::{
///     Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, StreamName,
///     conformance::block_on,
/// };
///
/// # block_on(async {
/// let store = PostgresStore::connect("postgres://ann:secret@localhost/shop").await?;
/// let event = NewEvent::json(EventId::random(), EventType::new("order-placed")?, "{}");
/// let append = Append::to(StreamName::new("order-1")?, ExpectedRevision::NoStream, [event]);
/// store.append(append).await?;
/// store.close().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).expect("a server runs");
/// ```
#[derive(Clone, Debug)]
pub struct PostgresStore {
    shared: Arc<Shared>,
    replica: Option<ReadReplica>,
}

/// A store that is open.
struct OpenedStore {
    core: Arc<Core>,
    replica: Option<ReadReplica>,
    inline: Arc<InlineConsumers>,
    database: Option<DatabaseName>,
}

/// The reaction to a store that does not exist, or whose tables are of an older version.
///
/// ```
/// use gesta_postgres::OpenMode;
///
/// assert_eq!(OpenMode::default(), OpenMode::Create);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenMode {
    /// Creates the schema and its tables, or brings older tables to this version.
    #[default]
    Create,
    /// Refuses both: for tools that only look at a store.
    Existing,
}

impl PostgresStore {
    /// The optional features: all but the order of streams, for which the tables have no index.
    pub const CAPABILITIES: CapabilitySet = CapabilitySet::ALL.without(Capability::StreamOrdinals);

    /// Opens the store behind a URL; see [`PostgresUrl`]. Creates its schema and tables if they do
    /// not exist, or brings older ones to this version.
    ///
    /// # Errors
    ///
    /// [`OpenError`]. The tables of a newer version are left unchanged.
    pub async fn connect(url: &str) -> Result<Self, OpenError> {
        Self::connect_to(PostgresUrl::from_str(url)?, OpenMode::Create).await
    }

    /// Opens the store behind a URL, and may refuse to create or change its tables.
    ///
    /// # Errors
    ///
    /// [`OpenError`]. With [`OpenMode::Existing`] the database is left unchanged.
    pub async fn connect_to(url: PostgresUrl, mode: OpenMode) -> Result<Self, OpenError> {
        let (queue, queued) = AppendQueue::new();
        let (ready, opened) = oneshot::channel();
        let thread = run_thread(url, mode, queued, ready);
        let worker = Worker::start(thread).map_err(OpenError::Thread)?;
        // The thread answers before it ends.
        let opened = opened.await.unwrap_or_else(|_| {
            let error = StoreError::closed();
            Err(OpenError::Server { url: String::new(), error })
        });
        let OpenedStore { core, replica, inline, database } = opened?;
        let shared = Shared { core, worker, queue, inline, database };
        Ok(Self { shared: Arc::new(shared), replica })
    }
}

impl PostgresStore {
    /// Asks the server for its version, such as `18.1`, as it writes it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unreachable`] if the server does not answer, with the reason.
    pub async fn server_version(&self) -> Result<String, StoreError> {
        let asked = self.shared.run(|core| async move {
            let version = "SELECT current_setting('server_version')";
            let rows = core.query(version, &[]).await?;
            let row = rows.first();
            let row = row.ok_or_else(|| StoreError::unreachable("the server gave no answer"))?;
            crate::read::cell::<String>(row, 0)
        });
        asked?.await?
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn placed<R>(&self, make: impl Fn(Arc<Core>) -> R + Send + 'static) -> PlacedReader<R> {
        PlacedReader::new(Arc::clone(&self.shared.core), self.replica.clone(), make)
    }
}

/// Opens the store, says so, and commits appends until the queue is closed.
async fn run_thread(
    url: PostgresUrl,
    mode: OpenMode,
    queued: mpsc::UnboundedReceiver<crate::append::Queued>,
    ready: oneshot::Sender<Result<OpenedStore, OpenError>>,
) {
    let opened = open(&url, mode).await;
    let (core, committer) = match opened {
        Ok(opened) => opened,
        Err(error) => return drop(ready.send(Err(error))),
    };
    let connector = Arc::clone(&committer.connector);
    tokio::spawn(announcements::look_while_awaited(Arc::clone(&core)));
    tokio::spawn(announcements::listen(Arc::clone(&core), connector));
    let committed = committer.committed.subscribe();
    tokio::spawn(announcements::announce(Arc::clone(&core), committed));
    let replica = match replica_of(&url, &core) {
        Ok(replica) => replica,
        Err(error) => return drop(ready.send(Err(error))),
    };
    let inline = Arc::clone(&committer.inline);
    let database = match &committer.connection {
        Some(connection) => database_of(connection).await,
        None => None,
    };
    if ready.send(Ok(OpenedStore { core, replica, inline, database })).is_ok() {
        committer.run(queued).await;
    }
}

/// The state of the server that matters to a store.
const SERVER: &str = "
SELECT current_setting('server_version_num')::integer, current_setting('server_version'),
       current_setting('server_encoding'), current_setting('synchronous_commit'),
       current_setting('fsync'), current_setting('full_page_writes'),
       current_setting('max_connections')::integer,
       (SELECT s.setting FROM pg_settings s WHERE s.name = 'statement_timeout')";

async fn open(url: &PostgresUrl, mode: OpenMode) -> Result<(Arc<Core>, Committer), OpenError> {
    let failed = |error| OpenError::Server { url: url.to_string(), error };
    let refused = |failure: Failure| failed(failure.of_read());
    let connector = Arc::new(Connector::new(url)?.with_generic_plans());
    let mut connection = connector.connect().await.map_err(failed)?;
    let durability = check_server(url, &connector, &connection).await?;
    if connector.through_pooler() {
        // The first connection may have prepared statements, which later ones do not find.
        connection = connector.connect().await.map_err(failed)?;
    }
    let schema = Schema::new(&url.schema);
    let unusable = |error| schema_error(url, error);
    match mode {
        OpenMode::Create => schema.migrate(&connector, &connection).await.map_err(unusable)?,
        OpenMode::Existing => schema.check(&connection).await.map_err(unusable)?,
    }
    schema.check_copied(&connection).await.map_err(unusable)?;
    schema.check_partitions(&connection).await.map_err(unusable)?;
    let head = KnownHead::new();
    let history = Arc::new(History::load(&schema, &head, &connection).await.map_err(refused)?);
    connector.introduce(Arc::<History>::clone(&history));
    let channel = schema.channel(&connection).await.map_err(refused)?;
    let session = connection.session().await.map_err(refused)?;
    let pool = Arc::new(Pool::new(Arc::clone(&connector), url.readers));
    let committer = Committer {
        connector,
        connection: Some(Arc::new(connection)),
        prepared: None,
        inline: Arc::default(),
        session,
        history: Arc::clone(&history),
        before: head.get(),
        numbers: Default::default(),
        pool: Arc::clone(&pool),
        schema: schema.clone(),
        head: head.clone(),
        committed: watch::Sender::new(0),
    };
    let tail = tokio::sync::Mutex::default();
    let lease_released = watch::Sender::new(());
    let core = Core { head, pool, schema, tail, history, durability, channel, lease_released };
    let core = Arc::new(core);
    announcements::look(&core).await.map_err(failed)?;
    Ok((core, committer))
}

/// Prepares the connections to the replica. None is made before the first read.
fn replica_of(url: &PostgresUrl, core: &Core) -> Result<Option<ReadReplica>, OpenError> {
    let Some(url) = url.of_replica() else { return Ok(None) };
    let connector = Arc::new(Connector::new(&url)?.with_generic_plans());
    let pool = Arc::new(Pool::new(connector, url.readers).without_repeats());
    Ok(Some(ReadReplica::new(Core {
        head: KnownHead::new(),
        pool,
        schema: core.schema.clone(),
        tail: tokio::sync::Mutex::default(),
        history: Arc::clone(&core.history),
        durability: core.durability,
        channel: core.channel.clone(),
        lease_released: core.lease_released.clone(),
    })))
}

/// Checks version and encoding, and returns the durability of an acknowledged append.
pub(crate) async fn check_server(
    url: &PostgresUrl,
    connector: &Connector,
    connection: &Connection,
) -> Result<Durability, OpenError> {
    let failed = |error| OpenError::Server { url: url.to_string(), error };
    let rows = connection.query(SERVER, &[]).await.map_err(|failure| failed(failure.of_read()))?;
    let Some(row) = rows.first() else {
        return Err(failed(StoreError::unreachable("the server did not describe itself")));
    };
    let text = |column| crate::read::cell::<String>(row, column).map_err(failed);
    let number = |column| crate::read::cell::<i32>(row, column).map_err(failed);
    if number(0)? < SERVER_VERSION_MIN {
        return Err(OpenError::ServerVersion { url: url.to_string(), version: text(1)? });
    }
    if text(2)? != "UTF8" {
        return Err(OpenError::Encoding { url: url.to_string(), encoding: text(2)? });
    }
    connector.set_connections_max(usize::try_from(number(6)?).unwrap_or_default());
    // Settings that did not arrive were kept by a pooler.
    if text(7)? != connector.limits().statement.as_millis().to_string() {
        connector.set_through_pooler();
    }
    let mut durability = Durability::Synced;
    for (column, setting) in [(3, "synchronous_commit"), (4, "fsync"), (5, "full_page_writes")] {
        if text(column)? == "off" {
            tracing::warn!(
                store = %url,
                "{setting} is off on the server: a crash there may lose acknowledged events or \
                 damage tables; set it to on"
            );
            durability = Durability::Buffered;
        }
    }
    Ok(durability)
}

pub(crate) fn schema_error(url: &PostgresUrl, error: SchemaError) -> OpenError {
    let (shown, schema) = (url.to_string(), url.schema.clone());
    match error {
        SchemaError::Newer { found } => {
            OpenError::NewerSchema { url: shown, found, known: VERSION }
        }
        SchemaError::Missing => OpenError::NoStore { url: shown, schema },
        SchemaError::Older { found } => {
            OpenError::OlderSchema { url: shown, found, known: VERSION }
        }
        SchemaError::UnfinishedCopy => OpenError::UnfinishedCopy { url: shown },
        SchemaError::Foreign => OpenError::ForeignSchema { url: shown, schema },
        SchemaError::MissingPartition { first, end, schema, table } => {
            let position = |number| Position::new(from_sql(number));
            let (first, last) = (position(first), position(end - 1));
            OpenError::MissingPartition { url: shown, first, last, schema, table }
        }
        SchemaError::Failed(error) => OpenError::Server { url: shown, error },
    }
}

impl EventStore for PostgresStore {
    fn append(&self, append: Append) -> StoreFuture<'_, Appended> {
        Box::pin(async move {
            self.capabilities().check(append.capabilities())?;
            append.check(&Limits::DEFAULT)?;
            self.shared.queue.enqueue(append).await
        })
    }

    fn place(&self) -> String {
        self.shared.core.pool.connector().server().to_owned()
    }

    fn find_append(&self, first_event: EventId) -> StoreFuture<'_, Option<Appended>> {
        Box::pin(async move {
            let found = self.shared.run(|core| async move {
                find_append(&core.pool, &core.schema, first_event).await
            });
            found?.await?
        })
    }

    fn read_stream(&self, read: ReadStream) -> Pages {
        let reader = self.placed(move |core| StreamPages::new(core, read.clone()));
        pages(Arc::clone(&self.shared), reader)
    }

    fn read_all(&self, read: ReadAll) -> Pages {
        if let Err(error) = self.capabilities().check(read.capabilities()) {
            return Pages::failed(error);
        }
        let reader = self.placed(move |core| AllPages::new(core, read.clone()));
        pages(Arc::clone(&self.shared), reader)
    }

    fn read_ordinals(&self, read: ReadOrdinals) -> OrdinalPages {
        match OrdinalReader::new(Arc::clone(&self.shared.core), read) {
            Ok(reader) => pages(Arc::clone(&self.shared), reader),
            Err(error) => OrdinalPages::failed(error),
        }
    }

    fn subscribe(&self, subscribe: Subscribe) -> Subscription {
        if let Err(error) = self.capabilities().check(subscribe.capabilities()) {
            return Subscription::failed(error);
        }
        subscription(Arc::clone(&self.shared), subscribe)
    }

    fn describe_stream(&self, stream: &StreamName) -> StoreFuture<'_, StreamDescription> {
        let stream = stream.clone();
        Box::pin(async move {
            let described =
                self.shared.run(|core| async move { directory::describe(&core, &stream).await });
            described?.await?
        })
    }

    fn list_streams(&self, list: ListStreams) -> StoreFuture<'_, Vec<StreamName>> {
        Box::pin(async move {
            let listed =
                self.shared.run(|core| async move { directory::list_streams(&core, &list).await });
            listed?.await?
        })
    }

    fn list_categories(&self, list: ListCategories) -> StoreFuture<'_, Vec<Category>> {
        Box::pin(async move {
            let listed = self
                .shared
                .run(|core| async move { directory::list_categories(&core, &list).await });
            listed?.await?
        })
    }

    fn head(&self) -> StoreFuture<'_, Head> {
        Box::pin(async move {
            let looked = self.shared.run(|core| async move { announcements::look(&core).await });
            let position = Position::new(looked?.await??);
            Ok(Head { position, incarnation: self.shared.core.incarnations().current() })
        })
    }

    /// The tables and indexes of the store's schema, as the server knows them.
    fn stored_bytes(&self) -> StoreFuture<'_, Option<u64>> {
        Box::pin(async move {
            let asked = self.shared.run(|core| async move { directory::stored_bytes(&core).await });
            asked?.await?
        })
    }

    fn attach_inline(&self, consumer: Weak<dyn InlineConsumer>) -> Result<(), StoreError> {
        self.shared.check_open()?;
        self.shared.inline.attach(consumer);
        Ok(())
    }

    fn database(&self) -> Option<DatabaseName> {
        self.shared.database.clone()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(Self::CAPABILITIES, self.shared.core.durability)
    }

    fn close(&self) -> StoreFuture<'_, ()> {
        self.shared.queue.close();
        Box::pin(async move {
            self.shared.worker.ended().await;
            Ok(())
        })
    }
}
