//! Reads by ordinals.
//!
//! A mark for every 1,024th event of an index leads to any ordinal in a bounded number of steps. A
//! read first sets the marks that are missing, so ordinals follow the appends without a step of the
//! append.

use std::sync::Arc;

use gesta_store::{
    Direction, Ordinal, OrdinalEvent, OrdinalIndex, ReadFrom, ReadOrdinals, RecordedAt, StoreError,
};
use tokio_postgres::types::{ToSql, Type};

use super::{
    cell,
    event_rows::{FetchedPage, PAGE_EVENTS_MAX, page_statement},
    paging::PageReader,
};
use crate::{
    number::{from_sql, to_sql},
    shared::Core,
};

/// The number of events of the index $1 $2. Marks are kept where the user may write.
const COUNT: &str = "
SELECT {schema}.mark_ordinals($1, $2, current_setting('transaction_read_only') = 'off'
           AND has_table_privilege(format('%I.ordinal_marks', {schema}.own_name()), 'INSERT'))";

/// The ordinal of the first event at or after the time $3.
const AT_TIME: &str = "SELECT {schema}.ordinal_from($1, $2, {schema}.position_from($3))";

const SOURCE: &str = "SELECT n.position FROM {schema}.nth_events($3, $4, $5, $6) n(position)";

/// A read by ordinals, page by page.
#[derive(Debug)]
pub(crate) struct OrdinalReader {
    core: Arc<Core>,
    read: ReadOrdinals,
    kind: &'static str,
    key: String,
    /// First ordinal and the one after the last, once the read has begun.
    range: Option<(u64, u64)>,
    left: u64,
}

impl OrdinalReader {
    /// # Errors
    ///
    /// [`StoreError::Unsupported`] for an index that this version does not know.
    pub(crate) fn new(core: Arc<Core>, read: ReadOrdinals) -> Result<Self, StoreError> {
        let (kind, key) = match &read.of {
            OrdinalIndex::Category(category) => ("category", category.as_str()),
            OrdinalIndex::EventType(event_type) => ("type", event_type.as_str()),
            OrdinalIndex::Correlation(id) => ("correlation", id.as_str()),
            other => return Err(StoreError::Unsupported { capability: other.capability() }),
        };
        let (key, left) = (key.to_owned(), read.limit);
        Ok(Self { core, kind, key, range: None, left, read })
    }

    async fn open(&self) -> Result<(u64, u64), StoreError> {
        let count = self.number_of(COUNT, None).await?;
        let place = |ordinal: Ordinal| ordinal.number().min(count);
        Ok(match (self.read.direction, self.read.from) {
            (Direction::Forwards, ReadFrom::Start) | (Direction::Backwards, ReadFrom::End) => {
                (0, count)
            }
            (Direction::Forwards, ReadFrom::At(ordinal)) => (place(ordinal), count),
            (Direction::Backwards, ReadFrom::At(ordinal)) => {
                (0, ordinal.number().saturating_add(1).min(count))
            }
            (Direction::Forwards, ReadFrom::Time(time)) => {
                (self.number_of(AT_TIME, Some(time)).await?, count)
            }
            (Direction::Backwards, ReadFrom::Time(time)) => {
                let later = RecordedAt::from_micros(time.micros().saturating_add(1));
                (0, self.number_of(AT_TIME, Some(later)).await?)
            }
            // A read that starts at its end is empty.
            _ => (0, 0),
        })
    }

    async fn number_of(
        &self,
        statement: &str,
        time: Option<RecordedAt>,
    ) -> Result<u64, StoreError> {
        let micros = time.map(|time| to_sql(time.micros()));
        let mut values: Vec<(&(dyn ToSql + Sync), Type)> =
            vec![(&self.kind, Type::TEXT), (&self.key, Type::TEXT)];
        if let Some(micros) = &micros {
            values.push((micros, Type::INT8));
        }
        let rows = self.core.query(statement, &values).await?;
        let number: Option<i64> = rows.first().map(|row| cell(row, 0)).transpose()?;
        Ok(number.map_or(0, from_sql))
    }
}

impl PageReader for OrdinalReader {
    type Item = OrdinalEvent;

    async fn next_page(&mut self) -> Result<Option<Vec<OrdinalEvent>>, StoreError> {
        let (first, end) = match self.range {
            Some(range) => range,
            None => self.open().await?,
        };
        let limit = self.left.min(PAGE_EVENTS_MAX).min(end.saturating_sub(first));
        if limit == 0 {
            self.range = Some((0, 0));
            return Ok(None);
        }
        let direction = self.read.direction;
        let from = match direction {
            Direction::Forwards => first,
            Direction::Backwards => end - limit,
        };
        let (limit_value, from_value) = (to_sql(limit), to_sql(from));
        let to_value = to_sql(from + limit - 1);
        let values: [(&(dyn ToSql + Sync), Type); 6] = [
            (&false, Type::BOOL),
            (&limit_value, Type::INT8),
            (&self.kind, Type::TEXT),
            (&self.key, Type::TEXT),
            (&from_value, Type::INT8),
            (&to_value, Type::INT8),
        ];
        let rows = self.core.query(&page_statement(SOURCE, direction), &values).await?;
        let events = FetchedPage::read(&rows, limit)?.events;
        let read = events.len() as u64;
        self.left -= read;
        // A page may end early, at its maximum of bytes.
        let ordinals: Box<dyn Iterator<Item = u64> + Send> = match direction {
            Direction::Forwards => {
                self.range = Some((first + read, end));
                Box::new(first..)
            }
            Direction::Backwards => {
                self.range = Some((first, end - read));
                Box::new((0..end).rev())
            }
        };
        let page = ordinals.map(Ordinal::new).zip(events);
        let page: Vec<_> = page.map(|(ordinal, event)| OrdinalEvent::new(ordinal, event)).collect();
        Ok(Some(page).filter(|page| !page.is_empty()))
    }
}
