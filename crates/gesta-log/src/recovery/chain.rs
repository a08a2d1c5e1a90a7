//! Selects the segments of the log, and orders them.
//!
//! Invariant: a segment belongs to the log if it has a valid header and opening frame, and is
//! either the last one or named by its successor's opening frame.
//!
//! Elsewhere: the frames of a segment ([`adopt`](super::adopt)).

use bytes::Bytes;

use super::{OPENING_REACH, OpenedSegment, Recovery, failed};
use crate::{
    disk::Cache,
    format::{Frame, HEADER_BYTES, Malformed, Opening, Seed, SegmentHeader},
    mutations::mutated,
    options::{OpenError, OpenReport, Torn},
    segment::{scan, segment_file, segment_numbers},
};

impl Recovery<'_> {
    /// Returns the files with a segment's name, ordered by number.
    pub(super) fn files(&self) -> Result<Vec<(u64, String)>, OpenError> {
        let numbers =
            segment_numbers(self.disk).map_err(|source| failed("list the directory", source))?;
        Ok(numbers.into_iter().map(|number| (number, segment_file(number))).collect())
    }

    /// Returns the total size of the files; a file whose size is unknown counts as empty.
    pub(super) fn bytes<'a>(&self, files: impl IntoIterator<Item = &'a String>) -> u64 {
        files.into_iter().map(|file| self.disk.length(file).unwrap_or(0)).sum()
    }

    /// Returns the segments of the log in order: the last one that has an opening frame, its
    /// predecessor, and so on. Files in between that no opening frame names were abandoned by a
    /// failed attempt.
    ///
    /// Stops at the last segment that index files cover. Returns `None` if the index files belong
    /// to another history.
    pub(super) fn segments(
        &mut self,
        files: &[(u64, String)],
        covered: Option<Opening>,
    ) -> Result<Option<Vec<OpenedSegment>>, OpenError> {
        let mut chain: Vec<OpenedSegment> = Vec::new();
        // Walk backwards: only a successor's opening frame says which file continues the log.
        for (number, file) in files.iter().rev() {
            if covered.is_some_and(|covered| *number <= covered.predecessor) {
                break;
            }
            // Skip files that the successor does not name.
            let named = chain.last().map(|later| later.opening);
            if named.is_some_and(|opening| *number > opening.predecessor) {
                continue;
            }
            let Some(segment) = self.segment(*number, file, named.is_none())? else { continue };
            if let Some(later) = chain.last() {
                if later.header.store != segment.header.store {
                    return Err(OpenError::AnotherStore { file: file.clone() });
                }
                // An earlier segment than the named one: the named one is lost.
                let found = (segment.header.number, segment.header.named_salt());
                if found != (later.opening.predecessor, later.opening.salt) {
                    self.report_missing(later);
                }
            }
            chain.push(segment);
        }
        chain.reverse();
        let Some(first) = chain.first() else { return Ok(Some(chain)) };
        match covered {
            // The segments do not continue the covered part. Start over without index files.
            Some(covered) if first.opening != covered => {
                self.report = OpenReport::default();
                return Ok(None);
            }
            Some(_) => {}
            None if first.opening.predecessor != 0 => self.report_missing(first),
            None => {}
        }
        Ok(Some(chain))
    }

    /// Reports the missing predecessor of a segment, unless its damage was reported already.
    fn report_missing(&mut self, later: &OpenedSegment) {
        let file = segment_file(later.opening.predecessor);
        if !self.report.damage.iter().any(|damage| damage.file == file) {
            let what = format!("missing or unreadable, though {} follows it", later.file);
            self.damaged(file, 0, what);
        }
    }

    /// Opens a file as a segment. Returns `None` for one without an opening frame: it was
    /// preallocated and not used, or its first write was torn. If later frames prove that there was
    /// an opening frame, it is damage.
    fn segment(
        &mut self,
        number: u64,
        file: &str,
        last: bool,
    ) -> Result<Option<OpenedSegment>, OpenError> {
        // The opening frame may be in the page cache only.
        if last {
            self.sync(file)?;
        }
        let start = self.read(file, OPENING_REACH, Cache::Bypass)?;
        let Some(header) = self.header(number, file, &start)? else { return Ok(None) };
        let length = self.length(file)?;
        if length < header.bytes {
            // Scavenging replaces a segment by a shorter file, so this header and this length may
            // be of different files.
            let again = self.read(file, OPENING_REACH, Cache::Bypass)?;
            if SegmentHeader::decode(&again).is_ok_and(|again| again != header) {
                return self.segment(number, file, last); // Just replaced by another process.
            }
            let what = format!("the file is truncated; it was created with {} bytes", header.bytes);
            self.damaged(file.to_owned(), length, what);
        }
        let seed = Seed::new(header.salt, number);
        let opened = |start: &Bytes| match scan::opening_frame(start, seed) {
            Ok(Frame { header: frame, opening: Some(opening), .. }) => {
                let first = frame.first_position;
                Some(OpenedSegment { file: file.to_owned(), header, opening, first })
            }
            Ok(_) | Err(_) => None,
        };
        if let Some(segment) = opened(&start) {
            return Ok(Some(segment));
        }
        // No opening frame. Unless later frames say that there was one, nothing in the segment was
        // ever acknowledged.
        let whole = self.read(file, usize::MAX, Cache::Bypass)?;
        if !scan::lost_opening(&whole, seed) {
            if last {
                self.report_unopened(file, &whole);
            }
            return Ok(None);
        }
        // A concurrent writer may have written the opening frame after the first read. It was
        // written before those later frames, so a second read sees it.
        let segment = opened(&self.read(file, OPENING_REACH, Cache::Bypass)?);
        if segment.is_none() {
            let what = "the opening frame is lost, but later frames exist".to_owned();
            self.damaged(file.to_owned(), HEADER_BYTES, what);
        }
        Ok(segment)
    }

    /// Reports bytes in a segment that has no opening frame and no durable frames as a torn write.
    fn report_unopened(&mut self, file: &str, segment: &Bytes) {
        let bytes = scan::torn_bytes(segment, HEADER_BYTES);
        if bytes > 0 && !mutated!(LostOpeningNotReported) {
            self.report.torn = Some(Torn { file: file.to_owned(), offset: HEADER_BYTES, bytes });
        }
    }

    /// Decodes a segment's header. Reports a bad one as damage and returns `None`.
    pub(super) fn header(
        &mut self,
        number: u64,
        file: &str,
        start: &Bytes,
    ) -> Result<Option<SegmentHeader>, OpenError> {
        let what = match SegmentHeader::decode(start) {
            Ok(header) if header.number == number => return Ok(Some(header)),
            Ok(_) => "the header names another segment".to_owned(),
            Err(Malformed::OtherVersion) => {
                // An intact header of another version is not damage: report and write nothing.
                return Err(OpenError::OtherVersion { file: file.to_owned() });
            }
            Err(malformed) => format!("segment header: {malformed}"),
        };
        self.damaged(file.to_owned(), 0, what);
        Ok(None)
    }
}
