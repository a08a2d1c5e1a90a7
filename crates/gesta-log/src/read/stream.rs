//! Pages of one stream, without what its metadata hide.

use gesta_store::{
    Damage, Direction, Page, Position, ReadFrom, ReadStream, RecordedEvent, Revision, StoreError,
    StreamMetadata, StreamName,
};

use super::{PAGE_EVENTS_MAX, Reader};
use crate::index::StreamCursor;

/// Pages of one read; an iterator, for nothing here waits.
#[derive(Debug)]
pub(crate) struct StreamPages {
    reader: Reader,
    stream: StreamName,
    direction: Direction,
    /// The next revision to look at; none at the end.
    at: Option<Revision>,
    /// Where a forward read ends: the head when it began.
    last: Option<Revision>,
    left: u64,
    /// Whether it ends where the stream does, and so must not pass over damage there.
    to_end: bool,
    /// Why there is nothing to read, whichever way.
    refused: Option<StoreError>,
}

impl StreamPages {
    pub(crate) fn new(reader: Reader, read: ReadStream) -> Self {
        let ReadStream { stream, direction, from, limit } = read;
        let shown = reader.retry_if_files_replaced(|| reader.shown(&stream));
        let at = match (from, direction) {
            (ReadFrom::Start, Direction::Forwards) => Some(Revision::FIRST),
            (ReadFrom::Start, Direction::Backwards) => None,
            (ReadFrom::End, _) => Some(Revision::MAX),
            (ReadFrom::At(revision), _) => Some(revision),
        };
        let (last, mut refused) = match shown {
            Ok(shown) => (shown.map(|shown| shown.head()), None),
            Err(error) => (None, Some(error)),
        };
        if (from, direction) == (ReadFrom::End, Direction::Backwards) {
            refused = refused.or_else(|| reader.stream_end_at_damage(&stream).err());
        }
        let to_end = direction == Direction::Forwards;
        Self { reader, stream, direction, at, last, left: limit, to_end, refused }
    }

    /// The next page and where to go on.
    fn page(&self, at: Revision) -> Result<(Page, Option<Revision>), StoreError> {
        match self.direction {
            Direction::Forwards => {
                let Some(last) = self.last else { return Ok((Vec::new(), None)) };
                self.reader.stream_forwards(&self.stream, at, last, self.left)
            }
            Direction::Backwards => self.reader.stream_backwards(&self.stream, at, self.left),
        }
    }
}

