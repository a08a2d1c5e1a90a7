//! Whether an append happens: repeats first, then expectations, then the condition.
//!
//! Always holds: a judgement says whether it depends on what is not published yet. What the caller
//! found in the index up to some position is believed; only what came after it is looked at here,
//! and hidden matches that the caller passed over, if any stream was described since.
//! Not here: limits and names, which were checked before an append was queued.

use gesta_store::{
    Append, Appended, Conflict, EventId, EventQuery, ExpectedRevision, Overload, Position,
    RecordedAt, RecordedEvent, Revision, StoreError, StreamAppend, StreamName,
};

use super::{
    Looked,
    group::Group,
    placed::{self, Entries},
};
use crate::{
    format::IdsDigest,
    index::{AppendSpan, Index, StreamMeta},
    planted::{self, Bug},
    read::{Earlier, EarlierAppend, Ends, before},
};

/// How often the index is asked: merging and scavenging replace its files.
const TRIES_MAX: usize = 3;

/// Reads what is known of an earlier append.
pub(crate) trait Spans {
    /// What is known of the span.
    fn append(&self, span: AppendSpan) -> Result<EarlierAppend, StoreError>;

    /// The index as of now: files of an earlier one may have been replaced by others.
    fn index(&self) -> Index;

    /// The first published event after a position that matches a query and at which the search ends.
    fn first_match(
        &self,
        query: &EventQuery,
        after: Position,
        ends: Ends<'_>,
    ) -> Result<Option<RecordedEvent>, StoreError>;
}

/// What becomes of an append.
#[derive(Debug)]
pub(super) enum Judgement {
    /// It happens; each stream that gets events goes on with these revisions.
    Accept(Vec<Revision>),
    /// This is the answer.
    Answer {
        result: Result<Appended, StoreError>,
        /// Whether it depends on appends that are not published yet.
        depends: bool,
    },
}

impl Judgement {
    fn error(error: impl Into<StoreError>, depends: bool) -> Self {
        Self::Answer { result: Err(before_it_is_written(error.into())), depends }
    }
}

/// The error of an append of which nothing was written: a failure to read leaves no outcome open.
pub(crate) fn before_it_is_written(error: StoreError) -> StoreError {
    match error {
        StoreError::Unavailable { reason, source } => {
            let reason = match source {
                Some(source) => format!("{reason}: {source}"),
                None => reason,
            };
            StoreError::Overloaded(Overload::System { reason })
        }
        definite => definite,
    }
}

/// Ends a judgement early.
type Verdict<T> = Result<T, Judgement>;

/// What is published.
#[derive(Clone, Copy)]
pub(super) struct Past<'a> {
    pub(super) index: &'a Index,
    pub(super) spans: &'a dyn Spans,
}

impl Past<'_> {
    /// Asks the index, and the present one where that fails.
    fn ask<T>(&self, question: impl Fn(&Index) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut answer = question(self.index);
        for _ in 1..TRIES_MAX {
            if answer.is_ok() {
                break;
            }
            answer = question(&self.spans.index());
        }
        answer
    }
}

/// What an append is judged against.
pub(super) struct Judge<'a> {
    pub(super) past: Past<'a>,
    /// Not published yet, in order.
    pub(super) groups: [Option<&'a Group>; 2],
    /// When the append is recorded if it happens.
    pub(super) recorded_at: RecordedAt,
}

