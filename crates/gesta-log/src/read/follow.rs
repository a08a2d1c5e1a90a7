//! Follows a store that another process writes.
//!
//! Invariants:
//! - Only frames that a durable mark covers are published: a crash of the writer cannot take back
//!   an event that a follower has shown.
//! - A refresh reads new frames only, unless the writer has rewritten segments.

use std::{io, sync::Arc};

use bytes::Bytes;

use crate::{
    clock::SystemRng,
    disk::{Access, Cache, Disk},
    format::{
        FRAME_HEADER_BYTES, Frame, FrameHeader, FrameKind, HEADER_BYTES, Opening, Seed,
        SegmentHeader, mark_offset,
    },
    index::{BlockCache, PositionRange, Run},
    options::OpenError,
    published::Published,
    recovery::{LogEnd, Recovered, RecoveryOptions, incarnation_of, recover},
    segment::scan,
    segment::{segment_file, segment_numbers},
};

/// Publishes what another process appends, from the end of the log that it has published so far.
#[derive(Debug)]
pub(crate) struct Follower {
    disk: Arc<dyn Disk>,
    published: Arc<Published>,
    /// Its `predecessor` is the segment being followed. If that was rewritten, its length and salt
    /// are the original ones, by which its successor names it.
    end: LogEnd,
    /// Size of the block cache after a new recovery, in bytes.
    index_cache_bytes_max: usize,
}

