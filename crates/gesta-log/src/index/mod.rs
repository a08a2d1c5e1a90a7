//! The inverted index: from a term to the ascending positions where it occurs, and from a position
//! to the record's offset on disk.
//!
//! A log-structured merge index. Its parts cover disjoint, ascending ranges of positions: sorted
//! runs on disk, then memtables of the segments that no run covers yet.
//!
//! Invariants:
//! - The visible part of the index contains exactly the published events.
//! - The index is derived: the log alone can rebuild it.
//! - A clone of [`Index`] stays usable while parts are added or replaced.
//!
//! Events' bytes are in the log; whether a reader sees an event (truncation, expiry) is decided in
//! [`read`](crate::read).

mod bloom_probe;
mod entry;
mod id_postings;
mod locator;
mod memtable;
mod offset_list;
mod offset_overrides;
mod on_disk_part;
mod ordinals;
mod part;
mod posting_list;
mod precheck;
mod query_plan;
mod run;
mod run_contents;
mod stream_cursor;
mod stream_meta;

use std::{
    collections::BTreeSet,
    iter,
    ops::RangeInclusive,
    sync::{Arc, PoisonError, RwLock},
};

use gesta_store::{
    Append, Category, Direction, EventId, EventQuery, EventType, Filter, Position, RecordedAt,
    Revision, StoreError, StreamName,
};

pub(crate) use entry::{AppendSpan, IndexEntry, Location, OwnedTerm, PositionRange, TimedRange};
pub(crate) use locator::Locator;
use memtable::Memtable;
pub(crate) use memtable::Revisions;
pub(crate) use offset_overrides::OffsetOverrides;
use on_disk_part::{LazyHash, OnDiskPart};
pub(crate) use on_disk_part::{RunContext, store_error};
pub(crate) use ordinals::Ordinals;
use part::IndexPart;
pub(crate) use precheck::Precheck;
pub(crate) use query_plan::QueryPlan;
pub(crate) use run::{
    BlockCache, CoveredSegment, IndexManifest, LookupHint, ManifestEntry, MergeInput, Run,
    RunContents, RunError, RunIdentity, RunName, Term, TermKey, merge_runs, plan_merge,
    rewrite_run, write_run,
};
pub(crate) use stream_cursor::StreamCursor;
use stream_meta::StreamMetaTable;
pub(crate) use stream_meta::{StreamMeta, stream_meta_change};

use crate::{
    format::{Frame, Gap, Seed},
    mutations::mutated,
    options::IndexedIds,
};

/// Maximum number of streams whose postings are merged for a prefix filter. Wider filters scan all
/// positions and test each event.
const STREAMS_MERGED_MAX: usize = 64;
/// Number of postings of scavenged events that are passed one by one before the next record is
/// looked up, which costs more than one step.
const STEPS_BEFORE_JUMP: usize = 4;
/// Maximum number of postings of scavenged events that one look-up passes.
const SCAVENGED_PASSED_MAX: usize = 4_096;

/// The last memtable, for inserting postings of events that are not durable yet.
#[derive(Clone, Debug)]
pub(crate) struct StagedMemtable(Arc<RwLock<Memtable>>);

impl StagedMemtable {
    /// Inserts appends in order. They stay invisible until [`Index::publish_staged`].
    pub(crate) fn insert<'a, Events>(&self, appends: impl Iterator<Item = Events>)
    where
        Events: ExactSizeIterator<Item = IndexEntry<'a>>,
    {
        let mut memtable = part::write(&self.0);
        appends.for_each(|entries| memtable.append(entries));
        if mutated!(PublishBeforeWrite) {
            // Still under the lock, so readers see the append whole or not at all.
            memtable.publish();
        }
    }
}

/// The parts that a run replaced.
#[derive(Debug)]
pub(crate) struct ReplacedParts(
    #[expect(dead_code, reason = "it is held only to be dropped later")] Vec<IndexPart>,
);

/// The result of a search for the next record.
#[derive(Debug)]
pub(crate) enum NextRecord {
    Found(Location),
    /// Many scavenged events were passed; the search continues at this position.
    ContinuesAt(Position),
    End,
}

/// A cheap handle to the index.
///
/// Not a snapshot: entries that are published later to its last memtable are visible through it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    /// In the order of positions.
    parts: Arc<Vec<IndexPart>>,
    stream_metas: Arc<RwLock<StreamMetaTable>>,
    /// The ids that all parts have.
    ids: IndexedIds,
    head: Position,
    last_recorded_at: Option<RecordedAt>,
}

