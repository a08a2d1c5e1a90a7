//! Whether an append happens: repeats first, then expectations, then the condition.
//!
//! Always holds: a judgement says whether it depends on what is not published yet. Not here:
//! limits and names, which were checked before an append was queued.

use gesta_store::{
    Append, Appended, Conflict, EventId, ExpectedRevision, RecordedEvent, Revision, StoreError,
    StreamAppend, StreamName,
};

use super::{Looked, overlay::Overlay, overlay::Taken};
use crate::index::{Index, Span, Tip};

/// Reads the events of an earlier append.
pub(crate) trait Spans {
    /// All events of the span, in order.
    fn events(&self, span: Span) -> Result<Vec<RecordedEvent>, StoreError>;
}

/// What becomes of an append.
#[derive(Debug)]
pub(super) enum Judgement {
    /// It happens.
    Accept,
    /// This is the answer.
    Answer {
        result: Result<Appended, StoreError>,
        /// Whether it depends on appends that are not published yet.
        depends: bool,
    },
}

impl Judgement {
    fn error(error: impl Into<StoreError>, depends: bool) -> Self {
        Self::Answer { result: Err(error.into()), depends }
    }
}

/// What an append is judged against.
pub(super) struct Judge<'a> {
    pub(super) index: &'a Index,
    pub(super) overlay: &'a Overlay,
    pub(super) spans: &'a dyn Spans,
}

impl Judge<'_> {
    pub(super) fn judge(&self, append: &Append, looked: Looked) -> Judgement {
        self.repeat(append)
            .or_else(|| self.expectations(append))
            .or_else(|| self.condition(append, looked))
            .unwrap_or(Judgement::Accept)
    }

    /// The first answer again, if the append was there before; a conflict, if its first event was
    /// but not all of it.
    fn repeat(&self, append: &Append) -> Option<Judgement> {
        let first = append.events().next()?.id;
        if let Some(taken) = self.overlay.find(first) {
            return Some(compare(append, first, taken, true));
        }
        let span = self.index.find_append(first)?;
        Some(match self.spans.events(span) {
            Ok(events) => compare(append, first, &taken(&events), false),
            Err(error) => Judgement::error(error, false),
        })
    }

    fn expectations(&self, append: &Append) -> Option<Judgement> {
        append.streams.iter().find_map(|part| {
            let described = part.stream.described_stream();
            for name in described.iter().chain([&part.stream]) {
                let (tip, depends) = self.overlay.tip(name, self.index);
                if tip.tombstoned {
                    return Some(Judgement::error(
                        StoreError::Deleted { stream: name.clone() },
                        depends,
                    ));
                }
            }
            let (tip, depends) = self.overlay.tip(&part.stream, self.index);
            unmet(part, &tip).map(|conflict| Judgement::error(conflict, depends))
        })
    }

    fn condition(&self, append: &Append, looked: Looked) -> Option<Judgement> {
        let condition = append.condition.as_ref()?;
        let conflict = |matching| Conflict::Condition { matching };
        let after = condition.after.max(looked.to);
        let published =
            looked.matching.or_else(|| self.index.first_match(&condition.none_matching, after));
        if let Some(matching) = published {
            return Some(Judgement::error(conflict(matching), false));
        }
        let matching = self.overlay.first_match(&condition.none_matching)?;
        Some(Judgement::error(conflict(matching), true))
    }
}

fn unmet(part: &StreamAppend, tip: &Tip) -> Option<Conflict> {
    let StreamAppend { stream, expected, .. } = part;
    let head = match expected {
        // Revisions go on in a deleted stream, so an exact one holds there too.
        ExpectedRevision::Exact(_) => tip.head,
        ExpectedRevision::Any | ExpectedRevision::NoStream | ExpectedRevision::StreamExists => {
            tip.live()
        }
    };
    (!expected.admits(head)).then(|| Conflict::Stream {
        stream: stream.clone(),
        expected: *expected,
        head,
    })
}

/// Whether an append is the one that was taken, with the places that it expects.
fn compare(append: &Append, first_event: EventId, taken: &Taken, depends: bool) -> Judgement {
    let offered = append.streams.iter().filter(|part| !part.events.is_empty());
    let mut streams = 0;
    let same = offered.into_iter().all(|part| {
        let there = taken.streams.get(streams);
        streams += 1;
        there.is_some_and(|(stream, revision, ids)| {
            part.stream == *stream
                && part.events.iter().map(|event| event.id).eq(ids.iter().copied())
                && may_be_at(part.expected, *revision)
        })
    });
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

/// The events of an earlier append, stream by stream.
pub(crate) fn taken(events: &[RecordedEvent]) -> Taken {
    let mut streams: Vec<(StreamName, Revision, Vec<EventId>)> = Vec::new();
    for event in events {
        match streams.last_mut() {
            Some((stream, _, ids)) if *stream == event.stream => ids.push(event.id),
            Some(_) | None => {
                streams.push((event.stream.clone(), event.revision, vec![event.id]));
            }
        }
    }
    Taken { appended: appended(events), streams }
}

/// What the append of these events returned.
pub(crate) fn appended(events: &[RecordedEvent]) -> Appended {
    let mut revisions: Vec<(StreamName, Revision)> = Vec::new();
    for event in events {
        match revisions.last_mut() {
            Some((stream, revision)) if *stream == event.stream => *revision = event.revision,
            Some(_) | None => revisions.push((event.stream.clone(), event.revision)),
        }
    }
    let position = events.last().map_or(gesta_store::Position::START, |event| event.position);
    Appended { position, revisions }
}
