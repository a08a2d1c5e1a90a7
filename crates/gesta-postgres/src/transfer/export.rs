//! Reads the appends of a store in order, with everything that is recorded of them.

use std::{collections::VecDeque, sync::Arc};

use gesta_store::{
    Direction, Filter, Incarnation, Pages, Position, RecordedAt, RecordedEvent, Scavenged,
    StoreError, StoredAppend,
};
use tokio_postgres::types::Type;

use super::tables::{SCAVENGED, SCAVENGED_TABLE, scavenged_of};
use crate::{
    connection::Value,
    errors::invalid_row,
    number::{from_sql, to_sql},
    read::{
        cell,
        paging::{PageReader, pages},
        source::{PageRequest, PositionRange, Source},
    },
    schema::HAS_TABLE,
    shared::{Core, Shared},
    store::PostgresStore,
};

/// Maximum number of events that one statement fetches.
const EVENTS_MAX: u64 = 4_096;

/// The store up to the head at the time of the call, append by append.
///
/// ```no_run
/// use gesta_postgres::PostgresStore;
/// use gesta_store::{Position, conformance::block_on};
///
/// # block_on(async {
/// let store = PostgresStore::connect("postgres://ann@localhost/shop").await?;
/// let export = store.export().await?;
/// let mut pages = export.appends(Position::START.next());
/// while let Some(page) = pages.next().await {
///     for append in page? {
///         println!("{} events at {}", append.events.len(), append.first);
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).expect("a server runs");
/// ```
#[derive(Debug)]
pub struct PostgresExport {
    shared: Arc<Shared>,
    incarnations: Vec<(Incarnation, Position)>,
    head: Position,
    last_recorded_at: Option<RecordedAt>,
    has_scavenged: bool,
}

const LAST: &str = "
SELECT e.position, e.recorded_at FROM {schema}.events e ORDER BY e.position DESC LIMIT 1";

impl PostgresStore {
    /// Takes a snapshot of the store for a copy. It has every append that was acknowledged before
    /// the call.
    ///
    /// # Errors
    ///
    /// [`StoreError`], as a read has it.
    pub async fn export(&self) -> Result<PostgresExport, StoreError> {
        let shared = Arc::clone(self.shared());
        let looked = shared.run(|core| async move {
            let rows = core.query(LAST, &[]).await?;
            let last: Option<(i64, i64)> = match rows.first() {
                Some(row) => Some((cell(row, 0)?, cell(row, 1)?)),
                None => None,
            };
            let named: [Value<'_>; 2] =
                [(&core.schema.name(), Type::TEXT), (&SCAVENGED_TABLE, Type::TEXT)];
            let found = core.query(HAS_TABLE, &named).await?;
            let has_scavenged = found.first().is_some_and(|row| row.get(0));
            Ok::<_, StoreError>((last, has_scavenged))
        })?;
        let (last, has_scavenged) = looked.await??;
        let incarnations = shared.core.incarnations().all().to_vec();
        let head = last.map_or(Position::START, |(position, _)| Position::new(from_sql(position)));
        let last_recorded_at = last.map(|(_, at)| RecordedAt::from_micros(from_sql(at)));
        Ok(PostgresExport { shared, incarnations, head, last_recorded_at, has_scavenged })
    }
}

impl PostgresExport {
    /// Returns the position of the last event.
    #[must_use]
    pub const fn head(&self) -> Position {
        self.head
    }

    /// Returns each incarnation of the store with the position of its first event, in order.
    #[must_use]
    pub fn incarnations(&self) -> &[(Incarnation, Position)] {
        &self.incarnations
    }

    /// Returns the recorded time of the last event, or `None` for a store without events.
    #[must_use]
    pub const fn last_recorded_at(&self) -> Option<RecordedAt> {
        self.last_recorded_at
    }

