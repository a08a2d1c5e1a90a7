//! From places of records to events.
//!
//! Always holds: neighbouring records are read at once, and the bytes of several reads lie in one
//! buffer; payloads are slices of it.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use gesta_store::{Damage, Position, RecordedEvent, StoreError};

use super::{Follower, PAGE_BYTES_MAX, PAGE_EVENTS_MAX};
use crate::{
    clock::Clock,
    disk::{Cache, Disk},
    format::{Malformed, decode_record, record_length},
    index::Location,
    published::Published,
    segment::{SegmentName, segment_file},
    sync::Mutex,
};

/// Bytes that are read at once at most, where records lie close to each other.
const READ_BYTES_MAX: usize = 256 << 10;
/// How much several reads put into one buffer, roughly: as long as one of their events is there, so
/// is all of it.
const TOGETHER_BYTES: usize = 64 << 10;
/// Bytes that are read and not wanted, rather than to read once more.
const GAP_BYTES_MAX: u64 = 4 << 10;
/// Bytes that are read for a lone record before its length is known.
const READ_BYTES_LONE: usize = 4 << 10;

/// How often something is asked again because files were replaced meanwhile.
const TRIES_MAX: usize = 100;

/// What reading needs.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) published: Arc<Published>,
    /// Of a store that was opened read-only.
    pub(crate) follower: Option<Arc<Mutex<Follower>>>,
}

/// A place that is to be read, and its bytes where they are still in memory.
#[derive(Debug)]
pub(crate) struct Wanted {
    location: Location,
    bytes: Option<Bytes>,
}

/// The bytes of some reads.
struct Batch {
    bytes: Bytes,
    /// In the order in which they are wanted.
    pieces: Vec<Piece>,
    /// The piece that was asked for last.
    at: usize,
}

/// What was read from an offset of a segment on, and where in the batch it is.
#[derive(Clone, Copy, Debug)]
struct Piece {
    segment: u64,
    offset: u64,
    start: usize,
    length: usize,
}

impl Reader {
    /// Asks, and again if it fails and files were replaced meanwhile: a segment that was rewritten,
    /// a run of the index that was merged.
    pub(crate) fn retry_if_files_replaced<T>(
        &self,
        mut ask: impl FnMut() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut tries = 0;
        loop {
            let before = self.published.replaced();
            tries += 1;
            match ask() {
                Err(StoreError::Corrupt(_) | StoreError::Unavailable { .. })
                    if tries < TRIES_MAX && self.is_replaced_since(before) => {}
                answer => return answer,
            }
        }
    }

    /// Whether files were replaced since; by another process, too.
    pub(crate) fn is_replaced_since(&self, before: u64) -> bool {
        let Some(follower) = &self.follower else { return self.published.replaced() != before };
        let mut follower = follower.lock().unwrap_or_else(PoisonError::into_inner);
        if self.published.replaced() == before {
            follower.recover_again(self);
        }
        self.published.replaced() != before
    }

    /// Looks up positions; none for those that were scavenged.
    pub(super) fn places(
        &self,
        positions: &[Position],
    ) -> Result<Vec<Option<Location>>, StoreError> {
        let mut locator = self.published.index().locator();
        positions.iter().map(|position| locator.locate(*position)).collect()
    }

    /// What is to be read at these places.
    pub(super) fn wanted_at(&self, places: &[Location]) -> Vec<Wanted> {
        let state = self.published.read();
        let wanted =
            |location: &Location| Wanted { location: *location, bytes: state.tail.from(location) };
        places.iter().map(wanted).collect()
    }

