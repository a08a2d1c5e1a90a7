//! Payloads that leave the database, and come back.
//!
//! Both ways fill a new table and put it in the place of the partition's. Without payloads, a row
//! keeps every other column. A file has all payloads of its partition, also those that stay. Not
//! here: the exchange of the tables ([`session`](super::session)), and the choice of what stays
//! ([`kept`](super::kept)).

use std::{pin::Pin, sync::Arc};

use futures_util::{SinkExt as _, StreamExt as _, future::BoxFuture, pin_mut};
use gesta_store::{Position, RecordedEvent};
use tokio::sync::Mutex;
use tokio_postgres::{
    Row,
    binary_copy::BinaryCopyInWriter,
    types::{ToSql, Type},
};
use uuid::Uuid;

use super::{
    error::ArchiveError,
    kept::{KeptPayloads, is_kept},
    partition::ArchiveFile,
    session::{ArchiveSession, BEGIN},
};
use crate::{
    connection::{Connection, Value},
    number::{from_sql, to_sql},
    read::cell,
    shared::Shared,
    transfer::rows::EVENT_COLUMNS,
};

const COLUMNS: &str = "position, stream_id, revision, recorded_at, id, type_id, category_id, \
    append_events, schema_version, content_type, correlation_id, causation_id, tags";

/// Removes the payloads of a partition, which a file has from now on, except for those that stay.
pub(super) fn remove(
    session: ArchiveSession,
    file: &ArchiveFile,
) -> BoxFuture<'_, Result<KeptPayloads, ArchiveError>> {
    Box::pin(async move {
        if let Some(file) = session.partition.file() {
            let (first, file) = (session.partition.first, file.to_owned());
            return Err(ArchiveError::InFile { first, file });
        }
        let table = format!("events_{}_archived", session.partition.first);
        session.create_table(&table).await?;
        let reader = session.connector.connect().await?;
        let copying = copy_without_payloads(&session, &reader, &table);
        session.connector.while_it_answers(copying).await?;
        let kept = count_kept(&session, &table).await?;
        session.exchange(&table, Some((&file.path, &file.digest))).await?;
        Ok(kept)
    })
}

async fn count_kept(session: &ArchiveSession, table: &str) -> Result<KeptPayloads, ArchiveError> {
    let text = format!(
        "SELECT count(*), count(DISTINCT e.stream_id) FROM {{schema}}.{table} e \
          WHERE e.data IS NOT NULL"
    );
    let text = session.schema.fill(&text);
    // It reads the whole table, which may take longer than a statement of an append may.
    let counted = session.connection.client().query_typed(&text, &[]);
    let rows = session.connector.while_it_answers(counted).await?;
    let counts = rows.first().map(|row| Ok((cell(row, 0)?, cell(row, 1)?)));
    let (events, streams): (i64, i64) =
        counts.transpose().map_err(ArchiveError::Store)?.unwrap_or_default();
    Ok(KeptPayloads { events: from_sql(events), streams: from_sql(streams) })
}

/// Copies the rows from one connection to the other, so that they arrive frozen.
async fn copy_without_payloads(
    session: &ArchiveSession,
    reader: &Connection,
    table: &str,
) -> Result<(), tokio_postgres::Error> {
    let name = session.partition.name();
    let is_kept = is_kept();
    let out = session.schema.fill(&format!(
        "COPY (SELECT {COLUMNS}, CASE WHEN {is_kept} THEN metadata END, \
                      CASE WHEN {is_kept} THEN data END \
                 FROM {name} e ORDER BY position) TO STDOUT (FORMAT binary)"
    ));
    reader.client().batch_execute(BEGIN).await?;
    let rows = reader.client().copy_out(&out).await?;
    let sink = session.connection.client().copy_in(&copy_into(session, table)).await?;
    pin_mut!(rows, sink);
    while let Some(bytes) = rows.next().await {
        sink.feed(bytes?).await?;
    }
    sink.close().await?;
    // Its lock on the table would be in the way of the exchange.
    reader.client().batch_execute("COMMIT").await
}

/// The statement that fills a new table in the schema of the store.
fn copy_into(session: &ArchiveSession, table: &str) -> String {
    let text = format!(
        "COPY {{schema}}.{table} ({COLUMNS}, metadata, data) FROM STDIN (FORMAT binary, FREEZE)"
    );
    session.schema.fill(&text)
}

/// Payloads on their way back from a file.
///
/// Nothing changes before [`finish`](Self::finish). Dropping it leaves all as it was.
#[derive(Debug)]
pub struct PayloadRestore {
    shared: Arc<Shared>,
    restoring: Arc<Mutex<Restoring>>,
}

struct Restoring {
    session: ArchiveSession,
    reader: Connection,
    writer: Pin<Box<BinaryCopyInWriter>>,
    table: String,
    /// Position of the last event that was written.
    reached: Position,
}

impl std::fmt::Debug for Restoring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Restoring").field("reached", &self.reached).finish_non_exhaustive()
    }
}

impl PayloadRestore {
    pub(super) async fn begin(shared: Arc<Shared>, first: Position) -> Result<Self, ArchiveError> {
        let begun = shared.run(|core| async move {
            let session = ArchiveSession::begin(&core, first).await?;
            Restoring::begin(session).await
        })?;
        let restoring = Arc::new(Mutex::new(begun.await??));
        Ok(Self { shared, restoring })
    }

