//! Encoding of frames into the bytes of a commit group, which one write carries.
//!
//! Headers are filled in last: they contain the durable mark, which is known only when the group is
//! submitted. The appends of a group are selected by the writer; decoding is in
//! [`Frame`](super::Frame).

use gesta_store::Position;

use super::{
    Chain, FRAME_HEADER_BYTES, FrameHeader, FrameKind, Gap, HEADER_BYTES, Opening, Record, Seed,
    align, copy_record,
    frame::{advance, hash_records},
};
use crate::mutations::mutated;

/// The location of a group in its segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupLocation {
    /// Offset of the group in the segment.
    pub(crate) group_offset: u64,
    pub(crate) seed: Seed,
}

/// A frame whose header is not written yet.
#[derive(Debug)]
pub(crate) struct PendingFrame {
    start: usize,
    header: FrameHeader,
}

/// Writes the headers of a group's frames.
pub(crate) fn write_frame_headers(
    group: &mut [u8],
    location: &GroupLocation,
    durable_mark: u64,
    frames: &[PendingFrame],
) {
    // Headers come last: how far the log is durable is known only when the group is submitted.
    for PendingFrame { start, header } in frames {
        let offset = location.group_offset + *start as u64;
        // Mutations replace the mark; see `mutations`.
        let durable_mark = match () {
            () if mutated!(DurableMarkTooHigh) => offset,
            () if mutated!(DurableMarkTooLow) => HEADER_BYTES,
            () => durable_mark,
        };
        let header = FrameHeader { durable_mark, ..*header };
        let bytes = header.encode(offset, location.seed);
        group
            .get_mut(*start..*start + FRAME_HEADER_BYTES)
            .expect("room for the header was made")
            .copy_from_slice(&bytes);
    }
}

/// An events frame that is still being built. Several appends may share it.
#[derive(Debug)]
pub(crate) struct EventsFrameBuilder {
    start: usize,
    first_position: Position,
    records: usize,
    /// The chain before the frame.
    before: Chain,
}

impl EventsFrameBuilder {
    /// Begins a frame at the end of the group's bytes.
    pub(crate) fn begin(group: &mut Vec<u8>, before: Chain, first_position: Position) -> Self {
        Self { start: begin(group), first_position, records: 0, before }
    }

    /// Length so far, in bytes.
    pub(crate) fn length(&self, group: &[u8]) -> usize {
        group.len() - self.start
    }

    /// Adds the records of one append, and pushes each record's offset in the segment to `offsets`.
    pub(crate) fn push_append<'a>(
        &mut self,
        group: &mut Vec<u8>,
        location: &GroupLocation,
        records: impl Iterator<Item = Record<'a>>,
        offsets: &mut Vec<u64>,
    ) {
        for record in records {
            offsets.push(record.encode(group, location.group_offset, location.seed));
            self.records += 1;
        }
    }

    /// Ends the frame.
    pub(crate) fn finish(self, group: &mut Vec<u8>) -> PendingFrame {
        let Self { start, first_position, records, before } = self;
        let body = group.get(start + FRAME_HEADER_BYTES..).expect("room for the header was made");
        // Hashed once per frame, over all of its records: hashing short inputs is slow.
        let chain = advance(before, |hasher| hash_records(hasher, body, body.len()));
        let header = FrameHeader {
            kind: FrameKind::Events,
            length: finish(group, start),
            records,
            first_position,
            durable_mark: 0,
            chain,
            body_checksum: 0,
        };
        PendingFrame { start, header }
    }
}

/// Copies an events frame from another segment, with its records and its chain.
pub(crate) fn copy_events<'a>(
    group: &mut Vec<u8>,
    location: &GroupLocation,
    header: &FrameHeader,
    records: impl Iterator<Item = &'a [u8]>,
) -> PendingFrame {
    let start = begin(group);
    records.for_each(|record| copy_record(record, group, location.group_offset, location.seed));
    // The chain is kept: it does not depend on where the records are.
    let header = FrameHeader { length: finish(group, start), ..*header };
    PendingFrame { start, header }
}

/// Appends a gap frame: the lists of scavenged events, and the remaining records.
pub(crate) fn encode_gap<'a>(
    group: &mut Vec<u8>,
    location: &GroupLocation,
    chain: Chain,
    gap: &Gap,
    records: impl Iterator<Item = &'a [u8]>,
) -> PendingFrame {
    let start = begin(group);
    let body = start + FRAME_HEADER_BYTES;
    gap.encode(group);
    // The checksum covers only the lists: each record has its own.
    let covered = group.get(body..).expect("room for the header was made");
    let body_checksum = location.seed.of(location.group_offset + body as u64, covered);
    let mut count = 0;
    for record in records {
        // Copying recomputes the checksum: it is bound to the record's new offset and segment.
        copy_record(record, group, location.group_offset, location.seed);
        count += 1;
    }
    let header = FrameHeader {
        kind: FrameKind::Gap,
        length: finish(group, start),
        records: count,
        first_position: gap.first,
        durable_mark: 0,
        chain,
        body_checksum,
    };
    PendingFrame { start, header }
}

/// Appends an opening frame.
pub(crate) fn encode_opening(
    group: &mut Vec<u8>,
    location: &GroupLocation,
    chain: Chain,
    next: Position,
    opening: &Opening,
) -> PendingFrame {
    let start = begin(group);
    let body = opening.encode();
    let body_offset = location.group_offset + (start + FRAME_HEADER_BYTES) as u64;
    group.extend_from_slice(&body);
    let header = FrameHeader {
        kind: FrameKind::Opening,
        length: finish(group, start),
        records: 0,
        first_position: next,
        durable_mark: 0,
        chain,
        // An opening frame has no records, whose checksums would cover its body.
        body_checksum: location.seed.of(body_offset, &body),
    };
    PendingFrame { start, header }
}

/// Appends a close frame or a seal.
pub(crate) fn encode_bare(
    group: &mut Vec<u8>,
    chain: Chain,
    next: Position,
    kind: FrameKind,
) -> PendingFrame {
    let start = begin(group);
    let header = FrameHeader {
        kind,
        length: finish(group, start),
        records: 0,
        first_position: next,
        durable_mark: 0,
        chain,
        body_checksum: 0,
    };
    PendingFrame { start, header }
}

impl PendingFrame {
    /// The chain after the frame.
    pub(crate) fn chain(&self) -> Chain {
        self.header.chain
    }
}

/// Reserves room for a header, and returns where the frame begins in the group.
fn begin(group: &mut Vec<u8>) -> usize {
    let start = group.len();
    debug_assert_eq!(start, align(start), "frames begin aligned");
    group.resize(start + FRAME_HEADER_BYTES, 0);
    start
}

/// Pads the frame that begins at `start`, and returns its length.
fn finish(group: &mut Vec<u8>, start: usize) -> usize {
    // The next frame begins aligned.
    group.resize(align(group.len()), 0);
    group.len() - start
}
