//! The leader's decision on an append: repeats first, then expectations, then the condition.
//!
//! Invariants:
//! - A verdict says whether it depends on a group that is not published yet.
//! - The caller's precheck is believed up to the position it covers; only later positions are
//!   looked at here. Hidden matches that the precheck passed over are looked at again if stream
//!   metadata changed since.
//!
//! Elsewhere: limits and names, which are checked before an append is enqueued.

use foldhash::HashMap;
use gesta_store::{
    Append, Appended, Conflict, EventId, EventQuery, ExpectedRevision, Overload, Position,
    RecordedAt, RecordedEvent, Revision, StoreError, StreamAppend, StreamName,
};

use super::group::Group;
use crate::{
    format::IdsDigest,
    index::{AppendSpan, Index, Precheck, StreamMeta},
    mutations::{self, Mutation, mutated},
    published::AppendEvents,
    read::{EarlierAppend, EarlierEvent, Ends, before},
};

/// Attempts at an index lookup: compaction and scavenging may replace files while it runs.
const TRIES_MAX: usize = 3;

/// Access to appends that are visible already.
pub(super) trait CommittedLookup {
    /// The append at these positions.
    fn append(&self, span: AppendSpan) -> Result<EarlierAppend, StoreError>;

    /// The current index. Files of an older handle may have been replaced.
    fn index(&self) -> Index;

    /// The first published event after a position that matches a query and that `ends` accepts.
    fn first_match(
        &self,
        query: &EventQuery,
        after: Position,
        ends: Ends<'_>,
    ) -> Result<Option<RecordedEvent>, StoreError>;
}

/// The decision on an append.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Append; holds the first revision for each part that has events.
    Accept(Vec<Revision>),
    /// Do not append, and answer this.
    Answer {
        result: Result<Appended, StoreError>,
        /// True if it depends on a group that is not published yet.
        depends: bool,
    },
}

impl Verdict {
    fn error(error: impl Into<StoreError>, depends: bool) -> Self {
        Self::Answer { result: Err(definite_error(error.into())), depends }
    }
}

/// Turns a failed read into a definite error: nothing of the append was written, so its outcome is
/// known.
pub(crate) fn definite_error(error: StoreError) -> StoreError {
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

/// One step of a validation; `Err` ends it early.
type Step<T> = Result<T, Verdict>;

/// The published part of the log.
#[derive(Clone, Copy)]
pub(super) struct CommittedView<'a> {
    pub(super) index: &'a Index,
    pub(super) lookup: &'a dyn CommittedLookup,
}

impl CommittedView<'_> {
    /// Queries the index, and the current one if that fails.
    fn query<T>(&self, query: impl Fn(&Index) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut result = query(self.index);
        for _ in 1..TRIES_MAX {
            if result.is_ok() {
                break;
            }
            result = query(&self.lookup.index());
        }
        result
    }
}

/// The state that an append is validated against.
pub(super) struct Validator<'a> {
    pub(super) view: CommittedView<'a>,
    /// Groups that are not published yet, in order.
    pub(super) groups: [Option<&'a Group>; 2],
    /// The recorded time that the append gets if it is accepted.
    pub(super) recorded_at: RecordedAt,
}

