//! Writes the appends of another store into a schema without events.
//!
//! Owns: the state of a copy, from its beginning to the moment at which the schema is a store.
//! Invariants:
//! - The lock of appends is held for the life of the import, so nothing else is appended.
//! - An interrupted import continues after its last batch.
//! - The copy gets its own incarnation after those of the source.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use gesta_store::{
    EventId, EventType, Incarnation, NewEvent, Position, RecordedAt, RecordedEvent, Revision,
    StoredAppend, StreamName,
};
use tokio::sync::{Mutex, oneshot};
use tokio_postgres::types::Type;

use super::{
    error::ImportError,
    rows::{self, KnownNames},
    tables::{CREATE, CopyState, columns},
};
use crate::{
    connection::{Connection, Connector, Value},
    errors::OpenError,
    incarnation::Incarnations,
    number::{from_sql, to_sql},
    read::cell,
    schema::Schema,
    store::{check_server, schema_error},
    url::PostgresUrl,
    worker::Worker,
};

/// Attempts to get the lock of appends, and the pause between them: ten seconds in all. The session
/// of an interrupted copy may hold it for a while on the server.
const LOCK_ATTEMPTS_MAX: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// The result of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportReport {
    /// Position of the last event, kept or scavenged, that was copied.
    pub end: Position,
    /// The incarnation of the copy.
    pub incarnation: Incarnation,
}

/// Creates a store from the appends of another one, with the same positions, revisions, recorded
/// times and append boundaries.
///
/// The copy has the incarnations of the source up to the last position that was copied, and begins
/// its own after it. A checkpoint of the source stays valid up to that position. The store cannot
/// be opened before [`finish`](Self::finish). Dropping the import keeps what was written, and
/// [`begin`](Self::begin) continues after it; so it does after a finished import, as long as
/// nothing else was appended to the copy.
///
/// Places of scavenged events stay empty. If the last ones of the source were scavenged, the copy
/// gets one event in the stream `audit-operations` after them, so that no later event takes their
/// positions.
///
/// ```no_run
/// use gesta_postgres::PostgresImport;
/// use gesta_store::{Incarnation, Position, StoredAppend, conformance::block_on};
///
/// # let incarnations: Vec<(Incarnation, Position)> = vec![];
/// # let (head, appends): (Position, Vec<StoredAppend>) = (Position::START, vec![]);
/// # block_on(async {
/// let url = "postgres://ann@localhost/shop".parse()?;
/// let mut import = PostgresImport::begin(url, &incarnations, head).await?;
/// import.push(appends).await?; // from `import.next()` on
/// import.finish().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).expect("a server runs");
/// ```
#[derive(Debug)]
pub struct PostgresImport {
    worker: Worker,
    session: Arc<Mutex<ImportSession>>,
    next: Position,
    /// Its drop ends the thread.
    _end: oneshot::Sender<()>,
}

/// The connection that holds the lock, and what it has written.
#[derive(Debug)]
struct ImportSession {
    connection: Connection,
    schema: Schema,
    names: KnownNames,
    state: CopyState,
}

impl PostgresImport {
    /// Begins or continues an import into the schema of a URL, which is created if it does not
    /// exist. `incarnations` are those of the source, each with the position of its first event;
    /// `head` is the last position of the source.
    ///
    /// # Errors
    ///
    /// [`ImportError`]. Events that are there are left unchanged.
    pub async fn begin(
        url: PostgresUrl,
        incarnations: &[(Incarnation, Position)],
        head: Position,
    ) -> Result<Self, ImportError> {
        let (end, ended) = oneshot::channel::<()>();
        let thread = async move { drop(ended.await) };
        let worker = Worker::start(thread).map_err(OpenError::Thread)?;
        let source = incarnations.to_vec();
        let opened = worker.run(async move { ImportSession::open(&url, source, head).await });
        let session = opened.await??;
        let next = session.state.next;
        Ok(Self { worker, session: Arc::new(Mutex::new(session)), next, _end: end })
    }

    /// Returns the position at which the next append must begin.
    #[must_use]
    pub const fn next(&self) -> Position {
        self.next
    }

