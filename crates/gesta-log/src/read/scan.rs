//! Going through all events in order, without a copy of any.
//!
//! Always holds: each record's checksum and each frame's header were verified; events come in the
//! order of positions, each once, up to the head when the scan began; damage ends it with an error.

use std::{io, ops::ControlFlow};

use bytes::Bytes;
use gesta_store::{Damage, Direction, Position, StoreError};

use super::{Reader, fetch::cannot_read};
use crate::{
    disk::Disk,
    format::{
        BorrowedEvent, FRAME_HEADER_BYTES, Frame, FrameHeader, FrameKind, Gap, HEADER_BYTES,
        Malformed, borrow_record, gap_positions, mark_offset,
    },
    index::PositionRange,
    segment::segment_file,
};

/// Bytes that are read at once, a larger frame aside: no more than stay in the processor's cache
/// until they are looked at.
const CHUNK_BYTES: usize = 256 << 10;

impl Reader {
    /// Hands each event after a position to `visit` until it breaks; says how many it got.
    pub(crate) fn scan(
        &self,
        after: Position,
        mut visit: impl FnMut(BorrowedEvent<'_>) -> ControlFlow<()>,
    ) -> Result<u64, StoreError> {
        let head = self.published.head();
        let damage = self.published.damage_from(after.next(), Direction::Forwards);
        // What is known to be missing is not passed over, wherever it lies in its stretch.
        let until =
            damage.map_or(head, |(missing, _)| head.min(Position::new(missing.number() - 1)));
        let (mut scanned, mut last) = (0, after);
        // What was handed over stays so when a segment is rewritten meanwhile.
        let flow = self.retry_if_files_replaced(|| {
            for stretch in self.published.index().position_ranges() {
                if stretch.end <= last.number() + 1 {
                    continue;
                }
                let flow = self.scan_stretch(&stretch, until, |event| {
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
        self.end_at_damage(after).map(|()| scanned)
    }

    /// Hands over the gaps of a stretch, as far as they touch positions before `end` from `first` on.
    pub(super) fn gaps_of(
        &self,
        stretch: &PositionRange,
        first: u64,
        end: u64,
        visit: &mut impl FnMut(&Gap) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let mut chunk = Chunk::new();
        let mut at = HEADER_BYTES;
        while let Some((offset, header)) = self.frame(stretch, &mut chunk, at)? {
            at = offset + header.length as u64;
            if header.first_position.number() >= end || header.kind == FrameKind::Seal {
                break;
            }
            if header.kind != FrameKind::Gap {
                continue;
            }
            let bytes = Bytes::copy_from_slice(chunk.slice(offset, header.length));
            let frame = Frame::decode(&bytes, offset, stretch.seed, None).map_err(|what| {
                let position = header.first_position;
                damaged(stretch, offset, position..=position, what)
            })?;
            let touched = frame.gap.filter(|gap| gap.next().number() > first);
            if touched.is_some_and(|gap| visit(&gap).is_break()) {
                break;
            }
        }
        Ok(())
    }

    fn scan_stretch(
        &self,
        stretch: &PositionRange,
        until: Position,
        mut visit: impl FnMut(BorrowedEvent<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, StoreError> {
        let end = Position::new(stretch.end).min(until.next());
        let mut next = Position::new(stretch.first);
        let mut chunk = Chunk::new();
        let mut at = HEADER_BYTES;
        while next < end {
            let frame = self.frame(stretch, &mut chunk, at)?;
            let Some((offset, header)) = frame else {
                let what = Malformed::Magic;
                return Err(damaged(stretch, at, next..=Position::new(end.number() - 1), what));
            };
            at = offset + header.length as u64;
            // Before the stretch there may be others, after damage.
            if header.first_position < next {
                continue;
            }
            let body = chunk.slice(offset, header.length);
            let part = match Part::of(&header, body) {
                Ok(Some(part)) => part,
                Ok(None) => continue,
                Err(what) => return Err(damaged(stretch, offset, next..=next, what)),
            };
            let mut used = part.records_at;
            for _ in 0..header.records {
                let rest = body.get(used..).unwrap_or_default();
                let read = borrow_record(rest, offset + used as u64, stretch.seed);
                let (event, length) = match read {
                    Ok((event, length)) if part.may_have(event.position, next) => (event, length),
                    Ok(_) => {
                        let what = Malformed::Field("position");
                        return Err(damaged(stretch, offset + used as u64, next..=next, what));
                    }
                    Err(what) => {
                        return Err(damaged(stretch, offset + used as u64, next..=next, what));
                    }
                };
                used += length;
                next = event.position.next();
                if visit(event).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            next = part.end;
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The frame at an offset, or, where there is none, the mark in the next sector; all of it is in
    /// the chunk after.
    fn frame(
        &self,
        stretch: &PositionRange,
        chunk: &mut Chunk,
        at: u64,
    ) -> Result<Option<(u64, FrameHeader)>, StoreError> {
        for offset in [at, mark_offset(at)] {
            self.load(stretch, chunk, offset, FRAME_HEADER_BYTES)?;
            let bytes = chunk.slice(offset, FRAME_HEADER_BYTES);
            if let Ok(header) = FrameHeader::decode(bytes, offset, stretch.seed) {
                self.load(stretch, chunk, offset, header.length)?;
                return Ok(Some((offset, header)));
            }
        }
        Ok(None)
    }

    /// Makes sure that these bytes are in the chunk, as far as the file has them.
    fn load(
        &self,
        stretch: &PositionRange,
        chunk: &mut Chunk,
        offset: u64,
        length: usize,
    ) -> Result<(), StoreError> {
        if chunk.has(offset, length) {
            return Ok(());
        }
        let file = segment_file(stretch.segment);
        let read = chunk.read(&*self.disk, &file, offset, length);
        read.map_err(|source| cannot_read(stretch.segment, offset, source))
    }
}

/// What a frame stands for, and where in it records begin.
struct Part {
    records_at: usize,
    end: Position,
    gaps: bool,
}

impl Part {
    /// None of a frame without positions.
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

    /// Whether the next record of it may be at a position.
    fn may_have(&self, position: Position, next: Position) -> bool {
        position == next || (self.gaps && position > next && position < self.end)
    }
}

/// Bytes of a segment from an offset on, in a buffer that is filled again and again.
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

    /// Reads so many bytes at least, as far as the file has them.
    fn read(&mut self, disk: &dyn Disk, file: &str, offset: u64, length: usize) -> io::Result<()> {
        self.filled = 0;
        if length > self.buffer.len() {
            // A length that lies must not make us ask for more than the file has.
            let left = disk.length(file)?.saturating_sub(offset);
            let length = length.min(usize::try_from(left).unwrap_or(usize::MAX));
            self.buffer.resize(length.max(CHUNK_BYTES), 0);
        }
        self.filled = disk.read_into(file, offset, &mut self.buffer)?;
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
    stretch: &PositionRange,
    offset: u64,
    positions: std::ops::RangeInclusive<Position>,
    what: Malformed,
) -> StoreError {
    StoreError::Corrupt(Damage {
        file: segment_file(stretch.segment),
        offset,
        positions: Some(positions),
        what: what.to_string(),
    })
}
