//! Pages of the whole store, filtered by query and visibility.

use foldhash::HashMap;
use gesta_store::{
    Direction, Filter, Page, Position, ReadAll, ReadFrom, RecordedEvent, RegexTarget, StoreError,
    Visibility,
};

use super::{
    PAGE_EVENTS_MAX, Reader, SCAN_POSITIONS_MAX,
    page_stream::{NextPage, PageStream, PagedRead},
};
use crate::index::{Location, NextRecord, beyond};

/// Maximum number of names that a pattern is tested on for one page. One name may take a
/// millisecond.
const NAMES_TESTED_MAX: usize = 256;

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
    /// The next position to read, or the start of the read. `None` at the end.
    at: Option<ReadFrom<Position>>,
    left: u64,
}

impl AllPages {
    pub(crate) fn stream(reader: Reader, read: ReadAll) -> PageStream<Self> {
        let last = reader.published.last_position();
        let selection = Selection::new(read.filter, read.visibility, read.direction);
        let progress = AllProgress { at: Some(read.from), left: read.limit };
        PageStream::new(Self { reader, selection, last }, progress)
    }
}

impl PagedRead for AllPages {
    type Item = RecordedEvent;
    type Progress = AllProgress;

    fn reader(&self) -> &Reader {
        &self.reader
    }

    fn next_page(&self, progress: &mut AllProgress) -> NextPage {
        let direction = self.selection.direction;
        let mut limit = progress.left;
        while progress.left > 0 {
            let found = match self.reader.place(progress.at?, direction) {
                Ok(Some(at)) => self.reader.page(&self.selection, at, limit),
                // No event was recorded since, or before.
                Ok(None) => {
                    progress.at = None;
                    return None;
                }
                Err(error) => Err(error),
            };
            let PageRead { mut page, next, .. } = match found {
                Ok(found) => found,
                Err(error) => {
                    progress.at = None;
                    return Some(Err(error));
                }
            };
            let next = next.filter(|next| direction == Direction::Backwards || *next <= self.last);
            progress.at = next.map(ReadFrom::At);
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
        let mut candidates = self.candidates(filter, at, direction, limit)?;
        self.stop_at_damage(at, direction, &mut candidates)?;
        let Candidates { locations, exact, continues_at } = candidates;
        let requests = self.requests_at(&locations);
        let mut page = self.fetch(&requests)?;
        // A page may end before its candidates do, by its size or at an unreadable record.
        let mut next = match locations.get(page.len()) {
            Some(unread) => Some(unread.position),
            None => continues_at,
        };
        // Terms select a superset for some filters; the events themselves decide.
        if !exact {
            let accepted = accepted(filter, &page, limit)?;
            next = page.get(accepted.len()).map(|untested| untested.position).or(next);
            let mut accepted = accepted.into_iter();
            page.retain(|_| accepted.next().unwrap_or_default());
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
        Candidates { locations, continues_at, .. }: &mut Candidates,
    ) -> Result<(), StoreError> {
        let Some((missing, damage)) = self.published.damage_from(at, direction) else {
            return Ok(());
        };
        let before = |position: Position| match direction {
            Direction::Forwards => position < missing,
            Direction::Backwards => position > missing,
        };
        let read_on = continues_at.filter(|next| before(*next));
        locations.truncate(locations.partition_point(|location| before(location.position)));
        if locations.is_empty() && read_on.is_none() {
            return Err(StoreError::Corrupt(damage.clone()));
        }
        // The next page begins at the damage, and reports it.
        *continues_at = read_on.or(Some(missing));
        Ok(())
    }

    /// Returns the records to read. The work is bounded, however many events were scavenged.
    fn candidates(
        &self,
        filter: &Filter,
        at: Position,
        direction: Direction,
        limit: usize,
    ) -> Result<Candidates, StoreError> {
        let index = self.published.index();
        let mut plan = index.plan(filter)?;
        let exact = plan.is_exact();
        // An inexact filter may drop most candidates, so it gets more of them.
        let count = if exact { limit } else { SCAN_POSITIONS_MAX };
        let (mut locator, mut locations) = (index.locator(), Vec::with_capacity(limit));
        let mut continues_at = Some(at);
        while locations.len() < count
            && let Some(at) = continues_at
        {
            match index.seek_some((&mut plan, &mut locator), at, direction)? {
                NextRecord::Found(location) => {
                    locations.push(location);
                    continues_at = beyond(location.position, direction);
                }
                NextRecord::ContinuesAt(next) => {
                    continues_at = Some(next);
                    break;
                }
                NextRecord::End => continues_at = None,
            }
        }
        Ok(Candidates { locations, exact, continues_at })
    }
}

/// Records that a filter may accept.
#[derive(Debug)]
struct Candidates {
    locations: Vec<Location>,
    /// True if the filter accepts all of them.
    exact: bool,
    /// The position after them, at which the search continues. `None` at its end.
    continues_at: Option<Position>,
}

/// Returns for each event of a page whether the filter accepts it. Ends early after `limit`
/// accepted events, or where a pattern has taken its share of work; the rest is for the next page.
fn accepted(filter: &Filter, page: &Page, limit: usize) -> Result<Vec<bool>, StoreError> {
    let mut accepted = Vec::with_capacity(page.len());
    // A pattern is tested once for each name, which many events have in common.
    let mut known: HashMap<&str, bool> = HashMap::default();
    let mut left = limit;
    for event in page {
        let name = match filter {
            Filter::Regex(regex) => match regex.target() {
                RegexTarget::StreamName => Some(event.stream.as_str()),
                _ => Some(event.event_type.as_str()),
            },
            _ => None,
        };
        let matches = match name.and_then(|name| known.get(name)) {
            Some(matches) => *matches,
            None if known.len() >= NAMES_TESTED_MAX => break,
            None => match filter.matches(event) {
                Ok(matches) => matches,
                // Events before the error are returned first; the next page meets it again.
                Err(_) if !accepted.is_empty() => break,
                Err(error) => return Err(error),
            },
        };
        known.extend(name.map(|name| (name, matches)));
        if matches && left == 0 {
            break;
        }
        left -= usize::from(matches);
        accepted.push(matches);
    }
    Ok(accepted)
}
