//! A group: the appends that one write and one sync carry.
//!
//! Always holds: every request that was taken gets exactly one answer, when the group is published,
//! when it fails, or at once where the answer depends on nothing in it. A group is filled while the
//! one before it is in flight, and goes where that one ends.

use std::sync::Arc;

use bytes::Bytes;
use gesta_store::{Append, Appended, EventId, Position, RecordedAt, Revision, StoreError};

use super::{
    Action, Offer, Request,
    judge::{Judge, Judgement, Past, appended_now},
    overlay::Overlay,
    placed::{Entries, Placed},
};
use crate::{
    answers::{Answered, Reply},
    format::{
        Chain, EventsFrameBuilder, FRAME_HEADER_BYTES, GroupLocation, Opening, PendingFrame,
        Record, align, encode_opening, write_frame_headers,
    },
    index::Index,
    planted::{self, Bug},
    published::{Publication, ToCome},
};

/// What an opening frame takes, at most.
const OPENING_BYTES_MAX: usize = 128;

/// An answer that waits for the group.
pub(super) type Waiting = (Reply, Answered);

/// What a group continues.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    pub(super) chain: Chain,
    pub(super) next: Position,
    /// For the opening frame, where the segment has none yet.
    pub(super) opening: Option<Opening>,
}

/// How large a group may become, to make room for it at once, and its frames.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Size {
    pub(super) appends: usize,
    pub(super) bytes: usize,
    /// Up to which appends share a frame.
    pub(super) frame_bytes_max: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Group {
    segment: u64,
    place: GroupLocation,
    /// Up to which appends share a frame.
    frame_bytes_max: usize,
    pub(super) bytes: Vec<u8>,
    frames: Vec<PendingFrame>,
    /// The last one, which more appends may join.
    joinable: Option<EventsFrameBuilder>,
    /// After `frames`.
    chain: Chain,
    /// Written before the first event frame.
    opening: Option<Opening>,
    pub(super) overlay: Overlay,
    /// Shared once the group is on its way.
    pub(super) placed: Arc<Placed>,
    /// Once it is on its way: the bytes.
    written: Bytes,
    pub(super) answers: Vec<Waiting>,
}