impl Validator<'_> {
    pub(super) fn validate(&self, append: &Append, precheck: &Precheck) -> Verdict {
        let validated = self
            .check_repeat(append, precheck)
            .and_then(|()| self.check_expectations(append, precheck))
            .and_then(|revisions| self.check_condition(append, precheck).map(|()| revisions));
        validated.map_or_else(|answer| answer, Verdict::Accept)
    }

    /// Groups that are not published yet, latest first.
    fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().rev().flatten().copied()
    }

    /// As [`groups`](Self::groups); empty if the mutation that skips this check is enabled.
    fn groups_unless(&self, mutation: Mutation) -> impl Iterator<Item = &Group> {
        self.groups().filter(move |_| !mutations::is(mutation))
    }

    /// Answers an append that was appended before with its first answer, and one of which only a
    /// part was appended with a conflict.
    fn check_repeat(&self, append: &Append, precheck: &Precheck) -> Step<()> {
        let Some((first, stream)) = first_event(append) else { return Ok(()) };
        let mut groups = self.groups_unless(Mutation::RepeatIgnoresInFlight);
        if let Some(entries) = groups.find_map(|group| group.find(first, stream)) {
            return Err(compare(append, first, &of_entries(entries), true));
        }
        match self.earlier_append(first, stream, precheck) {
            Ok(None) => Ok(()),
            Ok(Some(earlier)) => Err(compare(append, first, &of_earlier(earlier), false)),
            Err(error) => Err(Verdict::error(error, false)),
        }
    }

    /// Returns the published append whose first event has this id and is in this stream.
    fn earlier_append(
        &self,
        first: EventId,
        stream: &StreamName,
        precheck: &Precheck,
    ) -> Result<Option<EarlierAppend>, StoreError> {
        // The index after the precheck first, then the precheck's own result.
        let newer = self.view.query(|index| index.appends(first, precheck.to))?;
        let mut spans = newer.into_iter().chain(precheck.repeats.iter().copied()).peekable();
        if spans.peek().is_none() {
            return Ok(None);
        }
        // The id is known. The index has only the first append of each segment by the id alone.
        for span in spans {
            let earlier = self.view.lookup.append(span)?;
            if earlier.begins_in(stream) || mutated!(IdOfAnyStreamRepeats) {
                return Ok(Some(earlier));
            }
        }
        match self.view.query(|index| index.append_in(first, stream))? {
            Some(span) => {
                let earlier = self.view.lookup.append(span)?;
                Ok(earlier.begins_in(stream).then_some(earlier))
            }
            None => Ok(None),
        }
    }

    /// Returns the first revision for each part that has events, if all expectations hold.
    fn check_expectations(&self, append: &Append, precheck: &Precheck) -> Step<Vec<Revision>> {
        let mut revisions = Vec::with_capacity(append.streams.len());
        let mut continued = Continued::default();
        for (n, part) in append.streams.iter().enumerate() {
            // A tombstone also forbids the stream's metadata.
            let described = part.stream.described_stream();
            for name in described.iter().chain([&part.stream]) {
                let (meta, depends) = self.meta(name);
                if meta.tombstoned {
                    let stream = name.clone();
                    return Err(Verdict::error(StoreError::Deleted { stream }, depends));
                }
            }
            let known = precheck.heads.get(n).copied().flatten();
            let (head, depends) = self.head(&part.stream, known, precheck)?;
            let (meta, meta_depends) = self.meta(&part.stream);
            if let Some(conflict) = check_expected_revision(part, head, &meta) {
                return Err(Verdict::error(conflict, depends || meta_depends));
            }
            if !part.events.is_empty() {
                // Revisions continue after a deletion; they never restart.
                let next = head.map_or(Revision::FIRST, Revision::next);
                let before = if append.streams.len() > 1 { continued.add(part) } else { 0 };
                revisions.push(Revision::new(next.number() + before));
            }
        }
        Ok(revisions)
    }

    /// The metadata state of a stream, and whether that is unpublished.
    fn meta(&self, name: &StreamName) -> (StreamMeta, bool) {
        match self.groups().find_map(|group| group.overlay.meta(name)) {
            Some(meta) => (meta.clone(), true),
            None => (self.view.index.stream_meta(name), false),
        }
    }

    /// The head of a stream, and whether that is unpublished.
    fn head(
        &self,
        name: &StreamName,
        known: Option<Revision>,
        precheck: &Precheck,
    ) -> Step<(Option<Revision>, bool)> {
        let mut groups = self.groups_unless(Mutation::ExpectationIgnoresInFlight);
        if let Some(head) = groups.find_map(|group| group.overlay.head(name)) {
            return Ok((Some(head), true));
        }
        let newer = self.view.query(|index| index.stream_head(name, precheck.to));
        Ok((newer.map_err(|error| Verdict::error(error, false))?.or(known), false))
    }

    /// Refuses the append if an event matches its condition that is visible at its recorded time.
    fn check_condition(&self, append: &Append, precheck: &Precheck) -> Step<()> {
        let Some(condition) = append.condition.as_ref() else { return Ok(()) };
        if let Some(matching) = precheck.matching {
            return Err(matched(matching, false));
        }
        // Published events after the precheck.
        let query = &condition.none_matching;
        let mut after = condition.after.max(precheck.condition_to);
        if mutated!(StalePrecheckTrusted) {
            after = after.max(self.view.index.head());
        }
        // A match that the precheck passed over as hidden may be visible now: search from the
        // start.
        if !self.hides_as_before(precheck) {
            after = condition.after;
        }
        let newer = self.view.query(|index| index.first_match(query, after));
        if let Some(first) = newer.map_err(|error| Verdict::error(error, false))? {
            self.check_published_match(query, first)?;
        }
        // Events of groups that are not published yet.
        for group in self.groups_unless(Mutation::ConditionIgnoresInFlight) {
            for entry in group.overlay.matches(query, &group.events) {
                let visibility = self.visibility(entry.stream, (entry.revision, entry.recorded_at));
                if visibility.map_err(|error| Verdict::error(error, true))?.visible {
                    return Err(matched(entry.position, true));
                }
            }
        }
        Ok(())
    }

    /// Returns whether the matches that the precheck passed over are still hidden. Max count and
    /// max age hide more over time, so only a change of metadata can reveal one.
    fn hides_as_before(&self, precheck: &Precheck) -> bool {
        precheck.passed_at.is_none_or(|changes| {
            changes == self.view.index.stream_meta_changes()
                && !self.groups().any(|group| group.overlay.changes_metas())
        })
    }

    /// Refuses the append if a published event at or after `first` matches and is visible. Reads
    /// records, but only in stores in which any stream has metadata.
    fn check_published_match(&self, query: &EventQuery, first: Position) -> Step<()> {
        let described = self.groups().any(|group| group.overlay.changes_metas());
        if self.view.index.stream_meta_changes() == 0 && !described {
            return Err(matched(first, false));
        }
        // With metadata in the store, the index alone cannot tell visible matches from hidden ones.
        let mut depends = false;
        let found = self.view.lookup.first_match(query, before(first), &mut |event| {
            let visibility = self.visibility(&event.stream, (event.revision, event.recorded_at))?;
            depends = visibility.depends;
            Ok(visibility.visible)
        });
        match found.map_err(|error| Verdict::error(error, false))? {
            Some(event) => Err(matched(event.position, depends)),
            None => Ok(()),
        }
    }

    /// The visibility of an event, by its revision and age, at the append's recorded time.
    fn visibility(
        &self,
        stream: &StreamName,
        place: (Revision, RecordedAt),
    ) -> Result<Visibility, StoreError> {
        let (meta, depends) = self.meta(stream);
        let head = || match self.groups().find_map(|group| group.overlay.head(stream)) {
            Some(head) => Ok(Some(head)),
            None => self.view.query(|index| index.stream_head(stream, Position::START)),
        };
        Ok(Visibility { visible: meta.shows(place, self.recorded_at, head)?, depends })
    }
}