impl Index {
    /// Creates an empty index that has these ids.
    pub(crate) fn with_ids(ids: IndexedIds) -> Self {
        Self { ids, ..Self::default() }
    }

    /// The ids by which events are found.
    pub(crate) fn ids(&self) -> IndexedIds {
        self.ids
    }

    /// Inserts and publishes the events of one append. All are in `segment`, in order.
    pub(crate) fn insert<'a>(
        &mut self,
        segment: u64,
        seed: Seed,
        entries: impl ExactSizeIterator<Item = IndexEntry<'a>>,
    ) {
        let mut entries = entries.peekable();
        let Some(first) = entries.peek() else { return };
        let memtable = self.memtable(segment, seed, first.position);
        let mut memtable = part::write(&memtable);
        // One pass: entries are an iterator over encoded events and are not kept.
        memtable.append(entries.inspect(|entry| self.note(entry)));
        memtable.publish();
    }

    /// Returns the memtable that continues at `first`, for staging events of `segment` before they
    /// are durable. `None` if a new memtable has to be made.
    pub(crate) fn staged_memtable(&self, segment: u64, first: Position) -> Option<StagedMemtable> {
        match self.parts.last() {
            Some(IndexPart::Memtable(_, last)) if part::read(last).continues_at(segment, first) => {
                Some(StagedMemtable(Arc::clone(last)))
            }
            Some(IndexPart::Memtable(..) | IndexPart::File(_)) | None => None,
        }
    }

    /// Publishes the staged `entries`.
    pub(crate) fn publish_staged<'a>(
        &mut self,
        ahead: &StagedMemtable,
        entries: impl Iterator<Item = IndexEntry<'a>>,
    ) {
        // Metadata first: a reader that sees an event also sees what it changes.
        entries.for_each(|entry| self.note(&entry));
        part::write(&ahead.0).publish();
    }

    /// Updates the head and the metadata of streams with a published event.
    fn note(&mut self, entry: &IndexEntry<'_>) {
        note_stream_meta(&self.stream_metas, entry);
        self.head = entry.position;
        self.last_recorded_at = Some(entry.recorded_at);
    }

    /// Inserts a frame's events, or the gap that it stands for.
    pub(crate) fn insert_frame(&mut self, segment: u64, seed: Seed, frame: &Frame) {
        if let Some(gap) = &frame.gap {
            return self.insert_gap(segment, seed, gap, frame);
        }
        for events in frame.appends() {
            self.insert(segment, seed, events.iter().map(IndexEntry::from));
        }
    }

    fn insert_gap(&mut self, segment: u64, seed: Seed, gap: &Gap, frame: &Frame) {
        let memtable = self.memtable(segment, seed, gap.first);
        let mut memtable = part::write(&memtable);
        // Appends that lost events are known from the gap's list alone. The others begin with a
        // record.
        for append in &gap.appends {
            memtable.insert_gap_append(append, || stream_at(append.position, gap, frame));
        }
        for events in frame.appends() {
            if let Some(first) = events.first() {
                memtable.begin_append(&IndexEntry::from(first), events.len());
            }
        }
        // Merge the remaining records and the scavenged events by position: a memtable has no gaps.
        let mut scavenged = gap.scavenged.iter().peekable();
        for entry in frame.events.iter().map(IndexEntry::from) {
            while let Some(scavenged) =
                scavenged.next_if(|scavenged| scavenged.position < entry.position)
            {
                memtable.push_scavenged(scavenged);
            }
            note_stream_meta(&self.stream_metas, &entry);
            memtable.extend(iter::once(entry));
        }
        scavenged.for_each(|scavenged| memtable.push_scavenged(scavenged));
        memtable.publish();
        // The gap may end with scavenged events, so the last record is not the head.
        self.head = Position::new(memtable.end() - 1);
        self.last_recorded_at = Some(gap.last_recorded_at);
    }

    /// Appends a run, and applies its changes of stream metadata. Called in the order of positions
    /// when a store is opened.
    pub(crate) fn add_run(
        &mut self,
        context: &Arc<RunContext>,
        run: Arc<Run>,
    ) -> Result<(), RunError> {
        // Read before the lock is taken: this is disk I/O.
        let changes = context.stream_meta(&run)?;
        let mut stream_metas = self.stream_metas.write().unwrap_or_else(PoisonError::into_inner);
        let end = Position::new(run.end() - 1);
        changes.into_iter().for_each(|(stream, change)| stream_metas.change(stream, change, end));
        drop(stream_metas);
        debug_assert!(
            self.parts.last().is_none_or(|last| last.end() <= run.first()),
            "parts cover ascending positions"
        );
        self.head = end;
        // Trailing segments may have no events and therefore no recorded time.
        let recorded = run.covered().iter().rev().find_map(|covered| covered.last_recorded_at);
        self.last_recorded_at = recorded.map(RecordedAt::from_micros).or(self.last_recorded_at);
        let part = IndexPart::File(Arc::new(OnDiskPart::new(Arc::clone(context), run)));
        Arc::make_mut(&mut self.parts).push(part);
        Ok(())
    }

    /// Overrides the record offsets of a segment that was rewritten after its run was made. Returns
    /// false if no run covers the segment.
    pub(crate) fn override_offsets(&mut self, overridden: &Arc<OffsetOverrides>) -> bool {
        let parts = Arc::make_mut(&mut self.parts);
        for part in parts {
            if let IndexPart::File(file) = part
                && file.covered().any(|covered| covered.number == overridden.covered.number)
            {
                *part = IndexPart::File(Arc::new(file.with_overrides(Arc::clone(overridden))));
                return true;
            }
        }
        false
    }

    /// Replaces the parts that a run covers by the run, and returns them. Dropping a memtable is
    /// slow, so the caller drops it where nothing waits.
    pub(crate) fn put_run(&mut self, context: &Arc<RunContext>, run: Arc<Run>) -> ReplacedParts {
        let name = run.name();
        let parts = Arc::make_mut(&mut self.parts);
        // By segment numbers: a segment without events has no positions.
        let from = parts.partition_point(|part| part.segment() < name.first);
        let to = parts.partition_point(|part| part.segment() <= name.last);
        let part = IndexPart::File(Arc::new(OnDiskPart::new(Arc::clone(context), run)));
        ReplacedParts(parts.splice(from..to, [part]).collect())
    }

    /// Returns the contiguous ranges of positions, ascending.
    pub(crate) fn position_ranges(&self) -> Vec<PositionRange> {
        let mut stretches = Vec::new();
        for part in self.parts.iter() {
            match part {
                IndexPart::Memtable(_, memtable) => {
                    stretches.push(part::read(memtable).position_range())
                }
                IndexPart::File(file) => stretches.extend(file.covered().map(|covered| {
                    let CoveredSegment { number, salt, first, end, .. } = covered;
                    PositionRange { segment: number, seed: Seed::new(salt, number), first, end }
                })),
            }
        }
        stretches
    }

    /// Returns the contiguous ranges of positions with their times, ascending.
    pub(crate) fn timed_ranges(&self) -> Vec<TimedRange> {
        let mut ranges = Vec::new();
        for part in self.parts.iter() {
            match part {
                IndexPart::Memtable(..) => {
                    let (first, end) = (part.first(), part.end());
                    ranges.push(TimedRange { first, end, last_recorded_at: None });
                }
                IndexPart::File(file) => ranges.extend(file.covered().map(|covered| TimedRange {
                    first: covered.first,
                    end: covered.end,
                    last_recorded_at: covered.last_recorded_at.map(RecordedAt::from_micros),
                })),
            }
        }
        ranges
    }

    /// The runs, in the order of positions.
    pub(crate) fn runs(&self) -> Vec<Arc<Run>> {
        let run = |part: &IndexPart| match part {
            IndexPart::File(file) => Some(Arc::clone(file.run())),
            IndexPart::Memtable(..) => None,
        };
        self.parts.iter().filter_map(run).collect()
    }

    /// The segments that runs cover, in their latest rewritten form, in order.
    pub(crate) fn segments_in_runs(&self) -> Vec<CoveredSegment> {
        let covered = |part: &IndexPart| match part {
            IndexPart::File(file) => file.covered().collect(),
            IndexPart::Memtable(..) => Vec::new(),
        };
        self.parts.iter().flat_map(covered).collect()
    }

    /// The offset overrides that apply to a run.
    pub(crate) fn offset_overrides(&self, run: RunName) -> Vec<Arc<OffsetOverrides>> {
        let of_run = |part: &IndexPart| match part {
            IndexPart::File(file) if file.run().name() == run => Some(file.overrides().to_vec()),
            IndexPart::File(_) | IndexPart::Memtable(..) => None,
        };
        self.parts.iter().find_map(of_run).unwrap_or_default()
    }

    /// Collects the run contents of a sealed segment from its memtables.
    pub(crate) fn contents(&self, covered: CoveredSegment, context: &RunContext) -> RunContents {
        // Damage may have split the segment into several memtables.
        let here = self.parts.iter().filter_map(|part| match part {
            IndexPart::Memtable(first, memtable)
                if (covered.first..covered.end).contains(first) =>
            {
                Some(part::read(memtable))
            }
            IndexPart::Memtable(..) | IndexPart::File(_) => None,
        });
        let mut stream_metas = self.stream_metas.write().unwrap_or_else(PoisonError::into_inner);
        run_contents::collect((covered, self.ids), here, &mut stream_metas, context.key())
    }

    /// Returns the memtable that continues at `next`, or a new one.
    fn memtable(&mut self, segment: u64, seed: Seed, next: Position) -> Arc<RwLock<Memtable>> {
        let last = match self.parts.last() {
            Some(IndexPart::Memtable(_, last)) => Some(last),
            Some(IndexPart::File(_)) | None => None,
        };
        // The memtable ends where its segment ends, and where damage leaves a hole.
        if let Some(last) = last
            && part::read(last).continues_at(segment, next)
        {
            return Arc::clone(last);
        }
        debug_assert!(
            self.parts.last().is_none_or(|last| last.end() <= next.number()),
            "parts cover ascending positions"
        );
        let before = last.map(|last| part::read(last));
        let memtable = Memtable::new((segment, seed), next, self.ids, before.as_deref());
        drop(before);
        let memtable = Arc::new(RwLock::new(memtable));
        Arc::make_mut(&mut self.parts)
            .push(IndexPart::Memtable(next.number(), Arc::clone(&memtable)));
        memtable
    }

    /// The last published position.
    pub(crate) fn head(&self) -> Position {
        self.head
    }

    /// The recorded time of the last event. Not necessarily the latest one: an operator may have
    /// reset the recorded time.
    pub(crate) fn last_recorded_at(&self) -> Option<RecordedAt> {
        self.last_recorded_at
    }

    /// Returns the location of a record, or `None` if it does not exist or was scavenged.
    pub(crate) fn locate(&self, position: Position) -> Result<Option<Location>, StoreError> {
        self.locator().locate(position)
    }

    /// Returns a locator for looking up many records.
    pub(crate) fn locator(&self) -> Locator {
        Locator::new(Arc::clone(&self.parts))
    }

    /// Returns whether the index has all of these positions. The log may have lost their records.
    pub(crate) fn covers(&self, positions: &RangeInclusive<Position>) -> bool {
        // Parts ascend, so one pass follows them, or ends in front of a hole.
        let mut next = positions.start().number();
        for part in self.parts.iter() {
            if (part.first()..part.end()).contains(&next) {
                next = part.end();
            }
        }
        next > positions.end().number()
    }

    /// Returns the nearest position at or after `at` in `direction` that has a record. Scavenged
    /// positions are skipped.
    pub(crate) fn nearest(
        &self,
        at: Position,
        direction: Direction,
    ) -> Result<Option<Position>, StoreError> {
        let at = at.number();
        let mut place = match (self.part_before(at), direction) {
            (Some(place), _) => place,
            (None, Direction::Forwards) => 0,
            (None, Direction::Backwards) => return Ok(None),
        };
        while let Some(part) = self.parts.get(place) {
            if let Some(found) = part.nearest(at, direction)? {
                return Ok(Some(Position::new(found)));
            }
            place = match (direction, place.checked_sub(1)) {
                (Direction::Forwards, _) => place + 1,
                (Direction::Backwards, Some(before)) => before,
                (Direction::Backwards, None) => return Ok(None),
            };
        }
        Ok(None)
    }

    /// Returns the location of the nearest record at or after `at` in `direction` that the plan
    /// finds. Scavenged records are skipped.
    pub(crate) fn seek(
        &self,
        (plan, locator): (&mut QueryPlan, &mut Locator),
        at: Position,
        direction: Direction,
    ) -> Result<Option<Location>, StoreError> {
        let mut at = at;
        loop {
            match self.seek_some((&mut *plan, &mut *locator), at, direction)? {
                NextRecord::Found(location) => return Ok(Some(location)),
                NextRecord::ContinuesAt(next) => at = next,
                NextRecord::End => return Ok(None),
            }
        }
    }

    /// Searches as [`seek`](Self::seek), in a bounded number of steps.
    pub(crate) fn seek_some(
        &self,
        (plan, locator): (&mut QueryPlan, &mut Locator),
        at: Position,
        direction: Direction,
    ) -> Result<NextRecord, StoreError> {
        let mut at = at;
        for passed in 0..SCAVENGED_PASSED_MAX {
            let Some(position) = plan.seek(at, direction)? else { return Ok(NextRecord::End) };
            if let Some(location) = locator.locate(position)? {
                return Ok(NextRecord::Found(location));
            }
            // Scavenged ranges may be long, so a search jumps to the next record, whichever its
            // terms are. A term often has only a few scavenged events in between.
            let next = if plan.is_every() || passed >= STEPS_BEFORE_JUMP {
                self.nearest(position, direction)?
            } else {
                beyond(position, direction)
            };
            match next {
                Some(next) => at = next,
                None => return Ok(NextRecord::End),
            }
        }
        Ok(NextRecord::ContinuesAt(at))
    }

    /// Returns the ordinals of a term's events.
    pub(crate) fn ordinals(&self, of: &OwnedTerm) -> Result<Ordinals, StoreError> {
        Ordinals::new(&self.parts, of)
    }

    fn part_before(&self, position: u64) -> Option<usize> {
        part::part_before(&self.parts, position)
    }

    /// The last position that is covered by a run. All positions before it are covered, too.
    pub(crate) fn last_position_in_runs(&self) -> Position {
        let in_files = self.parts.iter().take_while(|part| part.is_on_disk());
        in_files.last().map_or(Position::START, |last| Position::new(last.end().saturating_sub(1)))
    }

    /// Looks up the streams of an append and its first event in the runs. The commit then has to
    /// look only at later positions.
    pub(crate) fn precheck_runs(&self, append: &Append) -> Result<Precheck, StoreError> {
        let to = self.last_position_in_runs();
        // No runs: everything is in memtables, which the commit looks at anyway.
        if to == Position::START {
            return Ok(Precheck::default());
        }
        // Runs do not change, so this holds up to `to`, whatever is published in the meantime.
        let mut heads = Vec::with_capacity(append.streams.len());
        for part in &append.streams {
            heads.push(head_in_parts(self.parts_to(to), &part.stream)?);
        }
        let repeats = match append.events().next() {
            Some(first) => appends_in_parts(self.parts_to(to), first.id)?,
            None => Vec::new(),
        };
        Ok(Precheck { to, heads, repeats, ..Precheck::default() })
    }

    /// The parts that begin at or before `to`, latest first.
    fn parts_to(&self, to: Position) -> impl Iterator<Item = &IndexPart> {
        self.parts.iter().rev().skip_while(move |part| part.first() > to.number())
    }

    /// Returns the last revision of a stream among the events after `after`, whether hidden or not.
    pub(crate) fn stream_head(
        &self,
        name: &StreamName,
        after: Position,
    ) -> Result<Option<Revision>, StoreError> {
        head_in_parts(self.parts_after(after), name)
    }

    /// The parts that may have events after `after`, latest first.
    fn parts_after(&self, after: Position) -> impl Iterator<Item = &IndexPart> {
        self.parts.iter().rev().take_while(move |part| part.end() > after.number() + 1)
    }

    /// Returns a cursor over the revisions of a stream.
    pub(crate) fn stream(&self, name: &StreamName) -> StreamCursor {
        StreamCursor::new(name.clone(), Arc::clone(&self.parts))
    }

    /// The current metadata and tombstone of a stream.
    pub(crate) fn stream_meta(&self, name: &StreamName) -> StreamMeta {
        self.stream_metas.read().unwrap_or_else(PoisonError::into_inner).of(name)
    }

    /// Number of metadata changes and tombstones since the store was opened; the state at opening
    /// counts one for each change in a run. Zero: no stream hides events. Unchanged: hidden events
    /// stay hidden.
    pub(crate) fn stream_meta_changes(&self) -> u64 {
        self.stream_metas.read().unwrap_or_else(PoisonError::into_inner).changes()
    }

    /// Returns the appends after `after` whose first event has this id, latest first.
    ///
    /// Of several in one segment only the first; [`append_in`](Self::append_in) finds the others.
    pub(crate) fn appends(
        &self,
        first_event: EventId,
        after: Position,
    ) -> Result<Vec<AppendSpan>, StoreError> {
        appends_in_parts(self.parts_after(after), first_event)
    }

    /// Returns the append whose first event has this id and is in this stream, unless
    /// [`appends`](Self::appends) returns it.
    pub(crate) fn append_in(
        &self,
        first_event: EventId,
        stream: &StreamName,
    ) -> Result<Option<AppendSpan>, StoreError> {
        let look =
            |part: &IndexPart, hash: &LazyHash| part.find_append_in(first_event, stream, hash);
        let parts = self.parts.iter().rev();
        bloom_probe::find_first(parts, &Term::AppendIn(first_event, stream), look)
    }

    /// Returns up to `limit` names of streams with events that start with `prefix` and are greater
    /// than `after`, in byte order.
    pub(crate) fn stream_names(
        &self,
        prefix: &str,
        after: Option<&StreamName>,
        limit: usize,
    ) -> Result<Vec<StreamName>, StoreError> {
        let mut names = BTreeSet::new();
        for part in self.parts.iter() {
            // Each part alone may have the least `limit` names, so each is asked for as many.
            names.extend(part.names(prefix, after, limit)?);
        }
        Ok(names.into_iter().take(limit).collect())
    }

    /// Returns up to `limit` categories greater than `after`, in byte order.
    pub(crate) fn categories(
        &self,
        after: Option<&Category>,
        limit: usize,
    ) -> Result<Vec<Category>, StoreError> {
        let mut categories = BTreeSet::new();
        for part in self.parts.iter() {
            part.add_categories(&mut categories)?;
        }
        // Parts return all of their categories: there are few.
        let later = |category: &Category| after.is_none_or(|after| category > after);
        Ok(categories.into_iter().filter(later).take(limit).collect())
    }

    /// Plans how to find the events that a filter accepts. If the plan is inexact, the caller has
    /// to test each event.
    pub(crate) fn plan(&self, filter: &Filter) -> Result<QueryPlan, StoreError> {
        Ok(match filter {
            Filter::Everything => self.every(),
            Filter::Streams(names) => {
                QueryPlan::any(names.iter().map(|name| self.term(OwnedTerm::Stream(name.clone()))))
            }
            Filter::StreamPrefixes(prefixes) => self.plan_prefixes(prefixes)?,
            Filter::Categories(categories) => QueryPlan::any(
                categories.iter().map(|category| self.term(OwnedTerm::Category(category.clone()))),
            ),
            Filter::EventTypes(types) => self.plan_types(types),
            Filter::Query(query) => self.plan_query(query),
            Filter::Correlation(id) => {
                self.plan_id(filter, IndexedIds::CORRELATION, OwnedTerm::Correlation(id.clone()))?
            }
            Filter::Causation(id) => {
                self.plan_id(filter, IndexedIds::CAUSATION, OwnedTerm::Causation(id.clone()))?
            }
            Filter::EventId(id) => {
                self.plan_id(filter, IndexedIds::EVENT, OwnedTerm::EventId(*id))?
            }
            // Terms are hashes, so they say nothing about a part of a name.
            Filter::EventTypePrefixes(_) | Filter::Regex(_) => self.every().inexact(),
            other => return Err(unsupported(other)),
        })
    }

    fn every(&self) -> QueryPlan {
        QueryPlan::every(Arc::clone(&self.parts))
    }

    fn term(&self, term: OwnedTerm) -> QueryPlan {
        QueryPlan::term(Arc::clone(&self.parts), term)
    }

    /// Plans how to find the events with an id, if the index has ids of the kind.
    fn plan_id(
        &self,
        filter: &Filter,
        kind: IndexedIds,
        term: OwnedTerm,
    ) -> Result<QueryPlan, StoreError> {
        if self.ids.contains(kind) { Ok(self.term(term)) } else { Err(unsupported(filter)) }
    }

    /// Plans how to find the events of a stream.
    pub(crate) fn plan_stream(&self, stream: &StreamName) -> QueryPlan {
        self.term(OwnedTerm::Stream(stream.clone()))
    }

    fn plan_prefixes(&self, prefixes: &[String]) -> Result<QueryPlan, StoreError> {
        let mut names = Vec::new();
        for prefix in prefixes {
            names.extend(self.stream_names(prefix, None, STREAMS_MERGED_MAX + 1)?);
            // Merging many posting lists costs more than reading all events.
            if names.len() > STREAMS_MERGED_MAX {
                return Ok(self.every().inexact());
            }
        }
        Ok(QueryPlan::any(names.into_iter().map(|name| self.term(OwnedTerm::Stream(name)))))
    }

    fn plan_types(&self, types: &[EventType]) -> QueryPlan {
        QueryPlan::any(
            types.iter().map(|event_type| self.term(OwnedTerm::EventType(event_type.clone()))),
        )
    }

    pub(crate) fn plan_query(&self, query: &EventQuery) -> QueryPlan {
        QueryPlan::any(query.items().iter().map(|item| {
            let tags = item.tags().iter().map(|tag| self.term(OwnedTerm::Tag(tag.clone())));
            let types = (!item.types().is_empty()).then(|| self.plan_types(item.types()));
            // An item without tags and types matches every event.
            QueryPlan::all(tags.chain(types), || self.every())
        }))
    }

    /// Returns the first position after `after` whose event matches a query.
    pub(crate) fn first_match(
        &self,
        query: &EventQuery,
        after: Position,
    ) -> Result<Option<Position>, StoreError> {
        // The common case of a commit without concurrent appends: no plan is needed.
        if after >= self.head {
            return Ok(None);
        }
        let by = (&mut self.plan_query(query), &mut self.locator());
        let found = self.seek(by, after.next(), Direction::Forwards)?;
        Ok(found.map(|location| location.position))
    }
}

