//! What was written, and the reads that are held against it.
//!
//! Always holds: what a read shows is what was written, event by event; where it says that an event
//! is damaged, it is asked again for those after it, so each event of the range is either shown or
//! said to be damaged. Not here: whether that may be ([`original`](super::original)).

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
    still::{Changed, Files},
    written::{STREAMS, name},
};
use crate::{
    model::{Broken, Verdict, demand},
    simulation::{is_borrowed, up_to_damage},
};

/// The events, numbered from 0 in the order of positions.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) events: Vec<RecordedEvent>,
    places: Vec<EventPlace>,
    /// Again, by streams.
    streams: Vec<(StreamName, Vec<RecordedEvent>)>,
    /// Which ones each segment has.
    segments: BTreeMap<String, Range<usize>>,
}

/// Some events that are read.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) range: Range<usize>,
    /// How many the store has.
    pub(super) of: usize,
    /// Whether the opening named damage. Then reads by positions stop at whole frames, while those of
    /// streams may find single records.
    pub(super) named: bool,
}

/// What reads showed of a range of events.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Those that were said to be damaged.
    pub(super) missing: Vec<usize>,
    /// Where the store ended, in silence.
    pub(super) end: usize,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    There,
    Damaged,
    Ended,
}

impl Found {
    fn of(&self, event: &RecordedEvent) -> Shown {
        let number = usize::try_from(event.position.number()).expect("there are few") - 1;
        match self.missing.binary_search(&number) {
            Ok(_) => Shown::Damaged,
            Err(_) if number >= self.end => Shown::Ended,
            Err(_) => Shown::There,
        }
    }
}

impl Known {
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

    /// Which events are in a segment, if it has any.
    pub(super) fn of_segment(&self, file: &str) -> Option<Range<usize>> {
        self.segments.get(file).cloned()
    }

    /// Which events of these have a byte in their records that is not as it was.
    pub(super) fn touched(
        &self,
        range: Range<usize>,
        files: &Files,
        changed: &Changed,
    ) -> Vec<usize> {
        let is_touched = |number: &usize| {
            let place = self.places.get(*number).expect("there is a place of each event");
            let Some(now) = changed.get(&place.file) else { return false };
            let now = now.as_ref().and_then(|now| record(now, place));
            now != files.get(&place.file).and_then(|before| record(before, place))
        };
        range.filter(is_touched).collect()
    }

    /// Reads these events in their order; past the last one, if they are all that there are.
    pub(super) fn forwards(&self, store: &LogStore, part: &Part) -> Verdict<Found> {
        let Part { range, of, .. } = part;
        let events = self.events.get(range.clone()).unwrap_or_default();
        let limit = |left: usize| if range.end < *of { left as u64 } else { u64::MAX };
        let read = |event: &RecordedEvent, left| {
            store.read_all(ReadAll::forwards().from(event.position).limit(limit(left)))
        };
        let Found { missing, end } = shown(events, read, "all")?;
        let missing = missing.into_iter().map(|number| range.start + number).collect();
        Ok(Found { missing, end: range.start + end })
    }

    /// Reads them backwards and without copies, and in each stream, which must show what `found`
    /// says.
    pub(super) fn otherwise(&self, store: &LogStore, part: &Part, found: &Found) -> Verdict {
        self.backwards(store, part, found)?;
        self.scanned(store, part, found)?;
        self.in_streams(store, part, found)
    }

    fn in_streams(&self, store: &LogStore, part: &Part, found: &Found) -> Verdict {
        let range = &part.range;
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
            let there = shown(events, read, stream.as_str())?;
            for (number, event) in events.iter().enumerate() {
                let damaged = there.missing.contains(&number);
                let ended = number >= there.end;
                let in_all = found.of(event);
                let agree = match in_all {
                    Shown::There => !ended && (!damaged || part.named),
                    Shown::Damaged => !ended && (damaged || part.named),
                    Shown::Ended => ended || (damaged && part.named),
                };
                demand(agree, || {
                    let what = format!("{in_all:?}; damaged: {damaged}, ended: {ended}");
                    format!("{stream} and all events disagree on {}: {what}", event.position)
                })?;
            }
        }
        Ok(())
    }

    fn backwards(&self, store: &LogStore, part: &Part, found: &Found) -> Verdict {
        let Part { range, of, .. } = part;
        let read = match self.events.get(range.end).filter(|_| range.end < *of) {
            Some(after) => ReadAll::backwards().from(Position::new(after.position.number() - 1)),
            None => ReadAll::backwards(),
        };
        let mut shown = up_to_damage(store.read_all(read.limit(range.len() as u64)))?;
        if found.end < range.end {
            // It goes on further back than where it was to begin.
            shown.events.truncate(found.end - range.start);
        }
        shown.events.reverse();
        let behind = found.missing.last().map_or(range.start, |missing| missing + 1);
        let there = self.events.get(behind..found.end.min(range.end)).unwrap_or_default();
        demand(there.ends_with(&shown.events), || "other events were read backwards".to_owned())?;
        let all = shown.events.len() == there.len();
        demand(all || part.named, || {
            format!("a read backwards met damage after {} events", shown.events.len())
        })?;
        demand(!shown.to_the_end || (all && found.missing.is_empty()), || {
            format!("a read backwards ended in silence after {} events", shown.events.len())
        })
    }

    fn scanned(&self, store: &LogStore, part: &Part, found: &Found) -> Verdict {
        let Part { range, .. } = part;
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
        demand(wrong.is_none(), || format!("a scan after {after} went wrong at {wrong:?}"))?;
        match scanned {
            Ok(scanned) => {
                demand(scanned == (found.end.min(range.end) - range.start) as u64, || {
                    format!("a scan after {after} ended in silence after {scanned} events")
                })
            }
            Err(StoreError::Corrupt(_)) => Ok(()),
            Err(error) => Err(Broken(format!("damage was scanned as {error}"))),
        }
    }
}

fn record<'a>(segment: &'a Bytes, place: &EventPlace) -> Option<&'a [u8]> {
    let offset = usize::try_from(place.offset).ok()?;
    segment.get(offset..offset + usize::try_from(place.length).ok()?)
}

/// What a kind of read shows of some events, which follow each other there: it is asked to go on
/// behind each one that is said to be damaged.
fn shown(
    events: &[RecordedEvent],
    read: impl Fn(&RecordedEvent, usize) -> Pages,
    what: &str,
) -> Verdict<Found> {
    let mut missing = Vec::new();
    let mut at = 0;
    while let Some((first, rest)) = events.get(at..).and_then(|events| events.split_first()) {
        let shown = up_to_damage(read(first, rest.len() + 1))?;
        let same = events.get(at..).is_some_and(|events| events.starts_with(&shown.events));
        demand(same, || {
            let found = shown.events.first().map(|event| event.position);
            format!("other events were read of {what}: {found:?} from {} on", first.position)
        })?;
        at += shown.events.len();
        if shown.to_the_end {
            return Ok(Found { missing, end: at });
        }
        if at < events.len() {
            missing.push(at);
            at += 1;
        }
    }
    Ok(Found { missing, end: events.len() })
}
