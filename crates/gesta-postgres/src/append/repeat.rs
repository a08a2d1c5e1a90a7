//! Repeats: the earlier append that begins with the same event id.
//!
//! What was recorded never changes, so the comparison needs no lock.

use gesta_store::{
    Append, Appended, Conflict, EventId, Position, Revision, StoreError, StreamAppend, StreamName,
};
use tokio_postgres::{Row, types::Type};
use uuid::Uuid;

use crate::{connection::Pool, errors::invalid_row, number, read::cell, schema::Schema};

/// A recorded append.
#[derive(Debug)]
pub(crate) struct PastAppend {
    parts: Vec<PastPart>,
    position: Position,
}

#[derive(Debug)]
struct PastPart {
    stream: StreamName,
    first: Revision,
    ids: Vec<EventId>,
}

/// Events of the append that begins at a position, in their order.
const PAST: &str = "
SELECT e.position, s.name, e.revision, e.id
  FROM {schema}.events f
  JOIN {schema}.events e ON e.position BETWEEN f.position AND f.position + f.append_events - 1
  JOIN {schema}.streams s ON s.id = e.stream_id
 WHERE f.position = $1
 ORDER BY e.position";

/// Events of the last append that begins with an event id, in their order. OFFSET keeps the look-up
/// on the index of ids: the maximum could also be found by walking down the positions.
const LAST_WITH_FIRST_ID: &str = "
SELECT e.position, s.name, e.revision, e.id
  FROM {schema}.events f
  JOIN {schema}.events e ON e.position BETWEEN f.position AND f.position + f.append_events - 1
  JOIN {schema}.streams s ON s.id = e.stream_id
 WHERE f.position = (
       SELECT max(i.position)
         FROM (SELECT k.position FROM {schema}.events k
                WHERE k.id = $1 AND k.append_events > 0 OFFSET 0) i)
 ORDER BY e.position";

/// Returns the result of the last append that begins with an event id.
pub(crate) async fn find_append(
    pool: &Pool,
    schema: &Schema,
    first_event: EventId,
) -> Result<Option<Appended>, StoreError> {
    let id = first_event.as_uuid();
    let rows = pool.query(&schema.fill(LAST_WITH_FIRST_ID), &[(&id, Type::UUID)]).await?;
    Ok(PastAppend::of(&rows)?.map(|past| past.appended()))
}

/// Reads the append that begins at a position.
pub(crate) async fn past_append(
    pool: &Pool,
    schema: &Schema,
    position: i64,
) -> Result<PastAppend, StoreError> {
    let rows = pool.query(&schema.fill(PAST), &[(&position, Type::INT8)]).await?;
    let absent = || invalid_row(format!("the append at position {position} has no events"));
    PastAppend::of(&rows)?.ok_or_else(absent)
}

impl PastAppend {
    /// Reads an append from its events; `None` if there are none.
    fn of(rows: &[Row]) -> Result<Option<Self>, StoreError> {
        let mut past = Self { parts: Vec::new(), position: Position::START };
        for row in rows {
            past.add(row)?;
        }
        Ok(Some(past).filter(|past| !past.parts.is_empty()))
    }

    fn add(&mut self, row: &Row) -> Result<(), StoreError> {
        let (position, stream): (i64, &str) = (cell(row, 0)?, cell(row, 1)?);
        let (revision, id): (i64, Uuid) = (cell(row, 2)?, cell(row, 3)?);
        self.position = Position::new(number::from_sql(position));
        match self.parts.last_mut().filter(|part| part.stream.as_str() == stream) {
            Some(part) => part.ids.push(id.into()),
            None => self.parts.push(PastPart {
                stream: StreamName::stored(stream)?,
                first: Revision::new(number::from_sql(revision)),
                ids: vec![id.into()],
            }),
        }
        Ok(())
    }

    /// Returns the result that the append had, as that of a repeat.
    pub(crate) fn appended(&self) -> Appended {
        let head = |part: &PastPart| {
            let later = (part.ids.len() as u64).saturating_sub(1);
            (part.stream.clone(), Revision::new(part.first.number() + later))
        };
        Appended::new(self.position, self.parts.iter().map(head).collect()).earlier()
    }

    /// Returns the result if `append` repeats this one.
    ///
    /// # Errors
    ///
    /// [`Conflict::PartialRepeat`] if it differs.
    pub(crate) fn repeated_by(&self, append: &Append) -> Result<Appended, StoreError> {
        let parts = append.streams.iter().filter(|part| !part.events.is_empty());
        let alike = |(past, part): (&PastPart, &StreamAppend)| {
            part.repeats(&past.stream, past.first, &past.ids)
        };
        if parts.clone().count() == self.parts.len() && self.parts.iter().zip(parts).all(alike) {
            return Ok(self.appended());
        }
        let first_event = append.events().next().map(|event| event.id);
        match first_event {
            Some(first_event) => Err(Conflict::PartialRepeat { first_event }.into()),
            None => Err(invalid_row("an append without events was taken for a repeat")),
        }
    }
}