fn unsupported(filter: &Filter) -> StoreError {
    match filter.capability() {
        Some(capability) => StoreError::Unsupported { capability },
        None => StoreError::unavailable("the store does not know this filter"),
    }
}

fn note_stream_meta(stream_metas: &RwLock<StreamMetaTable>, entry: &IndexEntry<'_>) {
    if let Some((stream, change)) = stream_meta_change(entry) {
        let mut stream_metas = stream_metas.write().unwrap_or_else(PoisonError::into_inner);
        stream_metas.change(stream, change, entry.position);
    }
}

/// Returns the next position in a direction, or `None` at the start.
pub(crate) fn beyond(position: Position, direction: Direction) -> Option<Position> {
    match direction {
        Direction::Forwards => Some(position.next()),
        Direction::Backwards => position.number().checked_sub(1).map(Position::new),
    }
}

/// Returns the last revision of a stream. `parts` come latest first.
fn head_in_parts<'a>(
    parts: impl Iterator<Item = &'a IndexPart>,
    name: &StreamName,
) -> Result<Option<Revision>, StoreError> {
    // Parts ascend, so the latest one that has the stream has its last revision.
    let look = |part: &IndexPart, hash: &LazyHash| part.revisions(name, hash);
    Ok(bloom_probe::find_first(parts, &Term::Stream(name), look)?.map(Revisions::last))
}

/// Returns the appends with this first event id. `parts` come latest first.
fn appends_in_parts<'a>(
    parts: impl Iterator<Item = &'a IndexPart>,
    first_event: EventId,
) -> Result<Vec<AppendSpan>, StoreError> {
    let mut appends = Vec::new();
    // Finds nothing, so that it goes through all parts, as it does for an id that is new.
    let look = |part: &IndexPart, hash: &LazyHash| {
        appends.extend(part.find_appends(first_event, hash)?);
        Ok(None::<()>)
    };
    bloom_probe::find_first(parts, &Term::Append(first_event), look)?;
    Ok(appends)
}

/// Returns the stream of the event at a position of a gap's frame.
fn stream_at(position: Position, gap: &Gap, frame: &Frame) -> Option<StreamName> {
    let scavenged = gap.scavenged.binary_search_by_key(&position, |event| event.position).ok();
    if let Some(scavenged) = scavenged.and_then(|place| gap.scavenged.get(place)) {
        return Some(scavenged.stream.clone());
    }
    let place = frame.events.binary_search_by_key(&position, |(_, event)| event.position).ok()?;
    frame.events.get(place).map(|(_, event)| event.stream.clone())
}
