//! Reads events, given the locations of their records.
//!
//! Neighbouring records are read together, and several reads share one buffer. Payloads are slices
//! of that buffer, which saves a copy and an allocation for each event.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use gesta_store::{Damage, Position, RecordedEvent, StoreError};

use super::{PAGE_BYTES_MAX, PAGE_EVENTS_MAX, follow::Follower, io_threads::IoThreads};
use crate::{
    clock::Clock,
    disk::{Disk, waiting},
    format::{Malformed, decode_record, record_length},
    index::Location,
    published::Published,
    segment::{SegmentName, segment_file},
    sync::Mutex,
};

/// Maximum size of one read that covers neighbouring records, in bytes.
const READ_BYTES_MAX: usize = 256 << 10;
/// Target size of a buffer that several reads share, in bytes. The whole buffer stays in memory as
/// long as any event in it does.
const TOGETHER_BYTES: usize = 64 << 10;
/// Maximum gap between two records that is read along with them, in bytes: cheaper than a second
/// read.
const GAP_BYTES_MAX: u64 = 4 << 10;
/// Size of the first read for a single record, whose length is not known yet, in bytes.
const READ_BYTES_LONE: usize = 4 << 10;

/// Maximum number of attempts at a read whose files are replaced while it runs.
const TRIES_MAX: usize = 100;

/// Access to the published log: disk, clock and visible state.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) published: Arc<Published>,
    /// For futures, which do not wait for the disk.
    pub(crate) io_threads: Arc<IoThreads>,
    /// Present if the store was opened read-only: another process may be writing it.
    pub(crate) follower: Option<Arc<Mutex<Follower>>>,
}

/// A record to read, with its bytes if they are still in memory.
#[derive(Debug)]
pub(crate) struct RecordRequest {
    location: Location,
    bytes: Option<Bytes>,
}

/// The buffer of several reads.
struct Batch {
    bytes: Bytes,
    /// In the order of the requests.
    pieces: Vec<Piece>,
    /// Index of the piece that was used last.
    at: usize,
}

/// One read of a batch: its range in the segment and its start in the buffer.
#[derive(Clone, Copy, Debug)]
struct Piece {
    segment: u64,
    offset: u64,
    start: usize,
    length: usize,
}

impl Reader {
    /// Calls `ask`, and again if it fails and files were replaced while it ran: a segment was
    /// rewritten, or runs were merged.
    pub(crate) fn retry_if_files_replaced<T>(
        &self,
        mut ask: impl FnMut() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut tries = 0;
        loop {
            // Read the counter before the files: a replacement in between is then noticed.
            let before = self.published.replaced();
            tries += 1;
            // Only what a replaced file can cause is tried again: bytes that do not verify at old
            // offsets, or a file that is gone.
            match ask() {
                Err(StoreError::Corrupt(_) | StoreError::Unavailable { .. })
                    if tries < TRIES_MAX && self.is_replaced_since(before) => {}
                answer => return answer,
            }
        }
    }

    /// Returns whether files have been replaced since the count was `before`, by this or another
    /// process.
    pub(crate) fn is_replaced_since(&self, before: u64) -> bool {
        let Some(follower) = &self.follower else {
            return self.published.is_replaced_since(before);
        };
        if !waiting::may_wait() {
            // Another process replaces files, so only the files themselves can tell.
            drop(waiting::refuse());
            return false;
        }
        let mut follower = follower.lock().unwrap_or_else(PoisonError::into_inner);
        // Another reader may have recovered while this one waited for the lock.
        if self.published.replaced() == before {
            follower.recover_again();
        }
        self.published.replaced() != before
    }

    /// Looks up positions. `None` for scavenged events.
    pub(super) fn locations(
        &self,
        positions: &[Position],
    ) -> Result<Vec<Option<Location>>, StoreError> {
        let mut locator = self.published.index().locator();
        positions.iter().map(|position| locator.locate(*position)).collect()
    }

    /// Returns read requests for these locations, with the bytes that the tail still has.
    pub(super) fn requests_at(&self, locations: &[Location]) -> Vec<RecordRequest> {
        // One lock for the whole page. The bytes are slices, so nothing is copied under it.
        let state = self.published.read();
        let requests = |location: &Location| RecordRequest {
            location: *location,
            bytes: state.tail.from(location),
        };
        locations.iter().map(requests).collect()
    }

