//! The memtable: postings of a contiguous range of positions within one segment.
//!
//! Invariants:
//! - Positions have no gaps, and neither have the revisions of a stream: damage ends a memtable,
//!   and scavenged events keep their positions.
//! - Entries at or after `visible_len` are staged: no lookup returns them.
//!
//! Locking and the order of memtables are in [`Index`](super::Index).

use std::{
    collections::{BTreeSet, hash_map::Entry as MapEntry},
    ops::Range,
};

use foldhash::{HashMap, fast::RandomState};
use gesta_store::{Category, Direction, EventId, EventType, Position, Revision, StreamName, Tag};

use super::{
    entry::{AppendSpan, IndexEntry, Location, OwnedTerm, PositionRange},
    id_postings::IdPostings,
    offset_list::{NO_RECORD, fill_gaps, nearest_record},
    posting_list::MemtablePostings,
    run::{Positions, RunContents, Term, TermKey, TermPostings},
};
use crate::{
    format::{GapAppend, GapEvent, Seed},
    options::IndexedIds,
};

/// The postings of one stream.
#[derive(Clone, Debug)]
struct StreamPostings {
    first_revision: Revision,
    postings: MemtablePostings,
    /// Index of the stream's category in `Memtable::categories`.
    category: Option<usize>,
}

/// The contiguous revisions of a stream within one part of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Revisions {
    pub(crate) first: Revision,
    pub(crate) count: u64,
}