    /// Writes the next appends in one transaction. A few thousand events or some megabytes at once
    /// are a good size.
    ///
    /// # Errors
    ///
    /// [`ImportError`]. The import cannot be used any more; begin it again to continue.
    pub async fn push(&mut self, appends: Vec<StoredAppend>) -> Result<(), ImportError> {
        for append in &appends {
            if append.first != self.next {
                let (position, next) = (append.first, self.next);
                let what = format!("an append at position {next} was expected");
                return Err(ImportError::Impossible { position, what });
            }
            self.next = append.next();
        }
        let session = Arc::clone(&self.session);
        let written =
            self.worker.run(async move { session.lock().await.write_batch(appends).await });
        written.await?
    }

    /// Makes the copy a store.
    ///
    /// # Errors
    ///
    /// [`ImportError`]; begin the import again to repeat this step.
    pub async fn finish(self) -> Result<ImportReport, ImportError> {
        let session = Arc::clone(&self.session);
        let finished = self.worker.run(async move { session.lock().await.finish().await });
        finished.await?
    }
}

impl ImportSession {
    async fn open(
        url: &PostgresUrl,
        source: Vec<(Incarnation, Position)>,
        head: Position,
    ) -> Result<Self, ImportError> {
        let shown = url.to_string();
        let failed = |error| OpenError::Server { url: url.to_string(), error };
        let connector = Connector::new(url).map_err(OpenError::from)?;
        let connection = connector.connect().await.map_err(failed)?;
        check_server(url, &connector, &connection).await?;
        if connector.through_pooler() {
            return Err(ImportError::Pooler { url: shown });
        }
        let schema = Schema::new(url.schema());
        let migrated = schema.migrate(&connector, &connection).await;
        migrated.map_err(|error| schema_error(url, error))?;
        lock(&schema, &connection, url).await?;
        connection.execute(&schema.fill(CREATE)).await?;
        let target = Incarnations::renewed(&schema, &connection).await?;
        let last = last_position(&schema, &connection).await?;
        let known = CopyState::load(&schema, &connection).await?;
        let state = match known {
            Some(state) => continued(url, state, (&source, head), last)?,
            None if source.iter().any(|(of, _)| *of == target.current()) => {
                return Err(ImportError::SameStore { url: shown });
            }
            None if last > Position::START => {
                let position = Position::START.next();
                return Err(ImportError::OtherEvents { url: shown, position });
            }
            None => {
                CopyState { source, incarnation: target.current(), next: Position::START.next() }
            }
        };
        state.begin(&schema, &connection).await?;
        Ok(Self { connection, schema, names: KnownNames::default(), state })
    }

    /// Writes a batch in a transaction of its own.
    ///
    /// Boxed, because the compiler does not see that the future of a statement can be sent.
    fn write_batch(
        &mut self,
        appends: Vec<StoredAppend>,
    ) -> BoxFuture<'_, Result<(), ImportError>> {
        Box::pin(async move {
            let Some(last) = appends.last() else { return Ok(()) };
            let next = to_sql(last.next().number());
            let Self { connection, schema, names, state } = self;
            connection.execute("BEGIN").await?;
            rows::write(schema, connection, names, &appends).await?;
            let moved = schema.fill("UPDATE {schema}.copied SET next_position = $1");
            connection.query(&moved, &[(&next, Type::INT8)]).await?;
            connection.execute("COMMIT").await?;
            state.next = last.next();
            Ok(())
        })
    }

    fn finish(&mut self) -> BoxFuture<'_, Result<ImportReport, ImportError>> {
        Box::pin(async move {
            let last = last_position(&self.schema, &self.connection).await?;
            let Self { connection, schema, names, state } = self;
            connection.execute("BEGIN").await?;
            // Positions continue after the last row, so one has to stand after the last position.
            if last.next() < state.next {
                let marker = marker(schema, connection, state.next).await?;
                rows::write(schema, connection, names, &[marker]).await?;
            }
            put_incarnations(schema, connection, state).await?;
            connection.execute(&schema.fill("UPDATE {schema}.copied SET finished = true")).await?;
            connection.execute("COMMIT").await?;
            let end = Position::new(state.next.number() - 1);
            Ok(ImportReport { end, incarnation: state.incarnation })
        })
    }
}

/// Takes the lock of appends for the life of the connection.
async fn lock(
    schema: &Schema,
    connection: &Connection,
    url: &PostgresUrl,
) -> Result<(), ImportError> {
    let key = schema.append_lock(connection).await?;
    let text = format!("SELECT pg_try_advisory_lock({key})");
    for _ in 0..LOCK_ATTEMPTS_MAX {
        let rows = connection.query(&text, &[]).await?;
        if rows.first().is_some_and(|row| row.get(0)) {
            return Ok(());
        }
        tokio::time::sleep(LOCK_PAUSE).await;
    }
    Err(ImportError::InUse { url: url.to_string() })
}

