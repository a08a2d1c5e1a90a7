//! A schema for each test, and connections next to the store's.

use gesta_postgres::PostgresStore;
use gesta_store::{
    Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, ReadStream, StreamName,
    conformance::block_on,
};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

/// A store in a schema of its own, which is dropped at the end.
#[derive(Debug)]
pub(crate) struct TestStore {
    pub(crate) server: String,
    pub(crate) schema: String,
}

impl TestStore {
    pub(crate) fn create(server: &str) -> Self {
        let schema = format!("gesta_test_{}", Uuid::new_v4().simple());
        Self { server: server.to_owned(), schema }
    }

    /// Returns the URL of the store on a server, such as a proxy before the test's own.
    pub(crate) fn url_on(&self, server: &str) -> String {
        let separator = if server.contains('?') { '&' } else { '?' };
        format!("{server}{separator}schema={}", self.schema)
    }

    pub(crate) fn open(&self) -> PostgresStore {
        self.open_on(&self.server)
    }

    pub(crate) fn open_on(&self, server: &str) -> PostgresStore {
        block_on(PostgresStore::connect(&self.url_on(server))).expect("the store opens")
    }

    /// Runs statements in which `{schema}` is the store's.
    pub(crate) fn execute(&self, statements: &str) {
        let statements = statements.replace("{schema}", &self.schema);
        with_client(&self.server, async |client| {
            client.batch_execute(&statements).await.expect("the statements are right");
        });
    }
}

impl TestStore {
    /// Takes the lock of appends, for as long as the connection is open.
    pub(crate) async fn lock_appends(&self, client: &Client) {
        let lock = "SELECT pg_advisory_lock((1734701940::bigint << 32) | oid::bigint) \
                      FROM pg_namespace WHERE nspname = $1";
        client.query_one(lock, &[&self.schema]).await.expect("the lock is free");
    }

    /// Returns `true` if a session waits for the lock of appends.
    pub(crate) async fn is_lock_awaited(&self, client: &Client) -> bool {
        let text = "SELECT EXISTS (SELECT 1 FROM pg_locks l \
                      JOIN pg_namespace n ON n.oid = l.objid \
                     WHERE l.locktype = 'advisory' AND NOT l.granted AND n.nspname = $1)";
        client.query_one(text, &[&self.schema]).await.expect("the statement is right").get(0)
    }
}

impl Drop for TestStore {
    fn drop(&mut self) {
        let drop_schema = format!("DROP SCHEMA IF EXISTS {} CASCADE", self.schema);
        // A server of the test itself may be gone, and what is left disturbs no other test.
        drop(std::panic::catch_unwind(|| {
            with_client(&self.server, async |client| {
                drop(client.batch_execute(&drop_schema).await);
            });
        }));
    }
}

/// Makes tables of version 4 of those of version 5, which has partitions.
pub(crate) const TO_VERSION_4: &str = "
ALTER TABLE {schema}.events DETACH PARTITION {schema}.events_1;
DROP TABLE {schema}.events;
DROP TABLE {schema}.partitions;
DROP FUNCTION {schema}.own_name;
DROP FUNCTION {schema}.add_partitions;
DROP FUNCTION {schema}.index_events;
ALTER TABLE {schema}.store DROP COLUMN partition_positions;
ALTER TABLE {schema}.streams DROP COLUMN first_position;
ALTER TABLE {schema}.events_1 RENAME TO events;
ALTER INDEX {schema}.events_1_pkey RENAME TO events_pkey;
ALTER INDEX {schema}.events_1_of_stream RENAME TO events_of_stream;
ALTER INDEX {schema}.events_1_by_id RENAME TO events_by_id;
ALTER INDEX {schema}.events_1_of_type RENAME TO events_of_type;
ALTER INDEX {schema}.events_1_of_category RENAME TO events_of_category;
ALTER INDEX {schema}.events_1_of_correlation RENAME TO events_of_correlation;
ALTER INDEX {schema}.events_1_of_causation RENAME TO events_of_causation;
UPDATE {schema}.store SET version = 4";

/// Runs work on a connection of its own.
pub(crate) fn with_client<T>(server: &str, work: impl AsyncFnOnce(&Client) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime needs no resources").block_on(async {
        let (client, connection) =
            tokio_postgres::connect(server, NoTls).await.expect("the server runs");
        let driver = tokio::spawn(connection);
        let result = work(&client).await;
        drop(client);
        drop(driver.await);
        result
    })
}

pub(crate) fn name(text: &str) -> StreamName {
    StreamName::new(text).expect("a test names streams well")
}

/// Returns an event with this text as its data.
pub(crate) fn event(text: &str) -> NewEvent {
    let event_type = EventType::new("happened").expect("a name");
    NewEvent::json(EventId::random(), event_type, text.to_owned())
}

/// Returns an append of one event with this text as its data.
pub(crate) fn append_of(stream: &str, text: &str) -> Append {
    Append::to(name(stream), ExpectedRevision::Any, [event(text)])
}

/// Returns the data of a stream's events.
pub(crate) fn texts_of(store: &PostgresStore, stream: &str) -> Vec<String> {
    let read = store.read_stream(ReadStream::forwards(name(stream)));
    let events = block_on(read.collect_events()).expect("the stream is read");
    events.iter().map(|event| String::from_utf8_lossy(&event.data).into_owned()).collect()
}