    /// Reads the appends from a position on, which is the first one of an append.
    ///
    /// # Errors
    ///
    /// As the item of the stream of pages, [`StoreError`] as a read has it, and
    /// [`StoreError::Corrupt`] where the rows make no whole append.
    pub fn appends(&self, from: Position) -> Pages<StoredAppend> {
        let (first, last) = (from.number().max(1), self.head.number());
        let reader = AppendPages {
            core: Arc::clone(&self.shared.core),
            source: None,
            left: (first <= last).then_some(PositionRange { first, last }),
            has_scavenged: self.has_scavenged,
            events: VecDeque::new(),
            boundaries: VecDeque::new(),
        };
        pages(Arc::clone(&self.shared), reader)
    }
}

/// The range of an append.
#[derive(Debug)]
struct Boundary {
    first: u64,
    events: u64,
    scavenged: Option<Scavenged>,
}

#[derive(Debug)]
struct AppendPages {
    core: Arc<Core>,
    source: Option<Source>,
    left: Option<PositionRange>,
    has_scavenged: bool,
    /// Events that were read, of appends that are not complete.
    events: VecDeque<RecordedEvent>,
    boundaries: VecDeque<Boundary>,
}

const BOUNDARIES: &str = "
SELECT e.position, e.append_events FROM {schema}.events e
 WHERE e.position BETWEEN $1 AND $2 AND e.append_events > 0 ORDER BY e.position";

impl PageReader for AppendPages {
    type Item = StoredAppend;

    async fn next_page(&mut self) -> Result<Option<Vec<StoredAppend>>, StoreError> {
        while let Some(range) = self.left {
            let source = match self.source.take() {
                Some(source) => source,
                None => Source::of(&self.core, Filter::Everything).await?,
            };
            let direction = Direction::Forwards;
            let request = PageRequest { range, direction, visible_only: false, limit: EVENTS_MAX };
            let page = source.fetch(&self.core, request).await?;
            self.source = Some(source);
            // The rest of the range has no events if the page is the last one.
            let reached = page.reached.filter(|_| page.cut).unwrap_or(range.last);
            self.left = range.after(reached, direction);
            self.events.extend(page.events);
            self.read_boundaries(range.first, reached).await?;
            let complete = self.complete(reached)?;
            if !complete.is_empty() {
                return Ok(Some(complete));
            }
        }
        match (self.events.front(), self.boundaries.front()) {
            (None, None) => Ok(None),
            (Some(event), _) => Err(incomplete(event.position.number())),
            (None, Some(boundary)) => Err(incomplete(boundary.first)),
        }
    }
}

impl AppendPages {
    async fn read_boundaries(&mut self, first: u64, last: u64) -> Result<(), StoreError> {
        let range = (to_sql(first), to_sql(last));
        let values: [Value<'_>; 2] = [(&range.0, Type::INT8), (&range.1, Type::INT8)];
        let mut found = Vec::new();
        for row in &self.core.query(BOUNDARIES, &values).await? {
            let (first, events): (i64, i32) = (cell(row, 0)?, cell(row, 1)?);
            let (first, events) = (from_sql(first), from_sql(i64::from(events)));
            found.push(Boundary { first, events, scavenged: None });
        }
        if self.has_scavenged {
            for row in &self.core.query(SCAVENGED, &values).await? {
                let (first, scavenged) = scavenged_of(row)?;
                let (first, events) = (first.number(), u64::from(scavenged.events));
                // The first event of the append may be there, and begins it, too.
                found.retain(|boundary| boundary.first != first);
                found.push(Boundary { first, events, scavenged: Some(scavenged) });
            }
            found.sort_unstable_by_key(|boundary| boundary.first);
        }
        self.boundaries.extend(found);
        Ok(())
    }

    /// Returns the appends that end at or before the position that was reached.
    fn complete(&mut self, reached: u64) -> Result<Vec<StoredAppend>, StoreError> {
        let mut complete = Vec::new();
        while let Some(Boundary { first, events, scavenged }) =
            self.boundaries.pop_front_if(|next| next.first + next.events <= reached + 1)
        {
            let end = first + events;
            let mut kept = Vec::new();
            while let Some(event) = self.events.pop_front_if(|event| event.position.number() < end)
            {
                kept.push(event);
            }
            let append = StoredAppend::new(Position::new(first), kept).scavenged(scavenged);
            let lost = append.scavenged.as_ref().map_or(0, |of| of.scavenged.len());
            let begins_early =
                append.events.first().is_some_and(|event| event.position < append.first);
            if begins_early || (append.events.len() + lost) as u64 != events {
                return Err(incomplete(first));
            }
            complete.push(append);
        }
        Ok(complete)
    }
}

fn incomplete(position: u64) -> StoreError {
    invalid_row(format!("the append at position {position} is not complete"))
}
