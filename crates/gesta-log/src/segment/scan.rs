//! Scans the frames of one segment, and distinguishes a torn tail from damage.
//!
//! The corruption rule: a bad range is damage if a durable mark of any valid later frame, or the
//! successor's opening frame, lies past its beginning. Otherwise it is a torn tail, which was never
//! acknowledged.
//!
//! Scanning truncates nothing; bytes that are not adopted are reported. [`verify_segment`] accepts
//! sound segments quickly; [`walk`] decides about all others. The order of segments is decided in
//! [`recovery`](crate::recovery).

use bytes::Bytes;
use gesta_store::{Position, RecordedAt};

use crate::format::{
    BorrowedEvent, Chain, FRAME_HEADER_BYTES, Frame, FrameHeader, FrameKind, HEADER_BYTES,
    Malformed, Seed, align, append_continues, borrow_record, mark_offset,
};
use crate::mutations::mutated;

/// Number of bytes compared with zero at once at the end of a segment.
const ZEROS_AT_ONCE: usize = 64;

/// The state before a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScanStart {
    pub(crate) seed: Seed,
    /// The chain before the segment. `None` if damage hid it.
    pub(crate) chain: Option<Chain>,
    /// The position of the next event.
    pub(crate) next: Position,
    /// The segment's length according to its successor's opening frame.
    pub(crate) adopted_length: Option<u64>,
}

/// Bytes that were durable and are no valid frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadRange {
    pub(crate) offset: u64,
    pub(crate) what: Malformed,
    /// The first missing position, and the first position after it that is present, if any.
    pub(crate) missing: Position,
    pub(crate) resumes: Option<Position>,
}

/// The result of a scan, except for the frames.
#[derive(Clone, Debug)]
pub(crate) struct ScanResult {
    /// The end of the adopted part.
    pub(crate) end: u64,
    /// The highest durable mark of an adopted frame.
    pub(crate) mark: u64,
    pub(crate) chain: Option<Chain>,
    pub(crate) next: Position,
    pub(crate) sealed: bool,
    pub(crate) bad: Vec<BadRange>,
    /// Number of bytes after the end up to the last one that is not zero: a torn tail.
    pub(crate) torn_bytes: u64,
}

/// Scans all frames, and calls `visit` with each valid one and its offset.
pub(crate) fn walk(
    segment: &Bytes,
    start: ScanStart,
    mut visit: impl FnMut(u64, Frame),
) -> ScanResult {
    let mut walked = ScanResult {
        end: HEADER_BYTES,
        mark: HEADER_BYTES,
        chain: start.chain,
        next: start.next,
        sealed: false,
        bad: Vec::new(),
        torn_bytes: 0,
    };
    // The successor, if any, says how far the segment belongs to the log.
    let limit = start.adopted_length.unwrap_or(segment.len() as u64);
    while walked.end < limit && !walked.sealed {
        match next_frame(segment, &walked, start.seed) {
            Ok((offset, frame)) => {
                walked.take(offset, &frame);
                visit(offset, frame);
            }
            Err(what) => {
                // Either resumes after damage, or ends the scan at a torn tail.
                if !walked.skip_damage(segment, &start, what) {
                    break;
                }
            }
        }
    }
    // The bytes after the last whole frame are not adopted. They stay in the file, and their
    // number is reported.
    walked.torn_bytes = torn_bytes(segment, walked.end);
    walked
}

/// Returns the next frame and its offset: at the end of the last one or, for a mark, at the next
/// sector.
fn next_frame(segment: &Bytes, walked: &ScanResult, seed: Seed) -> Result<(u64, Frame), Malformed> {
    let here = match frame_at(segment, walked.end, walked, seed) {
        Ok(frame) => return Ok((walked.end, frame)),
        Err(malformed) => malformed,
    };
    let offset = mark_offset(walked.end);
    // Only zeros may lie between a frame and a mark in the next sector.
    let empty = slice(segment, walked.end, offset).iter().all(|byte| *byte == 0);
    match frame_at(segment, offset, walked, seed) {
        Ok(frame) if empty && frame.header.kind.is_mark() => Ok((offset, frame)),
        Ok(_) | Err(_) => Err(here),
    }
}

fn slice(segment: &Bytes, from: u64, to: u64) -> &[u8] {
    let place = |offset| usize::try_from(offset).unwrap_or(usize::MAX).min(segment.len());
    segment.get(place(from)..place(to)).unwrap_or_default()
}

/// The result of verifying a sound segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VerifiedSegment {
    /// The end of the segment's part of the log.
    pub(crate) end: u64,
    pub(crate) chain: Chain,
    /// The position of the next event.
    pub(crate) next: Position,
    /// The recorded time of the last event.
    pub(crate) last_recorded_at: Option<RecordedAt>,
}

