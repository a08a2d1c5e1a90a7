//! Verifies all segments without keeping their contents.
//!
//! Invariants:
//! - Damage is found and reported exactly as by a recovery that reads all segments.
//! - Memory is bounded by two segments: one is verified while the next one is read.
//!
//! Elsewhere: the quick check of a segment, which a [`SegmentVisitor`] makes.

use std::{sync::mpsc, thread};

use bytes::Bytes;
use gesta_store::{Damage, Position, RecordedAt};

use super::{
    OpenedSegment, Progress, Recovery, WhileProgress, adopt::SegmentContents, failed,
    incarnation_of,
};
use crate::{
    disk::{Access, Cache, Disk},
    format::{Chain, Frame, SegmentHeader},
    index::CoveredSegment,
    options::{OpenError, OpenReport},
    recovery::incarnation_file,
    segment::scan::{ScanStart, VerifiedSegment},
};

/// Checks of the contents of segments.
pub(crate) trait SegmentVisitor {
    /// Verifies a segment quickly. Returns `None` if it is not sound, or needs a full scan.
    fn sound(
        &mut self,
        file: &SegmentHeader,
        segment: &Bytes,
        start: &ScanStart,
    ) -> Option<VerifiedSegment>;

    /// Visits a frame of a segment that needed a full scan.
    fn frame(&mut self, segment: &SegmentHeader, frame: &Frame);

    /// Called after the last frame of a segment.
    fn ended(&mut self, segment: &CoveredSegment);

    /// Returns the first event since the last call that does not continue its stream.
    fn misplaced(&mut self) -> Option<Damage>;
}

/// A segment in its context.
struct SegmentInContext<'a> {
    segment: &'a OpenedSegment,
    successor: Option<&'a OpenedSegment>,
    bytes: &'a Bytes,
}

/// The verified part of the log.
struct VerifiedLog {
    /// `None` right after damage.
    chain: Option<Chain>,
    /// The last known chain value.
    known: Chain,
    next: Position,
}

/// Verifies all segments of the log in a directory. Returns `None` if `progress`, which is called
/// after each segment, has ended it before the last one.
pub(crate) fn verify_all(
    disk: &dyn Disk,
    visitor: &mut dyn SegmentVisitor,
    progress: WhileProgress<'_>,
) -> Result<Option<OpenReport>, OpenError> {
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
    // Only for its errors: an unfinished restore or import is not verified as a store.
    incarnation_file::incarnation(disk, Access::ReadOnly, incarnations)?;
    recovery.report.segments = segments.len();
    // Without files that are prepared for later segments, which have nothing to verify.
    let bytes_total = recovery.bytes(segments.iter().map(|segment| &segment.file));
    let mut bytes_done = 0;
    let Some(first) = segments.first() else { return Ok(Some(recovery.report)) };
    let genesis = Chain::genesis(first.header.store);
    let mut verified =
        VerifiedLog { chain: Some(genesis), known: genesis, next: Position::START.next() };
    thread::scope(|scope| {
        // A rendezvous channel: the reader waits until the previous segment is taken, so that at
        // most two are in memory.
        let (sender, receiver) = mpsc::sync_channel(0);
        scope.spawn(|| read_ahead(disk, &segments, sender));
        for (at, segment) in segments.iter().enumerate() {
            let bytes = receiver.recv().expect("it ends only after the last segment")?;
            let context =
                SegmentInContext { segment, successor: segments.get(at + 1), bytes: &bytes };
            recovery.verify_one(&mut verified, &context, visitor)?;
            bytes_done += bytes.len() as u64;
            let is_unwanted = progress(Progress { bytes_done, bytes_total }).is_break();
            if is_unwanted && at + 1 < segments.len() {
                return Ok(false);
            }
        }
        Ok(true)
    })
    .map(|is_whole| is_whole.then_some(recovery.report))
}

fn read_ahead(
    disk: &dyn Disk,
    segments: &[OpenedSegment],
    sender: mpsc::SyncSender<Result<Bytes, OpenError>>,
) {
    for OpenedSegment { file, .. } in segments {
        let length = disk.length(file).map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        let read = length.and_then(|length| disk.read(file, 0, length, Cache::Bypass));
        let read = read.map_err(|source| failed(&format!("read {file}"), source));
        // The verifying thread has stopped with an error.
        if sender.send(read).is_err() {
            return;
        }
    }
}

impl Recovery<'_> {
    /// Verifies one segment, quickly if possible.
    fn verify_one(
        &mut self,
        verified: &mut VerifiedLog,
        context: &SegmentInContext<'_>,
        visitor: &mut dyn SegmentVisitor,
    ) -> Result<(), OpenError> {
        let SegmentInContext { segment, successor, bytes } = *context;
        let adopted_length = segment.length_stated_by(successor);
        if segment.first != verified.next {
            // Damage before this segment destroyed events: continue with its first position and an
            // unknown chain.
            self.assign_missing(verified.next, segment);
            verified.chain = None;
            verified.next = segment.first.max(verified.next);
        }
        let first = verified.next;
        let start =
            ScanStart { seed: segment.seed(), chain: verified.chain, next: first, adopted_length };
        // The gap frames of a rewritten segment need a full scan.
        let sound = match segment.header.rewritten {
            Some(_) => None,
            None => visitor.sound(&segment.header, bytes, &start),
        };
        let (header, adopted_length, last_recorded_at) = match sound {
            Some(sound) => {
                self.report.events += sound.next.number() - first.number();
                (verified.chain, verified.next) = (Some(sound.chain), sound.next);
                (segment.header, sound.end, sound.last_recorded_at)
            }
            None => self.scan_fully(verified, context, start, visitor)?,
        };
        // After damage, missing revisions are expected.
        if let (true, Some(damage)) = (self.report.damage.is_empty(), visitor.misplaced()) {
            self.report.damage.push(damage);
        }
        verified.known = verified.chain.unwrap_or(verified.known);
        visitor.ended(&CoveredSegment {
            number: header.number,
            salt: header.salt,
            incarnation: header.incarnation,
            first: segment.first.number(),
            end: verified.next.number(),
            adopted_length,
            chain: verified.known.0,
            last_recorded_at: last_recorded_at.map(RecordedAt::micros),
        });
        Ok(())
    }

    /// Scans a segment with the corruption rule and reports its damage. Returns its header, its
    /// adopted length, and the recorded time of its last event.
    fn scan_fully(
        &mut self,
        verified: &mut VerifiedLog,
        context: &SegmentInContext<'_>,
        start: ScanStart,
        visitor: &mut dyn SegmentVisitor,
    ) -> Result<(SegmentHeader, u64, Option<RecordedAt>), OpenError> {
        let SegmentInContext { segment, successor, .. } = *context;
        let last = successor.is_none();
        let SegmentContents { header, scanned, frames, .. } =
            self.contents(segment, start, last)?;
        self.report_damage(segment, &scanned, successor);
        let mut last_recorded_at = None;
        for (_, frame) in &frames {
            self.report.events += frame.events.len() as u64;
            last_recorded_at = frame.last_recorded_at().or(last_recorded_at);
            if self.report.damage.is_empty() {
                visitor.frame(&header, frame);
            }
        }
        (verified.chain, verified.next) = (scanned.chain, scanned.next);
        Ok((header, scanned.end, last_recorded_at))
    }
}
