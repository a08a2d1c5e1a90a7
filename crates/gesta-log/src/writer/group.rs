//! A group: the appends that one write and one sync carry.
//!
//! Always holds: every request that was taken gets exactly one answer, when the group is published,
//! when it fails, or at once where the answer depends on nothing in it.

use bytes::Bytes;
use gesta_store::{
    Append, Appended, EventId, NewEvent, Position, RecordedAt, Revision, StoreError, StreamName,
};

use super::{
    Action, Active, Reply, Request,
    judge::{Judge, Judgement, Spans},
    overlay::Overlay,
    prepare::Prepared,
};
use crate::{
    format::{Chain, FRAME_HEADER_BYTES, Place, Record, align, encode_events, encode_opening},
    index::{Entry, Index},
    planted::{self, Bug},
    published::Publication,
    recovery::LogEnd,
};

/// What an opening frame takes, at most.
const OPENING_BYTES_MAX: usize = 128;

/// An answer that waits for the group.
pub(super) type Waiting = (Reply, Result<Appended, StoreError>);

/// See the module.
#[derive(Debug)]
pub(super) struct Group {
    place: Place,
    recorded_at: RecordedAt,
    pub(super) bytes: Vec<u8>,
    written: Bytes,
    next: Position,
    chain: Chain,
    /// Written before the first event frame, where the segment is fresh.
    opening: Option<LogEnd>,
    overlay: Overlay,
    appends: Vec<Vec<Entry>>,
    answers: Vec<Waiting>,
}

impl Group {
    pub(super) fn new(active: &Active, end: &LogEnd, now: RecordedAt) -> Self {
        Self {
            place: active.place(),
            recorded_at: end.last_recorded_at.map_or(now, |last| last.max(now)),
            bytes: Vec::new(),
            written: Bytes::new(),
            next: end.next,
            chain: end.chain,
            opening: active.fresh.then(|| end.clone()),
            overlay: Overlay::default(),
            appends: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// What an append takes of a segment, at most.
    pub(super) fn bytes_of(append: &Append) -> usize {
        let records: usize = append
            .streams
            .iter()
            .flat_map(|part| part.events.iter().map(|event| (event, &part.stream)))
            .map(|(event, stream)| Record::encoded_bytes(event, stream))
            .sum();
        align(FRAME_HEADER_BYTES + records) + OPENING_BYTES_MAX
    }

    /// Whether nothing has to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Judges a request: encodes its append, or keeps or gives the answer.
    pub(super) fn take(
        &mut self,
        request: Request,
        index: &Index,
        spans: &dyn Spans,
        actions: &mut Vec<Action>,
    ) {
        let Request { append, looked, reply, .. } = request;
        let judge = Judge { index, overlay: &self.overlay, spans };
        match judge.judge(&append, looked) {
            Judgement::Accept => {
                let appended = self.accept(&append, index);
                self.answers.push((reply, Ok(appended)));
            }
            Judgement::Answer { result, depends } => {
                let early = planted::is(Bug::ConflictFromAnAppendInFlight) && result.is_err();
                if depends && !early {
                    self.answers.push((reply, result));
                } else {
                    actions.push(Action::Answer(reply, result));
                }
            }
        }
    }

    fn accept(&mut self, append: &Append, index: &Index) -> Appended {
        let placed = self.place_events(append, index);
        let revisions = revisions(append, &placed);
        let Some((_, _, _, last)) = placed.last() else {
            // A pure check that holds: as of everything before it, this group included.
            let position = Position::new(self.next.number() - 1);
            return Appended { position, revisions };
        };
        let appended = Appended { position: *last, revisions };
        if let Some(end) = self.opening.take() {
            let LogEnd { chain, next, predecessor, .. } = end;
            encode_opening(&mut self.bytes, &self.place, chain, next, &predecessor);
        }
        let recorded_at = self.recorded_at;
        let records = placed.iter().map(|(event, stream, revision, position)| Record {
            event,
            stream,
            revision: *revision,
            position: *position,
            recorded_at,
        });
        let (chain, offsets) = encode_events(&mut self.bytes, &self.place, self.chain, records);
        self.chain = chain;
        self.next = last.next();
        let entries: Vec<_> = placed
            .iter()
            .zip(offsets)
            .map(|(placed, offset)| entry(placed, offset, recorded_at))
            .collect();
        self.overlay.add(append, &entries, &appended, index);
        self.appends.push(entries);
        appended
    }

    /// Gives each event its revision and position.
    fn place_events<'a>(&self, append: &'a Append, index: &Index) -> Vec<Placed<'a>> {
        let mut position = self.next;
        let mut placed = Vec::with_capacity(append.events().count());
        for part in append.streams.iter().filter(|part| !part.events.is_empty()) {
            let mut revision = self.overlay.tip(&part.stream, index).0.next();
            for event in &part.events {
                placed.push((event, &part.stream, revision, position));
                revision = revision.next();
                position = position.next();
            }
        }
        placed
    }