impl Revisions {
    pub(crate) fn last(self) -> Revision {
        Revision::new(self.first.number() + self.count - 1)
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Memtable {
    segment: u64,
    seed: Seed,
    first: u64,
    /// The record's offset in the segment, by position; [`NO_RECORD`] if the event was scavenged.
    offsets: Vec<u32>,
    /// Number of published positions.
    visible_len: u32,
    streams: HashMap<StreamName, StreamPostings>,
    categories: Vec<(Category, MemtablePostings)>,
    category_places: HashMap<Category, usize>,
    types: HashMap<EventType, MemtablePostings>,
    tags: HashMap<Tag, MemtablePostings>,
    /// Relative first position and number of events, by the id of the first event. Of appends with
    /// the same first id, the first one.
    appends: HashMap<EventId, (u32, u32)>,
    /// The same for the others, which are in other streams. Almost always empty.
    later_appends: HashMap<(EventId, StreamName), (u32, u32)>,
    /// `None` unless the index has ids.
    ids: Option<Box<IdPostings>>,
    /// Names in byte order, without those in `unsorted_names`. Sorted on demand: listing streams is
    /// rare, and a `BTreeSet` insert on each commit would not be.
    sorted_names: BTreeSet<StreamName>,
    unsorted_names: Vec<StreamName>,
}

impl Memtable {
    /// Creates an empty memtable that has these ids, with the capacity that the previous one
    /// needed.
    pub(crate) fn new(
        (segment, seed): (u64, Seed),
        first: Position,
        ids: IndexedIds,
        before: Option<&Self>,
    ) -> Self {
        fn room<Key, Value>(before: Option<&HashMap<Key, Value>>) -> HashMap<Key, Value> {
            let entries = before.map_or(0, HashMap::len);
            HashMap::with_capacity_and_hasher(entries, RandomState::default())
        }
        Self {
            segment,
            seed,
            first: first.number(),
            offsets: Vec::with_capacity(before.map_or(0, |before| before.offsets.len())),
            visible_len: 0,
            streams: room(before.map(|before| &before.streams)),
            categories: Vec::new(),
            category_places: HashMap::default(),
            types: HashMap::default(),
            tags: room(before.map(|before| &before.tags)),
            appends: room(before.map(|before| &before.appends)),
            later_appends: HashMap::default(),
            ids: IdPostings::new(ids),
            sorted_names: BTreeSet::new(),
            unsorted_names: Vec::new(),
        }
    }

    pub(super) fn position_range(&self) -> PositionRange {
        let Self { segment, seed, first, .. } = *self;
        PositionRange { segment, seed, first, end: self.end() }
    }

    /// The first position after the published ones.
    pub(crate) fn end(&self) -> u64 {
        self.first + u64::from(self.visible_len)
    }

    /// Makes all inserted entries visible.
    pub(crate) fn publish(&mut self) {
        // A `u32` under the caller's write lock; readers compare with it and never see half an
        // append.
        let len = self.len();
        debug_assert!(self.visible_len <= len, "published entries stay");
        self.visible_len = len;
    }

    /// Returns whether `position` of `segment` directly follows the published entries.
    pub(crate) fn continues_at(&self, segment: u64, position: Position) -> bool {
        self.segment == segment && self.end() == position.number()
    }

    /// Inserts an append with its events.
    pub(crate) fn append<'a>(&mut self, entries: impl ExactSizeIterator<Item = IndexEntry<'a>>) {
        let events = entries.len();
        let mut entries = entries.peekable();
        let Some(first) = entries.peek() else { return };
        self.begin_append(first, events);
        self.extend(entries);
    }

    /// Registers an append by its first event. The caller then inserts its events.
    pub(crate) fn begin_append(&mut self, first: &IndexEntry<'_>, events: usize) {
        let events = u32::try_from(events).expect("an append is within its limit");
        let span = (self.relative(first.position.number()), events);
        self.insert_append(first.id, span, || Some(first.stream.clone()));
    }

    /// Registers an append; asks for the stream of its first event only if the id is known.
    fn insert_append(
        &mut self,
        first_event: EventId,
        span: (u32, u32),
        stream: impl FnOnce() -> Option<StreamName>,
    ) {
        match self.appends.entry(first_event) {
            MapEntry::Vacant(new) => {
                new.insert(span);
            }
            MapEntry::Occupied(_) => {
                if let Some(stream) = stream() {
                    self.later_appends.entry((first_event, stream)).or_insert(span);
                }
            }
        }
    }

    /// Inserts events. Consecutive events with equal terms are looked up in the hash maps only
    /// once.
    pub(crate) fn extend<'a>(&mut self, entries: impl Iterator<Item = IndexEntry<'a>>) {
        let mut same_terms: Option<(IndexEntry<'a>, u32)> = None;
        for entry in entries {
            // Offsets are pushed one by one, terms once per run of equal entries.
            let place = self.push_offset(&entry);
            if let Some(ids) = &mut self.ids {
                ids.add(&entry, place);
            }
            match same_terms {
                Some((first, _)) if first.has_same_terms_as(&entry) => {}
                _ => {
                    if let Some((first, from)) = same_terms.replace((entry, place)) {
                        self.extend_terms(&first, from..place);
                    }
                }
            }
        }
        // The last run of equal entries has no successor that would flush it.
        if let Some((first, from)) = same_terms {
            self.extend_terms(&first, from..self.len());
        }
    }

    /// Returns the event's relative position.
    fn push_offset(&mut self, entry: &IndexEntry<'_>) -> u32 {
        let place = self.relative(entry.position.number());
        debug_assert_eq!(
            place as usize,
            self.offsets.len(),
            "positions of a memtable are contiguous"
        );
        // A `u32`, since there is one for each event.
        let offset = u32::try_from(entry.offset).expect("a segment is smaller than 4 GiB");
        self.offsets.push(offset);
        place
    }

    /// Extends the posting lists of the terms of `first` by a contiguous range of events with the
    /// same terms.
    fn extend_terms(&mut self, first: &IndexEntry<'_>, places: Range<u32>) {
        let category = self.extend_stream(first.stream, first.revision, places.clone());
        if let Some((_, postings)) = category.and_then(|place| self.categories.get_mut(place)) {
            postings.extend(places.clone());
        }
        extend_of(&mut self.types, first.event_type, places.clone());
        for tag in first.tags {
            extend_of(&mut self.tags, tag, places.clone());
        }
    }

    /// Registers an append that lost events to scavenging. `stream` finds the stream of its first
    /// event.
    pub(crate) fn insert_gap_append(
        &mut self,
        append: &GapAppend,
        stream: impl FnOnce() -> Option<StreamName>,
    ) {
        let span = (self.relative(append.position.number()), append.events);
        self.insert_append(append.first_event, span, stream);
    }

    /// Inserts a scavenged event. Its stream still counts it, and so do the ordinals of its
    /// category, type and correlation, and of its stream; its tags are no longer known.
    pub(crate) fn push_scavenged(&mut self, scavenged: &GapEvent) {
        let place = self.relative(scavenged.position.number());
        debug_assert_eq!(
            place as usize,
            self.offsets.len(),
            "positions of a memtable are contiguous"
        );
        self.offsets.push(NO_RECORD);
        let places = place..place + 1;
        let category = self.extend_stream(&scavenged.stream, scavenged.revision, places.clone());
        if let Some((_, postings)) = category.and_then(|place| self.categories.get_mut(place)) {
            postings.extend(places.clone());
        }
        if let Some(event_type) = &scavenged.event_type {
            extend_of(&mut self.types, event_type, places);
        }
        if let Some(ids) = &mut self.ids {
            ids.add_correlation(scavenged.correlation_id.as_ref(), place);
            ids.add_stream(&scavenged.stream, scavenged.revision, place);
        }
    }

    /// Returns the index of the stream's category in `categories`.
    fn extend_stream(
        &mut self,
        stream: &StreamName,
        revision: Revision,
        places: Range<u32>,
    ) -> Option<usize> {
        // Not the entry API: cloning the name would allocate for each known stream.
        if let Some(here) = self.streams.get_mut(stream) {
            here.postings.extend(places);
            return here.category;
        }
        let category = self.category_place(stream, places.start);
        let here = StreamPostings {
            first_revision: revision,
            postings: MemtablePostings::of(places),
            category,
        };
        self.streams.insert(stream.clone(), here);
        self.unsorted_names.push(stream.clone());
        category
    }

    fn category_place(&mut self, stream: &StreamName, place: u32) -> Option<usize> {
        let category = stream.category()?;
        let next = self.categories.len();
        Some(match self.category_places.entry(category) {
            MapEntry::Occupied(known) => *known.get(),
            MapEntry::Vacant(new) => {
                // A list is never empty. The caller extends it by the same range, which skips this
                // one.
                self.categories.push((new.key().clone(), MemtablePostings::One(place)));
                *new.insert(next)
            }
        })
    }

    fn visible_offsets(&self) -> &[u32] {
        self.offsets.get(..self.visible_len as usize).unwrap_or(&self.offsets)
    }

    /// Number of positions, visible or staged.
    fn len(&self) -> u32 {
        u32::try_from(self.offsets.len()).expect("a segment has fewer than 2^32 events")
    }

    fn relative(&self, position: u64) -> u32 {
        u32::try_from(position - self.first).expect("a segment has fewer than 2^32 events")
    }

    pub(crate) fn locate(&self, position: u64) -> Option<Location> {
        let place = usize::try_from(position.checked_sub(self.first)?).ok()?;
        let visible = self.visible_offsets();
        let record = |place: usize| {
            visible.get(place).filter(|offset| **offset != NO_RECORD).copied().map(u64::from)
        };
        Some(Location {
            position: Position::new(position),
            segment: self.segment,
            seed: self.seed,
            offset: record(place)?,
            // Says only how much to read at once. Unknown if the neighbour is scavenged or not
            // published.
            next: record(place + 1),
        })
    }

    /// Returns the nearest position at or after `at` in `direction` that has a record.
    pub(crate) fn nearest(&self, at: u64, direction: Direction) -> Option<u64> {
        nearest_record(self.visible_offsets(), self.first, at, direction)
    }

    pub(crate) fn revisions(&self, stream: &StreamName) -> Option<Revisions> {
        let here = self.streams.get(stream)?;
        let count = here.postings.before(self.visible_len) as u64;
        (count > 0).then_some(Revisions { first: here.first_revision, count })
    }

    /// Returns the position of a term's n-th event in this memtable.
    pub(crate) fn nth(&self, term: &OwnedTerm, n: u64) -> Option<u64> {
        let postings = self.postings(term)?.as_slice();
        let place = *postings.get(usize::try_from(n).ok()?)?;
        // A staged event is not there yet for readers.
        (place < self.visible_len).then(|| self.first + u64::from(place))
    }

    /// Returns the first append here whose first event has this id.
    pub(crate) fn find_append(&self, first_event: EventId) -> Option<AppendSpan> {
        self.visible_span(*self.appends.get(&first_event)?)
    }

    /// Returns the append whose first event has this id and is in this stream, unless
    /// [`find_append`](Self::find_append) returns it.
    pub(crate) fn find_append_in(
        &self,
        first_event: EventId,
        stream: &StreamName,
    ) -> Option<AppendSpan> {
        // Without the copy of the name, which a look-up needs.
        if self.later_appends.is_empty() {
            return None;
        }
        self.visible_span(*self.later_appends.get(&(first_event, stream.clone()))?)
    }

    fn visible_span(&self, (place, events): (u32, u32)) -> Option<AppendSpan> {
        let first = Position::new(self.first + u64::from(place));
        (place < self.visible_len).then_some(AppendSpan { first, events: Some(events) })
    }

    /// Returns the nearest position of a term at or after `at` in `direction`.
    pub(crate) fn seek(&self, term: &OwnedTerm, at: u64, direction: Direction) -> Option<u64> {
        let postings = self.postings(term)?;
        // Staged postings follow the visible ones. A backward search starts at the last visible
        // position, and a forward one checks what it found.
        let at = match direction {
            Direction::Forwards => at.saturating_sub(self.first),
            Direction::Backwards => {
                at.checked_sub(self.first)?.min(u64::from(self.visible_len.checked_sub(1)?))
            }
        };
        let found = postings.seek(u32::try_from(at).unwrap_or(u32::MAX), direction)?;
        (found < self.visible_len).then(|| self.first + u64::from(found))
    }

    fn postings(&self, term: &OwnedTerm) -> Option<&MemtablePostings> {
        match term {
            OwnedTerm::Stream(name) => Some(&self.streams.get(name)?.postings),
            OwnedTerm::Category(category) => {
                Some(&self.categories.get(*self.category_places.get(category)?)?.1)
            }
            OwnedTerm::EventType(event_type) => self.types.get(event_type),
            OwnedTerm::Tag(tag) => self.tags.get(tag),
            OwnedTerm::EventId(_)
            | OwnedTerm::Correlation(_)
            | OwnedTerm::Causation(_)
            | OwnedTerm::Streams
            | OwnedTerm::StreamsOf(_) => self.ids.as_ref()?.of(term),
        }
    }

    /// Returns the number of a term's postings here.
    pub(crate) fn count(&self, term: &OwnedTerm) -> u64 {
        self.postings(term).map_or(0, |postings| postings.before(self.visible_len) as u64)
    }

    /// Returns the number of a term's postings before a position.
    pub(crate) fn count_before(&self, term: &OwnedTerm, position: u64) -> u64 {
        let place = position.saturating_sub(self.first).min(u64::from(self.visible_len));
        let place = u32::try_from(place).unwrap_or(self.visible_len);
        self.postings(term).map_or(0, |postings| postings.before(place) as u64)
    }

    /// Returns up to `limit` names of streams that start with `prefix` and are greater than
    /// `after`, in byte order.
    pub(crate) fn names(
        &mut self,
        prefix: &str,
        after: Option<&StreamName>,
        limit: usize,
    ) -> Vec<StreamName> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        // Listing pays for the sorting, not the commits.
        self.sorted_names.extend(self.unsorted_names.drain(..));
        let from = match after {
            Some(after) if after.as_str() >= prefix => Excluded(after.as_str()),
            Some(_) | None => Included(prefix),
        };
        let names = self.sorted_names.range::<str, _>((from, Unbounded));
        // Nothing is staged: skip the check of each name.
        let all = self.visible_len == self.len();
        let visible = |name: &&StreamName| all || self.revisions(name).is_some();
        let names = names.take_while(|name| name.as_str().starts_with(prefix)).filter(visible);
        names.take(limit).cloned().collect()
    }

