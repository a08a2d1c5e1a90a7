//! Scans of the log, in both directions, up to a position that is visible.

use gesta_store::{Position, RecordedAt, RecordedEvent};

use super::{
    layout::{Batch, LOG},
    lookups, parts,
    shared::Shared,
};
use crate::{
    errors::CallError,
    item::sorted,
    table::{Query, Range, Table},
};

/// Batches of one request.
const BATCHES_MAX: usize = 32;

/// A place in the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor {
    /// The next position that is wanted.
    next: u64,
    /// `true` if a batch begins there.
    is_at_batch: bool,
}

impl Cursor {
    /// Forwards after a position.
    pub(super) const fn after(position: Position) -> Self {
        Self { next: position.number().saturating_add(1), is_at_batch: position.number() == 0 }
    }

    /// Backwards from a position, which is included.
    pub(super) const fn back_from(position: Position) -> Self {
        Self { next: position.number(), is_at_batch: false }
    }

    /// The last position before the next one that is wanted forwards.
    pub(super) const fn scanned(&self) -> Position {
        Position::new(self.next - 1)
    }

    /// Reads the next events up to a position. `None` at the end.
    pub(super) async fn forwards(
        &mut self,
        shared: &Shared,
        until: Position,
    ) -> Result<Option<Vec<RecordedEvent>>, CallError> {
        if self.next > until.number() {
            return Ok(None);
        }
        let batches = if self.is_at_batch {
            let (from, to) = (sorted(self.next), sorted(until.number()));
            let range = Range::Between(&from, &to);
            let query = Query { range, limit: Some(BATCHES_MAX), ..Query::of(LOG) };
            let page = shared.table.query(query).await?;
            page.items.iter().map(Batch::parse).collect::<Result<Vec<_>, _>>()?
        } else {
            containing(&shared.table, self.next).await?.into_iter().collect()
        };
        let (from, Some(last)) = (self.next, batches.last()) else { return Err(gap(self.next)) };
        if last.next() <= from {
            return Err(gap(from));
        }
        self.next = last.next().min(until.number() + 1);
        // The mark is at the end of a batch.
        self.is_at_batch = self.next == last.next();
        let placed = batches.iter().flat_map(Batch::placed);
        let wanted = from..=until.number();
        let placed = placed.filter(|placed| wanted.contains(&placed.position.number()));
        parts::complete(&shared.table, placed.collect()).await.map(Some)
    }

    /// Reads the events before, by falling position. `None` at the start.
    pub(super) async fn backwards(
        &mut self,
        shared: &Shared,
        limit: u64,
    ) -> Result<Option<Vec<RecordedEvent>>, CallError> {
        if self.next == 0 {
            return Ok(None);
        }
        let (from, to) = (sorted(0), sorted(self.next));
        let batches = usize::try_from(limit).unwrap_or(BATCHES_MAX).clamp(1, BATCHES_MAX);
        let page = shared
            .table
            .query(Query {
                range: Range::Between(&from, &to),
                is_backwards: true,
                limit: Some(batches),
                ..Query::of(LOG)
            })
            .await?;
        let batches = page.items.iter().map(Batch::parse).collect::<Result<Vec<_>, _>>()?;
        let Some(first) = batches.last() else { return Err(gap(self.next)) };
        let placed = batches.iter().flat_map(|batch| batch.placed().into_iter().rev());
        let placed = placed.filter(|placed| placed.position.number() <= self.next);
        let placed = placed.take(usize::try_from(limit).unwrap_or(usize::MAX)).collect();
        self.next = first.first - 1;
        parts::complete(&shared.table, placed).await.map(Some)
    }
}

/// Reads the batch that has a position.
pub(super) async fn containing(table: &Table, position: u64) -> Result<Option<Batch>, CallError> {
    let (from, to) = (sorted(0), sorted(position));
    let query = Query { range: Range::Between(&from, &to), ..Query::last(LOG) };
    let page = table.query(query).await?;
    page.items.first().map(Batch::parse).transpose()
}

fn gap(position: u64) -> CallError {
    CallError::Damaged(format!("the log has no batch with position {position}"))
}

/// Returns whether a read at `now` shows an event. The metadata of streams are known up to `mark`.
pub(super) async fn is_visible(
    shared: &Shared,
    event: &RecordedEvent,
    mark: Position,
    now: RecordedAt,
) -> Result<bool, CallError> {
    let info = match shared.described.lock().await.of(&event.stream) {
        None => return Ok(true),
        Some(info) => info.clone(),
    };
    let head = match info.needs_head() {
        true => lookups::head(&shared.table, &event.stream, mark).await?,
        false => None,
    };
    Ok(!info.hides(event.revision, event.recorded_at, (head, now)))
}
