//! The tables of a copy, which only a store that was copied to has.
//!
//! `copied` has one row: the source, and how far it was copied. `scavenged` has a row for each
//! append that lacks events, because the source had scavenged them.

use gesta_store::{
    CorrelationId, EventId, EventType, Incarnation, Position, Revision, Scavenged, ScavengedEvent,
    StoreError, StreamName,
};
use tokio_postgres::{Row, types::Type};
use uuid::Uuid;

use crate::{
    connection::{Connection, Value},
    errors::{Failure, invalid_row},
    number::{from_sql, to_sql},
    read::cell,
    schema::Schema,
};

pub(super) const CREATE: &str = "
CREATE TABLE IF NOT EXISTS {schema}.copied (
    source_incarnations uuid[] NOT NULL,
    -- Position of the first event of each incarnation.
    source_firsts bigint[] NOT NULL,
    -- The incarnation that the copy gets.
    incarnation uuid NOT NULL,
    next_position bigint NOT NULL,
    finished boolean NOT NULL
);
CREATE TABLE IF NOT EXISTS {schema}.scavenged (
    first_position bigint PRIMARY KEY,
    -- Number of events at the time of the append.
    events bigint NOT NULL,
    first_event uuid NOT NULL,
    ids_digest bigint NOT NULL,
    positions bigint[] NOT NULL,
    streams text[] NOT NULL,
    revisions bigint[] NOT NULL,
    types text[] NOT NULL,
    correlations text[] NOT NULL
)";

/// The incarnations of a store, each with the position of its first event.
pub(super) type SourceIncarnations = Vec<(Incarnation, Position)>;

/// The row of `copied`.
#[derive(Clone, Debug)]
pub(super) struct CopyState {
    pub(super) source: SourceIncarnations,
    pub(super) incarnation: Incarnation,
    pub(super) next: Position,
}

const STATE: &str = "
SELECT source_incarnations, source_firsts, incarnation, next_position FROM {schema}.copied";

impl CopyState {
    pub(super) async fn load(
        schema: &Schema,
        connection: &Connection,
    ) -> Result<Option<Self>, StoreError> {
        let rows = connection.query(&schema.fill(STATE), &[]).await.map_err(Failure::of_read)?;
        let Some(row) = rows.first() else { return Ok(None) };
        let (ids, firsts): (Vec<Uuid>, Vec<i64>) = (cell(row, 0)?, cell(row, 1)?);
        let source = ids.into_iter().zip(firsts);
        let source = source.map(|(id, first)| (Incarnation::new(id), position(first))).collect();
        let incarnation = Incarnation::new(cell(row, 2)?);
        Ok(Some(Self { source, incarnation, next: position(cell(row, 3)?) }))
    }

    /// Records this state as that of an unfinished copy.
    pub(super) async fn begin(
        &self,
        schema: &Schema,
        connection: &Connection,
    ) -> Result<(), StoreError> {
        let (ids, firsts) = columns(&self.source);
        let (incarnation, next) = (self.incarnation.as_uuid(), to_sql(self.next.number()));
        let statement = "
            WITH old AS (DELETE FROM {schema}.copied)
            INSERT INTO {schema}.copied VALUES ($1, $2, $3, $4, false)";
        let values: [Value<'_>; 4] = [
            (&ids, Type::UUID_ARRAY),
            (&firsts, Type::INT8_ARRAY),
            (&incarnation, Type::UUID),
            (&next, Type::INT8),
        ];
        let done = connection.query(&schema.fill(statement), &values).await;
        done.map(drop).map_err(Failure::of_read)
    }
}

/// Returns a history as two columns.
pub(super) fn columns(history: &[(Incarnation, Position)]) -> (Vec<Uuid>, Vec<i64>) {
    history.iter().map(|(id, first)| (id.as_uuid(), to_sql(first.number()))).unzip()
}

pub(super) const SCAVENGED_TABLE: &str = "scavenged";

pub(super) const SCAVENGED: &str = "
SELECT first_position, events, first_event, ids_digest, positions, streams, revisions, types,
       correlations
  FROM {schema}.scavenged WHERE first_position BETWEEN $1 AND $2 ORDER BY first_position";

pub(super) const ADD_SCAVENGED: &str = "
INSERT INTO {schema}.scavenged VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";

/// Reads a row of [`SCAVENGED`], with the first position of its append.
pub(super) fn scavenged_of(row: &Row) -> Result<(Position, Scavenged), StoreError> {
    let (positions, streams): (Vec<i64>, Vec<&str>) = (cell(row, 4)?, cell(row, 5)?);
    let revisions: Vec<i64> = cell(row, 6)?;
    let (types, correlations): (Vec<Option<&str>>, Vec<Option<&str>>) =
        (cell(row, 7)?, cell(row, 8)?);
    let mut scavenged = Vec::with_capacity(positions.len());
    let rows = positions.into_iter().zip(streams).zip(revisions).zip(types).zip(correlations);
    for ((((at, stream), revision), event_type), correlation) in rows {
        let (stream, revision) = (StreamName::stored(stream)?, Revision::new(from_sql(revision)));
        let mut event = ScavengedEvent::new(position(at), stream, revision);
        event.event_type = event_type.map(EventType::stored).transpose()?;
        event.correlation_id = correlation.map(CorrelationId::stored).transpose()?;
        scavenged.push(event);
    }
    let (first, events): (i64, i64) = (cell(row, 0)?, cell(row, 1)?);
    let (id, digest): (Uuid, i64) = (cell(row, 2)?, cell(row, 3)?);
    let events = u32::try_from(events).map_err(|_| invalid_row(format!("{events} events")))?;
    let (first_event, ids_digest) = (EventId::from(id), digest.cast_unsigned());
    Ok((position(first), Scavenged { events, first_event, ids_digest, scavenged }))
}

/// Records the scavenged events of an append.
pub(super) async fn add_scavenged(
    schema: &Schema,
    connection: &Connection,
    first: Position,
    of: &Scavenged,
) -> Result<(), Failure> {
    let events = of.scavenged.iter();
    let positions: Vec<i64> = events.clone().map(|one| to_sql(one.position.number())).collect();
    let streams: Vec<&str> = events.clone().map(|one| one.stream.as_str()).collect();
    let revisions: Vec<i64> = events.clone().map(|one| to_sql(one.revision.number())).collect();
    let types: Vec<Option<&str>> =
        events.clone().map(|one| one.event_type.as_ref().map(EventType::as_str)).collect();
    let correlations: Vec<Option<&str>> =
        events.map(|one| one.correlation_id.as_ref().map(CorrelationId::as_str)).collect();
    let (first, events) = (to_sql(first.number()), i64::from(of.events));
    let (first_event, digest) = (of.first_event.as_uuid(), of.ids_digest.cast_signed());
    let values: [Value<'_>; 9] = [
        (&first, Type::INT8),
        (&events, Type::INT8),
        (&first_event, Type::UUID),
        (&digest, Type::INT8),
        (&positions, Type::INT8_ARRAY),
        (&streams, Type::TEXT_ARRAY),
        (&revisions, Type::INT8_ARRAY),
        (&types, Type::TEXT_ARRAY),
        (&correlations, Type::TEXT_ARRAY),
    ];
    connection.query(&schema.fill(ADD_SCAVENGED), &values).await.map(drop)
}

fn position(number: i64) -> Position {
    Position::new(from_sql(number))
}
