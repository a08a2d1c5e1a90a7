//! Pages of the events of a category, an event type or a conversation, or of the first events of
//! streams, by their ordinals.
//!
//! Invariants:
//! - An event has the same ordinal in every read. Scavenged events keep theirs, which pages leave
//!   out.
//! - A store that lost events to damage reports it instead of counting without them.

use gesta_store::{
    Direction, Ordinal, OrdinalEvent, OrdinalIndex, Position, ReadFrom, ReadOrdinals, RecordedAt,
    StoreError,
};

use super::{
    PAGE_EVENTS_MAX, Reader,
    page_stream::{NextPage, PageStream, PagedRead},
};
use crate::{
    index::{Location, Ordinals, OwnedTerm},
    options::IndexedIds,
};

/// A read by ordinals.
#[derive(Debug)]
pub(crate) struct OrdinalReads {
    reader: Reader,
    of: OrdinalIndex,
    term: OwnedTerm,
    direction: Direction,
}

/// The progress of a read by ordinals.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OrdinalProgress {
    place: Place,
    left: u64,
}

/// The place of a read.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// Not looked up yet.
    From(ReadFrom<Ordinal>),
    /// The next ordinal, and the number of events when the read began.
    Next {
        ordinal: u64,
        count: u64,
    },
    End,
}

impl OrdinalReads {
    /// # Errors
    /// [`StoreError::Unsupported`] if the index does not count these events.
    pub(crate) fn stream(
        reader: Reader,
        read: ReadOrdinals,
    ) -> Result<PageStream<Self>, StoreError> {
        let ids = reader.published.index().ids();
        let term = match &read.of {
            OrdinalIndex::Category(category) => OwnedTerm::Category(category.clone()),
            OrdinalIndex::EventType(event_type) => OwnedTerm::EventType(event_type.clone()),
            OrdinalIndex::Correlation(id) if ids.contains(IndexedIds::CORRELATION) => {
                OwnedTerm::Correlation(id.clone())
            }
            OrdinalIndex::Streams if ids.contains(IndexedIds::STREAMS) => OwnedTerm::Streams,
            OrdinalIndex::StreamsOf(category) if ids.contains(IndexedIds::STREAMS) => {
                OwnedTerm::StreamsOf(category.clone())
            }
            _ => return Err(StoreError::Unsupported { capability: read.of.capability() }),
        };
        let ReadOrdinals { of, direction, from, limit, .. } = read;
        let progress = OrdinalProgress { place: Place::From(from), left: limit };
        Ok(PageStream::new(Self { reader, of, term, direction }, progress))
    }

    /// Reads a page without retries. Also returns the place at which to continue.
    fn page_now(
        &self,
        OrdinalProgress { place, left }: OrdinalProgress,
    ) -> Result<(Vec<OrdinalEvent>, Place), StoreError> {
        // The events that damage destroyed have ordinals, too.
        self.reader.nothing_lost(Position::START)?;
        let mut ordinals = self.reader.published.index().ordinals(&self.term)?;
        let (at, count) = match place {
            Place::From(from) => match self.first(from, &mut ordinals)? {
                Some(first) => (first, ordinals.count()),
                None => return Ok((Vec::new(), Place::End)),
            },
            Place::Next { ordinal, count } => (ordinal, count),
            Place::End => return Ok((Vec::new(), Place::End)),
        };
        let (page, processed) = self.events(&mut ordinals, (at, count), left)?;
        let next = processed.and_then(|last| match self.direction {
            Direction::Forwards => Some(last + 1).filter(|next| *next < count),
            Direction::Backwards => last.checked_sub(1),
        });
        Ok((page, next.map_or(Place::End, |ordinal| Place::Next { ordinal, count })))
    }

