//! The written events, and the reads that must return them.
//!
//! Invariants: each event read is compared with the written one; after an event reported as damaged
//! the read continues after it, so each event of a range is either present or reported. Not here:
//! the decision whether the losses are allowed ([`intact`](super::intact)).

use std::{
    collections::BTreeMap,
    ops::{ControlFlow, Range},
};

use bytes::Bytes;
use gesta_log::{EventPlace, LogStore};
use gesta_store::{
    EventStore, Pages, Position, ReadAll, ReadStream, RecordedEvent, StoreError, StreamName,
};

use super::{
    files::{ChangedFiles, Files},
    fixture::{STREAMS, name},
};
use crate::{
    model::{CheckResult, Violation, ensure},
    simulation::{is_borrowed, read_until_damage},
};

/// The written events, indexed from 0 in order of position.
#[derive(Debug)]
pub(super) struct ExpectedReads {
    pub(super) events: Vec<RecordedEvent>,
    places: Vec<EventPlace>,
    /// The same events, by stream.
    streams: Vec<(StreamName, Vec<RecordedEvent>)>,
    /// Index ranges of the events in each segment.
    segments: BTreeMap<String, Range<usize>>,
}

/// A range of events to read.
#[derive(Clone, Debug)]
pub(super) struct EventRange {
    pub(super) range: Range<usize>,
    /// Number of events in the store.
    pub(super) of: usize,
    /// Set if the opening reported damage. Then reads by position stop at whole frames, while
    /// stream reads may find single records.
    pub(super) damage_reported: bool,
}

/// Result of reading a range of events.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ReadOutcome {
    /// Indexes of the events reported as damaged.
    pub(super) missing: Vec<usize>,
    /// Index at which the store ended without an error.
    pub(super) end: usize,
}

/// Result of reading one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Present,
    Damaged,
    PastEnd,
}

impl ReadOutcome {
    fn of(&self, event: &RecordedEvent) -> Presence {
        let number = usize::try_from(event.position.number()).expect("there are few") - 1;
        match self.missing.binary_search(&number) {
            Ok(_) => Presence::Damaged,
            Err(_) if number >= self.end => Presence::PastEnd,
            Err(_) => Presence::Present,
        }
    }
}

impl ExpectedReads {
    pub(super) fn new(events: Vec<RecordedEvent>, places: Vec<EventPlace>) -> Self {
        let of = |stream: &StreamName| {
            events.iter().filter(|event| event.stream == *stream).cloned().collect()
        };
        let streams = STREAMS.map(name).into_iter().map(|stream| (stream.clone(), of(&stream)));
        let streams = streams.collect();
        let mut segments: BTreeMap<String, Range<usize>> = BTreeMap::new();
        for (number, place) in places.iter().enumerate() {
            let range = segments.entry(place.file.clone()).or_insert(number..number);
            range.end = number + 1;
        }
        Self { events, places, streams, segments }
    }

    /// Index range of the events in a segment.
    pub(super) fn of_segment(&self, file: &str) -> Option<Range<usize>> {
        self.segments.get(file).cloned()
    }

    /// Indexes of the events whose record bytes differ.
    pub(super) fn changed_records(
        &self,
        range: Range<usize>,
        files: &Files,
        changed: &ChangedFiles,
    ) -> Vec<usize> {
        let is_changed = |number: &usize| {
            let place = self.places.get(*number).expect("there is a place of each event");
            let Some(now) = changed.get(&place.file) else { return false };
            let now = now.as_ref().and_then(|now| record(now, place));
            now != files.get(&place.file).and_then(|before| record(before, place))
        };
        range.filter(is_changed).collect()
    }

    /// Reads a range of events in order; reads past its end if it reaches the end of the store.
    pub(super) fn read_forwards(
        &self,
        store: &LogStore,
        part: &EventRange,
    ) -> CheckResult<ReadOutcome> {
        let EventRange { range, of, .. } = part;
        let events = self.events.get(range.clone()).unwrap_or_default();
        // A read that reaches the end of the store must also show that nothing follows.
        let limit = |left: usize| if range.end < *of { left as u64 } else { u64::MAX };
        let read = |event: &RecordedEvent, left| {
            store.read_all(ReadAll::forwards().from(event.position).limit(limit(left)))
        };
        let ReadOutcome { missing, end } = read_past_damage(events, read, "all")?;
        let missing = missing.into_iter().map(|number| range.start + number).collect();
        Ok(ReadOutcome { missing, end: range.start + end })
    }

    /// Checks that backward reads, scans and stream reads agree with `found`.
    pub(super) fn check_other_reads(
        &self,
        store: &LogStore,
        part: &EventRange,
        found: &ReadOutcome,
    ) -> CheckResult {
        self.check_backwards(store, part, found)?;
        self.check_scan(store, part, found)?;
        self.check_streams(store, part, found)
    }

