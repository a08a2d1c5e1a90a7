//! A group: the appends that one synced write carries.
//!
//! Invariant: every append taken from the queue is answered exactly once: when its group is
//! published or fails, or immediately if the answer depends on nothing in flight.

use std::sync::Arc;

use bytes::Bytes;
use gesta_store::{
    Append, Appended, EventId, Position, RecordedAt, Revision, StoreError, StreamName,
};

use super::{
    action::Action,
    completion::{AppendResult, Responder},
    overlay::Overlay,
};
use crate::{
    format::{
        Chain, EventsFrameBuilder, GroupLocation, Opening, PendingFrame, Record, encode_opening,
        write_frame_headers,
    },
    index::Index,
    published::{AppendEvents, GroupEvents, PendingAppend, PendingGroup, Publication, appended_at},
};

/// An answer that is sent once the group is published.
pub(super) type PendingAnswer = (Responder, AppendResult);

/// The end of the log that a group continues.
#[derive(Clone, Copy, Debug)]
pub(super) struct Continuation {
    pub(super) chain: Chain,
    pub(super) next: Position,
    /// The opening frame to write first, or `None` if the segment has one.
    pub(super) opening: Option<Opening>,
}

/// Memory to reserve for a group, and the size of its frames.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct GroupCapacity {
    pub(super) appends: usize,
    pub(super) bytes: usize,
    /// Frame size up to which appends share a frame.
    pub(super) frame_bytes_max: usize,
}

/// Appends that are being gathered, or that are in flight.
#[derive(Debug)]
pub(super) struct Group {
    segment: u64,
    place: GroupLocation,
    /// Frame size up to which appends share a frame.
    frame_bytes_max: usize,
    /// The encoded frames while the group is open; moved to `written` when it is submitted.
    pub(super) bytes: Vec<u8>,
    frames: Vec<PendingFrame>,
    /// The last frame, if more appends may join it.
    joinable: Option<EventsFrameBuilder>,
    /// Chain value after `frames`.
    chain: Chain,
    opening: Option<Opening>,
    pub(super) overlay: Overlay,
    /// Shared with the index worker and the publication once the group is submitted.
    pub(super) events: Arc<GroupEvents>,
    written: Bytes,
    pub(super) answers: Vec<PendingAnswer>,
}

impl Group {
    pub(super) fn new(
        segment: u64,
        place: GroupLocation,
        continuation: Continuation,
        recorded_at: RecordedAt,
        capacity: GroupCapacity,
    ) -> Self {
        Self {
            segment,
            place,
            frame_bytes_max: capacity.frame_bytes_max,
            bytes: Vec::with_capacity(capacity.bytes),
            frames: Vec::new(),
            joinable: None,
            chain: continuation.chain,
            opening: continuation.opening,
            overlay: Overlay::with_capacity(capacity.appends),
            events: Arc::new(GroupEvents::new(continuation.next, recorded_at, capacity.appends)),
            written: Bytes::new(),
            answers: Vec::with_capacity(capacity.appends),
        }
    }

    /// Returns whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Number of appends with events.
    pub(super) fn appends(&self) -> usize {
        self.events.len()
    }

    /// End offset in the segment.
    pub(super) fn end(&self) -> u64 {
        self.place.group_offset + (self.bytes.len() + self.written.len()) as u64
    }

    pub(super) fn offset(&self) -> u64 {
        self.place.group_offset
    }

    pub(super) fn recorded_at(&self) -> RecordedAt {
        self.events.recorded_at()
    }

    /// The end of the log after this group, which the next group continues.
    pub(super) fn continuation(&self) -> Continuation {
        Continuation { chain: self.chain, next: self.events.next(), opening: self.opening }
    }

