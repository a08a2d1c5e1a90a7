//! Dead letters of a read model, as rows of the catalogue.

use gesta_store::{
    DatabaseError, DeadLetter, DeadLetterReason, EventId, EventType, Position, ReadModelId,
    RecordedAt, Revision, StreamName,
};
use tokio_postgres::{Row, types::Type};
use uuid::Uuid;

use super::{catalogue::column, core::ReadModelsCore, errors::unreadable, session::Session};
use crate::number::{from_sql, to_sql};

/// An event that is set aside again replaces its earlier letter.
const PUT: &str = "
INSERT INTO {schema}.dead_letters (build, position, event, event_type, stream, revision,
                                   recorded_at, error, attempts, behind)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (build, position) DO UPDATE SET event = excluded.event,
    event_type = excluded.event_type, stream = excluded.stream, revision = excluded.revision,
    recorded_at = excluded.recorded_at, error = excluded.error, attempts = excluded.attempts,
    behind = excluded.behind";

const DELETE: &str = "
DELETE FROM {schema}.dead_letters d WHERE d.build = $1 AND d.position = $2 RETURNING 1";

const LIST: &str = "
SELECT d.position, d.event, d.event_type, d.stream, d.revision, d.recorded_at, d.error,
       d.attempts, d.behind
  FROM {schema}.dead_letters d WHERE d.build = $1 ORDER BY d.position";

pub(super) async fn put(session: &mut Session, letter: DeadLetter) -> Result<(), DatabaseError> {
    let (build, position) = (to_sql(session.read_model.build), to_sql(letter.position.number()));
    let (event, event_type) = (letter.event.as_uuid(), letter.event_type.as_str());
    let (stream, revision) = (letter.stream.as_str(), to_sql(letter.revision.number()));
    let recorded_at = to_sql(letter.recorded_at.micros());
    let (error, attempts, behind) = match &letter.reason {
        DeadLetterReason::Failed { error, attempts } => {
            // The database has no zero bytes in texts.
            (Some(error.replace('\0', "\u{fffd}")), Some(i64::from(*attempts)), None)
        }
        DeadLetterReason::Behind { first } => (None, None, Some(to_sql(first.number()))),
    };
    let text = session.core.names.fill(PUT);
    let values: [(super::session::Parameter<'_>, Type); 10] = [
        (&build, Type::INT8),
        (&position, Type::INT8),
        (&event, Type::UUID),
        (&event_type, Type::TEXT),
        (&stream, Type::TEXT),
        (&revision, Type::INT8),
        (&recorded_at, Type::INT8),
        (&error, Type::TEXT),
        (&attempts, Type::INT8),
        (&behind, Type::INT8),
    ];
    session.query_own(&text, &values).await.map(drop)
}

/// Returns whether the dead letter existed.
pub(super) async fn delete(
    session: &mut Session,
    position: Position,
) -> Result<bool, DatabaseError> {
    let (build, position) = (to_sql(session.read_model.build), to_sql(position.number()));
    let text = session.core.names.fill(DELETE);
    let values: [(super::session::Parameter<'_>, Type); 2] =
        [(&build, Type::INT8), (&position, Type::INT8)];
    Ok(!session.query_own(&text, &values).await?.is_empty())
}

pub(super) async fn list(
    core: &ReadModelsCore,
    id: &ReadModelId,
) -> Result<Vec<DeadLetter>, DatabaseError> {
    super::catalogue::check_exists(core, id).await?;
    let build = to_sql(id.build);
    let rows = core.query(LIST, &[(&build, Type::INT8)]).await?;
    rows.iter().map(letter).collect()
}

fn letter(row: &Row) -> Result<DeadLetter, DatabaseError> {
    let number = |at| column::<i64>(row, at).map(from_sql);
    let event: Uuid = column(row, 1)?;
    let attempts: Option<i64> = column(row, 7)?;
    let behind: Option<i64> = column(row, 8)?;
    let reason = match behind {
        Some(first) => DeadLetterReason::Behind { first: Position::new(from_sql(first)) },
        None => DeadLetterReason::Failed {
            error: column::<Option<String>>(row, 6)?.unwrap_or_default(),
            attempts: attempts.and_then(|n| u32::try_from(n).ok()).unwrap_or_default(),
        },
    };
    let invalid = |error| unreadable("a dead letter", error);
    Ok(DeadLetter {
        position: Position::new(number(0)?),
        event: EventId::from(event),
        event_type: EventType::stored(column::<&str>(row, 2)?).map_err(invalid)?,
        stream: StreamName::stored(column::<&str>(row, 3)?).map_err(invalid)?,
        revision: Revision::new(number(4)?),
        recorded_at: RecordedAt::from_micros(number(5)?),
        reason,
    })
}
