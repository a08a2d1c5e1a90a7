//! Following a store that another process writes.
//!
//! Always holds: only what a durable mark covers is shown, so a follower never sees what a crash of
//! the writer could take back; a refresh reads what is new, not the store again, unless the writer
//! has rewritten segments meanwhile.

use std::{io, sync::Arc};

use bytes::Bytes;

use super::Reader;
use crate::{
    clock::SystemRng,
    disk::{Access, Cache},
    format::{
        FRAME_HEADER_BYTES, Frame, FrameHeader, FrameKind, HEADER_BYTES, Opening, Seed,
        SegmentHeader, mark_offset,
    },
    index::{BlockCache, PositionRange, Run},
    options::OpenError,
    recovery::{LogEnd, Recovered, RecoveryOptions, incarnation_of, recover},
    segment::scan,
    segment::{segment_file, segment_numbers},
};

/// How far a follower has come.
#[derive(Debug)]
pub(crate) struct Follower {
    /// The end of what is shown; its predecessor is the segment that is being followed, in the
    /// lengths that it had before it was rewritten, if it was.
    end: LogEnd,
    /// How large the cache of the index's files may be when everything is looked at anew.
    index_cache_bytes_max: usize,
}

impl Follower {
    pub(crate) fn new(end: LogEnd, index_cache_bytes_max: usize) -> Self {
        Self { end, index_cache_bytes_max }
    }

    /// Shows what became durable since the last time.
    pub(crate) fn refresh(&mut self, reader: &Reader) -> Result<(), OpenError> {
        let failed = |source| OpenError::Io { doing: "follow the log".to_owned(), source };
        loop {
            let successor = self.successor(reader).map_err(failed)?;
            let limit = successor.as_ref().map(|(_, opening)| opening.adopted_length());
            self.read_on(reader, limit).map_err(failed)?;
            let Some((header, opening)) = successor else { return Ok(()) };
            if self.end.predecessor.adopted_length < opening.adopted_length() {
                if self.recover_again(reader) {
                    continue; // the segment was rewritten before all of it was read
                }
                return Err(failed(self.damaged()));
            }
            self.end.predecessor = Opening {
                predecessor: header.number,
                salt: header.named_salt(),
                adopted_length: opening.end,
            };
            self.end.chain = opening.frame.header.chain;
            self.end.next = opening.frame.header.first_position;
            reader.published.record_incarnation(incarnation_of(&header), self.end.next);
            if let Some(rewritten) = header.rewritten {
                self.read_rewritten(reader, &header).map_err(failed)?;
                self.end.predecessor.adopted_length = rewritten.named_length;
            }
        }
    }

    /// Looks at everything anew if another process has replaced files that readers use; says
    /// whether it did.
    pub(crate) fn recover_again(&mut self, reader: &Reader) -> bool {
        reader.disk.reopen_files();
        if !is_stale(reader) {
            return false;
        }
        let look = RecoveryOptions {
            access: Access::ReadOnly,
            older_segments: Cache::Use,
            index_files: Some(Arc::new(BlockCache::new(self.index_cache_bytes_max))),
            checked_bytes_max: 0,
        };
        let recovered = recover(&reader.disk, &mut SystemRng, &look, &mut |_| {});
        match recovered {
            Ok(Recovered { index, end, incarnations, report, .. })
                if report.damage.is_empty() && index.head() >= reader.published.head() =>
            {
                self.end = end;
                reader.published.replace_index(index, incarnations);
                true
            }
            Ok(_) | Err(_) => false,
        }
    }

    /// Shows all of a segment that was rewritten before it was followed.
    fn read_rewritten(&mut self, reader: &Reader, header: &SegmentHeader) -> io::Result<()> {
        let seed = Seed::new(header.salt, header.number);
        while self.end.predecessor.adopted_length < header.bytes {
            let at = self.end.predecessor.adopted_length;
            let frame = next_frame(reader, header.number, at, seed)?;
            let decoded = frame.and_then(|(offset, frame)| {
                let frame = Frame::decode(&frame, offset, seed, Some(self.end.chain)).ok()?;
                Some((offset, frame))
            });
            let Some((offset, frame)) = decoded else { return Err(self.damaged()) };
            self.show(reader, seed, offset, frame);
        }
        Ok(())
    }

    /// The writer says that more of the present segment belongs to the log than can be read.
    fn damaged(&self) -> io::Error {
        let file = segment_file(self.end.predecessor.predecessor);
        let at = self.end.predecessor.adopted_length;
        io::Error::new(io::ErrorKind::InvalidData, format!("{file} is damaged at offset {at}"))
    }