impl Group {
    pub(super) fn new(
        segment: u64,
        place: GroupLocation,
        before: Before,
        recorded_at: RecordedAt,
        size: Size,
    ) -> Self {
        Self {
            segment,
            place,
            frame_bytes_max: size.frame_bytes_max,
            bytes: Vec::with_capacity(size.bytes),
            frames: Vec::new(),
            joinable: None,
            chain: before.chain,
            opening: before.opening,
            overlay: Overlay::with_capacity(size.appends),
            placed: Arc::new(Placed::new(before.next, recorded_at, size.appends)),
            written: Bytes::new(),
            answers: Vec::with_capacity(size.appends),
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

    /// How many appends it carries.
    pub(super) fn appends(&self) -> usize {
        self.placed.len()
    }

    /// Where it ends in the segment.
    pub(super) fn end(&self) -> u64 {
        self.place.group_offset + (self.bytes.len() + self.written.len()) as u64
    }

    pub(super) fn offset(&self) -> u64 {
        self.place.group_offset
    }

    pub(super) fn recorded_at(&self) -> RecordedAt {
        self.placed.recorded_at()
    }

    /// What the next group continues, once this one is on its way.
    pub(super) fn after(&self) -> Before {
        Before { chain: self.chain, next: self.placed.next(), opening: self.opening }
    }

    fn has(&self, first_event: EventId) -> bool {
        self.overlay.find(first_event).is_some()
    }

    /// The append of this group with this first event.
    pub(super) fn find(&self, first_event: EventId) -> Option<Entries<'_>> {
        self.placed.append(self.overlay.find(first_event)?)
    }

    /// Judges a request, with the group in flight before this one: encodes its append, or keeps or
    /// gives the answer.
    pub(super) fn take(
        &mut self,
        request: Request,
        mut flight: Option<&mut Self>,
        past: Past<'_>,
        actions: &mut Vec<Action>,
    ) {
        let Request { offer, reply } = request;
        let groups = [flight.as_deref(), Some(&*self)];
        let judge = Judge { past, groups, recorded_at: self.recorded_at() };
        let (result, depends) = match judge.judge(&offer.append, &offer.looked) {
            Judgement::Accept(revisions) if revisions.is_empty() => {
                // A pure check that holds: as of everything before it, what is in flight included.
                let position = Position::new(self.placed.next().number() - 1);
                let appended = Appended { position, revisions: Vec::new() };
                (Ok(appended), !planted::is(Bug::CheckFromAnAppendInFlight))
            }
            Judgement::Accept(revisions) => {
                let appended = self.accept(offer, revisions, flight.as_deref(), past.index);
                return self.answers.push((reply, Ok(appended)));
            }
            Judgement::Answer { result, depends } => (result, depends),
        };
        let early = match &result {
            Ok(_) => planted::is(Bug::RepeatFromAnAppendInFlight),
            Err(_) => planted::is(Bug::ConflictFromAnAppendInFlight),
        };
        let first = offer.first_event();
        match &mut flight {
            _ if !depends || early => actions.push(Action::Answers(vec![(reply, result)])),
            // A repeat shares the fate of its first try.
            Some(flight) if self.is_empty() || first.is_some_and(|first| flight.has(first)) => {
                flight.answers.push((reply, result));
            }
            _ if !self.is_empty() => self.answers.push((reply, result)),
            _ => actions.push(Action::Answers(vec![(reply, result)])),
        }
    }

    fn accept(
        &mut self,
        offer: Arc<Offer>,
        revisions: Vec<Revision>,
        flight: Option<&Self>,
        index: &Index,
    ) -> Appended {
        let first = self.placed.next();
        if let Some(opening) = self.opening.take() {
            let frame = encode_opening(&mut self.bytes, &self.place, self.chain, first, &opening);
            self.frames.push(frame);
        }
        let length = self.joinable.as_ref().map_or(0, |frame| frame.length(&self.bytes));
        if length + offer.group_bytes > self.frame_bytes_max {
            self.finish_frame();
        }
        let records = records(&offer.append, &revisions, first, self.placed.recorded_at());
        let bytes = &mut self.bytes;
        let placed = Arc::get_mut(&mut self.placed).expect("the group is not on its way");
        let frame = self
            .joinable
            .get_or_insert_with(|| EventsFrameBuilder::begin(bytes, self.chain, first));
        frame.push_append(bytes, &self.place, records, placed.offsets());
        let appended = appended_now(&offer.append, first, &revisions);
        let n = placed.len();
        placed.push(offer, revisions);
        let entries = self.placed.append(n).expect("it was just added");
        let life_before = |name: &_| match flight.and_then(|flight| flight.overlay.life(name)) {
            Some(life) => life.clone(),
            None => index.stream_meta(name),
        };
        self.overlay.add(n, entries, life_before);
        appended
    }

    fn finish_frame(&mut self) {
        let Some(frame) = self.joinable.take() else { return };
        let frame = frame.finish(&mut self.bytes);
        self.chain = frame.chain();
        self.frames.push(frame);
    }

    /// The bytes to write, now that everything before `durable_mark` is durable.
    pub(super) fn freeze(&mut self, durable_mark: u64) -> Bytes {
        self.finish_frame();
        let mut bytes = std::mem::take(&mut self.bytes);
        write_frame_headers(&mut bytes, &self.place, durable_mark, &self.frames);
        self.written = bytes.into();
        self.written.clone()
    }

    /// What readers will see of it.
    pub(super) fn to_come(&self) -> ToCome {
        ToCome { segment: self.segment, placed: Arc::clone(&self.placed) }
    }

    /// The group is durable: what to publish and what to answer.
    pub(super) fn finish(self) -> (Publication, Vec<Waiting>) {
        let publication = Publication {
            segment: self.segment,
            seed: self.place.seed,
            offset: self.place.group_offset,
            bytes: self.written,
            placed: self.placed,
        };
        (publication, self.answers)
    }

    /// The group was submitted and failed: what was to be appended is unknown, what was refused
    /// because of it was certainly not appended.
    pub(super) fn fail(
        self,
        unknown: impl Fn() -> StoreError,
        refused: &StoreError,
        actions: &mut Vec<Action>,
    ) {
        let failed = |(reply, result): Waiting| {
            let error = if result.is_ok() { unknown() } else { refused.clone() };
            (reply, Err(error))
        };
        actions.push(Action::Answers(self.answers.into_iter().map(failed).collect()));
    }

    /// Nothing of the group was submitted, and nothing will be: nothing of it was appended.
    pub(super) fn refuse(self, refused: &StoreError, actions: &mut Vec<Action>) {
        let refused = |(reply, _): Waiting| (reply, Err(refused.clone()));
        actions.push(Action::Answers(self.answers.into_iter().map(refused).collect()));
    }
}

fn records<'a>(
    append: &'a Append,
    revisions: &'a [Revision],
    first: Position,
    recorded_at: RecordedAt,
) -> impl Iterator<Item = Record<'a>> {
    let parts = append.streams.iter().filter(|part| !part.events.is_empty());
    let events = parts.zip(revisions).flat_map(|(part, first)| {
        let numbered = (first.number()..).map(Revision::new);
        part.events.iter().zip(numbered).map(|(event, revision)| (event, &part.stream, revision))
    });
    let positions = (first.number()..).map(Position::new);
    let last = Position::new(first.number() + append.events().count() as u64 - 1);
    events.zip(positions).map(move |((event, stream, revision), position)| Record {
        event,
        stream,
        revision,
        position,
        recorded_at,
        continues: position < last,
    })
}
