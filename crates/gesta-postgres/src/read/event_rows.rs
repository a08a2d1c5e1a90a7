//! The statement that fetches a page of events, and its rows.
//!
//! The statement joins the positions of a source with their events. Its first parameters are: $1,
//! whether hidden events are left out; $2, the maximum number of rows. A hidden event is a row
//! without payload, so that the page says how far it reached. A page ends early when its payload
//! reaches [`PAGE_BYTES_MAX`], and before an event whose payload is in an archive file. A page that
//! would begin with one is an error: a read leaves no event out.

use bytes::Bytes;
use gesta_store::{
    CausationId, ContentType, CorrelationId, Direction, EventType, NewEvent, Position, RecordedAt,
    RecordedEvent, Revision, StoreError, StreamName, Tag,
};
use tokio_postgres::Row;
use uuid::Uuid;

use super::cell;
use crate::{errors::invalid_row, number::from_sql};

/// Maximum number of events of a page.
pub(crate) const PAGE_EVENTS_MAX: u64 = 512;
/// Number of payload bytes at which a page ends. Its last event may exceed it.
const PAGE_BYTES_MAX: usize = 4 << 20;

const PAGE: &str = "
SELECT x.position, x.stream, x.revision, x.recorded_at, x.id, x.type, x.schema_version,
       x.content_type, x.correlation_id, x.causation_id, x.tags,
       CASE WHEN x.shown THEN x.metadata END, CASE WHEN x.shown THEN x.data END,
       x.shown, x.candidates
  FROM (SELECT e.position, s.name AS stream, e.revision, e.recorded_at, e.id, t.name AS type,
               e.schema_version, e.content_type, e.correlation_id, e.causation_id, e.tags,
               e.metadata, e.data,
               NOT $1 OR NOT s.tombstoned
                   AND e.revision >= greatest(s.truncate_before, s.head + 1 - s.max_count)
                   AND (s.max_age_micros IS NULL
                       OR {schema}.now_micros() - e.recorded_at <= s.max_age_micros) AS shown,
               count(*) OVER () AS candidates,
               sum(coalesce(octet_length(e.data), 0)::bigint
                   + coalesce(octet_length(e.metadata), 0)) OVER (
                   ORDER BY e.position {order}
                   ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes_before
          FROM (SELECT p.position FROM ({source}) p ORDER BY p.position {order} LIMIT $2) c
          JOIN {schema}.events e ON e.position = c.position
          JOIN {schema}.streams s ON s.id = e.stream_id
          JOIN {schema}.types t ON t.id = e.type_id) x
 WHERE coalesce(x.bytes_before, 0) < {bytes}
 ORDER BY x.position {order}";

/// Returns the statement that fetches the events at the positions of a source.
pub(crate) fn page_statement(source: &str, direction: Direction) -> String {
    let order = match direction {
        Direction::Forwards => "ASC",
        Direction::Backwards => "DESC",
    };
    let filled = PAGE.replace("{source}", source).replace("{order}", order);
    filled.replace("{bytes}", &PAGE_BYTES_MAX.to_string())
}

/// The rows of a page.
#[derive(Debug, Default)]
pub(crate) struct FetchedPage {
    /// The events that are not hidden.
    pub(crate) events: Vec<RecordedEvent>,
    /// Position of the last row, hidden or not.
    pub(crate) reached: Option<u64>,
    /// `true` if there may be more rows.
    pub(crate) cut: bool,
}

impl FetchedPage {
    /// Reads rows of a statement that asked for at most `limit` of them.
    ///
    /// # Errors
    ///
    /// [`StoreError::Archived`] if the payload of the first event is in a file.
    pub(crate) fn read(rows: &[Row], limit: u64) -> Result<Self, StoreError> {
        let mut page = Self::default();
        for row in rows {
            // The outer join of a read without events.
            let Some(position) = cell::<Option<i64>>(row, 0)? else { continue };
            let shown: bool = cell(row, 13)?;
            if shown && cell::<Option<&[u8]>>(row, 12)?.is_none() {
                if page.reached.is_none() {
                    return Err(archived(position));
                }
                page.cut = true;
                return Ok(page);
            }
            page.reached = Some(from_sql(position));
            if shown {
                page.events.push(event_of(row)?);
            }
        }
        let candidates: Option<i64> = rows.first().map(|row| cell(row, 14)).transpose()?.flatten();
        let candidates = candidates.map_or(0, from_sql);
        page.cut = candidates >= limit || (rows.len() as u64) < candidates;
        Ok(page)
    }
}

/// The error of a read that has come to an event whose payload is in a file.
fn archived(position: i64) -> StoreError {
    let position = Position::new(from_sql(position));
    let reason = format!(
        "its payload is in a file that `gesta archive list` names; `gesta archive restore --from \
         {position}` brings it back"
    );
    StoreError::Archived { position, reason }
}

fn event_of(row: &Row) -> Result<RecordedEvent, StoreError> {
    let (position, revision): (i64, i64) = (cell(row, 0)?, cell(row, 2)?);
    let (recorded_at, id): (i64, Uuid) = (cell(row, 3)?, cell(row, 4)?);
    let version: i32 = cell(row, 6)?;
    let schema_version = u16::try_from(version);
    let content: Option<&str> = cell(row, 7)?;
    let (correlation, causation): (Option<&str>, Option<&str>) = (cell(row, 8)?, cell(row, 9)?);
    let joined: Option<&[u8]> = cell(row, 10)?;
    let (metadata, data): (Option<&[u8]>, &[u8]) = (cell(row, 11)?, cell(row, 12)?);
    let content_type = match content {
        None => ContentType::JSON,
        Some(text) => ContentType::stored(text).map_err(invalid)?,
    };
    let event_type = EventType::stored(cell::<&str>(row, 5)?).map_err(invalid)?;
    let correlation = correlation.map(CorrelationId::stored).transpose().map_err(invalid)?;
    let causation = causation.map(CausationId::stored).transpose().map_err(invalid)?;
    let event = NewEvent::new(id.into(), event_type, content_type, Bytes::copy_from_slice(data))
        .schema_version(schema_version.map_err(|_| invalid(format!("version {version}")))?)
        .metadata(metadata.map(Bytes::copy_from_slice).unwrap_or_default())
        .tagged(joined.map(tags_of).transpose()?.unwrap_or_default())
        .correlation_id(correlation)
        .causation_id(causation);
    let stream = StreamName::stored(cell::<&str>(row, 1)?).map_err(invalid)?;
    let (revision, position) =
        (Revision::new(from_sql(revision)), Position::new(from_sql(position)));
    let recorded_at = RecordedAt::from_micros(from_sql(recorded_at));
    Ok(RecordedEvent::new(event, stream, revision, position, recorded_at))
}

/// Tags are separated by zero bytes, which no tag has.
fn tags_of(joined: &[u8]) -> Result<Vec<Tag>, StoreError> {
    let texts = joined.split(|byte| *byte == 0);
    let tag = |text| Tag::stored(std::str::from_utf8(text).map_err(invalid)?).map_err(invalid);
    texts.map(tag).collect()
}

fn invalid(error: impl std::fmt::Display) -> StoreError {
    invalid_row(error.to_string())
}
