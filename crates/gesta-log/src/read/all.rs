//! Pages of the whole store, or of what a filter lets through.

use gesta_store::{Direction, Filter, Page, Position, ReadAll, ReadFrom, StoreError, Visibility};

use super::{PAGE_EVENTS_MAX, Reader, SCAN_POSITIONS_MAX};
use crate::index::{Location, beyond};

/// The events that are read, and the direction.
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

/// Pages of one read; an iterator, for nothing here waits.
#[derive(Debug)]
pub(crate) struct AllPages {
    reader: Reader,
    selection: Selection,
    /// The next position to look at; none at the end.
    at: Option<Position>,
    /// Where a forward read ends: the head when it began.
    last: Position,
    left: u64,
}

impl AllPages {
    pub(crate) fn new(reader: Reader, read: ReadAll) -> Self {
        let last = reader.published.last_position();
        let at = match read.from {
            ReadFrom::Start => Position::START,
            ReadFrom::End => Position::MAX,
            ReadFrom::At(position) => position,
        };
        let selection = Selection::new(read.filter, read.visibility, read.direction);
        Self { reader, selection, at: Some(at), last, left: read.limit }
    }
}

impl Iterator for AllPages {
    type Item = Result<Page, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let direction = self.selection.direction;
        let mut limit = self.left;
        while self.left > 0 {
            let at = self.at?;
            let found = self.reader.page(&self.selection, at, limit);
            let Found { mut page, next, .. } = match found {
                Ok(found) => found,
                Err(error) => {
                    self.at = None;
                    return Some(Err(error));
                }
            };
            self.at = next.filter(|next| direction == Direction::Backwards || *next <= self.last);
            if direction == Direction::Forwards {
                // What was appended since may end in the middle of an append here.
                page.truncate(page.partition_point(|event| event.position <= self.last));
            }
            page.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
            if !page.is_empty() {
                self.left = self.left.saturating_sub(page.len() as u64);
                return Some(Ok(page));
            }
            // Everything was hidden: more is looked at next time, however few are wanted.
            limit = limit.saturating_mul(2);
        }
        None
    }
}

/// What one look at the log found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) page: Page,
    /// Where to look next; none when there is nothing further this way.
    pub(crate) next: Option<Position>,
    /// Whether it stopped at a full page, of which some may be hidden.
    pub(crate) full: bool,
}

impl Reader {
    /// Events that are selected, from `at` on: at most a page and `limit` of them.
    pub(crate) fn page(
        &self,
        selection: &Selection,
        at: Position,
        limit: u64,
    ) -> Result<Found, StoreError> {
        self.retry_if_files_replaced(|| {
            let mut found = self.page_now(selection, at, limit)?;
            if selection.visibility == Visibility::Visible {
                self.retain_visible(&mut found.page)?;
            }
            Ok(found)
        })
    }

    /// The same, hidden or not.
    fn page_now(
        &self,
        selection: &Selection,
        at: Position,
        limit: u64,
    ) -> Result<Found, StoreError> {
        let Selection { filter, direction, .. } = selection;
        let direction = *direction;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(PAGE_EVENTS_MAX);
        let (mut places, exact) = self.candidates(filter, at, direction, limit)?;
        self.stop_at_damage(at, direction, &mut places)?;
        let wanted = self.wanted_at(&places);
        let mut page = self.fetch(&wanted)?;
        let looked = places.get(..page.len()).unwrap_or_default();
        let next = looked.last().and_then(|last| beyond(last.position, direction));
        if !exact {
            page.retain(|event| filter.matches(event));
            if let Some(beyond_limit) = page.get(limit) {
                let next = Some(beyond_limit.position);
                page.truncate(limit);
                return Ok(Found { full: limit == PAGE_EVENTS_MAX, page, next });
            }
        }
        Ok(Found { full: page.len() >= PAGE_EVENTS_MAX, page, next })
    }

    /// An error where damage took events after the last one.
    pub(crate) fn end_at_damage(&self, after: Position) -> Result<(), StoreError> {
        match self.published.damage_from(after.next(), Direction::Forwards) {
            Some((_, damage)) => Err(StoreError::Corrupt(damage.clone())),
            None => Ok(()),
        }
    }

    /// An error where damage after a position may have taken what the index does not know either.
    pub(crate) fn nothing_lost(&self, after: Position) -> Result<(), StoreError> {
        if self.published.damage.is_empty() {
            return Ok(());
        }
        match self.published.lost_after(after) {
            Some(damage) => Err(StoreError::Corrupt(damage.clone())),
            None => Ok(()),
        }
    }

    /// Keeps what lies before the first damage on the way; an error where nothing does.
    fn stop_at_damage(
        &self,
        at: Position,
        direction: Direction,
        places: &mut Vec<Location>,
    ) -> Result<(), StoreError> {
        let Some((missing, damage)) = self.published.damage_from(at, direction) else {
            return Ok(());
        };
        let before = |place: &Location| match direction {
            Direction::Forwards => place.position < missing,
            Direction::Backwards => place.position > missing,
        };
        places.truncate(places.partition_point(before));
        if places.is_empty() {
            return Err(StoreError::Corrupt(damage.clone()));
        }
        Ok(())
    }

    /// Records to read, and whether all of them are meant.
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
        let count = if exact { limit } else { SCAN_POSITIONS_MAX };
        let (mut locator, mut places) = (index.locator(), Vec::with_capacity(limit));
        let mut next = Some(at);
        while places.len() < count
            && let Some(at) = next
        {
            let Some(place) = index.seek((&mut plan, &mut locator), at, direction)? else { break };
            places.push(place);
            next = beyond(place.position, direction);
        }
        Ok((places, exact))
    }
}
