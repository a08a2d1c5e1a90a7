//! Which files are the segments of the log, and in which order.
//!
//! Always holds: a segment counts if it has a valid header and opening frame, and a later one names
//! it or it is the last. Not here: what segments hold.

use bytes::Bytes;

use super::{OPENING_REACH, Recovery, Segment, failed};
use crate::{
    disk::Cache,
    format::{Frame, HEADER_BYTES, Malformed, Opening, Seed, SegmentHeader},
    mutations::mutated,
    options::{OpenError, OpenReport, Torn},
    segment::{scan, segment_file, segment_numbers},
};

impl Recovery<'_> {
    /// Files that are named like segments, by number.
    pub(super) fn files(&self) -> Result<Vec<(u64, String)>, OpenError> {
        let numbers =
            segment_numbers(self.disk).map_err(|source| failed("list the directory", source))?;
        Ok(numbers.into_iter().map(|number| (number, segment_file(number))).collect())
    }

    /// How large the files are together, as far as they can be asked.
    pub(super) fn bytes(&self, files: &[(u64, String)]) -> u64 {
        files.iter().map(|(_, file)| self.disk.length(file).unwrap_or(0)).sum()
    }

    /// Those that belong to the log: the last one that has an opening frame, the one that this
    /// frame names, and so on back to the first. What is not named was given up.
    /// Only those after the last one that the index's files cover; none where these are of another
    /// history.
    pub(super) fn segments(
        &mut self,
        files: &[(u64, String)],
        covered: Option<Opening>,
    ) -> Result<Option<Vec<Segment>>, OpenError> {
        let mut chain: Vec<Segment> = Vec::new();
        for (number, file) in files.iter().rev() {
            if covered.is_some_and(|covered| *number <= covered.predecessor) {
                break;
            }
            let named = chain.last().map(|later| later.opening);
            if named.is_some_and(|opening| *number > opening.predecessor) {
                continue;
            }
            let Some(segment) = self.segment(*number, file, named.is_none())? else { continue };
            if let Some(later) = chain.last() {
                if later.header.store != segment.header.store {
                    return Err(OpenError::AnotherStore { file: file.clone() });
                }
                let found = (segment.header.number, segment.header.named_salt());
                if found != (later.opening.predecessor, later.opening.salt) {
                    self.missing(later);
                }
            }
            chain.push(segment);
        }
        chain.reverse();
        let Some(first) = chain.first() else { return Ok(Some(chain)) };
        match covered {
            Some(covered) if first.opening != covered => {
                self.report = OpenReport::default();
                return Ok(None);
            }
            Some(_) => {}
            None if first.opening.predecessor != 0 => self.missing(first),
            None => {}
        }
        Ok(Some(chain))
    }

    /// Notes that the predecessor of a segment cannot be had, unless it is known why.
    fn missing(&mut self, later: &Segment) {
        let file = segment_file(later.opening.predecessor);
        if !self.report.damage.iter().any(|damage| damage.file == file) {
            let what = format!("missing or unreadable, though {} follows it", later.file);
            self.damaged(file, 0, what);
        }
    }

    /// A file as a segment. One without an opening frame was prepared and not used, or its first
    /// write was cut short; unless something says that it held more.
    fn segment(
        &mut self,
        number: u64,
        file: &str,
        last: bool,
    ) -> Result<Option<Segment>, OpenError> {
        if last {
            self.sync(file)?;
        }
        let start = self.read(file, OPENING_REACH, Cache::Bypass)?;
        let Some(header) = self.header(number, file, &start)? else { return Ok(None) };
        let length = self.length(file)?;
        if length < header.bytes {
            let again = self.read(file, OPENING_REACH, Cache::Bypass)?;
            if SegmentHeader::decode(&again).is_ok_and(|again| again != header) {
                return self.segment(number, file, last); // just replaced by another process
            }
            let what = format!("the file is cut; it was made {} bytes long", header.bytes);
            self.damaged(file.to_owned(), length, what);
        }
        let seed = Seed::new(header.salt, number);
        let opened = |start: &Bytes| match scan::opening_frame(start, seed) {
            Ok(Frame { header: frame, opening: Some(opening), .. }) => {
                let first = frame.first_position;
                Some(Segment { file: file.to_owned(), header, opening, first })
            }
            Ok(_) | Err(_) => None,
        };
        if let Some(segment) = opened(&start) {
            return Ok(Some(segment));
        }
        let whole = self.read(file, usize::MAX, Cache::Bypass)?;
        if !scan::lost_opening(&whole, seed) {
            if last {
                self.report_unopened(file, &whole);
            }
            return Ok(None);
        }
        // A writer at work may have written it since; it came before those later frames.
        let segment = opened(&self.read(file, OPENING_REACH, Cache::Bypass)?);
        if segment.is_none() {
            let what = "the opening frame is gone, later frames are there".to_owned();
            self.damaged(file.to_owned(), HEADER_BYTES, what);
        }
        Ok(segment)
    }

    /// What lies in a segment whose opening frame is not there and that nothing vouches for.
    fn report_unopened(&mut self, file: &str, segment: &Bytes) {
        let bytes = scan::torn_bytes(segment, HEADER_BYTES);
        if bytes > 0 && !mutated!(LostOpeningNotReported) {
            self.report.torn = Some(Torn { file: file.to_owned(), offset: HEADER_BYTES, bytes });
        }
    }

    /// The header of a segment, if it has one.
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
                return Err(OpenError::OtherVersion { file: file.to_owned() });
            }
            Err(malformed) => format!("segment header: {malformed}"),
        };
        self.damaged(file.to_owned(), 0, what);
        Ok(None)
    }
}