/// Returns the state from which an earlier copy continues.
fn continued(
    url: &PostgresUrl,
    known: CopyState,
    (source, head): (&[(Incarnation, Position)], Position),
    last: Position,
) -> Result<CopyState, ImportError> {
    let shown = url.to_string();
    // The source may have begun further incarnations.
    if !source.starts_with(&known.source) {
        return Err(ImportError::AnotherCopy { url: shown });
    }
    if last >= known.next {
        return Err(ImportError::OtherEvents { url: shown, position: known.next });
    }
    let copied = Position::new(known.next.number() - 1);
    if copied > head {
        return Err(ImportError::SourceBehind { url: shown, head, copied });
    }
    Ok(CopyState { source: source.to_vec(), ..known })
}

async fn last_position(schema: &Schema, connection: &Connection) -> Result<Position, ImportError> {
    let text = schema.fill("SELECT coalesce(max(e.position), 0) FROM {schema}.events e");
    let rows = connection.query(&text, &[]).await?;
    let last: i64 = rows.first().map_or(Ok(0), |row| cell(row, 0))?;
    Ok(Position::new(from_sql(last)))
}

/// The incarnations of the source have no history on this server: their places are 0, which no
/// server has.
const PUT_INCARNATIONS: &str = "
INSERT INTO {schema}.incarnations (ordinal, id, first_position, system_identifier, timeline)
SELECT n.nr, n.id, n.first,
       CASE WHEN n.id = $3 THEN now.system ELSE 0 END,
       CASE WHEN n.id = $3 THEN now.timeline ELSE 0 END
  FROM unnest($1, $2) WITH ORDINALITY n(id, first, nr)
 CROSS JOIN (SELECT system_identifier AS system,
                    ('x' || lpad(left(pg_walfile_name(pg_current_wal_lsn()), 8), 16, '0'))::bit(64)::bigint
                        AS timeline
               FROM pg_control_system()) now";

async fn put_incarnations(
    schema: &Schema,
    connection: &Connection,
    state: &CopyState,
) -> Result<(), ImportError> {
    let own = (state.incarnation, state.next);
    let all: Vec<_> = state.source.iter().copied().chain([own]).collect();
    let (ids, firsts) = columns(&all);
    let incarnation = state.incarnation.as_uuid();
    let values: [Value<'_>; 3] =
        [(&ids, Type::UUID_ARRAY), (&firsts, Type::INT8_ARRAY), (&incarnation, Type::UUID)];
    connection.execute(&schema.fill("DELETE FROM {schema}.incarnations")).await?;
    connection.query(&schema.fill(PUT_INCARNATIONS), &values).await?;
    Ok(())
}

/// An event at a position after scavenged ones.
async fn marker(
    schema: &Schema,
    connection: &Connection,
    position: Position,
) -> Result<StoredAppend, ImportError> {
    let stream = StreamName::new("audit-operations")?;
    let name = stream.as_str();
    let text = schema.fill(
        "SELECT coalesce(max(s.head) FILTER (WHERE s.name = $1), -1),
                greatest((extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
                         (SELECT max(e.recorded_at) FROM {schema}.events e))
           FROM {schema}.streams s WHERE s.name = $1",
    );
    let rows = connection.query(&text, &[(&name, Type::TEXT)]).await?;
    let (head, now): (i64, i64) = match rows.first() {
        Some(row) => (cell(row, 0)?, cell(row, 1)?),
        None => (-1, 0),
    };
    let data = r#"{"operation":"copy-store","target":"store","reason":"the last events before this one had been scavenged in the source; this event keeps their positions free"}"#;
    let event_type = EventType::new("operation-ordered")?;
    let id = EventId::derived_from(&format!("copied up to {position}"), 0);
    let event = NewEvent::json(id, event_type, data).metadata(r#"{"actor":"gesta copy"}"#);
    let revision = Revision::new(from_sql(head + 1));
    let recorded_at = RecordedAt::from_micros(from_sql(now));
    let event = RecordedEvent::new(event, stream, revision, position, recorded_at);
    Ok(StoredAppend::new(position, vec![event]))
}
