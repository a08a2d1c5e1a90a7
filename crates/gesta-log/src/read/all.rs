//! Pages of the whole store, filtered by query and visibility.

use gesta_store::{Direction, Filter, Page, Position, ReadAll, ReadFrom, StoreError, Visibility};

use super::{
    PAGE_EVENTS_MAX, Reader, SCAN_POSITIONS_MAX,
    page_stream::{NextPage, PageStream, PagedRead},
};
use crate::index::{Location, beyond};

/// Filter and direction of a read.
#[derive(Debug)]
pub(crate) struct Selection {
    filter: Filter,
    visibility: Visibility,
    direction: Direction,
}

impl Selection {
    pub(crate) fn new(filter: Filter, visibility: Visibility, direction: Direction) -> Self {
        let visibility = filter.visibility(visibility);
        Self { filter, visibility, direction }
    }
}

/// A read of the whole store.
#[derive(Debug)]
pub(crate) struct AllPages {
    reader: Reader,
    selection: Selection,
    /// The end of a forward read: the head when it began.
    last: Position,
}

/// The progress of a read of the whole store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AllProgress {
    /// The next position to read. `None` at the end.
    at: Option<Position>,
    left: u64,
}

impl AllPages {
    pub(crate) fn stream(reader: Reader, read: ReadAll) -> PageStream<Self> {
        let last = reader.published.last_position();
        let at = match read.from {
            ReadFrom::Start => Position::START,
            ReadFrom::End => Position::MAX,
            ReadFrom::At(position) => position,
            // The store refuses starts that it does not know.
            _ => Position::MAX,
        };
        let selection = Selection::new(read.filter, read.visibility, read.direction);
        let progress = AllProgress { at: Some(at), left: read.limit };
        PageStream::new(Self { reader, selection, last }, progress)
    }
}

impl PagedRead for AllPages {
    type Progress = AllProgress;

    fn reader(&self) -> &Reader {
        &self.reader
    }

    fn next_page(&self, progress: &mut AllProgress) -> NextPage {
        let direction = self.selection.direction;
        let mut limit = progress.left;
        while progress.left > 0 {
            let at = progress.at?;
            let found = self.reader.page(&self.selection, at, limit);
            let PageRead { mut page, next, .. } = match found {
                Ok(found) => found,
                Err(error) => {
                    progress.at = None;
                    return Some(Err(error));
                }
            };
            progress.at =
                next.filter(|next| direction == Direction::Backwards || *next <= self.last);
            if direction == Direction::Forwards {
                // Events appended since the read began are cut off, so that it does not end in the
                // middle of an append.
                page.truncate(page.partition_point(|event| event.position <= self.last));
            }
            page.truncate(usize::try_from(progress.left).unwrap_or(usize::MAX));
            if !page.is_empty() {
                progress.left = progress.left.saturating_sub(page.len() as u64);
                return Some(Ok(page));
            }
            // The whole page was hidden. Double the number of candidates, so that a small limit
            // does not read a long hidden prefix event by event.
            limit = limit.saturating_mul(2);
        }
        None
    }

    fn has_more(&self, progress: &AllProgress) -> bool {
        progress.left > 0 && progress.at.is_some()
    }
}

fn retain_matching(page: Page, filter: &Filter) -> Result<Page, StoreError> {
    let mut matching = Page::with_capacity(page.len());
    for event in page {
        if filter.matches(&event)? {
            matching.push(event);
        }
    }
    Ok(matching)
}

/// The result of reading one page.
#[derive(Debug)]
pub(crate) struct PageRead {
    pub(crate) page: Page,
    /// The position at which to continue. `None` if there is nothing left in this direction.
    pub(crate) next: Option<Position>,
    /// True if the page was full before hidden events were removed from it.
    pub(crate) full: bool,
}

impl Reader {
    /// Reads the selected events, starting at `at`: at most one page and at most `limit` events.
    pub(crate) fn page(
        &self,
        selection: &Selection,
        at: Position,
        limit: u64,
    ) -> Result<PageRead, StoreError> {
        self.retry_if_files_replaced(|| {
            let mut found = self.page_now(selection, at, limit)?;
            if selection.visibility == Visibility::Visible {
                self.retain_visible(&mut found.page)?;
            }
            Ok(found)
        })
    }

    /// Reads a page without retries, including hidden events.
    fn page_now(
        &self,
        selection: &Selection,
        at: Position,
        limit: u64,
    ) -> Result<PageRead, StoreError> {
        let Selection { filter, direction, .. } = selection;
        let direction = *direction;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(PAGE_EVENTS_MAX);
        let (mut locations, exact) = self.candidates(filter, at, direction, limit)?;
        self.stop_at_damage(at, direction, &mut locations)?;
        let requests = self.requests_at(&locations);
        let mut page = self.fetch(&requests)?;
        // A page may end before its candidates do, by its size or at an unreadable record.
        let read = locations.get(..page.len()).unwrap_or_default();
        let next = read.last().and_then(|last| beyond(last.position, direction));
        // Terms select a superset for some filters; the events themselves decide.
        if !exact {
            page = retain_matching(page, filter)?;
            if let Some(beyond_limit) = page.get(limit) {
                let next = Some(beyond_limit.position);
                page.truncate(limit);
                return Ok(PageRead { full: limit == PAGE_EVENTS_MAX, page, next });
            }
        }
        Ok(PageRead { full: page.len() >= PAGE_EVENTS_MAX, page, next })
    }

    /// Returns an error if damage destroyed events after a position.
    pub(crate) fn end_at_damage(&self, after: Position) -> Result<(), StoreError> {
        match self.published.damage_from(after.next(), Direction::Forwards) {
            Some((_, damage)) => Err(StoreError::Corrupt(damage.clone())),
            None => Ok(()),
        }
    }

    /// Returns an error if damage after a position destroyed events that the index does not cover.
    pub(crate) fn nothing_lost(&self, after: Position) -> Result<(), StoreError> {
        if self.published.damage.is_empty() {
            return Ok(());
        }
        match self.published.lost_after(after) {
            Some(damage) => Err(StoreError::Corrupt(damage.clone())),
            None => Ok(()),
        }
    }

    /// Truncates the locations at the first damage. Returns an error if none is left.
    fn stop_at_damage(
        &self,
        at: Position,
        direction: Direction,
        locations: &mut Vec<Location>,
    ) -> Result<(), StoreError> {
        let Some((missing, damage)) = self.published.damage_from(at, direction) else {
            return Ok(());
        };
        let before = |location: &Location| match direction {
            Direction::Forwards => location.position < missing,
            Direction::Backwards => location.position > missing,
        };
        locations.truncate(locations.partition_point(before));
        if locations.is_empty() {
            return Err(StoreError::Corrupt(damage.clone()));
        }
        Ok(())
    }

    /// Returns the records to read, and whether all of them match the filter.
    fn candidates(
        &self,
        filter: &Filter,
        at: Position,
        direction: Direction,
        limit: usize,
    ) -> Result<(Vec<Location>, bool), StoreError> {
        let index = self.published.index();
        let mut plan = index.plan(filter)?;
        let exact = plan.is_exact();
        // An inexact filter may drop most candidates, so it gets more of them.
        let count = if exact { limit } else { SCAN_POSITIONS_MAX };
        let (mut locator, mut locations) = (index.locator(), Vec::with_capacity(limit));
        let mut next = Some(at);
        while locations.len() < count
            && let Some(at) = next
        {
            let Some(location) = index.seek((&mut plan, &mut locator), at, direction)? else {
                break;
            };
            locations.push(location);
            next = beyond(location.position, direction);
        }
        Ok((locations, exact))
    }
}