    /// Reads the requested events in order, up to the size of a page or the first one that cannot
    /// be read. Returns an error only if that is the very first.
    pub(crate) fn fetch(
        &self,
        requests: &[RecordRequest],
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        let mut events = Vec::with_capacity(requests.len().min(PAGE_EVENTS_MAX));
        let mut batch: Option<Batch> = None;
        let mut page_bytes = 0;
        for (at, request) in requests.iter().enumerate() {
            if page_bytes >= PAGE_BYTES_MAX {
                break;
            }
            let later = requests.get(at..).unwrap_or_default();
            let event = match self.fetch_one(request, later, &mut batch, events.last()) {
                Ok(event) => event,
                // Events before the error are returned first; a read from there on meets it again.
                Err(error) if events.is_empty() => return Err(error),
                Err(_) => break,
            };
            page_bytes += event.data.len() + event.metadata.len();
            events.push(event);
        }
        Ok(events)
    }

    fn fetch_one(
        &self,
        request: &RecordRequest,
        later: &[RecordRequest],
        batch: &mut Option<Batch>,
        before: Option<&RecordedEvent>,
    ) -> Result<RecordedEvent, StoreError> {
        match &request.bytes {
            Some(bytes) => self.decode(bytes, &request.location, before),
            None => {
                let bytes = self.disk_bytes(batch, &request.location, later)?;
                self.decode(&bytes, &request.location, before)
            }
        }
    }

    /// Reads all events at these locations, in as many pages as needed.
    pub(super) fn events_at(
        &self,
        locations: &[Location],
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        let mut events = Vec::with_capacity(locations.len());
        let mut rest = self.requests_at(locations);
        while !rest.is_empty() {
            let page = self.fetch(&rest)?;
            rest.drain(..page.len());
            events.extend(page);
        }
        Ok(events)
    }

    /// Returns the size of an event's record, in bytes, or `None` if there is no such event.
    pub(crate) fn record_bytes(&self, position: Position) -> Result<Option<u64>, StoreError> {
        self.retry_if_files_replaced(|| self.record_bytes_now(position))
    }

    fn record_bytes_now(&self, position: Position) -> Result<Option<u64>, StoreError> {
        let locations: Vec<_> = self.locations(&[position])?.into_iter().flatten().collect();
        let requests = self.requests_at(&locations);
        let Some(RecordRequest { location, bytes }) = requests.first() else { return Ok(None) };
        let bytes = match bytes {
            Some(bytes) => bytes.clone(),
            None => self.disk_bytes(&mut None, location, &requests)?,
        };
        record_length(&bytes)
            .map(|length| Some(length as u64))
            .map_err(|what| self.damaged(location, what))
    }

    /// Returns the bytes of a record after its checksum was verified, or `None` if there is no such
    /// event.
    pub(super) fn verified_record(&self, position: Position) -> Result<Option<Bytes>, StoreError> {
        let locations: Vec<_> = self.locations(&[position])?.into_iter().flatten().collect();
        let requests = self.requests_at(&locations);
        let Some(RecordRequest { location, bytes }) = requests.first() else { return Ok(None) };
        let bytes = match bytes {
            Some(bytes) => bytes.clone(),
            None => self.disk_bytes(&mut None, location, &requests)?,
        };
        self.decode(&bytes, location, None)?;
        Ok(Some(bytes))
    }

    /// Returns the bytes of a record, from the batch or from a new batch. `later` holds the
    /// requests for this record and later ones.
    fn disk_bytes(
        &self,
        batch: &mut Option<Batch>,
        location: &Location,
        later: &[RecordRequest],
    ) -> Result<Bytes, StoreError> {
        let held = batch.as_mut().and_then(|batch| batch.bytes_from(location));
        if let Some(bytes) = held
            && record_length(&bytes).is_ok_and(|length| length <= bytes.len())
        {
            return Ok(bytes);
        }
        // Not in the batch, or cut at its end: start a new batch at this record.
        let new = batch.insert(self.read_together(later)?);
        let bytes = new.bytes_from(location).unwrap_or_default();
        let length = record_length(&bytes).map_err(|what| self.damaged(location, what))?;
        if length <= bytes.len() {
            return Ok(bytes);
        }
        // Longer than the estimate: read it alone, now that its length is known.
        self.read(location, self.possible(location, length)?)
    }

    fn read(&self, location: &Location, length: usize) -> Result<Bytes, StoreError> {
        let Location { segment, offset, .. } = *location;
        let read = waiting::read(&*self.disk, &segment_file(segment), offset, length);
        read.map_err(|source| cannot_read(segment, offset, source))
    }