    /// Returns the first ordinal of the read.
    fn first(
        &self,
        from: ReadFrom<Ordinal>,
        ordinals: &mut Ordinals,
    ) -> Result<Option<u64>, StoreError> {
        let count = ordinals.count();
        let last = count.checked_sub(1);
        Ok(match (from, self.direction) {
            (ReadFrom::Start, Direction::Forwards) => last.map(|_| 0),
            (ReadFrom::End, Direction::Backwards) => last,
            (ReadFrom::At(ordinal), Direction::Forwards) => {
                Some(ordinal.number()).filter(|ordinal| *ordinal < count)
            }
            (ReadFrom::At(ordinal), Direction::Backwards) => {
                last.map(|last| last.min(ordinal.number()))
            }
            (ReadFrom::Time(time), direction) => self.first_at(time, direction, ordinals)?,
            _ => None,
        })
    }

    fn first_at(
        &self,
        time: RecordedAt,
        direction: Direction,
        ordinals: &mut Ordinals,
    ) -> Result<Option<u64>, StoreError> {
        let Some(at) = self.reader.position_at(time, direction)? else { return Ok(None) };
        Ok(match direction {
            Direction::Forwards => {
                Some(ordinals.before(at)?).filter(|ordinal| *ordinal < ordinals.count())
            }
            Direction::Backwards => ordinals.before(at.next())?.checked_sub(1),
        })
    }

    /// Reads the events from an ordinal on. Also returns the last ordinal that was processed.
    fn events(
        &self,
        ordinals: &mut Ordinals,
        (at, count): (u64, u64),
        left: u64,
    ) -> Result<(Vec<OrdinalEvent>, Option<u64>), StoreError> {
        let limit = usize::try_from(left).unwrap_or(usize::MAX).min(PAGE_EVENTS_MAX);
        let wanted: Vec<u64> = match self.direction {
            Direction::Forwards => (at..count).take(limit).collect(),
            Direction::Backwards => (0..=at).rev().take(limit).collect(),
        };
        let mut positions = Vec::with_capacity(wanted.len());
        for ordinal in &wanted {
            positions.extend(ordinals.position(*ordinal)?);
        }
        // Scavenged events have a position, but no location.
        let locations = self.reader.locations(&positions)?;
        let present = locations.iter().zip(&wanted);
        let present = present.filter_map(|(location, ordinal)| Some(((*location)?, *ordinal)));
        let (locations, kept): (Vec<Location>, Vec<u64>) = present.unzip();
        let events = self.reader.fetch(&self.reader.requests_at(&locations))?;
        // A page that ends early continues after its last event; a complete one also passes the
        // scavenged events after it.
        let processed = match events.len().checked_sub(1) {
            Some(last) if events.len() < kept.len() => kept.get(last),
            _ => wanted.last(),
        };
        let events = events.into_iter().zip(&kept);
        let events =
            events.map(|(event, ordinal)| OrdinalEvent::new(Ordinal::new(*ordinal), event));
        // Hashes of terms may collide; the event itself decides.
        let page = events.filter(|counted| self.of.counts(&counted.event)).collect();
        Ok((page, processed.copied()))
    }
}

impl PagedRead for OrdinalReads {
    type Item = OrdinalEvent;
    type Progress = OrdinalProgress;

    fn reader(&self) -> &Reader {
        &self.reader
    }

    fn next_page(&self, progress: &mut OrdinalProgress) -> NextPage<OrdinalEvent> {
        while self.has_more(progress) {
            match self.reader.retry_if_files_replaced(|| self.page_now(*progress)) {
                Ok((page, next)) => {
                    progress.place = next;
                    // A page may be empty before the end: all of its events were scavenged.
                    if !page.is_empty() {
                        progress.left = progress.left.saturating_sub(page.len() as u64);
                        return Some(Ok(page));
                    }
                }
                Err(error) => {
                    progress.place = Place::End;
                    return Some(Err(error));
                }
            }
        }
        None
    }

    fn has_more(&self, progress: &OrdinalProgress) -> bool {
        progress.left > 0 && !matches!(progress.place, Place::End)
    }
}
