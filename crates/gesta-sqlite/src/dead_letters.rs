//! Storage of dead letters, as rows of their read model's file.

use gesta_store::{
    DatabaseError, DeadLetter, DeadLetterReason, EventId, EventType, Position, RecordedAt,
    Revision, StreamName,
};
use rusqlite::{Connection, params};
use uuid::Uuid;

use crate::error::{classify, unreadable};

/// The check enforces the two reasons: failed (`error`, `attempts`) or queued (`behind`).
pub(crate) const TABLES: &str = "
    create table if not exists gesta_dead_letters (
        position integer primary key,
        event blob not null,
        event_type text not null,
        stream text not null,
        revision integer not null,
        recorded_at integer not null,
        error text,
        attempts integer,
        behind integer,
        check ((error is null) = (attempts is null) and (error is null) <> (behind is null))
    ) strict;
";

pub(crate) fn put(connection: &Connection, letter: &DeadLetter) -> Result<(), DatabaseError> {
    // An event that is set aside again replaces its earlier entry.
    let sql = "insert or replace into gesta_dead_letters values (?1,?2,?3,?4,?5,?6,?7,?8,?9)";
    let (error, attempts, behind) = match &letter.reason {
        DeadLetterReason::Failed { error, attempts } => (Some(error), Some(attempts), None),
        DeadLetterReason::Behind { first } => (None, None, Some(first.number())),
    };
    let mut statement = connection.prepare_cached(sql).map_err(classify)?;
    let values = params![
        letter.position.number(),
        letter.event.as_uuid().into_bytes(),
        letter.event_type.as_str(),
        letter.stream.as_str(),
        letter.revision.number(),
        letter.recorded_at.micros(),
        error,
        attempts,
        behind,
    ];
    statement.execute(values).map_err(classify)?;
    Ok(())
}

/// Returns whether the dead letter existed.
pub(crate) fn delete(connection: &Connection, position: Position) -> Result<bool, DatabaseError> {
    let sql = "delete from gesta_dead_letters where position = ?1";
    let mut statement = connection.prepare_cached(sql).map_err(classify)?;
    Ok(statement.execute([position.number()]).map_err(classify)? > 0)
}

pub(crate) fn list(connection: &Connection) -> Result<Vec<DeadLetter>, DatabaseError> {
    let sql = "select position, event, event_type, stream, revision, recorded_at,
               error, attempts, behind from gesta_dead_letters order by position";
    let mut statement = connection.prepare_cached(sql).map_err(classify)?;
    let mut found = statement.query([]).map_err(classify)?;
    let mut dead_letters = Vec::new();
    while let Some(row) = found.next().map_err(classify)? {
        // In two steps: SQLite vouches for the columns, but a name that is invalid is damage.
        let stored = DeadLetterRow::read(row).map_err(classify)?;
        dead_letters.push(stored.decode().map_err(|error| unreadable("a dead letter", error))?);
    }
    Ok(dead_letters)
}

/// The columns of a row, with names not yet validated.
struct DeadLetterRow {
    position: u64,
    event: [u8; 16],
    event_type: String,
    stream: String,
    revision: u64,
    recorded_at: u64,
    reason: DeadLetterReason,
}

impl DeadLetterRow {
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let behind: Option<u64> = row.get(8)?;
        let reason = match behind {
            Some(first) => DeadLetterReason::Behind { first: Position::new(first) },
            None => DeadLetterReason::Failed { error: row.get(6)?, attempts: row.get(7)? },
        };
        Ok(Self {
            position: row.get(0)?,
            event: row.get(1)?,
            event_type: row.get(2)?,
            stream: row.get(3)?,
            revision: row.get(4)?,
            recorded_at: row.get(5)?,
            reason,
        })
    }

    fn decode(self) -> Result<DeadLetter, gesta_store::InvalidName> {
        Ok(DeadLetter {
            position: Position::new(self.position),
            event: EventId::from(Uuid::from_bytes(self.event)),
            event_type: EventType::stored(self.event_type)?,
            stream: StreamName::stored(self.stream)?,
            revision: Revision::new(self.revision),
            recorded_at: RecordedAt::from_micros(self.recorded_at),
            reason: self.reason,
        })
    }
}