    /// Adds the next events of the file, in the order of their positions. A few thousand at once
    /// are a good number.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Differs`] if the store knows other events; nothing is changed then.
    pub async fn push(&mut self, events: Vec<RecordedEvent>) -> Result<(), ArchiveError> {
        let restoring = Arc::clone(&self.restoring);
        let pushed =
            self.shared.run(|_| async move { restoring.lock().await.push(&events).await })?;
        pushed.await?
    }

    /// Puts the payloads back.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Differs`] if events are missing; nothing is changed then.
    pub async fn finish(self) -> Result<(), ArchiveError> {
        let restoring = self.restoring;
        let finished = self.shared.run(|_| async move { restoring.lock().await.finish().await })?;
        finished.await?
    }
}

/// Rows of the partition after the position $1, up to the position $2.
const ROWS: &str = "
SELECT {columns}, (SELECT s.name FROM {schema}.streams s WHERE s.id = e.stream_id),
       (SELECT t.name FROM {schema}.types t WHERE t.id = e.type_id)
  FROM {table} e WHERE e.position > $1 AND e.position <= $2 ORDER BY e.position";

impl Restoring {
    async fn begin(session: ArchiveSession) -> Result<Self, ArchiveError> {
        let first = session.partition.first;
        if session.partition.file().is_none() {
            return Err(ArchiveError::NotInFile { first });
        }
        let table = format!("events_{first}");
        session.create_table(&table).await?;
        let reader = session.connector.connect().await?;
        let text = copy_into(&session, &table);
        let sink = session.connection.in_time(session.connection.client().copy_in(&text)).await?;
        let writer = Box::pin(BinaryCopyInWriter::new(sink, &EVENT_COLUMNS));
        let reached = Position::new(first.number() - 1);
        Ok(Self { session, reader, writer, table, reached })
    }

    fn push<'a>(
        &'a mut self,
        events: &'a [RecordedEvent],
    ) -> BoxFuture<'a, Result<(), ArchiveError>> {
        Box::pin(async move {
            let Some(last) = events.last() else { return Ok(()) };
            let rows = self.rows_up_to(last.position).await?;
            let mut rows = rows.iter();
            for event in events {
                let known = rows.next().ok_or(differs(event.position, "it is not in the store"))?;
                check(known, event)?;
                self.write(known, event).await?;
            }
            self.reached = last.position;
            Ok(())
        })
    }

    async fn rows_up_to(&self, last: Position) -> Result<Vec<Row>, ArchiveError> {
        let text = ROWS.replace("{columns}", &format!("e.{}", COLUMNS.replace(", ", ", e.")));
        let text = text.replace("{table}", &self.session.partition.name());
        let (after, last) = (to_sql(self.reached.number()), to_sql(last.number()));
        let values: [Value<'_>; 2] = [(&after, Type::INT8), (&last, Type::INT8)];
        Ok(self.reader.query(&self.session.schema.fill(&text), &values).await?)
    }

    /// Writes a row with all that the store knows, and the payload of the file.
    async fn write(&mut self, known: &Row, event: &RecordedEvent) -> Result<(), ArchiveError> {
        let metadata = Some(&*event.metadata).filter(|metadata| !metadata.is_empty());
        let row: [&(dyn ToSql + Sync); 15] = [
            &cell::<i64>(known, 0)?,
            &cell::<i64>(known, 1)?,
            &cell::<i64>(known, 2)?,
            &cell::<i64>(known, 3)?,
            &cell::<Uuid>(known, 4)?,
            &cell::<i32>(known, 5)?,
            &cell::<Option<i32>>(known, 6)?,
            &cell::<i32>(known, 7)?,
            &cell::<i32>(known, 8)?,
            &cell::<Option<&str>>(known, 9)?,
            &cell::<Option<&str>>(known, 10)?,
            &cell::<Option<&str>>(known, 11)?,
            &cell::<Option<&[u8]>>(known, 12)?,
            &metadata,
            &&*event.data,
        ];
        Ok(self.session.connection.in_time(self.writer.as_mut().write(&row)).await?)
    }

    fn finish(&mut self) -> BoxFuture<'_, Result<(), ArchiveError>> {
        Box::pin(async move {
            let last = Position::new(self.session.partition.end.number() - 1);
            if let Some(missing) = self.rows_up_to(last).await?.first() {
                let position = Position::new(from_sql(cell(missing, 0)?));
                return Err(differs(position, "the file ends before it"));
            }
            let written = self.writer.as_mut().finish();
            self.session.connector.while_it_answers(written).await?;
            self.session.exchange(&self.table, None).await
        })
    }
}

/// Compares an event of the file with the row that the store kept of it.
fn check(known: &Row, event: &RecordedEvent) -> Result<(), ArchiveError> {
    let position = Position::new(from_sql(cell(known, 0)?));
    if position != event.position {
        return Err(differs(position.min(event.position), "only one of them has the event"));
    }
    let (revision, recorded_at): (i64, i64) = (cell(known, 2)?, cell(known, 3)?);
    let (stream, event_type): (&str, &str) = (cell(known, 13)?, cell(known, 14)?);
    let is_same = cell::<Uuid>(known, 4)? == event.id.as_uuid()
        && from_sql(revision) == event.revision.number()
        && from_sql(recorded_at) == event.recorded_at.micros()
        && stream == event.stream.as_str()
        && event_type == event.event_type.as_str();
    if is_same { Ok(()) } else { Err(differs(position, "it has another event")) }
}

fn differs(position: Position, what: &'static str) -> ArchiveError {
    ArchiveError::Differs { position, what }
}
