//! Reads of the whole store.
//!
//! The range ends at the head at the beginning of the read. Positions have no gaps, so a page
//! continues at the next position.

use std::sync::Arc;

use gesta_store::{
    Direction, Filter, Page, ReadAll, ReadFrom, RecordedAt, RecordedEvent, StoreError, Visibility,
};
use tokio_postgres::types::Type;

use super::{
    cell,
    event_rows::PAGE_EVENTS_MAX,
    paging::PageReader,
    source::{PageRequest, PositionRange, Source},
};
use crate::{number::from_sql, number::to_sql, shared::Core};

/// Minimum number of rows to ask for if some may be left out.
const ROWS_MIN: u64 = 64;

/// The head, and the first position at or after a time.
const BOUNDS: &str = "
SELECT (SELECT coalesce(max(e.position), 0) FROM {schema}.events e),
       CASE WHEN $1 IS NULL THEN 0 ELSE {schema}.position_from($1) END";

/// A read of the whole store, page by page.
#[derive(Debug)]
pub(crate) struct AllPages {
    core: Arc<Core>,
    read: ReadAll,
    open: Option<OpenRead>,
    left: u64,
}

#[derive(Debug)]
struct OpenRead {
    source: Source,
    visible_only: bool,
    /// `None` at the end.
    range: Option<PositionRange>,
}

/// Returns the head, and the first position at or after `time`.
pub(crate) async fn bounds(
    core: &Core,
    time: Option<RecordedAt>,
) -> Result<(u64, u64), StoreError> {
    let micros = time.map(|time| to_sql(time.micros()));
    let rows = core.query(BOUNDS, &[(&micros, Type::INT8)]).await?;
    let Some(row) = rows.first() else { return Ok((0, 1)) };
    let (head, start): (i64, i64) = (cell(row, 0)?, cell(row, 1)?);
    Ok((from_sql(head), from_sql(start)))
}

impl AllPages {
    pub(crate) fn new(core: Arc<Core>, read: ReadAll) -> Self {
        let left = read.limit;
        Self { core, read, open: None, left }
    }

    async fn open(&mut self) -> Result<OpenRead, StoreError> {
        let time = match (self.read.from, self.read.direction) {
            (ReadFrom::Time(time), Direction::Forwards) => Some(time),
            // Everything before the first event that is later.
            (ReadFrom::Time(time), Direction::Backwards) => {
                Some(RecordedAt::from_micros(time.micros().saturating_add(1)))
            }
            _ => None,
        };
        let (head, start) = bounds(&self.core, time).await?;
        let (first, last) = match (self.read.direction, self.read.from) {
            (Direction::Forwards, ReadFrom::Start) | (Direction::Backwards, ReadFrom::End) => {
                (1, head)
            }
            (Direction::Forwards, ReadFrom::At(position)) => (position.number().max(1), head),
            (Direction::Backwards, ReadFrom::At(position)) => (1, position.number().min(head)),
            (Direction::Forwards, ReadFrom::Time(_)) => (start, head),
            (Direction::Backwards, ReadFrom::Time(_)) => (1, start.saturating_sub(1)),
            // A read that starts at its end is empty.
            _ => (1, 0),
        };
        let filter: Filter = self.read.filter.clone();
        let visible_only = filter.visibility(self.read.visibility) == Visibility::Visible;
        let source = Source::of(&self.core, filter).await?;
        let range = (first <= last).then_some(PositionRange { first, last });
        Ok(OpenRead { source, visible_only, range })
    }
}

impl PageReader for AllPages {
    type Item = RecordedEvent;

    async fn next_page(&mut self) -> Result<Option<Page>, StoreError> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.open().await?,
        };
        let direction = self.read.direction;
        while let Some(range) = open.range.filter(|_| self.left > 0) {
            let every_row = open.source.is_exact() && !open.visible_only;
            let wanted = if every_row { self.left } else { self.left.max(ROWS_MIN) };
            let limit = wanted.min(PAGE_EVENTS_MAX);
            let request = PageRequest { range, direction, visible_only: open.visible_only, limit };
            let mut page = open.source.fetch(&self.core, request).await?;
            open.range = match page.reached.filter(|_| page.cut) {
                Some(reached) => range.after(reached, direction),
                None => None,
            };
            page.events.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
            if !page.events.is_empty() {
                self.left -= page.events.len() as u64;
                self.open = Some(open);
                return Ok(Some(page.events));
            }
        }
        Ok(None)
    }
}

impl PositionRange {
    /// Returns the rest of the range after a position that was reached.
    pub(crate) fn after(self, reached: u64, direction: Direction) -> Option<Self> {
        let rest = match direction {
            Direction::Forwards => Self { first: reached.saturating_add(1), ..self },
            Direction::Backwards => Self { last: reached.saturating_sub(1), ..self },
        };
        (rest.first <= rest.last).then_some(rest)
    }
}
