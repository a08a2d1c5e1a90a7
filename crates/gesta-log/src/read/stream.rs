//! Pages of one stream, without the events that its metadata hide.

use gesta_store::{
    Damage, Direction, Page, Position, ReadFrom, ReadStream, RecordedEvent, Revision, StoreError,
    StreamMetadata, StreamName,
};

use super::{
    PAGE_EVENTS_MAX, Reader,
    page_stream::{NextPage, PageStream, PagedRead},
};
use crate::{disk::waiting, index::StreamCursor};

/// A read of one stream.
#[derive(Debug)]
pub(crate) struct StreamPages {
    reader: Reader,
    stream: StreamName,
    direction: Direction,
    from: ReadFrom<Revision>,
    limit: u64,
}

/// The progress of a read of one stream.
#[derive(Clone, Debug)]
pub(crate) enum StreamProgress {
    /// The stream has not been looked up yet.
    NotBegun,
    /// The read returns this error instead of pages.
    Refused(StoreError),
    At(StreamPlace),
}

/// The place in a stream at which a read continues.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamPlace {
    /// The next revision to read. `None` at the end.
    at: Option<Revision>,
    /// The end of a forward read: the head when it began.
    last: Option<Revision>,
    left: u64,
    /// True until a forward read has checked for damage after the stream's last known event.
    checks_end: bool,
}

impl StreamPlace {
    const ENDED: Self = Self { at: None, last: None, left: 0, checks_end: false };
}

impl StreamPages {
    pub(crate) fn stream(reader: Reader, read: ReadStream) -> PageStream<Self> {
        let ReadStream { stream, direction, from, limit, .. } = read;
        let pages = Self { reader, stream, direction, from, limit };
        // The end of the read is taken now if memory has it, and with the first page otherwise.
        let begun = waiting::without_waiting(|| pages.begin());
        PageStream::new(pages, begun.unwrap_or(StreamProgress::NotBegun))
    }

    /// Looks the stream up. A forward read ends at the head of this moment, whatever is appended
    /// during it.
    fn begin(&self) -> StreamProgress {
        let Self { reader, stream, direction, from, limit } = self;
        let visible = reader.retry_if_files_replaced(|| reader.visible(stream));
        let last = match visible {
            Ok(visible) => visible.map(|visible| visible.head()),
            Err(error) => return StreamProgress::Refused(error),
        };
        let at = match (from, direction) {
            (ReadFrom::Start, Direction::Forwards) => Some(Revision::FIRST),
            (ReadFrom::End, _) => Some(Revision::MAX),
            (ReadFrom::At(revision), _) => Some(*revision),
            (ReadFrom::Time(time), _) => match reader.revision_at(stream, *time, *direction) {
                Ok(at) => at,
                Err(error) => return StreamProgress::Refused(error),
            },
            // Nothing is before the start. The store refuses starts that it does not know.
            _ => None,
        };
        // A backward read from the end claims to start with the last event, so damage after it is
        // an error. A forward read reports that damage when it gets there.
        if (from, direction) == (&ReadFrom::End, &Direction::Backwards)
            && let Err(damage) = reader.stream_end_at_damage(stream)
        {
            return StreamProgress::Refused(damage);
        }
        let checks_end = *direction == Direction::Forwards;
        StreamProgress::At(StreamPlace { at, last, left: *limit, checks_end })
    }

    fn page_at(&self, place: &mut StreamPlace) -> NextPage {
        while place.left > 0 {
            let Some(at) = place.at else {
                if std::mem::replace(&mut place.checks_end, false) {
                    return self.reader.stream_end_at_damage(&self.stream).err().map(Err);
                }
                return None;
            };
            match self.page(place, at) {
                Ok((page, next)) => {
                    place.at = next;
                    // A page may be empty before the end: all of its events have expired or were
                    // scavenged.
                    if !page.is_empty() {
                        place.left = place.left.saturating_sub(page.len() as u64);
                        return Some(Ok(page));
                    }
                }
                Err(error) => {
                    *place = StreamPlace::ENDED;
                    return Some(Err(error));
                }
            }
        }
        None
    }