    /// The names of all streams with events here.
    pub(super) fn streams(&self) -> impl Iterator<Item = &StreamName> {
        self.streams.keys()
    }

    /// Adds all postings to the contents of a run.
    pub(super) fn add_to(&self, contents: &mut RunContents, key: &TermKey) {
        debug_assert_eq!(self.visible_len, self.len(), "a sealed segment has no staged entries");
        let from = contents.offsets.len();
        contents.offsets.extend_from_slice(&self.offsets);
        // A run stores offsets with filled gaps; the memtable keeps them open for later lookups.
        fill_gaps(contents.offsets.get_mut(from..).unwrap_or_default());
        let ids = self.ids.as_ref().map_or(0, |ids| ids.len());
        let appends = self.appends.len() + self.later_appends.len();
        let terms = self.streams.len() + self.tags.len() + appends + ids;
        // One allocation instead of a doubling series: this is the largest list of a flush.
        contents.terms.reserve(terms + self.types.len() + self.categories.len());
        let mut add = |term: &Term<'_>, first_ordinal, postings| {
            contents.terms.push(TermPostings { hash: key.hash(term), first_ordinal, postings });
        };
        let absolute = |postings: &MemtablePostings| match postings {
            MemtablePostings::One(place) => Positions::One(self.first + u64::from(*place)),
            MemtablePostings::Many(places) => {
                let positions = places.iter().map(|place| self.first + u64::from(*place));
                Positions::Many(positions.collect())
            }
        };
        for (name, here) in &self.streams {
            let first = here.first_revision.number();
            add(&Term::Stream(name), first, absolute(&here.postings));
        }
        for (category, postings) in &self.categories {
            add(&Term::Category(category), 0, absolute(postings));
        }
        for (event_type, postings) in &self.types {
            add(&Term::EventType(event_type), 0, absolute(postings));
        }
        for (tag, postings) in &self.tags {
            add(&Term::Tag(tag), 0, absolute(postings));
        }
        for (id, postings) in self.ids.iter().flat_map(|ids| ids.terms()) {
            add(&id, 0, absolute(postings));
        }
        // An append is a term with one posting, and its number of events in place of an ordinal.
        let later = self.later_appends.iter();
        let later = later.map(|((id, stream), span)| (Term::AppendIn(*id, stream), span));
        let appends = self.appends.iter().map(|(id, span)| (Term::Append(*id), span));
        for (term, (place, events)) in appends.chain(later) {
            let first = Positions::One(self.first + u64::from(*place));
            add(&term, u64::from(*events), first);
        }
        // A run lists only the streams that begin in it, so each name is in one run.
        let new = self.streams.iter().filter(|(_, here)| here.first_revision == Revision::FIRST);
        contents.names.extend(new.map(|(name, _)| name.clone()));
        contents.categories.extend(self.categories().cloned());
    }

    pub(crate) fn categories(&self) -> impl Iterator<Item = &Category> {
        let visible =
            self.categories.iter().filter(|(_, places)| places.before(self.visible_len) > 0);
        visible.map(|(category, _)| category)
    }
}

