//! Which events are visible: those that a read of their stream shows.
//!
//! Always holds: streams are judged by their metadata as they are now, and each stream of a page
//! once. A store whose streams were never described costs nothing here; nor does a condition that
//! nothing matches.

use foldhash::HashMap;
use gesta_store::{
    AppendCondition, Direction, EventQuery, Page, Position, RecordedAt, RecordedEvent, Revision,
    StoreError, StreamName,
};

use super::{PAGE_EVENTS_MAX, Reader};
use crate::{
    index::Precheck,
    index::{Index, StreamMeta, beyond},
};

/// Says of an event whether a search ends there.
pub(crate) type Ends<'a> = &'a mut dyn FnMut(&RecordedEvent) -> Result<bool, StoreError>;

/// Judges events by their streams, each of which is looked up once.
#[derive(Debug)]
struct Visible {
    index: Index,
    streams: HashMap<StreamName, Known>,
}

/// What is known of a stream that has events.
#[derive(Debug)]
struct Known {
    life: StreamMeta,
    /// Asked for where it matters.
    head: Option<Revision>,
}

impl Visible {
    fn new(index: Index) -> Self {
        Self { index, streams: HashMap::default() }
    }

    /// Whether a read of the event's stream shows it at `now`.
    fn is(&mut self, event: &RecordedEvent, now: RecordedAt) -> Result<bool, StoreError> {
        let Self { index, streams } = self;
        let known = streams
            .entry(event.stream.clone())
            .or_insert_with(|| Known { life: index.stream_meta(&event.stream), head: None });
        let Known { life, head } = known;
        life.shows((event.revision, event.recorded_at), now, || {
            if head.is_none() {
                *head = index.stream_head(&event.stream, Position::START)?;
            }
            Ok(*head)
        })
    }
}

impl Reader {
    /// Takes out what is hidden.
    pub(super) fn retain_visible(&self, page: &mut Page) -> Result<(), StoreError> {
        let index = self.published.index();
        if page.is_empty() || index.stream_meta_changes() == 0 {
            return Ok(());
        }
        let (mut visible, now) = (Visible::new(index), self.clock.now());
        let shown: Vec<bool> =
            page.iter().map(|event| visible.is(event, now)).collect::<Result<_, _>>()?;
        let mut shown = shown.into_iter();
        page.retain(|_| shown.next().unwrap_or_default());
        Ok(())
    }

    /// The first event after a position that matches a query and at which the search ends.
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
            let mut places = Vec::with_capacity(batch);
            while places.len() < batch
                && let Some(at) = next.take()
                && let Some(place) =
                    index.seek((&mut plan, &mut locator), at, Direction::Forwards)?
            {
                next = beyond(place.position, Direction::Forwards);
                places.push(place);
            }
            for event in self.events_at(&places)? {
                if ends(&event)? {
                    return Ok(Some(event));
                }
            }
            // Mostly the first match decides; where many are hidden, they are read together.
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
        let now = self.clock.now();
        let earliest = index.last_recorded_at().unwrap_or(now);
        let latest = earliest.max(now);
        let mut visible = Visible::new(index.clone());
        let (mut matching, mut passed) = (None, false);
        let before = before(first);
        let undecided = self.first_match(index, none_matching, before, &mut |event| {
            if visible.is(event, latest)? {
                matching = Some(event.position);
                return Ok(true);
            }
            let may_be_visible = visible.is(event, earliest)?;
            passed |= !may_be_visible;
            Ok(may_be_visible)
        })?;
        precheck.matching = matching;
        precheck.passed_at = passed.then_some(changes);
        if let Some(event) = undecided.filter(|_| matching.is_none()) {
            precheck.condition_to = self::before(event.position).min(precheck.condition_to);
        }
        Ok(())
    }
}

/// The position just before one of an event.
pub(crate) fn before(position: Position) -> Position {
    Position::new(position.number().saturating_sub(1))
}
