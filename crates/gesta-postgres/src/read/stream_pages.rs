//! Reads of one stream.
//!
//! The first statement finds the stream, the revisions that its metadata show, and the first page.
//! The range of revisions stays the same for the rest of the read.

use std::sync::Arc;

use gesta_store::{
    Direction, Page, ReadFrom, ReadStream, RecordedAt, RecordedEvent, StoreError, StreamName,
};
use tokio_postgres::types::Type;

use super::{
    cell,
    event_rows::{FetchedPage, PAGE_EVENTS_MAX, page_statement},
    paging::PageReader,
};
use crate::{
    number::{from_sql, to_sql},
    shared::Core,
};

/// Revisions of the stream $3 that a read shows: from `first`, bounded by the start $4 and by the
/// time $5. The time of a backward read is the first that it excludes.
const RANGE: &str = "
SELECT s.id, s.tombstoned, {range}, s.first_position AS begins
  FROM (SELECT s.id, s.tombstoned, s.head, s.first_position,
               greatest(s.truncate_before, s.head + 1 - s.max_count,
                   CASE WHEN s.max_age_micros IS NOT NULL THEN {schema}.revision_from(s.id,
                       {schema}.position_from({schema}.now_micros() - s.max_age_micros)) END)
                   AS first,
               CASE WHEN $5 IS NOT NULL
                   THEN {schema}.revision_from(s.id, {schema}.position_from($5)) END AS timed
          FROM {schema}.streams s WHERE s.name = $3) s";

const RANGE_FORWARDS: &str = "greatest(s.first, $4, s.timed) AS first, s.head AS last";
const RANGE_BACKWARDS: &str = "s.first AS first, least(s.head, $4, s.timed - 1) AS last";

const FIRST_PAGE: &str = "
WITH r AS MATERIALIZED ({range})
SELECT x.*, r.id, r.tombstoned, r.first, r.last, r.begins
  FROM r LEFT JOIN LATERAL ({page}) x ON NOT r.tombstoned";

/// Partitions before the beginning of the stream are left out.
const FIRST_SOURCE: &str = "
SELECT e.position FROM {schema}.events e
 WHERE e.stream_id = r.id AND e.revision BETWEEN r.first AND r.last AND e.position >= r.begins
 ORDER BY e.revision {order} LIMIT $2";

const NEXT_SOURCE: &str = "
SELECT e.position FROM {schema}.events e
 WHERE e.stream_id = $3 AND e.revision BETWEEN $4 AND $5 AND e.position >= $6
 ORDER BY e.revision {order} LIMIT $2";

/// Revisions of a stream, inclusive at both ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RevisionRange {
    stream: i64,
    pub(crate) first: i64,
    pub(crate) last: i64,
    /// A position before which the stream has no events.
    begins: i64,
}

/// The first page of a stream.
#[derive(Debug)]
pub(crate) struct StreamStart {
    /// `None` if the stream does not exist.
    pub(crate) range: Option<RevisionRange>,
    pub(crate) page: FetchedPage,
}

/// The place at which a read of a stream starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamPlace {
    pub(crate) direction: Direction,
    pub(crate) revision: i64,
    pub(crate) time: Option<RecordedAt>,
    pub(crate) limit: u64,
}

/// Reads the first page of a stream, and the range that it belongs to.
///
/// # Errors
///
/// [`StoreError::Deleted`] if the stream is tombstoned.
pub(crate) async fn start(
    core: &Core,
    stream: &StreamName,
    place: StreamPlace,
) -> Result<StreamStart, StoreError> {
    let StreamPlace { direction, revision, time, limit } = place;
    let range = match direction {
        Direction::Forwards => RANGE_FORWARDS,
        Direction::Backwards => RANGE_BACKWARDS,
    };
    let statement = FIRST_PAGE
        .replace("{page}", &page_statement(FIRST_SOURCE, direction))
        .replace("{range}", &RANGE.replace("{range}", range));
    let (name, limit_value) = (stream.as_str(), to_sql(limit));
    let micros = time.map(|time| to_sql(time.micros()));
    let values: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 5] = [
        (&false, Type::BOOL),
        (&limit_value, Type::INT8),
        (&name, Type::TEXT),
        (&revision, Type::INT8),
        (&micros, Type::INT8),
    ];
    let rows = core.query(&statement, &values).await?;
    let Some(row) = rows.first() else {
        return Ok(StreamStart { range: None, page: FetchedPage::default() });
    };
    if cell(row, 16)? {
        return Err(StoreError::Deleted { stream: stream.clone() });
    }
    let (stream, begins) = (cell(row, 15)?, cell(row, 19)?);
    let range = RevisionRange { stream, first: cell(row, 17)?, last: cell(row, 18)?, begins };
    Ok(StreamStart { range: Some(range), page: FetchedPage::read(&rows, limit)? })
}