impl Follower {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        published: Arc<Published>,
        end: LogEnd,
        index_cache_bytes_max: usize,
    ) -> Self {
        Self { disk, published, end, index_cache_bytes_max }
    }

    /// Publishes the frames that became durable since the last refresh.
    pub(crate) fn refresh(&mut self) -> Result<(), OpenError> {
        let failed = |source| OpenError::Io { doing: "follow the log".to_owned(), source };
        loop {
            // Look for a successor first: once there is one, its opening frame says how far the
            // current segment belongs to the log.
            let successor = self.successor().map_err(failed)?;
            let limit = successor.as_ref().map(|(_, opening)| opening.adopted_length());
            self.read_on(limit).map_err(failed)?;
            let Some((header, opening)) = successor else { return Ok(()) };
            // A sealed segment must be readable up to its adopted length.
            if self.end.predecessor.adopted_length < opening.adopted_length() {
                if self.recover_again() {
                    continue; // The segment was rewritten before all of it was read.
                }
                return Err(failed(self.damaged()));
            }
            // Continue after the successor's opening frame.
            self.end.predecessor = Opening {
                predecessor: header.number,
                salt: header.named_salt(),
                adopted_length: opening.end,
            };
            self.end.chain = opening.frame.header.chain;
            self.end.next = opening.frame.header.first_position;
            self.published.record_incarnation(incarnation_of(&header), self.end.next);
            // A rewritten segment is sealed and durable as a whole, so it is read to its end. Its
            // successor names it by the length that it had before.
            if let Some(rewritten) = header.rewritten {
                self.read_rewritten(&header).map_err(failed)?;
                self.end.predecessor.adopted_length = rewritten.named_length;
            }
        }
    }

    /// Recovers the store again if another process has replaced files that readers use. Returns
    /// whether it did.
    pub(crate) fn recover_again(&mut self) -> bool {
        // Open descriptors still refer to the replaced files.
        self.disk.reopen_files();
        if !self.is_stale() {
            return false;
        }
        let options = RecoveryOptions {
            access: Access::ReadOnly,
            older_segments: Cache::Use,
            index_cache: Some(Arc::new(BlockCache::new(self.index_cache_bytes_max))),
            ids: Some(self.published.index().ids()),
            checked_bytes_max: 0,
        };
        let recovered = recover(&self.disk, &mut SystemRng, &options, &mut |_| {});
        match recovered {
            // Never replace the state by a damaged or an older one: events that were shown must
            // stay. A later call tries again.
            Ok(Recovered { index, end, incarnations, report, .. })
                if report.damage.is_empty() && index.head() >= self.published.head() =>
            {
                self.end = end;
                self.published.replace_index(index, incarnations);
                true
            }
            Ok(_) | Err(_) => false,
        }
    }

    /// Publishes all frames of a segment that was rewritten before it was followed.
    fn read_rewritten(&mut self, header: &SegmentHeader) -> io::Result<()> {
        let seed = Seed::new(header.salt, header.number);
        while self.end.predecessor.adopted_length < header.bytes {
            let at = self.end.predecessor.adopted_length;
            let frame = self.next_frame(header.number, at, seed)?;
            let decoded = frame.and_then(|(offset, frame)| {
                let frame = Frame::decode(&frame, offset, seed, Some(self.end.chain)).ok()?;
                Some((offset, frame))
            });
            let Some((offset, frame)) = decoded else { return Err(self.damaged()) };
            self.publish(seed, offset, frame);
        }
        Ok(())
    }

    /// The error for a segment that is readable only up to less than its adopted length.
    fn damaged(&self) -> io::Error {
        let file = segment_file(self.end.predecessor.predecessor);
        let at = self.end.predecessor.adopted_length;
        io::Error::new(io::ErrorKind::InvalidData, format!("{file} is damaged at offset {at}"))
    }

    /// Returns the segment that follows the current one, if it exists yet.
    fn successor(&self) -> io::Result<Option<(SegmentHeader, OpeningFrame)>> {
        let current = self.end.predecessor;
        for number in segment_numbers(&*self.disk)? {
            if number <= current.predecessor {
                continue;
            }
            let start = self.disk.read(
                &segment_file(number),
                0,
                HEADER_BYTES as usize + 256,
                Cache::Use,
            )?;
            // Preallocated segments have no opening frame yet.
            let Ok(header) = SegmentHeader::decode(&start) else { continue };
            let Ok(frame) = scan::opening_frame(&start, Seed::new(header.salt, number)) else {
                continue;
            };
            // A segment that a failed attempt left behind names another predecessor.
            let follows = frame.opening.is_some_and(|opening| {
                (opening.predecessor, opening.salt) == (current.predecessor, current.salt)
            });
            if follows {
                let end = HEADER_BYTES + frame.header.length as u64;
                return Ok(Some((header, OpeningFrame { frame, end })));
            }
        }
        Ok(None)
    }

    /// Publishes the durable frames of the current segment: those below `limit` if the segment has
    /// ended, otherwise those below the highest durable mark.
    fn read_on(&mut self, limit: Option<u64>) -> io::Result<()> {
        let number = self.end.predecessor.predecessor;
        if number == 0 {
            // The store had no segment when it was opened.
            return Ok(());
        }
        let seed = Seed::new(self.end.predecessor.salt, number);
        let mut frames = Vec::new();
        let (mut at, mut chain) = (self.end.predecessor.adopted_length, self.end.chain);
        while limit.is_none_or(|limit| at < limit)
            && let Some((offset, frame)) = self.next_frame(number, at, seed)?
        {
            let Ok(frame) = Frame::decode(&frame, offset, seed, Some(chain)) else { break };
            at = offset + frame.header.length as u64;
            chain = frame.header.chain;
            frames.push((offset, frame));
        }
        // A seal covers itself: it is written only once all before it is durable.
        let sealed = |(offset, frame): &(u64, Frame)| {
            (frame.header.kind == FrameKind::Seal).then_some(offset + frame.header.length as u64)
        };
        let marks = frames.iter().map(|(_, frame)| frame.header.durable_mark);
        let durable = limit.or(frames.last().and_then(sealed)).or(marks.max()).unwrap_or(0);
        for (offset, frame) in frames {
            if offset >= durable {
                break;
            }
            self.publish(seed, offset, frame);
        }
        Ok(())
    }

    fn publish(&mut self, seed: Seed, offset: u64, frame: Frame) {
        let number = self.end.predecessor.predecessor;
        self.end.predecessor.adopted_length = offset + frame.header.length as u64;
        self.end.chain = frame.header.chain;
        self.end.next = frame.next();
        if !frame.events.is_empty() || frame.gap.is_some() {
            self.published.add(number, seed, &frame);
        }
    }

    /// Returns whether another process has replaced a segment or a run that readers use.
    fn is_stale(&self) -> bool {
        let (disk, index) = (&*self.disk, self.published.index());
        let is_rewritten = |range: PositionRange| {
            let start =
                disk.read(&segment_file(range.segment), 0, HEADER_BYTES as usize, Cache::Use);
            let header = start.ok().and_then(|start| SegmentHeader::decode(&start).ok());
            header.is_some_and(|header| Seed::new(header.salt, header.number) != range.seed)
        };
        let is_replaced = |run: Arc<Run>| {
            let current = Run::open(disk, run.name(), Arc::new(BlockCache::new(0)));
            !current.is_ok_and(|current| current.manifest_entry() == run.manifest_entry())
        };
        index.position_ranges().into_iter().any(is_rewritten)
            || index.runs().into_iter().any(is_replaced)
    }

    /// Returns the bytes and the offset of the next frame: at `at`, or at the next sector for a
    /// mark.
    fn next_frame(&self, number: u64, at: u64, seed: Seed) -> io::Result<Option<(u64, Bytes)>> {
        for offset in [at, mark_offset(at)] {
            if let Some(frame) = self.frame_at(number, offset, seed)? {
                return Ok(Some((offset, frame)));
            }
        }
        Ok(None)
    }

    /// Returns the bytes of the frame at an offset, if there is one.
    fn frame_at(&self, number: u64, at: u64, seed: Seed) -> io::Result<Option<Bytes>> {
        let file = segment_file(number);
        let header = self.disk.read(&file, at, FRAME_HEADER_BYTES, Cache::Use)?;
        let Ok(header) = FrameHeader::decode(&header, at, seed) else { return Ok(None) };
        let rest = self.disk.length(&file)?.saturating_sub(at);
        if header.length as u64 > rest {
            // Cut, or still being written.
            return Ok(None);
        }
        self.disk.read(&file, at, header.length, Cache::Use).map(Some)
    }
}

/// A valid opening frame and its end offset.
struct OpeningFrame {
    frame: Frame,
    end: u64,
}

impl OpeningFrame {
    fn adopted_length(&self) -> u64 {
        self.frame.opening.map_or(0, |opening| opening.adopted_length)
    }
}
