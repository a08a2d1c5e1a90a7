//! From places of records to events.
//!
//! Always holds: neighbouring records are read together; payloads are slices of what was read.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use gesta_store::{Damage, Position, RecordedEvent, StoreError};

use super::{Follower, PAGE_BYTES_MAX, PAGE_EVENTS_MAX};
use crate::{
    clock::Clock,
    disk::{Cache, Disk},
    format::{Malformed, decode_record, record_length},
    index::Location,
    published::Published,
    recovery::segment_file,
};

/// Bytes that are read at once at most, where records lie close to each other.
const READ_BYTES_MAX: usize = 256 << 10;
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

/// Bytes of a segment from an offset on.
struct Window {
    segment: u64,
    offset: u64,
    bytes: Bytes,
}

impl Reader {
    /// Asks, and again if it fails and files were replaced meanwhile: a segment that was rewritten,
    /// a run of the index that was merged.
    pub(crate) fn steady<T>(
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
            follower.renew(self);
        }
        self.published.replaced() != before
    }

    /// Looks up positions; none for those that were scavenged.
    pub(super) fn places(
        &self,
        positions: &[Position],
    ) -> Result<Vec<Option<Location>>, StoreError> {
        let index = self.published.index();
        positions.iter().map(|position| index.locate(*position)).collect()
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
        let mut window: Option<Window> = None;
        let mut page_bytes = 0;
        for (at, want) in wanted.iter().enumerate() {
            if page_bytes >= PAGE_BYTES_MAX {
                break;
            }
            let later = wanted.get(at..).unwrap_or_default();
            let event = match self.fetch_one(want, later, &mut window, events.last()) {
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
        window: &mut Option<Window>,
        before: Option<&RecordedEvent>,
    ) -> Result<RecordedEvent, StoreError> {
        match &want.bytes {
            Some(bytes) => self.decode(bytes, &want.location, before),
            None => {
                let bytes = self.disk_bytes(window, &want.location, later)?;
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
        self.steady(|| self.record_bytes_now(position))
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

    /// The bytes of a record, from the window or from a new one that reaches further.
    fn disk_bytes(
        &self,
        window: &mut Option<Window>,
        location: &Location,
        later: &[Wanted],
    ) -> Result<Bytes, StoreError> {
        if let Some(bytes) = window.as_ref().and_then(|window| window.record(location)) {
            return Ok(bytes);
        }
        let bytes = self.read(location, reach(location, later))?;
        let length = record_length(&bytes).map_err(|what| self.damaged(location, what))?;
        let bytes = if length > bytes.len() { self.read(location, length)? } else { bytes };
        *window = Some(Window {
            segment: location.segment,
            offset: location.offset,
            bytes: bytes.clone(),
        });
        Ok(bytes)
    }

    fn read(&self, location: &Location, length: usize) -> Result<Bytes, StoreError> {
        let file = segment_file(location.segment);
        let failed = |source: std::io::Error| StoreError::Unavailable {
            reason: format!("cannot read {file}"),
            source: Some(Arc::new(source)),
        };
        let mut length = length;
        if length > READ_BYTES_MAX {
            // A damaged length must not make us ask for more than the file has.
            let rest = self.disk.length(&file).map_err(failed)?.saturating_sub(location.offset);
            length = length.min(usize::try_from(rest).unwrap_or(usize::MAX));
        }
        self.disk.read(&file, location.offset, length, Cache::Use).map_err(failed)
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

impl Window {
    /// The bytes of a record, if all of it is here.
    fn record(&self, location: &Location) -> Option<Bytes> {
        let within = location.offset.checked_sub(self.offset)?;
        let within = usize::try_from(within).ok().filter(|within| *within < self.bytes.len())?;
        let bytes = self.bytes.slice(within..);
        let whole = record_length(&bytes).is_ok_and(|length| length <= bytes.len());
        (self.segment == location.segment && whole).then_some(bytes)
    }
}