    /// Reads a page. Also returns the revision at which to continue.
    fn page(
        &self,
        place: &StreamPlace,
        at: Revision,
    ) -> Result<(Page, Option<Revision>), StoreError> {
        match self.direction {
            Direction::Forwards => {
                let Some(last) = place.last else { return Ok((Vec::new(), None)) };
                self.reader.stream_forwards(&self.stream, at, last, place.left)
            }
            Direction::Backwards => self.reader.stream_backwards(&self.stream, at, place.left),
        }
    }
}

impl PagedRead for StreamPages {
    type Item = RecordedEvent;
    type Progress = StreamProgress;

    fn reader(&self) -> &Reader {
        &self.reader
    }

    fn next_page(&self, progress: &mut StreamProgress) -> NextPage {
        if matches!(progress, StreamProgress::NotBegun) {
            *progress = self.begin();
        }
        match progress {
            StreamProgress::At(place) => self.page_at(place),
            StreamProgress::Refused(error) => {
                let error = error.clone();
                *progress = StreamProgress::At(StreamPlace::ENDED);
                Some(Err(error))
            }
            StreamProgress::NotBegun => None,
        }
    }

    fn has_more(&self, progress: &StreamProgress) -> bool {
        matches!(progress, StreamProgress::At(place) if place.left > 0 && place.at.is_some())
    }
}

/// The visible revisions of a stream, and its metadata.
pub(crate) struct VisibleRevisions {
    first: Revision,
    head: Revision,
    metadata: StreamMetadata,
    cursor: StreamCursor,
}

impl VisibleRevisions {
    /// The stream's last revision, visible or hidden.
    pub(crate) fn head(&self) -> Revision {
        self.head
    }
}

impl Reader {
    /// Returns the visible revisions of a stream, or `None` if it has no events.
    pub(crate) fn visible(
        &self,
        stream: &StreamName,
    ) -> Result<Option<VisibleRevisions>, StoreError> {
        let index = self.published.index();
        let meta = index.stream_meta(stream);
        if meta.tombstoned {
            return Err(StoreError::Deleted { stream: stream.clone() });
        }
        let mut cursor = index.stream(stream);
        let Some(head) = cursor.head()? else { return Ok(None) };
        let metadata = meta.metadata();
        Ok(Some(VisibleRevisions { first: metadata.first_visible(head), head, metadata, cursor }))
    }

    /// Returns an error if damage may have destroyed events after the stream's last one.
    pub(crate) fn stream_end_at_damage(&self, stream: &StreamName) -> Result<(), StoreError> {
        if self.published.damage.is_empty() {
            return Ok(());
        }
        self.end_at_damage(self.last_position_of(stream)?)
    }

    /// Returns an error if the stream may have events that the index does not cover.
    pub(crate) fn stream_is_known(&self, stream: &StreamName) -> Result<(), StoreError> {
        if self.published.damage.is_empty() {
            return Ok(());
        }
        self.nothing_lost(self.last_position_of(stream)?)
    }

    fn last_position_of(&self, stream: &StreamName) -> Result<Position, StoreError> {
        let mut cursor = self.published.index().stream(stream);
        let last = match cursor.head()? {
            Some(head) => cursor.position(head)?,
            None => None,
        };
        Ok(last.unwrap_or(Position::START))
    }

    /// Reads at most a page of events from `at` to `last`. Also returns the revision at which to
    /// continue.
    pub(crate) fn stream_forwards(
        &self,
        stream: &StreamName,
        at: Revision,
        last: Revision,
        limit: u64,
    ) -> Result<(Page, Option<Revision>), StoreError> {
        self.retry_if_files_replaced(|| self.stream_forwards_now(stream, at, last, limit))
    }

    fn stream_forwards_now(
        &self,
        stream: &StreamName,
        at: Revision,
        last: Revision,
        limit: u64,
    ) -> Result<(Page, Option<Revision>), StoreError> {
        // Looked up for each page, so that a deletion or truncation during the read takes effect.
        let Some(mut visible) = self.visible(stream)? else { return Ok((Vec::new(), None)) };
        let first = at.max(visible.first).number();
        let last = last.min(visible.head).number();
        let count = limit.min(PAGE_EVENTS_MAX as u64);
        let revisions = (first..=last).take(usize::try_from(count).unwrap_or(usize::MAX));
        let (page, processed) =
            self.revisions(stream, &mut visible, revisions.map(Revision::new))?;
        let next = processed.map(Revision::next).filter(|next| next.number() <= last);
        Ok((page, next))
    }