/// Reads the next page of a range.
async fn fetch(
    core: &Core,
    range: RevisionRange,
    direction: Direction,
    limit: u64,
) -> Result<FetchedPage, StoreError> {
    let statement = page_statement(NEXT_SOURCE, direction);
    let limit_value = to_sql(limit);
    let values: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 6] = [
        (&false, Type::BOOL),
        (&limit_value, Type::INT8),
        (&range.stream, Type::INT8),
        (&range.first, Type::INT8),
        (&range.last, Type::INT8),
        (&range.begins, Type::INT8),
    ];
    FetchedPage::read(&core.query(&statement, &values).await?, limit)
}

/// A read of one stream, page by page.
#[derive(Debug)]
pub(crate) struct StreamPages {
    core: Arc<Core>,
    read: ReadStream,
    progress: Progress,
    left: u64,
}

#[derive(Debug)]
enum Progress {
    New,
    Within(RevisionRange),
    Done,
}

impl StreamPages {
    pub(crate) fn new(core: Arc<Core>, read: ReadStream) -> Self {
        let left = read.limit;
        Self { core, read, progress: Progress::New, left }
    }

    fn place(&self, limit: u64) -> StreamPlace {
        let direction = self.read.direction;
        let (revision, time) = match (direction, self.read.from) {
            (Direction::Forwards, ReadFrom::At(revision)) => (to_sql(revision.number()), None),
            (Direction::Backwards, ReadFrom::At(revision)) => (to_sql(revision.number()), None),
            (Direction::Forwards, ReadFrom::Time(time)) => (0, Some(time)),
            (Direction::Backwards, ReadFrom::Time(time)) => {
                let excluded = RecordedAt::from_micros(time.micros().saturating_add(1));
                (i64::MAX, Some(excluded))
            }
            (Direction::Forwards, ReadFrom::Start) => (0, None),
            (Direction::Backwards, ReadFrom::End) => (i64::MAX, None),
            // A read that starts at its end is empty, but a tombstone is reported.
            (Direction::Forwards, _) => (i64::MAX, None),
            (Direction::Backwards, _) => (-1, None),
        };
        StreamPlace { direction, revision, time, limit }
    }
}

impl PageReader for StreamPages {
    type Item = RecordedEvent;

    async fn next_page(&mut self) -> Result<Option<Page>, StoreError> {
        let limit = self.left.min(PAGE_EVENTS_MAX);
        let direction = self.read.direction;
        let (range, page) = match std::mem::replace(&mut self.progress, Progress::Done) {
            Progress::New => {
                let start = start(&self.core, &self.read.stream, self.place(limit)).await?;
                (start.range, start.page)
            }
            Progress::Within(_) if limit == 0 => return Ok(None),
            Progress::Within(range) => {
                (Some(range), fetch(&self.core, range, direction, limit).await?)
            }
            Progress::Done => return Ok(None),
        };
        if let (Some(range), Some(last), true) = (range, page.events.last(), page.cut) {
            let reached = to_sql(last.revision.number());
            self.progress = Progress::Within(match direction {
                Direction::Forwards => RevisionRange { first: reached + 1, ..range },
                Direction::Backwards => RevisionRange { last: reached - 1, ..range },
            });
        }
        self.left -= page.events.len() as u64;
        Ok(Some(page.events).filter(|events| !events.is_empty()))
    }
}

impl RevisionRange {
    /// Returns the first revision that the range shows.
    pub(crate) fn first_shown(self) -> u64 {
        from_sql(self.first)
    }

    /// Returns the revision after the last one.
    pub(crate) fn end(self) -> u64 {
        from_sql(self.last.saturating_add(1))
    }
}