    /// Reads the first record, and as many of the others as fit into one buffer.
    fn read_together(&self, requests: &[RecordRequest]) -> Result<Batch, StoreError> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut total = 0;
        for (at, RecordRequest { location, bytes }) in requests.iter().enumerate() {
            let is_read = pieces.last().is_some_and(|piece| piece.has(location));
            if is_read || bytes.is_some() {
                continue;
            }
            let length = reach(location, requests.get(at..).unwrap_or_default());
            // The first record is read in any case, however long it is.
            if total > 0 && total + length > TOGETHER_BYTES {
                break;
            }
            let length = self.possible(location, length)?;
            let Location { segment, offset, .. } = *location;
            pieces.push(Piece { segment, offset, start: total, length });
            total += length;
        }
        // All lengths are known before the buffer is allocated, so one allocation serves all reads.
        let mut buffer = vec![0; total];
        let mut read = 0;
        for piece in &mut pieces {
            let Piece { segment, offset, start, length } = *piece;
            let into = buffer.get_mut(start..start + length).unwrap_or_default();
            let file = SegmentName::of(segment);
            match waiting::read_into(&*self.disk, file.as_str(), offset, into) {
                Ok(filled) => piece.length = filled,
                Err(source) if read == 0 => return Err(cannot_read(segment, offset, source)),
                // A later piece is read again when its record is requested.
                Err(_) => break,
            }
            read += 1;
        }
        pieces.truncate(read);
        Ok(Batch { bytes: buffer.into(), pieces, at: 0 })
    }

    /// Limits a length to the end of the file: a damaged one must not cause a huge allocation.
    fn possible(&self, location: &Location, length: usize) -> Result<usize, StoreError> {
        if length <= READ_BYTES_MAX {
            return Ok(length);
        }
        let Location { segment, offset, .. } = *location;
        let file_length = waiting::length(&*self.disk, &segment_file(segment));
        let file_length = file_length.map_err(|source| cannot_read(segment, offset, source))?;
        let rest = file_length.saturating_sub(offset);
        Ok(length.min(usize::try_from(rest).unwrap_or(usize::MAX)))
    }

    fn decode(
        &self,
        bytes: &Bytes,
        location: &Location,
        before: Option<&RecordedEvent>,
    ) -> Result<RecordedEvent, StoreError> {
        let event = decode_record(bytes, location.offset, location.seed, before)
            .map_err(|what| self.damaged(location, what))?;
        // A valid checksum is not enough: a wrong offset in the index leads to another whole
        // record.
        if event.position == location.position {
            Ok(event)
        } else {
            Err(self.damaged(location, Malformed::Field("position")))
        }
    }

    fn damaged(&self, location: &Location, what: Malformed) -> StoreError {
        StoreError::Corrupt(
            Damage::new(segment_file(location.segment), location.offset, what.to_string())
                .positions(location.position..=location.position),
        )
    }
}

/// Returns the size of a read that covers a record and the later ones that follow closely.
fn reach(location: &Location, later: &[RecordRequest]) -> usize {
    let lone = READ_BYTES_LONE as u64;
    let end_of = |location: &Location| {
        // The next offset comes from the index, which may be damaged: the range must not be
        // negative.
        let next = location.next.filter(|next| *next > location.offset);
        next.unwrap_or(location.offset + lone)
    };
    // Extend the read while the next record is near enough and the total stays small.
    let mut end = end_of(location);
    for RecordRequest { location: other, .. } in later {
        let close = other.segment == location.segment
            && other.offset >= location.offset
            && other.offset <= end + GAP_BYTES_MAX;
        let other_end = end_of(other);
        if !close || other_end - location.offset > READ_BYTES_MAX as u64 {
            break;
        }
        end = end.max(other_end);
    }
    usize::try_from(end - location.offset).unwrap_or(READ_BYTES_LONE)
}

/// Turns a failed read into an error. A missing segment is damage, as it is for recovery.
pub(super) fn cannot_read(segment: u64, offset: u64, source: std::io::Error) -> StoreError {
    let file = segment_file(segment);
    if source.kind() == std::io::ErrorKind::NotFound {
        let what = "missing".to_owned();
        return StoreError::Corrupt(Damage::new(file, offset, what));
    }
    StoreError::Unavailable {
        reason: format!("cannot read {file}"),
        source: Some(Arc::new(source)),
    }
}

impl Piece {
    /// Returns whether a record begins within the piece.
    fn has(&self, location: &Location) -> bool {
        let within = location.offset.checked_sub(self.offset);
        self.segment == location.segment && within.is_some_and(|within| within < self.length as u64)
    }
}

impl Batch {
    /// Returns the bytes from a record to the end of its piece, if it begins in the batch.
    fn bytes_from(&mut self, location: &Location) -> Option<Bytes> {
        // Requests come in the order of the pieces, so the search continues at the last hit.
        let later = self.pieces.get(self.at..)?;
        self.at += later.iter().position(|piece| piece.has(location))?;
        let piece = self.pieces.get(self.at)?;
        let within = usize::try_from(location.offset - piece.offset).ok()?;
        Some(self.bytes.slice(piece.start + within..piece.start + piece.length))
    }
}