impl Judge<'_> {
    pub(super) fn judge(&self, append: &Append, looked: &Looked) -> Judgement {
        let judged = self
            .repeat(append, looked)
            .and_then(|()| self.expectations(append, looked))
            .and_then(|revisions| self.condition(append, looked).map(|()| revisions));
        judged.map_or_else(|answer| answer, Judgement::Accept)
    }

    /// Groups that are not published yet, latest first.
    fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().rev().flatten().copied()
    }

    /// The same, for a look that a planted bug leaves out.
    fn groups_unless(&self, bug: Bug) -> impl Iterator<Item = &Group> {
        self.groups().filter(move |_| !planted::is(bug))
    }

    /// The first answer again, if the append was there before; a conflict, if its first event was
    /// but not all of it.
    fn repeat(&self, append: &Append, looked: &Looked) -> Verdict<()> {
        let Some(first) = append.events().next().map(|event| event.id) else { return Ok(()) };
        let mut groups = self.groups_unless(Bug::RepeatBlindToTheFlight);
        if let Some(entries) = groups.find_map(|group| group.find(first)) {
            return Err(compare(append, first, &of_entries(entries), true));
        }
        let newer = self.past.ask(|index| index.find_append(first, looked.to));
        let span = newer.map_err(|error| Judgement::error(error, false))?.or(looked.repeat);
        let Some(span) = span else { return Ok(()) };
        Err(match self.past.spans.append(span) {
            Ok(earlier) => compare(append, first, &of_earlier(earlier), false),
            Err(error) => Judgement::error(error, false),
        })
    }

    /// The revisions that the streams go on with, if all is as expected.
    fn expectations(&self, append: &Append, looked: &Looked) -> Verdict<Vec<Revision>> {
        let mut revisions = Vec::with_capacity(append.streams.len());
        for (n, part) in append.streams.iter().enumerate() {
            let described = part.stream.described_stream();
            for name in described.iter().chain([&part.stream]) {
                let (life, depends) = self.life(name);
                if life.tombstoned {
                    let stream = name.clone();
                    return Err(Judgement::error(StoreError::Deleted { stream }, depends));
                }
            }
            let known = looked.heads.get(n).copied().flatten();
            let (head, depends) = self.head(&part.stream, known, looked)?;
            let (life, life_depends) = self.life(&part.stream);
            if let Some(conflict) = unmet(part, head, &life) {
                return Err(Judgement::error(conflict, depends || life_depends));
            }
            if !part.events.is_empty() {
                revisions.push(head.map_or(Revision::FIRST, Revision::next));
            }
        }
        Ok(revisions)
    }

    /// Where a stream is in its life, and whether that is not published yet.
    fn life(&self, name: &StreamName) -> (StreamMeta, bool) {
        match self.groups().find_map(|group| group.overlay.life(name)) {
            Some(life) => (life.clone(), true),
            None => (self.past.index.stream_meta(name), false),
        }
    }

    /// The last revision of a stream, and whether that is not published yet.
    fn head(
        &self,
        name: &StreamName,
        known: Option<Revision>,
        looked: &Looked,
    ) -> Verdict<(Option<Revision>, bool)> {
        let mut groups = self.groups_unless(Bug::ExpectationBlindToTheFlight);
        if let Some(head) = groups.find_map(|group| group.overlay.head(name)) {
            return Ok((Some(head), true));
        }
        let newer = self.past.ask(|index| index.stream_head(name, looked.to));
        Ok((newer.map_err(|error| Judgement::error(error, false))?.or(known), false))
    }

    /// Refuses where an event matches that is visible when the append is recorded.
    fn condition(&self, append: &Append, looked: &Looked) -> Verdict<()> {
        let Some(condition) = append.condition.as_ref() else { return Ok(()) };
        if let Some(matching) = looked.matching {
            return Err(matched(matching, false));
        }
        let query = &condition.none_matching;
        let mut after = condition.after.max(looked.condition_to);
        if planted::is(Bug::StaleLookBelieved) {
            after = after.max(self.past.index.head());
        }
        if !self.hides_as_before(looked) {
            after = condition.after;
        }
        let newer = self.past.ask(|index| index.first_match(query, after));
        if let Some(first) = newer.map_err(|error| Judgement::error(error, false))? {
            self.published_match(query, first)?;
        }
        for group in self.groups_unless(Bug::ConditionBlindToTheFlight) {
            for entry in group.overlay.matches(query, &group.placed) {
                let shows = self.shows(entry.stream, (entry.revision, entry.recorded_at));
                if shows.map_err(|error| Judgement::error(error, true))?.shown {
                    return Err(matched(entry.position, true));
                }
            }
        }
        Ok(())
    }

    /// Whether the matches that the caller passed over are hidden still: max count and max age hide
    /// more and more, and nothing else has changed.
    fn hides_as_before(&self, looked: &Looked) -> bool {
        looked.passed_at.is_none_or(|changes| {
            changes == self.past.index.stream_meta_changes()
                && !self.groups().any(|group| group.overlay.changes_lives())
        })
    }

    /// Refuses where a published event matches, from `first` on, and is visible. Only here are
    /// records read, and only where any stream was ever described.
    fn published_match(&self, query: &EventQuery, first: Position) -> Verdict<()> {
        let described = self.groups().any(|group| group.overlay.changes_lives());
        if self.past.index.stream_meta_changes() == 0 && !described {
            return Err(matched(first, false));
        }
        let mut depends = false;
        let found = self.past.spans.first_match(query, before(first), &mut |event| {
            let shows = self.shows(&event.stream, (event.revision, event.recorded_at))?;
            depends = shows.depends;
            Ok(shows.shown)
        });
        match found.map_err(|error| Judgement::error(error, false))? {
            Some(event) => Err(matched(event.position, depends)),
            None => Ok(()),
        }
    }

    /// Whether an event with this place and age is visible when the append is recorded.
    fn shows(
        &self,
        stream: &StreamName,
        place: (Revision, RecordedAt),
    ) -> Result<Shows, StoreError> {
        let (life, depends) = self.life(stream);
        let head = || match self.groups().find_map(|group| group.overlay.head(stream)) {
            Some(head) => Ok(Some(head)),
            None => self.past.ask(|index| index.stream_head(stream, Position::START)),
        };
        Ok(Shows { shown: life.shows(place, self.recorded_at, head)?, depends })
    }
}