    fn check_streams(
        &self,
        store: &LogStore,
        part: &EventRange,
        found: &ReadOutcome,
    ) -> CheckResult {
        let range = &part.range;
        // Select the stream's events within the range by their positions.
        let first = self.events.get(range.start).map_or(Position::MAX, |event| event.position);
        let last = self.events.get(range.end - 1).map_or(Position::START, |event| event.position);
        for (stream, events) in &self.streams {
            let from = events.partition_point(|event| event.position < first);
            let to = events.partition_point(|event| event.position <= last);
            let events = events.get(from..to).unwrap_or_default();
            let read = |event: &RecordedEvent, left: usize| {
                let read = ReadStream::forwards(stream.clone()).from(event.revision);
                store.read_stream(read.limit(left as u64))
            };
            let there = read_past_damage(events, read, stream.as_str())?;
            for (number, event) in events.iter().enumerate() {
                let damaged = there.missing.contains(&number);
                let ended = number >= there.end;
                let in_all = found.of(event);
                // With reported damage, stream reads may show more or fewer records of a bad frame.
                let agree = match in_all {
                    Presence::Present => !ended && (!damaged || part.damage_reported),
                    Presence::Damaged => !ended && (damaged || part.damage_reported),
                    Presence::PastEnd => ended || (damaged && part.damage_reported),
                };
                ensure(agree, || {
                    let what = format!("{in_all:?}; damaged: {damaged}, ended: {ended}");
                    format!(
                        "the reads of {stream} and of all events disagree on {}: {what}",
                        event.position
                    )
                })?;
            }
        }
        Ok(())
    }

    fn check_backwards(
        &self,
        store: &LogStore,
        part: &EventRange,
        found: &ReadOutcome,
    ) -> CheckResult {
        let EventRange { range, of, .. } = part;
        // Start at the last event of the range, or at the end of the store.
        let read = match self.events.get(range.end).filter(|_| range.end < *of) {
            Some(after) => ReadAll::backwards().from(Position::new(after.position.number() - 1)),
            None => ReadAll::backwards(),
        };
        let mut shown = read_until_damage(store.read_all(read.limit(range.len() as u64)))?;
        if found.end < range.end {
            // The read started at the damaged end of the store, before the end of the range.
            shown.events.truncate(found.end - range.start);
        }
        shown.events.reverse();
        // A backward read stops at the last damaged event.
        let behind = found.missing.last().map_or(range.start, |missing| missing + 1);
        // A read may stop early only if damage was reported by the opening.
        let there = self.events.get(behind..found.end.min(range.end)).unwrap_or_default();
        ensure(there.ends_with(&shown.events), || {
            "a backward read returned wrong events".to_owned()
        })?;
        let all = shown.events.len() == there.len();
        ensure(all || part.damage_reported, || {
            format!(
                "a backward read stopped at unreported damage after {} events",
                shown.events.len()
            )
        })?;
        ensure(!shown.complete || (all && found.missing.is_empty()), || {
            format!("a backward read ended without an error after {} events", shown.events.len())
        })
    }

    fn check_scan(&self, store: &LogStore, part: &EventRange, found: &ReadOutcome) -> CheckResult {
        let EventRange { range, .. } = part;
        let mut rest = self.events.iter().take(range.end).skip(range.start).peekable();
        let after = rest.peek().map_or(0, |event| event.position.number() - 1);
        let mut wrong = None;
        let scanned = store.scan(Position::new(after), |event| {
            if !rest.next().is_some_and(|known| is_borrowed(known, &event)) {
                wrong = Some(event.position);
                return ControlFlow::Break(());
            }
            match rest.peek() {
                Some(_) => ControlFlow::Continue(()),
                None => ControlFlow::Break(()),
            }
        });
        ensure(wrong.is_none(), || {
            format!("a scan after {after} returned a wrong event at {wrong:?}")
        })?;
        match scanned {
            Ok(scanned) => {
                ensure(scanned == (found.end.min(range.end) - range.start) as u64, || {
                    format!("a scan after {after} ended without an error after {scanned} events")
                })
            }
            Err(StoreError::Corrupt(_)) => Ok(()),
            Err(error) => Err(Violation(format!("a scan reported damage as {error}"))),
        }
    }
}

fn record<'a>(segment: &'a Bytes, place: &EventPlace) -> Option<&'a [u8]> {
    let offset = usize::try_from(place.offset).ok()?;
    segment.get(offset..offset + usize::try_from(place.length).ok()?)
}

/// Reads the range that consists of `events`, and resumes after each event that is reported as
/// damaged.
fn read_past_damage(
    events: &[RecordedEvent],
    read: impl Fn(&RecordedEvent, usize) -> Pages,
    what: &str,
) -> CheckResult<ReadOutcome> {
    let mut missing = Vec::new();
    let mut at = 0;
    while let Some((first, rest)) = events.get(at..).and_then(|events| events.split_first()) {
        let shown = read_until_damage(read(first, rest.len() + 1))?;
        // Any prefix of the remaining events is correct; it ends at damage or at the end.
        let same = events.get(at..).is_some_and(|events| events.starts_with(&shown.events));
        ensure(same, || {
            let found = shown.events.first().map(|event| event.position);
            format!(
                "a read of {what} from position {} returned wrong events; the first is at \
                 {found:?}",
                first.position
            )
        })?;
        at += shown.events.len();
        if shown.complete {
            return Ok(ReadOutcome { missing, end: at });
        }
        if at < events.len() {
            missing.push(at);
            at += 1;
        }
    }
    Ok(ReadOutcome { missing, end: events.len() })
}