    /// The bytes to write.
    pub(super) fn freeze(&mut self) -> Bytes {
        self.written = std::mem::take(&mut self.bytes).into();
        self.written.clone()
    }

    /// Answers everything that depends on nothing in the group, for there is nothing in it.
    pub(super) fn answer_early(self, actions: &mut Vec<Action>) {
        actions
            .extend(self.answers.into_iter().map(|(reply, result)| Action::Answer(reply, result)));
    }

    /// The group is durable: what to publish and what to answer. Moves the end of the log.
    pub(super) fn finish(
        self,
        segment: &Prepared,
        offset: u64,
        end: &mut LogEnd,
    ) -> (Publication, Vec<Waiting>) {
        end.chain = self.chain;
        end.next = self.next;
        end.last_recorded_at = Some(self.recorded_at);
        let publication = Publication {
            segment: segment.number,
            seed: segment.seed,
            offset,
            bytes: self.written,
            appends: self.appends,
        };
        (publication, self.answers)
    }

    /// The id of each append's first event.
    pub(super) fn first_events(&self) -> impl Iterator<Item = EventId> {
        self.appends.iter().filter_map(|entries| entries.first()).map(|entry| entry.id)
    }

    /// The group was submitted and failed: what was to be appended is unknown, what was refused
    /// because of it was certainly not appended.
    pub(super) fn fail(
        self,
        unknown: impl Fn() -> StoreError,
        refused: &StoreError,
        actions: &mut Vec<Action>,
    ) {
        for (reply, result) in self.answers {
            let error = if result.is_ok() { unknown() } else { refused.clone() };
            actions.push(Action::Answer(reply, Err(error)));
        }
    }
}

/// An event with its stream, revision and position.
type Placed<'a> = (&'a NewEvent, &'a StreamName, Revision, Position);

fn entry(
    (event, stream, revision, position): &Placed<'_>,
    offset: u64,
    recorded_at: RecordedAt,
) -> Entry {
    Entry {
        id: event.id,
        stream: (*stream).clone(),
        revision: *revision,
        position: *position,
        recorded_at,
        offset,
        event_type: event.event_type.clone(),
        tags: event.tags.clone(),
        metadata: stream.described_stream().map(|_| event.data.clone()),
    }
}

/// The new head of each stream that gets events.
fn revisions(append: &Append, placed: &[Placed<'_>]) -> Vec<(StreamName, Revision)> {
    let mut rest = placed;
    let mut revisions = Vec::new();
    for part in append.streams.iter().filter(|part| !part.events.is_empty()) {
        let (own, later) = rest.split_at(part.events.len().min(rest.len()));
        revisions.extend(own.last().map(|(_, stream, revision, _)| ((*stream).clone(), *revision)));
        rest = later;
    }
    revisions
}