impl Iterator for StreamPages {
    type Item = Result<Page, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(refused) = self.refused.take() {
            self.at = None;
            self.to_end = false;
            return Some(Err(refused));
        }
        while self.left > 0 {
            let Some(at) = self.at else {
                if std::mem::replace(&mut self.to_end, false) {
                    return self.reader.stream_end_at_damage(&self.stream).err().map(Err);
                }
                return None;
            };
            match self.page(at) {
                Ok((page, next)) => {
                    self.at = next;
                    if !page.is_empty() {
                        self.left = self.left.saturating_sub(page.len() as u64);
                        return Some(Ok(page));
                    }
                }
                Err(error) => {
                    self.at = None;
                    self.to_end = false;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

/// The revisions of a stream that may be shown, and its metadata.
pub(crate) struct Shown {
    first: Revision,
    head: Revision,
    metadata: StreamMetadata,
    walk: StreamCursor,
}

impl Shown {
    /// The stream's last revision, shown or not.
    pub(crate) fn head(&self) -> Revision {
        self.head
    }
}

impl Reader {
    /// What of a stream may be shown; nothing where it has no events.
    pub(crate) fn shown(&self, stream: &StreamName) -> Result<Option<Shown>, StoreError> {
        let index = self.published.index();
        let life = index.stream_meta(stream);
        if life.tombstoned {
            return Err(StoreError::Deleted { stream: stream.clone() });
        }
        let mut walk = index.stream(stream);
        let Some(head) = walk.head()? else { return Ok(None) };
        let metadata = life.metadata();
        Ok(Some(Shown { first: metadata.first_visible(head), head, metadata, walk }))
    }

    /// An error where damage may have taken events after the stream's last one.
    pub(crate) fn stream_end_at_damage(&self, stream: &StreamName) -> Result<(), StoreError> {
        if self.published.damage.is_empty() {
            return Ok(());
        }
        self.end_at_damage(self.last_position_of(stream)?)
    }

    /// An error where the stream may have more events than the index knows.
    pub(crate) fn stream_is_known(&self, stream: &StreamName) -> Result<(), StoreError> {
        if self.published.damage.is_empty() {
            return Ok(());
        }
        self.nothing_lost(self.last_position_of(stream)?)
    }

    fn last_position_of(&self, stream: &StreamName) -> Result<Position, StoreError> {
        let mut walk = self.published.index().stream(stream);
        let last = match walk.head()? {
            Some(head) => walk.position(head)?,
            None => None,
        };
        Ok(last.unwrap_or(Position::START))
    }

    /// Events from `at` to `last`: a page of them at most, and where to go on.
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
        let Some(mut shown) = self.shown(stream)? else { return Ok((Vec::new(), None)) };
        let first = at.max(shown.first).number();
        let last = last.min(shown.head).number();
        let count = limit.min(PAGE_EVENTS_MAX as u64);
        let revisions = (first..=last).take(usize::try_from(count).unwrap_or(usize::MAX));
        let (page, looked) = self.revisions(stream, &mut shown, revisions.map(Revision::new))?;
        let next = looked.map(Revision::next).filter(|next| next.number() <= last);
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
        let Some(mut shown) = self.shown(stream)? else { return Ok((Vec::new(), None)) };
        let (first, last) = (shown.first.number(), at.min(shown.head).number());
        let count = limit.min(PAGE_EVENTS_MAX as u64);
        let revisions = (first..=last).rev().take(usize::try_from(count).unwrap_or(usize::MAX));
        let (page, looked) = self.revisions(stream, &mut shown, revisions.map(Revision::new))?;
        let next = looked.and_then(Revision::previous).filter(|next| *next >= shown.first);
        Ok((page, next))
    }

    /// Reads revisions, without those that are too old or were scavenged; also says which was looked
    /// at last.
    fn revisions(
        &self,
        stream: &StreamName,
        shown: &mut Shown,
        revisions: impl Iterator<Item = Revision>,
    ) -> Result<(Page, Option<Revision>), StoreError> {
        let revisions: Vec<_> = revisions.collect();
        let (positions, missing) = positions(&mut shown.walk, &revisions)?;
        let places = self.places(&positions)?;
        let there = places
            .iter()
            .zip(&revisions)
            .filter_map(|(place, revision)| place.map(|place| (place, *revision)));
        let (places, kept): (Vec<_>, Vec<_>) = there.unzip();
        let events = self.fetch(&self.wanted_at(&places))?;
        let looked = match events.len() {
            all if all == kept.len() => positions.len().checked_sub(1),
            some => kept.get(some - 1).and_then(|last| revisions.iter().position(|at| at == last)),
        };
        let looked = looked.and_then(|last| revisions.get(last)).copied();
        if let (Some(missing), None) = (missing, looked) {
            return Err(self.lost(stream, missing));
        }
        let mut page = Vec::with_capacity(events.len());
        for (event, revision) in events.into_iter().zip(&kept) {
            check_place(&event, stream, *revision)?;
            if !shown.metadata.is_expired(event.recorded_at, self.clock.now()) {
                page.push(event);
            }
        }
        Ok((page, looked))
    }

    /// The error for a revision that the stream should have: the damage that took it.
    fn lost(&self, stream: &StreamName, revision: Revision) -> StoreError {
        let what = format!("revision {revision} of {stream} is missing");
        StoreError::Corrupt(match self.published.damage.first() {
            Some(damage) => Damage { what: format!("{}; {what}", damage.what), ..damage.clone() },
            None => Damage { file: "index".to_owned(), offset: 0, positions: None, what },
        })
    }
}

/// Where the revisions are, up to the first one that damage took.
fn positions(
    walk: &mut StreamCursor,
    revisions: &[Revision],
) -> Result<(Vec<Position>, Option<Revision>), StoreError> {
    let mut positions = Vec::with_capacity(revisions.len());
    for revision in revisions {
        match walk.position(*revision)? {
            Some(position) => positions.push(position),
            None => return Ok((positions, Some(*revision))),
        }
    }
    Ok((positions, None))
}

/// The index and the record must agree.
fn check_place(
    event: &RecordedEvent,
    stream: &StreamName,
    revision: Revision,
) -> Result<(), StoreError> {
    if event.stream == *stream && event.revision == revision {
        return Ok(());
    }
    Err(StoreError::Corrupt(Damage {
        file: "index".to_owned(),
        offset: 0,
        positions: Some(event.position..=event.position),
        what: format!(
            "revision {revision} of {stream} was wanted, revision {} of {} is there",
            event.revision, event.stream
        ),
    }))
}
