//! Visibility: an event is visible if a read of its stream returns it.
//!
//! The stream's current metadata decide, and each stream of a page is looked up once. A store
//! without stream metadata pays nothing here; neither does a condition that nothing matches.

use foldhash::HashMap;
use gesta_store::{
    AppendCondition, Direction, EventQuery, Page, Position, RecordedAt, RecordedEvent, Revision,
    StoreError, StreamName,
};

use super::{PAGE_EVENTS_MAX, Reader};
use crate::index::{Index, Precheck, StreamMeta, beyond};

/// Returns whether a search ends at an event.
pub(crate) type Ends<'a> = &'a mut dyn FnMut(&RecordedEvent) -> Result<bool, StoreError>;

/// Decides the visibility of events, and caches what it needs of their streams.
#[derive(Debug)]
struct VisibilityCheck {
    index: Index,
    streams: HashMap<StreamName, CachedStream>,
}

/// The cached state of a stream.
#[derive(Debug)]
struct CachedStream {
    meta: StreamMeta,
    /// Looked up only if the metadata have a max count.
    head: Option<Revision>,
}

impl VisibilityCheck {
    fn new(index: Index) -> Self {
        Self { index, streams: HashMap::default() }
    }

    /// Returns whether a read of the event's stream returns it at `now`.
    fn is_visible(&mut self, event: &RecordedEvent, now: RecordedAt) -> Result<bool, StoreError> {
        let Self { index, streams } = self;
        let cached = streams
            .entry(event.stream.clone())
            .or_insert_with(|| CachedStream { meta: index.stream_meta(&event.stream), head: None });
        let CachedStream { meta, head } = cached;
        meta.shows((event.revision, event.recorded_at), now, || {
            if head.is_none() {
                *head = index.stream_head(&event.stream, Position::START)?;
            }
            Ok(*head)
        })
    }
}

impl Reader {
    /// Removes hidden events from a page.
    pub(super) fn retain_visible(&self, page: &mut Page) -> Result<(), StoreError> {
        let index = self.published.index();
        // The common case: no stream hides anything, so no event needs a lookup.
        if page.is_empty() || index.stream_meta_changes() == 0 {
            return Ok(());
        }
        let (mut visible, now) = (VisibilityCheck::new(index), self.clock.now());
        let keep: Vec<bool> =
            page.iter().map(|event| visible.is_visible(event, now)).collect::<Result<_, _>>()?;
        let mut keep = keep.into_iter();
        page.retain(|_| keep.next().unwrap_or_default());
        Ok(())
    }

    /// Returns the first event after a position that matches a query and that `ends` accepts.
    pub(crate) fn first_match(
        &self,
        index: &Index,
        query: &EventQuery,
        after: Position,
        ends: Ends<'_>,
    ) -> Result<Option<RecordedEvent>, StoreError> {
        let (mut plan, mut locator) = (index.plan_query(query), index.locator());
        let (mut next, mut batch) = (Some(after.next()), 1);
        while next.is_some() {
            let mut locations = Vec::with_capacity(batch);
            while locations.len() < batch
                && let Some(at) = next.take()
                && let Some(location) =
                    index.seek((&mut plan, &mut locator), at, Direction::Forwards)?
            {
                next = beyond(location.position, Direction::Forwards);
                locations.push(location);
            }
            for event in self.events_at(&locations)? {
                if ends(&event)? {
                    return Ok(Some(event));
                }
            }
            // Usually the first match decides. If many are hidden, read them in larger batches.
            batch = (batch * 2).min(PAGE_EVENTS_MAX);
        }
        Ok(None)
    }

    /// Evaluates a condition for an append that will be recorded now or later. Matches whose
    /// visibility depends on the exact time are left to the leader.
    pub(crate) fn precheck_condition(
        &self,
        index: &Index,
        condition: &AppendCondition,
        precheck: &mut Precheck,
    ) -> Result<(), StoreError> {
        let AppendCondition { none_matching, after } = condition;
        precheck.condition_to = index.head();
        // Read the counter first, so that a concurrent change is noticed.
        let changes = index.stream_meta_changes();
        let Some(first) = index.first_match(none_matching, *after)? else { return Ok(()) };
        if changes == 0 {
            precheck.matching = Some(first);
            return Ok(());
        }
        // The append will be recorded no earlier than the last event, and no later than now unless
        // the clock is behind. An event visible at `latest` is visible throughout, and one hidden
        // at `earliest` is hidden throughout; any other is undecided.
        let now = self.clock.now();
        let earliest = index.last_recorded_at().unwrap_or(now);
        let latest = earliest.max(now);
        let mut visible = VisibilityCheck::new(index.clone());
        let (mut matching, mut passed) = (None, false);
        let before = before(first);
        let undecided = self.first_match(index, none_matching, before, &mut |event| {
            if visible.is_visible(event, latest)? {
                matching = Some(event.position);
                return Ok(true);
            }
            let may_be_visible = visible.is_visible(event, earliest)?;
            passed |= !may_be_visible;
            Ok(may_be_visible)
        })?;
        precheck.matching = matching;
        precheck.passed_at = passed.then_some(changes);
        if let Some(event) = undecided.filter(|_| matching.is_none()) {
            // The leader repeats the search, starting at the first undecided match.
            precheck.condition_to = self::before(event.position).min(precheck.condition_to);
        }
        Ok(())
    }
}

/// Returns the preceding position.
pub(crate) fn before(position: Position) -> Position {
    Position::new(position.number().saturating_sub(1))
}