    /// The append of this group whose first event has this id and is in this stream.
    pub(super) fn find(
        &self,
        first_event: EventId,
        stream: &StreamName,
    ) -> Option<AppendEvents<'_>> {
        let numbers = self.overlay.find(first_event, stream);
        let mut appends = numbers.filter_map(|number| self.events.append(number));
        appends.find(|append| append.clone().next().is_some_and(|first| first.stream == stream))
    }

    /// Encodes an append whose parts begin at these revisions, and adds it to the overlay.
    pub(super) fn encode(
        &mut self,
        pending: Arc<PendingAppend>,
        revisions: Vec<Revision>,
        in_flight: Option<&Self>,
        index: &Index,
    ) -> Appended {
        let first = self.events.next();
        // The first append of a segment also brings its opening frame.
        if let Some(opening) = self.opening.take() {
            let frame = encode_opening(&mut self.bytes, &self.place, self.chain, first, &opening);
            self.frames.push(frame);
        }
        // Small appends share a frame, which saves its header and alignment.
        let length = self.joinable.as_ref().map_or(0, |frame| frame.length(&self.bytes));
        if length + pending.group_bytes > self.frame_bytes_max {
            self.finish_frame();
        }
        let records = records(&pending.append, &revisions, first, self.events.recorded_at());
        let bytes = &mut self.bytes;
        let events = Arc::get_mut(&mut self.events).expect("an open group is not shared");
        let frame = self
            .joinable
            .get_or_insert_with(|| EventsFrameBuilder::begin(bytes, self.chain, first));
        frame.push_append(bytes, &self.place, records, events.offsets());
        let appended = appended_at(&pending.append, first, &revisions);
        let n = events.len();
        events.push(pending, revisions);
        // Later appends of this group are validated against the overlay.
        let entries = self.events.append(n).expect("the append was just pushed");
        let meta_before = |name: &_| match in_flight.and_then(|group| group.overlay.meta(name)) {
            Some(meta) => meta.clone(),
            None => index.stream_meta(name),
        };
        self.overlay.add(n, entries, meta_before);
        appended
    }

    /// Ends the frame that small appends share.
    fn finish_frame(&mut self) {
        let Some(frame) = self.joinable.take() else { return };
        let frame = frame.finish(&mut self.bytes);
        self.chain = frame.chain();
        self.frames.push(frame);
    }

    /// Completes the frame headers with the durable mark, and returns the bytes to write.
    pub(super) fn freeze(&mut self, durable_mark: u64) -> Bytes {
        self.finish_frame();
        let mut bytes = std::mem::take(&mut self.bytes);
        write_frame_headers(&mut bytes, &self.place, durable_mark, &self.frames);
        self.written = bytes.into();
        self.written.clone()
    }

    /// The group as the index worker stages it.
    pub(super) fn pending_group(&self) -> PendingGroup {
        PendingGroup { segment: self.segment, events: Arc::clone(&self.events) }
    }

    /// Splits a durable group into its publication and its answers.
    pub(super) fn finish(self) -> (Publication, Vec<PendingAnswer>) {
        let publication = Publication {
            segment: self.segment,
            seed: self.place.seed,
            offset: self.place.group_offset,
            bytes: self.written,
            events: self.events,
        };
        (publication, self.answers)
    }

    /// Answers a group whose write failed: the outcome of accepted appends is unknown, refused ones
    /// were certainly not appended.
    pub(super) fn fail(
        self,
        unknown: impl Fn() -> StoreError,
        refused: &StoreError,
        actions: &mut Vec<Action>,
    ) {
        let failed = |(responder, result): PendingAnswer| {
            let error = if result.is_ok() { unknown() } else { refused.clone() };
            (responder, Err(error))
        };
        actions.push(Action::Answer(self.answers.into_iter().map(failed).collect()));
    }

    /// Answers a group of which nothing was submitted: nothing of it was appended.
    pub(super) fn refuse(self, refused: &StoreError, actions: &mut Vec<Action>) {
        let refused = |(responder, _): PendingAnswer| (responder, Err(refused.clone()));
        actions.push(Action::Answer(self.answers.into_iter().map(refused).collect()));
    }
}

/// The records of an append, in order of position.
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
