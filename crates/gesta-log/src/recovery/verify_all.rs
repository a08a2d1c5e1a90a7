//! Going through all segments without keeping what they hold.
//!
//! Always holds: what is bad is found and named as an opening would that reads all segments; memory
//! is bounded by two segments, one that is looked at and the next one that is read meanwhile. Not
//! here: what is looked for in a sound segment, which [`SegmentVisitor`] decide.

use std::{sync::mpsc, thread};

use bytes::Bytes;
use gesta_store::{Damage, Position, RecordedAt};

use super::{OnProgress, Recovery, Segment, Steps, adopt::Contents, failed, incarnation_of};
use crate::{
    disk::{Access, Cache, Disk},
    format::{Chain, Frame, SegmentHeader},
    index::Covered,
    options::{OpenError, OpenReport},
    recovery::restored,
    segment::scan::{ScanStart, VerifiedSegment},
};

/// Who looks at what is found.
pub(crate) trait SegmentVisitor {
    /// Looks at a segment that should be sound; none if it is not, or cannot be told quickly.
    fn sound(
        &mut self,
        file: &SegmentHeader,
        segment: &Bytes,
        start: &ScanStart,
    ) -> Option<VerifiedSegment>;

    /// Looks at a frame of a segment that had to be looked at closely, or was rewritten.
    fn frame(&mut self, segment: &SegmentHeader, frame: &Frame);

    /// Looks at a segment as a whole.
    fn ended(&mut self, segment: &Covered);

    /// What is wrong with the places of events, of those looked at last.
    fn misplaced(&mut self) -> Option<Damage>;
}

/// A segment with what lies around it.
struct Turn<'a> {
    segment: &'a Segment,
    successor: Option<&'a Segment>,
    bytes: &'a Bytes,
}

/// How far it has come.
struct Seen {
    /// Unknown right after damage.
    chain: Option<Chain>,
    /// The last that was known.
    known: Chain,
    next: Position,
}

/// Looks at everything that belongs to the log in a directory.
pub(crate) fn verify_all(
    disk: &dyn Disk,
    visitor: &mut dyn SegmentVisitor,
    progress: OnProgress<'_>,
) -> Result<OpenReport, OpenError> {
    let mut recovery = Recovery {
        disk,
        access: Access::ReadOnly,
        older_segments: Cache::Bypass,
        report: OpenReport::default(),
        unflushed: Vec::new(),
        swapped: false,
    };
    let files = recovery.files()?;
    let segments = recovery.segments(&files, None)?.unwrap_or_default();
    let incarnations = segments.iter().map(|segment| incarnation_of(&segment.header));
    restored::incarnation(disk, Access::ReadOnly, incarnations)?;
    recovery.report.segments = segments.len();
    let mut steps = Steps { done: 0, total: recovery.bytes(&files), progress };
    let Some(first) = segments.first() else { return Ok(recovery.report) };
    let genesis = Chain::genesis(first.header.store);
    let mut seen = Seen { chain: Some(genesis), known: genesis, next: Position::START.next() };
    thread::scope(|scope| {
        // Waits until the segment before is done, so that there are two at most.
        let (sender, receiver) = mpsc::sync_channel(0);
        scope.spawn(|| read_ahead(disk, &segments, sender));
        for (at, segment) in segments.iter().enumerate() {
            let bytes = receiver.recv().expect("it ends only after the last segment")?;
            let turn = Turn { segment, successor: segments.get(at + 1), bytes: &bytes };
            recovery.look_at(&mut seen, &turn, visitor)?;
            steps.advance(bytes.len() as u64);
        }
        Ok(())
    })
    .map(|()| recovery.report)
}

fn read_ahead(
    disk: &dyn Disk,
    segments: &[Segment],
    sender: mpsc::SyncSender<Result<Bytes, OpenError>>,
) {
    for Segment { file, .. } in segments {
        let length = disk.length(file).map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        let read = length.and_then(|length| disk.read(file, 0, length, Cache::Bypass));
        let read = read.map_err(|source| failed(&format!("read {file}"), source));
        if sender.send(read).is_err() {
            return;
        }
    }
}

impl Recovery<'_> {
    fn look_at(
        &mut self,
        seen: &mut Seen,
        turn: &Turn<'_>,
        visitor: &mut dyn SegmentVisitor,
    ) -> Result<(), OpenError> {
        let Turn { segment, successor, bytes } = *turn;
        let adopted_length = successor
            .filter(|successor| successor.opening.predecessor == segment.header.number)
            .map(|successor| successor.opening.adopted_length);
        if segment.first != seen.next {
            // Damage before this segment took events; go on from where it begins.
            self.took(seen.next, segment);
            seen.chain = None;
            seen.next = segment.first.max(seen.next);
        }
        let first = seen.next;
        let start =
            ScanStart { seed: segment.seed(), chain: seen.chain, next: first, adopted_length };
        let sound = match segment.header.rewritten {
            Some(_) => None,
            None => visitor.sound(&segment.header, bytes, &start),
        };
        let (header, adopted_length, last_recorded_at) = match sound {
            Some(sound) => {
                self.report.events += sound.next.number() - first.number();
                (seen.chain, seen.next) = (Some(sound.chain), sound.next);
                (segment.header, sound.end, sound.last_recorded_at)
            }
            None => self.look_closely(seen, turn, start, visitor)?,
        };
        // After damage revisions are expected to be missing.
        if let (true, Some(damage)) = (self.report.damage.is_empty(), visitor.misplaced()) {
            self.report.damage.push(damage);
        }
        seen.known = seen.chain.unwrap_or(seen.known);
        visitor.ended(&Covered {
            number: header.number,
            salt: header.salt,
            incarnation: header.incarnation,
            first: segment.first.number(),
            end: seen.next.number(),
            adopted_length,
            chain: seen.known.0,
            last_recorded_at: last_recorded_at.map(RecordedAt::micros),
        });
        Ok(())
    }

    /// Says what is wrong with a segment, and what is not; its header, where its part of the log
    /// ends, and when its last event was recorded.
    fn look_closely(
        &mut self,
        seen: &mut Seen,
        turn: &Turn<'_>,
        start: ScanStart,
        visitor: &mut dyn SegmentVisitor,
    ) -> Result<(SegmentHeader, u64, Option<RecordedAt>), OpenError> {
        let Turn { segment, successor, .. } = *turn;
        let last = successor.is_none();
        let Contents { header, walked, frames, .. } = self.contents(segment, start, last)?;
        self.report_damage(segment, &walked, successor);
        let mut last_recorded_at = None;
        for (_, frame) in &frames {
            self.report.events += frame.events.len() as u64;
            last_recorded_at = frame.last_recorded_at().or(last_recorded_at);
            if self.report.damage.is_empty() {
                visitor.frame(&header, frame);
            }
        }
        (seen.chain, seen.next) = (walked.chain, walked.next);
        Ok((header, walked.end, last_recorded_at))
    }
}
