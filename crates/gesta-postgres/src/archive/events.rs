//! The appends of one partition, for a file.
//!
//! An append may reach over the end of a partition. Each of the two then has a part of it.

use std::sync::Arc;

use gesta_store::{Direction, EventId, Filter, Pages, RecordedEvent, StoreError, StoredAppend};
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{PostgresArchive, partition::Partition};
use crate::{
    connection::Value,
    number::{from_sql, to_sql},
    read::{
        cell,
        event_rows::PAGE_EVENTS_MAX,
        paging::{PageReader, pages},
        source::{PageRequest, PositionRange, Source},
    },
    shared::Core,
};

/// The events of an append that are in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AppendPart {
    /// Its events in the partition.
    pub append: StoredAppend,
    /// The append that it is a part of, or `None` if it is whole.
    pub part_of: Option<PartialAppend>,
}

/// An append of which a part is elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartialAppend {
    /// Number of its events, or 0 if its first event was scavenged.
    pub events: u64,
    /// Id of its first event.
    pub first_event: EventId,
}

impl PostgresArchive {
    /// Reads the appends of a partition, in the order of their positions.
    ///
    /// # Errors
    ///
    /// As the item of the stream of pages, [`StoreError`] as a read has it:
    /// [`StoreError::Archived`] if the payloads are in a file.
    pub fn appends(&self, partition: &Partition) -> Pages<AppendPart> {
        let reader = PartPages {
            core: Arc::clone(&self.shared.core),
            left: Some(PositionRange {
                first: partition.first.number(),
                last: partition.last.number(),
            }),
            current: None,
        };
        pages(Arc::clone(&self.shared), reader)
    }
}

/// An append that is being read.
#[derive(Debug)]
struct Current {
    first: u64,
    append: PartialAppend,
    events: Vec<RecordedEvent>,
}

#[derive(Debug)]
struct PartPages {
    core: Arc<Core>,
    left: Option<PositionRange>,
    /// The append whose events may continue with the next page.
    current: Option<Current>,
}

/// The beginnings of appends from the last one at or before the position $1, up to $2.
const BEGINNINGS: &str = "
(SELECT e.position, e.append_events, e.id FROM {schema}.events e
  WHERE e.position <= $1 AND e.append_events > 0 ORDER BY e.position DESC LIMIT 1)
UNION ALL
(SELECT e.position, e.append_events, e.id FROM {schema}.events e
  WHERE e.position > $1 AND e.position <= $2 AND e.append_events > 0 ORDER BY e.position)
ORDER BY 1";

impl PageReader for PartPages {
    type Item = AppendPart;

    async fn next_page(&mut self) -> Result<Option<Vec<AppendPart>>, StoreError> {
        let mut parts = Vec::new();
        while let Some(range) = self.left
            && parts.is_empty()
        {
            let source = Source::of(&self.core, Filter::Everything).await?;
            let (direction, limit) = (Direction::Forwards, PAGE_EVENTS_MAX);
            let request = PageRequest { range, direction, visible_only: false, limit };
            let page = source.fetch(&self.core, request).await?;
            let reached = page.reached.filter(|_| page.cut).unwrap_or(range.last);
            self.left = range.after(reached, direction);
            let mut beginnings =
                self.beginnings(range.first, reached).await?.into_iter().peekable();
            for event in page.events {
                while let Some(next) =
                    beginnings.next_if(|(first, _)| *first <= event.position.number())
                {
                    parts.extend(self.begin(next));
                }
                // The beginning of an append may be scavenged.
                let position = event.position.number();
                if self.current.as_ref().is_none_or(|current| current.end() <= position) {
                    let unknown = PartialAppend { events: 0, first_event: event.id };
                    parts.extend(self.begin((position, unknown)));
                }
                if let Some(current) = &mut self.current {
                    current.events.push(event);
                }
            }
        }
        if self.left.is_none() {
            parts.extend(self.current.take().and_then(Current::part));
        }
        Ok(Some(parts).filter(|parts| !parts.is_empty()))
    }
}

impl PartPages {
    /// Begins an append, and returns the one before it.
    fn begin(&mut self, (first, append): (u64, PartialAppend)) -> Option<AppendPart> {
        if self.current.as_ref().is_some_and(|current| current.first == first) {
            return None;
        }
        self.current.replace(Current { first, append, events: Vec::new() })?.part()
    }

    async fn beginnings(
        &self,
        first: u64,
        last: u64,
    ) -> Result<Vec<(u64, PartialAppend)>, StoreError> {
        let (first, last) = (to_sql(first), to_sql(last));
        let values: [Value<'_>; 2] = [(&first, Type::INT8), (&last, Type::INT8)];
        let mut beginnings = Vec::new();
        for row in &self.core.query(BEGINNINGS, &values).await? {
            let (position, events): (i64, i32) = (cell(row, 0)?, cell(row, 1)?);
            let first_event = EventId::from(cell::<Uuid>(row, 2)?);
            let append = PartialAppend { events: from_sql(i64::from(events)), first_event };
            beginnings.push((from_sql(position), append));
        }
        Ok(beginnings)
    }
}

impl Current {
    fn end(&self) -> u64 {
        self.first + self.append.events
    }

    fn part(self) -> Option<AppendPart> {
        let first = self.events.first()?.position;
        let is_whole = self.events.len() as u64 == self.append.events;
        let part_of = Some(self.append).filter(|_| !is_whole);
        Some(AppendPart { append: StoredAppend::new(first, self.events), part_of })
    }
}