    /// Reads the events at these places, in their order, but no more than make a page; up to the
    /// first one that cannot be read, which is an error only where it is the very first.
    pub(crate) fn fetch(&self, wanted: &[Wanted]) -> Result<Vec<RecordedEvent>, StoreError> {
        let mut events = Vec::with_capacity(wanted.len().min(PAGE_EVENTS_MAX));
        let mut batch: Option<Batch> = None;
        let mut page_bytes = 0;
        for (at, want) in wanted.iter().enumerate() {
            if page_bytes >= PAGE_BYTES_MAX {
                break;
            }
            let later = wanted.get(at..).unwrap_or_default();
            let event = match self.fetch_one(want, later, &mut batch, events.last()) {
                Ok(event) => event,
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
        want: &Wanted,
        later: &[Wanted],
        batch: &mut Option<Batch>,
        before: Option<&RecordedEvent>,
    ) -> Result<RecordedEvent, StoreError> {
        match &want.bytes {
            Some(bytes) => self.decode(bytes, &want.location, before),
            None => {
                let bytes = self.disk_bytes(batch, &want.location, later)?;
                self.decode(&bytes, &want.location, before)
            }
        }
    }

    /// Reads the events at these places, however many.
    pub(super) fn events_at(&self, places: &[Location]) -> Result<Vec<RecordedEvent>, StoreError> {
        let mut events = Vec::with_capacity(places.len());
        let mut rest = self.wanted_at(places);
        while !rest.is_empty() {
            let page = self.fetch(&rest)?;
            rest.drain(..page.len());
            events.extend(page);
        }
        Ok(events)
    }

    /// How long the record of an event is, in bytes.
    pub(crate) fn record_bytes(&self, position: Position) -> Result<u64, StoreError> {
        self.retry_if_files_replaced(|| self.record_bytes_now(position))
    }

    fn record_bytes_now(&self, position: Position) -> Result<u64, StoreError> {
        let places: Vec<_> = self.places(&[position])?.into_iter().flatten().collect();
        let wanted = self.wanted_at(&places);
        let Some(Wanted { location, bytes }) = wanted.first() else {
            return Err(StoreError::unavailable("there is no such event"));
        };
        let bytes = match bytes {
            Some(bytes) => bytes.clone(),
            None => self.disk_bytes(&mut None, location, &wanted)?,
        };
        record_length(&bytes)
            .map(|length| length as u64)
            .map_err(|what| self.damaged(location, what))
    }

    /// The bytes of a record, from the batch or from a new one that reaches further. It is the first
    /// of those that are wanted `later`.
    fn disk_bytes(
        &self,
        batch: &mut Option<Batch>,
        location: &Location,
        later: &[Wanted],
    ) -> Result<Bytes, StoreError> {
        let held = batch.as_mut().and_then(|batch| batch.bytes_from(location));
        if let Some(bytes) = held
            && record_length(&bytes).is_ok_and(|length| length <= bytes.len())
        {
            return Ok(bytes);
        }
        let new = batch.insert(self.read_together(later)?);
        let bytes = new.bytes_from(location).unwrap_or_default();
        let length = record_length(&bytes).map_err(|what| self.damaged(location, what))?;
        if length <= bytes.len() {
            return Ok(bytes);
        }
        self.read(location, self.possible(location, length)?)
    }

    fn read(&self, location: &Location, length: usize) -> Result<Bytes, StoreError> {
        let Location { segment, offset, .. } = *location;
        let read = self.disk.read(&segment_file(segment), offset, length, Cache::Use);
        read.map_err(|source| cannot_read(segment, offset, source))
    }

    /// Reads the first of these and as many of the others as one buffer may have.
    fn read_together(&self, wanted: &[Wanted]) -> Result<Batch, StoreError> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut total = 0;
        for (at, Wanted { location, bytes }) in wanted.iter().enumerate() {
            let here = pieces.last().is_some_and(|piece| piece.has(location));
            if here || bytes.is_some() {
                continue;
            }
            let length = reach(location, wanted.get(at..).unwrap_or_default());
            if total > 0 && total + length > TOGETHER_BYTES {
                break;
            }
            let length = self.possible(location, length)?;
            let Location { segment, offset, .. } = *location;
            pieces.push(Piece { segment, offset, start: total, length });
            total += length;
        }
        let mut buffer = vec![0; total];
        let mut read = 0;
        for piece in &mut pieces {
            let Piece { segment, offset, start, length } = *piece;
            let into = buffer.get_mut(start..start + length).unwrap_or_default();
            match self.disk.read_into(SegmentName::of(segment).as_str(), offset, into) {
                Ok(filled) => piece.length = filled,
                Err(source) if read == 0 => return Err(cannot_read(segment, offset, source)),
                // It is asked for again if it comes to that.
                Err(_) => break,
            }
            read += 1;
        }
        pieces.truncate(read);
        Ok(Batch { bytes: buffer.into(), pieces, at: 0 })
    }

    /// A damaged length must not make us ask for more than the file has.
    fn possible(&self, location: &Location, length: usize) -> Result<usize, StoreError> {
        if length <= READ_BYTES_MAX {
            return Ok(length);
        }
        let Location { segment, offset, .. } = *location;
        let there = self.disk.length(&segment_file(segment));
        let there = there.map_err(|source| cannot_read(segment, offset, source))?;
        let rest = there.saturating_sub(offset);
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
        if event.position == location.position {
            Ok(event)
        } else {
            Err(self.damaged(location, Malformed::Field("position")))
        }
    }

    fn damaged(&self, location: &Location, what: Malformed) -> StoreError {
        StoreError::Corrupt(Damage {
            file: segment_file(location.segment),
            offset: location.offset,
            positions: Some(location.position..=location.position),
            what: what.to_string(),
        })
    }
}

/// How much to read for a record and those of the later ones that follow closely.
fn reach(location: &Location, later: &[Wanted]) -> usize {
    let lone = READ_BYTES_LONE as u64;
    let end_of = |location: &Location| {
        let next = location.next.filter(|next| *next > location.offset);
        next.unwrap_or(location.offset + lone)
    };
    let mut end = end_of(location);
    for Wanted { location: other, .. } in later {
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

/// A segment that is not there is damage, as it is for an opening.
pub(super) fn cannot_read(segment: u64, offset: u64, source: std::io::Error) -> StoreError {
    let file = segment_file(segment);
    if source.kind() == std::io::ErrorKind::NotFound {
        let what = "missing".to_owned();
        return StoreError::Corrupt(Damage { file, offset, positions: None, what });
    }
    StoreError::Unavailable {
        reason: format!("cannot read {file}"),
        source: Some(Arc::new(source)),
    }
}

impl Piece {
    /// Whether a record begins here.
    fn has(&self, location: &Location) -> bool {
        let within = location.offset.checked_sub(self.offset);
        self.segment == location.segment && within.is_some_and(|within| within < self.length as u64)
    }
}

impl Batch {
    /// The bytes from a record's beginning to the end of its piece, if it begins here.
    fn bytes_from(&mut self, location: &Location) -> Option<Bytes> {
        let later = self.pieces.get(self.at..)?;
        self.at += later.iter().position(|piece| piece.has(location))?;
        let piece = self.pieces.get(self.at)?;
        let within = usize::try_from(location.offset - piece.offset).ok()?;
        Some(self.bytes.slice(piece.start + within..piece.start + piece.length))
    }
}