/// Verifies a sealed segment without copying, except for the chain ([`Chain::links`]), which the
/// caller verifies. Returns `None` if anything is wrong; [`walk`] then finds out what.
pub(crate) fn verify_segment(
    segment: &Bytes,
    start: &ScanStart,
    mut visit: impl FnMut(u64, &BorrowedEvent<'_>),
) -> Option<VerifiedSegment> {
    let limit = start.adopted_length?;
    let mut sound = VerifiedSegment {
        end: HEADER_BYTES,
        chain: start.chain?,
        next: start.next,
        last_recorded_at: None,
    };
    let mut sealed = false;
    while sound.end < limit && !sealed {
        let (offset, header) = header_after(segment, sound.end, start.seed)?;
        // A valid frame in the wrong place is damage, too.
        if header.first_position != sound.next
            || (header.kind == FrameKind::Opening) != (offset == HEADER_BYTES)
        {
            return None;
        }
        // The length is covered by the header's checksum, but the file may be cut.
        let at = usize::try_from(offset).ok()?;
        let bytes = segment.get(at..at.checked_add(header.length)?)?;
        if header.kind == FrameKind::Events {
            let records = Records { frame: bytes, offset, count: header.records, seed: start.seed };
            sound.take(&records, &mut visit)?;
        } else {
            let frame = segment.slice(at..at + header.length);
            // Rare kinds are decoded whole; this also checks that marks leave the chain unchanged.
            Frame::decode(&frame, offset, start.seed, Some(sound.chain)).ok()?;
            sealed = header.kind == FrameKind::Seal;
        }
        sound.end = offset + header.length as u64;
        sound.chain = header.chain;
    }
    // A frame that crosses the adopted length is damage.
    (sound.end == limit).then_some(sound)
}

/// Returns the next frame's header and offset: at `at` or, for a mark, at the next sector.
fn header_after(segment: &Bytes, at: u64, seed: Seed) -> Option<(u64, FrameHeader)> {
    if let Ok(header) = FrameHeader::decode(slice(segment, at, u64::MAX), at, seed) {
        return Some((at, header));
    }
    let offset = mark_offset(at);
    let header = FrameHeader::decode(slice(segment, offset, u64::MAX), offset, seed).ok()?;
    let empty = slice(segment, at, offset).iter().all(|byte| *byte == 0);
    (empty && header.kind.is_mark()).then_some((offset, header))
}

/// The records of the frame at this offset.
#[derive(Clone, Copy)]
struct Records<'a> {
    frame: &'a [u8],
    offset: u64,
    count: usize,
    seed: Seed,
}

impl VerifiedSegment {
    fn take(
        &mut self,
        records: &Records<'_>,
        visit: &mut impl FnMut(u64, &BorrowedEvent<'_>),
    ) -> Option<()> {
        let Records { frame, offset, count, seed } = *records;
        let mut used = FRAME_HEADER_BYTES;
        let mut continues = true;
        for _ in 0..count {
            let at = offset + used as u64;
            let record = frame.get(used..)?;
            let (event, length) = borrow_record(record, at, seed).ok()?;
            continues = append_continues(record);
            if event.position != self.next {
                return None;
            }
            visit(at, &event);
            self.last_recorded_at = Some(event.recorded_at);
            self.next = self.next.next();
            used += length;
        }
        // The last record ends its append, and only alignment follows it.
        let padding = frame.get(used..)?;
        let padded = padding.len() < align(1) && padding.iter().all(|byte| *byte == 0);
        (!continues && padded).then_some(())
    }
}

fn frame_at(
    segment: &Bytes,
    offset: u64,
    walked: &ScanResult,
    seed: Seed,
) -> Result<Frame, Malformed> {
    let at = usize::try_from(offset).map_err(|_| Malformed::Short)?;
    if at >= segment.len() {
        return Err(Malformed::Short);
    }
    let frame = Frame::decode(&segment.slice(at..), offset, seed, walked.chain)?;
    // An opening frame is the first frame, and only that.
    let first = frame.header.kind == FrameKind::Opening;
    if frame.header.first_position != walked.next || first != (offset == HEADER_BYTES) {
        return Err(Malformed::Field("first position"));
    }
    Ok(frame)
}

impl ScanResult {
    fn take(&mut self, offset: u64, frame: &Frame) {
        debug_assert!(offset >= self.end, "frames do not overlap");
        self.end = offset + frame.header.length as u64;
        self.mark = self.mark.max(frame.header.durable_mark);
        self.chain = Some(frame.header.chain);
        self.next = frame.next();
        self.sealed = frame.header.kind == FrameKind::Seal;
    }

