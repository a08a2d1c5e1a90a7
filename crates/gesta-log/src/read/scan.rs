//! Scans all events in order, without copying them.
//!
//! Invariants:
//! - Each record's checksum and each frame's header are verified.
//! - Events come in the order of their positions, each once, up to the head when the scan began.
//! - Damage ends the scan with an error.

use std::{io, ops::ControlFlow};

use bytes::Bytes;
use gesta_store::{Damage, Direction, Position, StoreError};

use super::{Reader, fetch::cannot_read};
use crate::{
    disk::{Disk, waiting},
    format::{
        BorrowedEvent, FRAME_HEADER_BYTES, Frame, FrameHeader, FrameKind, Gap, HEADER_BYTES,
        Malformed, borrow_record, gap_positions, mark_offset,
    },
    index::PositionRange,
    segment::segment_file,
};

/// Size of a read, in bytes; a larger frame takes a larger one. Small enough that a chunk is still
/// in the processor's cache when its records are decoded.
const CHUNK_BYTES: usize = 256 << 10;

impl Reader {
    /// Calls `visit` with each event after a position until it breaks. Returns the number of calls.
    pub(crate) fn scan(
        &self,
        after: Position,
        mut visit: impl FnMut(BorrowedEvent<'_>) -> ControlFlow<()>,
    ) -> Result<u64, StoreError> {
        let head = self.published.head();
        let damage = self.published.damage_from(after.next(), Direction::Forwards);
        // End before known damage: a scan must not skip missing events silently.
        let until =
            damage.map_or(head, |(missing, _)| head.min(Position::new(missing.number() - 1)));
        let (mut scanned, mut last) = (0, after);
        // A retry after a replaced file skips the events that were visited already.
        let flow = self.retry_if_files_replaced(|| {
            for range in self.published.index().position_ranges() {
                if range.end <= last.number() + 1 {
                    continue;
                }
                let flow = self.scan_range(&range, until, |event| {
                    if event.position <= last {
                        return ControlFlow::Continue(());
                    }
                    scanned += 1;
                    last = event.position;
                    visit(event)
                })?;
                if flow.is_break() {
                    return Ok(flow);
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if flow.is_break() {
            return Ok(scanned);
        }
        // Everything before the damage was visited. Only now it is an error.
        self.end_at_damage(after).map(|()| scanned)
    }

    /// Calls `visit` with the gaps of a segment's range that overlap the positions `first..end`.
    pub(super) fn gaps_of(
        &self,
        range: &PositionRange,
        first: u64,
        end: u64,
        visit: &mut impl FnMut(&Gap) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let mut chunk = Chunk::new();
        let mut at = HEADER_BYTES;
        while let Some((offset, header)) = self.frame(range, &mut chunk, at)? {
            at = offset + header.length as u64;
            if header.first_position.number() >= end || header.kind == FrameKind::Seal {
                break;
            }
            if header.kind != FrameKind::Gap {
                continue;
            }
            // The chunk is reused, but a decoded frame keeps its bytes. The chain before the frame
            // is not known here; its checksums are enough.
            let bytes = Bytes::copy_from_slice(chunk.slice(offset, header.length));
            let frame = Frame::decode(&bytes, offset, range.seed, None).map_err(|what| {
                let position = header.first_position;
                damaged(range, offset, position..=position, what)
            })?;
            let touched = frame.gap.filter(|gap| gap.next().number() > first);
            if touched.is_some_and(|gap| visit(&gap).is_break()) {
                break;
            }
        }
        Ok(())
    }

    fn scan_range(
        &self,
        range: &PositionRange,
        until: Position,
        mut visit: impl FnMut(BorrowedEvent<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, StoreError> {
        let end = Position::new(range.end).min(until.next());
        let mut next = Position::new(range.first);
        let mut chunk = Chunk::new();
        let mut at = HEADER_BYTES;
        while next < end {
            let frame = self.frame(range, &mut chunk, at)?;
            // Events are missing up to the end of the range, so this is not the end of the log.
            let Some((offset, header)) = frame else {
                let what = Malformed::Magic;
                return Err(damaged(range, at, next..=Position::new(end.number() - 1), what));
            };
            at = offset + header.length as u64;
            // After damage, a segment may hold frames of positions before the range.
            if header.first_position < next {
                continue;
            }
            let body = chunk.slice(offset, header.length);
            let part = match FramePositions::of(&header, body) {
                Ok(Some(part)) => part,
                Ok(None) => continue,
                Err(what) => return Err(damaged(range, offset, next..=next, what)),
            };
            let mut used = part.records_at;
            for _ in 0..header.records {
                let rest = body.get(used..).unwrap_or_default();
                let read = borrow_record(rest, offset + used as u64, range.seed);
                let (event, length) = match read {
                    Ok((event, length)) if part.may_have(event.position, next) => (event, length),
                    Ok(_) => {
                        let what = Malformed::Field("position");
                        return Err(damaged(range, offset + used as u64, next..=next, what));
                    }
                    Err(what) => {
                        return Err(damaged(range, offset + used as u64, next..=next, what));
                    }
                };
                // Positions between `next` and the event were scavenged.
                used += length;
                next = event.position.next();
                if visit(event).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            // A gap frame may end with scavenged positions, which have no record.
            next = part.end;
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Returns the header of the frame at an offset, and loads the whole frame into the chunk. If
    /// none begins there, looks for a mark at the next sector.
    fn frame(
        &self,
        range: &PositionRange,
        chunk: &mut Chunk,
        at: u64,
    ) -> Result<Option<(u64, FrameHeader)>, StoreError> {
        // A mark begins at the next sector. The zeros before it are not a header.
        for offset in [at, mark_offset(at)] {
            self.load(range, chunk, offset, FRAME_HEADER_BYTES)?;
            let bytes = chunk.slice(offset, FRAME_HEADER_BYTES);
            if let Ok(header) = FrameHeader::decode(bytes, offset, range.seed) {
                self.load(range, chunk, offset, header.length)?;
                return Ok(Some((offset, header)));
            }
        }
        Ok(None)
    }

    /// Loads these bytes into the chunk, up to the end of the file.
    fn load(
        &self,
        range: &PositionRange,
        chunk: &mut Chunk,
        offset: u64,
        length: usize,
    ) -> Result<(), StoreError> {
        if chunk.has(offset, length) {
            return Ok(());
        }
        let file = segment_file(range.segment);
        let read = chunk.read(&*self.disk, &file, offset, length);
        read.map_err(|source| cannot_read(range.segment, offset, source))
    }
}

/// The positions of a frame.
struct FramePositions {
    /// Offset of the first record in the frame.
    records_at: usize,
    /// The position after the frame's last one.
    end: Position,
    /// True for a gap frame, in which scavenged positions have no record.
    gaps: bool,
}

impl FramePositions {
    /// Returns `None` for a frame without positions.
    fn of(header: &FrameHeader, frame: &[u8]) -> Result<Option<Self>, Malformed> {
        let first = header.first_position.number();
        match header.kind {
            FrameKind::Opening | FrameKind::Close | FrameKind::Seal => Ok(None),
            FrameKind::Events => Ok(Some(Self {
                records_at: FRAME_HEADER_BYTES,
                end: Position::new(first + header.records as u64),
                gaps: false,
            })),
            FrameKind::Gap => {
                let body = frame.get(FRAME_HEADER_BYTES..).ok_or(Malformed::Short)?;
                let (positions, lists) = gap_positions(body)?;
                let end = Position::new(first.saturating_add(positions));
                Ok(Some(Self { records_at: FRAME_HEADER_BYTES + lists, end, gaps: true }))
            }
        }
    }

    /// Returns whether the next record may have this position.
    fn may_have(&self, position: Position, next: Position) -> bool {
        position == next || (self.gaps && position > next && position < self.end)
    }
}

/// A reusable buffer with the bytes of a segment, starting at an offset.
struct Chunk {
    offset: u64,
    filled: usize,
    buffer: Vec<u8>,
}

impl Chunk {
    fn new() -> Self {
        Self { offset: 0, filled: 0, buffer: Vec::new() }
    }

    fn has(&self, offset: u64, length: usize) -> bool {
        offset >= self.offset && offset + length as u64 <= self.offset + self.filled as u64
    }

    /// Reads at least `length` bytes from an offset, up to the end of the file.
    fn read(&mut self, disk: &dyn Disk, file: &str, offset: u64, length: usize) -> io::Result<()> {
        // If the read fails, no old bytes may pass for those of the new offset.
        self.filled = 0;
        if length > self.buffer.len() {
            // A damaged length must not cause a huge allocation.
            let left = waiting::length(disk, file)?.saturating_sub(offset);
            let length = length.min(usize::try_from(left).unwrap_or(usize::MAX));
            self.buffer.resize(length.max(CHUNK_BYTES), 0);
        }
        self.filled = waiting::read_into(disk, file, offset, &mut self.buffer)?;
        self.offset = offset;
        Ok(())
    }

    fn slice(&self, offset: u64, length: usize) -> &[u8] {
        let within = offset.checked_sub(self.offset).and_then(|at| usize::try_from(at).ok());
        let filled = self.buffer.get(..self.filled).unwrap_or_default();
        within.and_then(|at| filled.get(at..at + length)).unwrap_or_default()
    }
}

fn damaged(
    range: &PositionRange,
    offset: u64,
    positions: std::ops::RangeInclusive<Position>,
    what: Malformed,
) -> StoreError {
    StoreError::Corrupt(
        Damage::new(segment_file(range.segment), offset, what.to_string()).positions(positions),
    )
}