/// Numbers of events of the streams of one append. A stream may have several parts.
#[derive(Default)]
struct Continued<'a>(HashMap<&'a StreamName, u64>);

impl<'a> Continued<'a> {
    /// Adds the events of a part, and returns the number of those of earlier parts of its stream.
    fn add(&mut self, part: &'a StreamAppend) -> u64 {
        let events = self.0.entry(&part.stream).or_default();
        let before = *events;
        *events += part.events.len() as u64;
        before
    }
}

/// Returns the id of an append's first event, and its stream.
pub(super) fn first_event(append: &Append) -> Option<(EventId, &StreamName)> {
    let mut firsts = append.streams.iter().filter_map(|part| Some((part.events.first()?, part)));
    firsts.next().map(|(event, part)| (event.id, &part.stream))
}

struct Visibility {
    visible: bool,
    /// True if unpublished metadata decided it.
    depends: bool,
}

fn matched(matching: Position, depends: bool) -> Verdict {
    Verdict::error(Conflict::Condition { matching }, depends)
}

/// Returns the conflict if a stream's expected revision does not hold.
fn check_expected_revision(
    part: &StreamAppend,
    head: Option<Revision>,
    meta: &StreamMeta,
) -> Option<Conflict> {
    let StreamAppend { stream, expected, .. } = part;
    let head = match expected {
        // Revisions continue in a deleted stream, so an exact one holds there too.
        ExpectedRevision::Exact(_) => head,
        ExpectedRevision::Any | ExpectedRevision::NoStream | ExpectedRevision::StreamExists => {
            meta.live(head)
        }
    };
    (!expected.admits(head)).then(|| Conflict::Stream {
        stream: stream.clone(),
        expected: *expected,
        head,
    })
}