fn extend_of<Key: Clone + Eq + std::hash::Hash>(
    postings: &mut HashMap<Key, MemtablePostings>,
    key: &Key,
    places: Range<u32>,
) {
    match postings.get_mut(key) {
        Some(postings) => postings.extend(places),
        None => drop(postings.insert(key.clone(), MemtablePostings::of(places))),
    }
}

#[cfg(test)]
mod tests {
    use std::iter::once;

    use gesta_store::{CausationId, CorrelationId, RecordedAt};

    use super::*;

    fn empty(ids: IndexedIds) -> Memtable {
        Memtable::new((1, Seed::new([0; 16], 1)), Position::new(10), ids, None)
    }

    #[test]
    fn a_term_is_found_both_ways_and_a_repeated_tag_once() {
        let mut memtable = empty(IndexedIds::NONE);
        let stream = StreamName::new("order-1").unwrap();
        let event_type = EventType::new("placed").unwrap();
        let tag = Tag::of("customer", "1").unwrap();
        for number in 10..14 {
            let tags = if number % 2 == 0 { vec![tag.clone(), tag.clone()] } else { vec![] };
            let entry = IndexEntry {
                id: EventId::derived_from("test", 0),
                stream: &stream,
                revision: Revision::new(number - 7),
                position: Position::new(number),
                recorded_at: RecordedAt::from_micros(1),
                offset: number * 100,
                event_type: &event_type,
                tags: &tags,
                correlation_id: None,
                causation_id: None,
                metadata: None,
            };
            assert!(memtable.continues_at(1, entry.position));
            memtable.extend(once(entry));
            memtable.publish();
        }
        let term = OwnedTerm::Tag(tag);
        let seek = |at, direction| memtable.seek(&term, at, direction);
        assert_eq!(seek(0, Direction::Forwards), Some(10));
        assert_eq!(seek(11, Direction::Forwards), Some(12));
        assert_eq!(seek(13, Direction::Forwards), None);
        assert_eq!(seek(11, Direction::Backwards), Some(10));
        assert_eq!(seek(9, Direction::Backwards), None);
        let revisions = memtable.revisions(&stream).unwrap();
        assert_eq!((revisions.first.number(), revisions.last().number()), (3, 6));
        assert_eq!(memtable.nth(&OwnedTerm::Stream(stream), 3), Some(13));
        let location = memtable.locate(11).unwrap();
        assert_eq!((location.offset, location.next), (1_100, Some(1_200)));
    }