    /// The segment that follows the present one, if there is one yet.
    fn successor(&self, reader: &Reader) -> io::Result<Option<(SegmentHeader, OpeningFrame)>> {
        let present = self.end.predecessor;
        for number in segment_numbers(&*reader.disk)? {
            if number <= present.predecessor {
                continue;
            }
            let start = reader.disk.read(
                &segment_file(number),
                0,
                HEADER_BYTES as usize + 256,
                Cache::Use,
            )?;
            let Ok(header) = SegmentHeader::decode(&start) else { continue };
            let Ok(frame) = scan::opening_frame(&start, Seed::new(header.salt, number)) else {
                continue;
            };
            let follows = frame.opening.is_some_and(|opening| {
                (opening.predecessor, opening.salt) == (present.predecessor, present.salt)
            });
            if follows {
                let end = HEADER_BYTES + frame.header.length as u64;
                return Ok(Some((header, OpeningFrame { frame, end })));
            }
        }
        Ok(None)
    }

    /// Reads frames of the present segment and shows those that are surely durable: below `limit`
    /// if the segment is ended, else below the highest mark.
    fn read_on(&mut self, reader: &Reader, limit: Option<u64>) -> io::Result<()> {
        let number = self.end.predecessor.predecessor;
        if number == 0 {
            return Ok(());
        }
        let seed = Seed::new(self.end.predecessor.salt, number);
        let mut frames = Vec::new();
        let (mut at, mut chain) = (self.end.predecessor.adopted_length, self.end.chain);
        while limit.is_none_or(|limit| at < limit)
            && let Some((offset, frame)) = next_frame(reader, number, at, seed)?
        {
            let Ok(frame) = Frame::decode(&frame, offset, seed, Some(chain)) else { break };
            at = offset + frame.header.length as u64;
            chain = frame.header.chain;
            frames.push((offset, frame));
        }
        let sealed = |(offset, frame): &(u64, Frame)| {
            (frame.header.kind == FrameKind::Seal).then_some(offset + frame.header.length as u64)
        };
        let marks = frames.iter().map(|(_, frame)| frame.header.durable_mark);
        let durable = limit.or(frames.last().and_then(sealed)).or(marks.max()).unwrap_or(0);
        for (offset, frame) in frames {
            if offset >= durable {
                break;
            }
            self.show(reader, seed, offset, frame);
        }
        Ok(())
    }

    fn show(&mut self, reader: &Reader, seed: Seed, offset: u64, frame: Frame) {
        let number = self.end.predecessor.predecessor;
        self.end.predecessor.adopted_length = offset + frame.header.length as u64;
        self.end.chain = frame.header.chain;
        self.end.next = frame.next();
        if !frame.events.is_empty() || frame.gap.is_some() {
            reader.published.add(number, seed, &frame);
        }
    }
}

/// Whether another process has replaced a segment or a run that readers have been using.
fn is_stale(reader: &Reader) -> bool {
    let (disk, index) = (&*reader.disk, reader.published.index());
    let is_other = |stretch: PositionRange| {
        let start = disk.read(&segment_file(stretch.segment), 0, HEADER_BYTES as usize, Cache::Use);
        let header = start.ok().and_then(|start| SegmentHeader::decode(&start).ok());
        header.is_some_and(|header| Seed::new(header.salt, header.number) != stretch.seed)
    };
    let is_gone = |run: Arc<Run>| {
        let there = Run::open(disk, run.name(), Arc::new(BlockCache::new(0)));
        !there.is_ok_and(|there| there.manifest_entry() == run.manifest_entry())
    };
    index.position_ranges().into_iter().any(is_other) || index.runs().into_iter().any(is_gone)
}

/// A valid opening frame and where it ends.
struct OpeningFrame {
    frame: Frame,
    end: u64,
}

impl OpeningFrame {
    fn adopted_length(&self) -> u64 {
        self.frame.opening.map_or(0, |opening| opening.adopted_length)
    }
}

/// The bytes of the next frame and where it begins: at `at`, or in the next sector.
fn next_frame(
    reader: &Reader,
    number: u64,
    at: u64,
    seed: Seed,
) -> io::Result<Option<(u64, Bytes)>> {
    for offset in [at, mark_offset(at)] {
        if let Some(frame) = frame_at(reader, number, offset, seed)? {
            return Ok(Some((offset, frame)));
        }
    }
    Ok(None)
}

/// The bytes of the frame at an offset, if there is one.
fn frame_at(reader: &Reader, number: u64, at: u64, seed: Seed) -> io::Result<Option<Bytes>> {
    let file = segment_file(number);
    let header = reader.disk.read(&file, at, FRAME_HEADER_BYTES, Cache::Use)?;
    let Ok(header) = FrameHeader::decode(&header, at, seed) else { return Ok(None) };
    let rest = reader.disk.length(&file)?.saturating_sub(at);
    if header.length as u64 > rest {
        return Ok(None);
    }
    reader.disk.read(&file, at, header.length, Cache::Use).map(Some)
}