/// An earlier append, by its parts.
struct EarlierByStream {
    /// The stream of each part, with its first new revision and the event ids that are known.
    streams: Vec<(StreamName, Revision, Vec<Option<EventId>>)>,
    /// Digest of all ids, if some are unknown because they were scavenged.
    ids: Option<IdsDigest>,
    appended: Appended,
}

/// Compares an append with the earlier one that has the same first event: the same events in the
/// same streams, with expectations that the earlier one could have satisfied, are a repeat.
fn compare(
    append: &Append,
    first_event: EventId,
    earlier: &EarlierByStream,
    depends: bool,
) -> Verdict {
    // Events of the same ids in the same streams, in the same order. Scavenged ids are unknown one
    // by one and are compared by their digest.
    let offered = append.streams.iter().filter(|part| !part.events.is_empty());
    let mut streams = 0;
    let same = offered.into_iter().all(|part| {
        let there = earlier.streams.get(streams);
        streams += 1;
        there.is_some_and(|(stream, revision, ids)| {
            let mut pairs = part.events.iter().zip(ids);
            part.stream == *stream
                && part.events.len() == ids.len()
                && pairs.all(|(event, id)| id.is_none_or(|id| event.id == id))
                && part.expected.could_begin_at(*revision)
        })
    });
    let offered_ids = || IdsDigest::of(append.events().map(|event| event.id));
    let same = same && earlier.ids.is_none_or(|ids| ids == offered_ids());
    if same && streams == earlier.streams.len() {
        let appended = earlier.appended.clone();
        let appended = match mutated!(RepeatRecordedNow) {
            true => Appended::new(appended.position, appended.revisions),
            false => appended,
        };
        Verdict::Answer { result: Ok(appended), depends }
    } else {
        Verdict::error(Conflict::PartialRepeat { first_event }, depends)
    }
}

fn of_entries(entries: AppendEvents<'_>) -> EarlierByStream {
    let events = entries.map(|entry| EarlierEvent {
        stream: entry.stream.clone(),
        revision: entry.revision,
        position: entry.position,
        id: Some(entry.id),
    });
    of_earlier(EarlierAppend { events: events.collect(), ids: None })
}

fn of_earlier(earlier: EarlierAppend) -> EarlierByStream {
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
    let appended = Appended::new(position, heads.collect()).earlier();
    EarlierByStream { streams, ids: earlier.ids, appended }
}

/// Reconstructs the answer that an earlier append got.
pub(crate) fn appended(earlier: EarlierAppend) -> Appended {
    of_earlier(earlier).appended
}