    /// Three events: two of one stream and tag, and one of others with a cause.
    struct Three {
        placed: EventType,
        names: [StreamName; 3],
        tags: [[Tag; 1]; 3],
        ids: [EventId; 3],
        correlation: CorrelationId,
        causation: CausationId,
    }

    impl Three {
        fn new() -> Self {
            Self {
                placed: EventType::new("placed").unwrap(),
                names: ["order-1", "order-1", "invoice-1"].map(|it| StreamName::new(it).unwrap()),
                tags: ["a", "a", "b"].map(|id| [Tag::of("customer", id).unwrap()]),
                ids: [0, 1, 2].map(|n| EventId::derived_from("test", n)),
                correlation: CorrelationId::new("request").unwrap(),
                causation: CausationId::new("request").unwrap(),
            }
        }

        fn entry(&self, n: usize, revision: u64) -> IndexEntry<'_> {
            IndexEntry {
                id: self.ids[n],
                stream: &self.names[n],
                revision: Revision::new(revision),
                position: Position::new(10 + n as u64),
                recorded_at: RecordedAt::from_micros(1),
                offset: 100 + n as u64,
                event_type: &self.placed,
                tags: &self.tags[n],
                correlation_id: Some(&self.correlation),
                causation_id: (n == 2).then_some(&self.causation),
                metadata: None,
            }
        }