    fn stream_backwards(
        &self,
        stream: &StreamName,
        at: Revision,
        limit: u64,
    ) -> Result<(Page, Option<Revision>), StoreError> {
        self.retry_if_files_replaced(|| self.stream_backwards_now(stream, at, limit))
    }

    fn stream_backwards_now(
        &self,
        stream: &StreamName,
        at: Revision,
        limit: u64,
    ) -> Result<(Page, Option<Revision>), StoreError> {
        let Some(mut visible) = self.visible(stream)? else { return Ok((Vec::new(), None)) };
        let (first, last) = (visible.first.number(), at.min(visible.head).number());
        let count = limit.min(PAGE_EVENTS_MAX as u64);
        let revisions = (first..=last).rev().take(usize::try_from(count).unwrap_or(usize::MAX));
        let (page, processed) =
            self.revisions(stream, &mut visible, revisions.map(Revision::new))?;
        let next = processed.and_then(Revision::previous).filter(|next| *next >= visible.first);
        Ok((page, next))
    }

    /// Reads revisions, without those that are expired or scavenged. Also returns the last revision
    /// that was processed.
    fn revisions(
        &self,
        stream: &StreamName,
        visible: &mut VisibleRevisions,
        revisions: impl Iterator<Item = Revision>,
    ) -> Result<(Page, Option<Revision>), StoreError> {
        let revisions: Vec<_> = revisions.collect();
        let (positions, missing) = positions(&mut visible.cursor, &revisions)?;
        // Scavenged revisions have a position, but no location.
        let locations = self.locations(&positions)?;
        let present = locations
            .iter()
            .zip(&revisions)
            .filter_map(|(location, revision)| location.map(|location| (location, *revision)));
        let (locations, kept): (Vec<_>, Vec<_>) = present.unzip();
        let events = self.fetch(&self.requests_at(&locations))?;
        // A page that ends early continues after its last event; a complete one also passes the
        // scavenged revisions after it.
        let processed = match events.len() {
            all if all == kept.len() => positions.len().checked_sub(1),
            some => kept.get(some - 1).and_then(|last| revisions.iter().position(|at| at == last)),
        };
        let processed = processed.and_then(|last| revisions.get(last)).copied();
        // Damage is an error only once everything before it has been returned.
        if let (Some(missing), None) = (missing, processed) {
            return Err(self.lost(stream, missing));
        }
        let mut page = Vec::with_capacity(events.len());
        for (event, revision) in events.into_iter().zip(&kept) {
            check_record(&event, stream, *revision)?;
            if !visible.metadata.is_expired(event.recorded_at, self.clock.now()) {
                page.push(event);
            }
        }
        Ok((page, processed))
    }

    /// The error for a missing revision: the damage that destroyed it.
    fn lost(&self, stream: &StreamName, revision: Revision) -> StoreError {
        let what = format!("revision {revision} of {stream} is missing");
        StoreError::Corrupt(match self.published.damage.first() {
            Some(damage) => {
                Damage::new(&damage.file, damage.offset, format!("{}; {what}", damage.what))
                    .positions(damage.positions.clone())
            }
            None => Damage::new("index", 0, what),
        })
    }
}

/// Returns the positions of revisions, up to the first one that damage destroyed.
fn positions(
    cursor: &mut StreamCursor,
    revisions: &[Revision],
) -> Result<(Vec<Position>, Option<Revision>), StoreError> {
    let mut positions = Vec::with_capacity(revisions.len());
    for revision in revisions {
        match cursor.position(*revision)? {
            Some(position) => positions.push(position),
            None => return Ok((positions, Some(*revision))),
        }
    }
    Ok((positions, None))
}

/// Returns an error unless the record is the one that the index named.
fn check_record(
    event: &RecordedEvent,
    stream: &StreamName,
    revision: Revision,
) -> Result<(), StoreError> {
    if event.stream == *stream && event.revision == revision {
        return Ok(());
    }
    Err(StoreError::Corrupt(
        Damage::new(
            "index".to_owned(),
            0,
            format!(
                "expected revision {revision} of {stream}, found revision {} of {}",
                event.revision, event.stream
            ),
        )
        .positions(event.position..=event.position),
    ))
}