/// Whether an event is visible, and whether metadata say so that are not published yet.
struct Shows {
    shown: bool,
    depends: bool,
}

fn matched(matching: Position, depends: bool) -> Judgement {
    Judgement::error(Conflict::Condition { matching }, depends)
}

fn unmet(part: &StreamAppend, head: Option<Revision>, life: &StreamMeta) -> Option<Conflict> {
    let StreamAppend { stream, expected, .. } = part;
    let head = match expected {
        // Revisions go on in a deleted stream, so an exact one holds there too.
        ExpectedRevision::Exact(_) => head,
        ExpectedRevision::Any | ExpectedRevision::NoStream | ExpectedRevision::StreamExists => {
            life.live(head)
        }
    };
    (!expected.admits(head)).then(|| Conflict::Stream {
        stream: stream.clone(),
        expected: *expected,
        head,
    })
}

/// An earlier append: each stream that got events, its first new revision, and their ids as far as
/// they are known.
struct Taken {
    streams: Vec<(StreamName, Revision, Vec<Option<EventId>>)>,
    /// Of all ids, where some are not known.
    ids: Option<IdsDigest>,
    appended: Appended,
}

/// Whether an append is the one that was taken, with the places that it expects.
fn compare(append: &Append, first_event: EventId, taken: &Taken, depends: bool) -> Judgement {
    let offered = append.streams.iter().filter(|part| !part.events.is_empty());
    let mut streams = 0;
    let same = offered.into_iter().all(|part| {
        let there = taken.streams.get(streams);
        streams += 1;
        there.is_some_and(|(stream, revision, ids)| {
            let mut pairs = part.events.iter().zip(ids);
            part.stream == *stream
                && part.events.len() == ids.len()
                && pairs.all(|(event, id)| id.is_none_or(|id| event.id == id))
                && may_be_at(part.expected, *revision)
        })
    });
    let offered_ids = || IdsDigest::of(append.events().map(|event| event.id));
    let same = same && taken.ids.is_none_or(|ids| ids == offered_ids());
    if same && streams == taken.streams.len() {
        Judgement::Answer { result: Ok(taken.appended.clone()), depends }
    } else {
        Judgement::error(Conflict::PartialRepeat { first_event }, depends)
    }
}

/// Whether events that begin at this revision can have met the expectation.
fn may_be_at(expected: ExpectedRevision, revision: Revision) -> bool {
    match expected {
        ExpectedRevision::Exact(before) => before.next() == revision,
        ExpectedRevision::Any | ExpectedRevision::NoStream | ExpectedRevision::StreamExists => true,
    }
}

fn of_entries(entries: Entries<'_>) -> Taken {
    let events = entries.map(|entry| Earlier {
        stream: entry.stream.clone(),
        revision: entry.revision,
        position: entry.position,
        id: Some(entry.id),
    });
    of_earlier(EarlierAppend { events: events.collect(), ids: None })
}

fn of_earlier(earlier: EarlierAppend) -> Taken {
    let mut streams: Vec<(StreamName, Revision, Vec<Option<EventId>>)> = Vec::new();
    let mut position = Position::START;
    for event in earlier.events {
        match streams.last_mut() {
            Some((known, _, ids)) if *known == event.stream => ids.push(event.id),
            Some(_) | None => streams.push((event.stream, event.revision, vec![event.id])),
        }
        position = event.position;
    }
    let heads = streams.iter().map(|(stream, first, ids)| {
        (stream.clone(), Revision::new(first.number() + ids.len() as u64 - 1))
    });
    let appended = Appended { position, revisions: heads.collect() };
    Taken { streams, ids: earlier.ids, appended }
}

/// What an earlier append returned.
pub(crate) fn appended(earlier: EarlierAppend) -> Appended {
    of_earlier(earlier).appended
}

pub(super) use placed::appended as appended_now;