        /// A memtable of which only the first event is visible.
        fn memtable(&self) -> Memtable {
            let mut memtable = empty(IndexedIds::ALL);
            for (n, revision) in (0..).zip([0, 1, 0]) {
                memtable.append(once(self.entry(n, revision)));
                if n == 0 {
                    memtable.publish();
                }
            }
            memtable
        }
    }

    #[test]
    fn what_is_not_shown_yet_is_found_by_nobody_and_all_of_it_once_it_is() {
        let (three, mut memtable) = (Three::new(), Three::new().memtable());
        let Three { placed, names, tags, ids, correlation, causation } = three;
        let [order, _, invoice] = &names;
        let found = |memtable: &mut Memtable| {
            let from = |term: OwnedTerm, at| memtable.seek(&term, at, Direction::Forwards);
            let last = |term: OwnedTerm| memtable.seek(&term, u64::MAX, Direction::Backwards);
            let terms = [
                from(OwnedTerm::Stream(order.clone()), 11),
                last(OwnedTerm::Stream(order.clone())),
                from(OwnedTerm::Stream(invoice.clone()), 0),
                last(OwnedTerm::Tag(tags[2][0].clone())),
                from(OwnedTerm::Category(invoice.category().unwrap()), 0),
                last(OwnedTerm::EventType(placed.clone())),
                last(OwnedTerm::Correlation(correlation.clone())),
                from(OwnedTerm::Causation(causation.clone()), 0),
                from(OwnedTerm::EventId(ids[1]), 0),
            ];
            let counts = [
                OwnedTerm::EventType(placed.clone()),
                OwnedTerm::Correlation(correlation.clone()),
                OwnedTerm::Causation(causation.clone()),
            ]
            .map(|term| memtable.count(&term));
            let count = |name| memtable.revisions(name).map(|revisions| revisions.count);
            let second = memtable.nth(&OwnedTerm::Stream(order.clone()), 1);
            let streams = [count(order), count(invoice), second];
            let places = [
                memtable.locate(11).map(|location| location.offset),
                memtable.locate(10).and_then(|location| location.next),
                memtable.nearest(11, Direction::Forwards),
                memtable.nearest(12, Direction::Backwards),
            ];
            let appends = ids.map(|id| memtable.find_append(id).map(|span| span.first.number()));
            let names = memtable.names("", None, 9).len();
            (
                terms,
                counts,
                streams,
                places,
                appends,
                names,
                memtable.categories().count(),
                memtable.end(),
            )
        };
        let before = (
            [None, Some(10), None, None, None, Some(10), Some(10), None, None],
            [1, 1, 0],
            [Some(1), None, None],
            [None, None, None, Some(10)],
            [Some(10), None, None],
            1,
            1,
            11,
        );
        assert_eq!(found(&mut memtable), before);
        memtable.publish();
        let after = (
            [11, 11, 12, 12, 12, 12, 12, 12, 11].map(Some),
            [3, 3, 1],
            [Some(2), Some(1), Some(11)],
            [Some(101), Some(101), Some(11), Some(12)],
            [Some(10), Some(11), Some(12)],
            2,
            2,
            13,
        );
        assert_eq!(found(&mut memtable), after);
    }
}