    /// Handles bad bytes at the current end. If they are damage, records it and moves on to the
    /// next valid frame. Returns false if there is none, or if the bytes are a torn tail.
    fn skip_damage(&mut self, segment: &Bytes, start: &ScanStart, what: Malformed) -> bool {
        if mutated!(TruncateAtFirstBadFrame) {
            return false;
        }
        let later = later_frames(segment, self.end, start.seed);
        let marks = later.iter().map(|(_, header)| header.durable_mark);
        // The highest offset that any later evidence says was durable.
        let durable = marks.chain(start.adopted_length).max().unwrap_or(HEADER_BYTES);
        let next = later.iter().find(|(offset, _)| *offset > self.end).copied();
        // Nothing claims that these bytes were ever durable: a torn tail.
        if durable <= self.end {
            return mutated!(AdoptPastHole) && self.resume(next);
        }
        // A frame beyond the durable mark may be from an unacknowledged write. It is adopted only
        // if it directly follows the bad one.
        let belongs = |(offset, header): &(u64, FrameHeader)| {
            *offset < durable || self.is_behind(&later, *offset, header.kind)
        };
        let resumes = next.filter(|next| belongs(next) || mutated!(ResumeAnywhere));
        self.bad.push(BadRange {
            offset: self.end,
            what,
            missing: self.next,
            resumes: resumes.map(|(_, header)| header.first_position),
        });
        self.resume(resumes)
    }

    /// Returns whether a frame directly follows the bad one, whose header is still valid. Then only
    /// the bad frame's events are lost.
    fn is_behind(&self, later: &[(u64, FrameHeader)], offset: u64, kind: FrameKind) -> bool {
        let bad = later.first().filter(|(offset, _)| *offset == self.end);
        bad.is_some_and(|(begin, header)| {
            let end = begin + header.length as u64;
            offset == end || (kind.is_mark() && offset == mark_offset(end))
        })
    }

    /// Moves on to a frame after bad bytes, if there is one.
    fn resume(&mut self, next: Option<(u64, FrameHeader)>) -> bool {
        let Some((offset, header)) = next else { return false };
        self.end = offset;
        // The chain across a hole is unknown; the next frame starts it again.
        self.chain = None;
        // Positions never go back.
        self.next = header.first_position.max(self.next);
        true
    }
}

/// Returns the headers of valid frames at or after an offset.
fn later_frames(segment: &Bytes, from: u64, seed: Seed) -> Vec<(u64, FrameHeader)> {
    let mut found = Vec::new();
    let mut at = usize::try_from(from).map_or(segment.len(), align);
    while let Some(bytes) = segment.get(at..).filter(|bytes| bytes.len() >= FRAME_HEADER_BYTES) {
        match FrameHeader::decode(bytes, at as u64, seed) {
            Ok(header) => {
                found.push((at as u64, header));
                at += FRAME_HEADER_BYTES;
            }
            // Frames are aligned, so none begins in between. Payloads cannot imitate a header,
            // because they do not know the salt.
            Err(_) => at += 8,
        }
    }
    found
}

/// Returns the number of bytes from `end` up to the last one that is not zero.
pub(crate) fn torn_bytes(segment: &Bytes, end: u64) -> u64 {
    let mut rest = slice(segment, end, u64::MAX);
    // Most of the rest is preallocated zeros: skip whole chunks first.
    while let Some((before, piece)) = rest.split_last_chunk()
        && *piece == [0; ZEROS_AT_ONCE]
    {
        rest = before;
    }
    rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
}

/// Decodes the opening frame of a segment.
pub(crate) fn opening_frame(segment: &Bytes, seed: Seed) -> Result<Frame, Malformed> {
    let at = HEADER_BYTES as usize;
    if segment.len() <= at {
        return Err(Malformed::Short);
    }
    // The chain before the segment is not known yet. The scan of its frames checks this one again.
    let frame = Frame::decode(&segment.slice(at..), HEADER_BYTES, seed, None)?;
    if frame.opening.is_none() {
        return Err(Malformed::Field("opening frame"));
    }
    Ok(frame)
}

/// Returns whether a segment without a valid opening frame had durable frames.
pub(crate) fn lost_opening(segment: &Bytes, seed: Seed) -> bool {
    // A mark past the header was written only after the opening frame was durable.
    let later = later_frames(segment, HEADER_BYTES, seed);
    later.iter().any(|(_, header)| header.durable_mark > HEADER_BYTES)
}
