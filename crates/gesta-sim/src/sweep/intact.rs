//! An undamaged store, and the answers that are allowed once it is damaged.
//!
//! Invariant: each damaged store is opened with the engine's public API and checked by its answers.
//! Not here: writing the store ([`fixture`](super::fixture)), the list of corruptions
//! ([`corruption`](super::corruption)), the reads ([`expected`](super::expected)).

use std::{collections::BTreeMap, ops::Range, panic, sync::Arc};

use bytes::Bytes;
use gesta_log::{Engine, LogStore, OpenError, Options};
use gesta_store::{Append, EventStore, ExpectedRevision, StoreError};

use super::{
    expected::{EventRange, ExpectedReads},
    files::{ChangedFiles, Files, is_segment},
    fixture::{SealSnapshot, Shutdown, StoreFixture, build_store, event, name, options},
    frames::{Frame, find_frames},
    memory_disk::MemoryDisk,
};
use crate::{
    clock::SimClock,
    model::{CheckResult, Violation, ensure},
    rng::SimRng,
    simulation::poll_once,
};

/// Verification limit for indexed segments at opening; the last segment is always verified.
const CHECKED_BYTES_MAX: u64 = 0;
/// Limit of the size up to which each corruption is also opened without an index.
const SMALL_BYTES_MAX: usize = 128 << 10;

/// Outcome of opening and reading a damaged store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SweepOutcome {
    /// All events are present.
    Unchanged,
    /// The opening failed with a specific error.
    Refused,
    /// The opening reported the damage.
    Reported,
    /// The opening succeeded; reads of the damaged records reported them.
    ReportedByReads,
    /// Events without a later durable mark are missing, and the opening reported a shortened log.
    TruncatedAfterMark,
}

/// State of the index and its verification when the store is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum IndexState {
    /// Covers all sealed segments, and is trusted.
    Complete,
    /// Does not yet cover the damaged segment, which was just sealed.
    Lagging,
    /// No files of the index.
    Missing,
    /// Covers all sealed segments; all segments are verified nevertheless.
    Verified,
}

/// Depth of the checks, in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Depth {
    /// Like `Quick`, but only with a complete index unless the store is small.
    Short,
    /// The opening and, if it reports no damage, the events that the corruption can affect.
    Quick,
    /// These events by every kind of read, even if damage is reported.
    Thorough,
    /// All events, in every state of the index.
    Whole,
}

/// Files of the store in one state of the index.
#[derive(Debug)]
struct StoreState {
    files: Arc<Files>,
    /// Number of events.
    events: usize,
    /// Number of events covered by the index.
    indexed: usize,
    /// Segment written last, with its frames.
    last: String,
    frames: Vec<Frame>,
    checked_bytes_max: u64,
}

/// An undamaged store in every state of its index.
#[derive(Debug)]
pub(super) struct IntactStore {
    /// Files at the end.
    pub(super) files: Arc<Files>,
    pub(super) last_written: String,
    expected: ExpectedReads,
    indexed: StoreState,
    verified: StoreState,
    missing: StoreState,
    lagging: BTreeMap<String, StoreState>,
    clock: Arc<SimClock>,
}

/// A damaged store to be checked.
struct OpeningCase<'a> {
    state: &'a StoreState,
    changed: &'a ChangedFiles,
    depth: Depth,
}

impl IntactStore {
    /// Writes a store of at least `bytes_min` bytes of segments.
    pub(super) fn build(bytes_min: usize, shutdown: Shutdown) -> CheckResult<Self> {
        let StoreFixture { files, events, places, snapshots, clock } =
            build_store(bytes_min, shutdown)?;
        let last_written = places.last().map(|place| place.file.clone()).unwrap_or_default();
        let expected = ExpectedReads::new(events, places);
        // A clean shutdown flushes the last segment too; after a kill it is not indexed.
        let before_last = expected.of_segment(&last_written).map_or(0, |events| events.start);
        let indexed = match shutdown {
            Shutdown::Closed => expected.events.len(),
            Shutdown::Killed => before_last,
        };
        let files = Arc::new(files);
        // Without index files, the opening must rebuild the index from all segments.
        let segments = files.iter().filter(|(file, _)| is_segment(file));
        let segments = segments.map(|(file, bytes)| (file.clone(), bytes.clone())).collect();
        let state = |files: &Arc<Files>, indexed, checked_bytes_max| {
            let frames = files.get(&last_written).map_or(Vec::new(), |bytes| find_frames(bytes));
            let (files, last) = (Arc::clone(files), last_written.clone());
            StoreState {
                files,
                events: expected.events.len(),
                indexed,
                last,
                frames,
                checked_bytes_max,
            }
        };
        let intact = Self {
            indexed: state(&files, indexed, CHECKED_BYTES_MAX),
            verified: state(&files, indexed, Options::default().checked_bytes_max),
            missing: state(&Arc::new(segments), 0, 0),
            lagging: lagging_states(snapshots, &expected, &files)?,
            files,
            last_written,
            expected,
            clock,
        };
        // Otherwise a later violation would be blamed on the corruption.
        intact.check_undamaged()?;
        Ok(intact)
    }

    /// Checks that the undamaged store shows everything in every state.
    fn check_undamaged(&self) -> CheckResult {
        let always = [&self.indexed, &self.verified, &self.missing];
        for state in always.into_iter().chain(self.lagging.values()) {
            let changed = &ChangedFiles::new();
            let outcome = self.check_in(&OpeningCase { state, changed, depth: Depth::Whole })?;
            ensure(outcome == SweepOutcome::Unchanged, || {
                format!("the undamaged store is reported as {outcome:?}")
            })?;
        }
        Ok(())
    }

    /// Opens the store with the changed files in each relevant state, and checks its answers.
    pub(super) fn check(
        &self,
        changed: &ChangedFiles,
        depth: Depth,
    ) -> CheckResult<Vec<(IndexState, SweepOutcome)>> {
        let mut states = vec![(IndexState::Complete, &self.indexed)];
        // More states for a small store, and for deeper checks of a large one.
        let is_small = self.bytes() <= SMALL_BYTES_MAX;
        if depth > if is_small { Depth::Quick } else { Depth::Short } {
            states.extend(self.lagging_for(changed).map(|state| (IndexState::Lagging, state)));
        }
        if is_small || depth == Depth::Whole {
            states.push((IndexState::Missing, &self.missing));
        }
        if depth == Depth::Whole {
            states.push((IndexState::Verified, &self.verified));
        }
        let check = |(index_state, state)| {
            let case = OpeningCase { state, changed, depth };
            // A panic names the corruption like any other violation.
            let caught = panic::catch_unwind(panic::AssertUnwindSafe(|| self.check_in(&case)));
            let outcome =
                caught.unwrap_or_else(|_| Err(Violation("the engine panicked".to_owned())));
            let outcome =
                outcome.map_err(|Violation(what)| Violation(format!("{index_state:?}: {what}")));
            Ok((index_state, outcome?))
        };
        states.into_iter().map(check).collect()
    }

    /// Snapshot in which the last changed segment was just sealed; for a segment prepared later,
    /// the last snapshot.
    fn lagging_for(&self, changed: &ChangedFiles) -> Option<&StoreState> {
        let (last, _) = changed.last_key_value()?;
        self.lagging.get(last).or_else(|| self.lagging.get(&self.last_written))
    }

    fn bytes(&self) -> usize {
        self.files.iter().filter(|(file, _)| is_segment(file)).map(|(_, bytes)| bytes.len()).sum()
    }

    fn check_in(&self, case: &OpeningCase<'_>) -> CheckResult<SweepOutcome> {
        let OpeningCase { state, changed, depth } = *case;
        let (disk, store) = match self.open(state, changed.clone()) {
            Ok(opened) => opened,
            Err(
                OpenError::OtherVersion { .. }
                | OpenError::AnotherStore { .. }
                | OpenError::Restoring
                | OpenError::Importing,
            ) => {
                return Ok(SweepOutcome::Refused);
            }
            // Also errors that are new: a test of the sweep decides on them.
            Err(error) => {
                return Err(Violation(format!("the store could not be opened: {error}")));
            }
        };
        ensure(disk.changed_segments() == 0, || "opening wrote to a segment".to_owned())?;
        if store.report().damage.is_empty() {
            return self.check_without_reported_damage(case, &store);
        }
        if depth > Depth::Quick {
            self.check_with_reported_damage(case, &store)?;
        }
        Ok(SweepOutcome::Reported)
    }

    fn open(
        &self,
        state: &StoreState,
        changed: ChangedFiles,
    ) -> Result<(Arc<MemoryDisk>, LogStore), OpenError> {
        let disk = Arc::new(MemoryDisk::holding(Arc::clone(&state.files), changed));
        let rng = Box::new(SimRng::from_seed(7));
        let options = options(0).checked_bytes_max(state.checked_bytes_max);
        let (_, store) =
            Engine::open(Arc::clone(&disk) as _, Arc::clone(&self.clock) as _, rng, options)?;
        Ok((disk, store))
    }

    /// Range of events in the changed files or verified at opening after them, extended by one on
    /// each side.
    fn range_to_read(&self, case: &OpeningCase<'_>, store: &LogStore) -> EventRange {
        let damage_reported = !store.report().damage.is_empty();
        EventRange { range: self.near(case), of: case.state.events, damage_reported }
    }

    fn near(&self, case: &OpeningCase<'_>) -> Range<usize> {
        let OpeningCase { state, changed, depth } = case;
        let whole = 0..state.events;
        if *depth == Depth::Whole || state.indexed == 0 {
            return whole;
        }
        let mut near = changed
            .keys()
            .map(|file| self.expected.of_segment(file).unwrap_or(state.events..state.events));
        let Some(first) = near.next() else { return whole };
        let (start, end) = near.fold((first.start, first.end), |(start, end), other| {
            (start.min(other.start), end.max(other.end))
        });
        // Damage in the unindexed part affects everything read at opening after it.
        let end = if end > state.indexed { state.events } else { state.events.min(end + 1) };
        start.saturating_sub(1)..end
    }

    /// Checks a store without reported damage: everything is present, except indexed records that
    /// changed and events that no frame proves durable.
    fn check_without_reported_damage(
        &self,
        case: &OpeningCase<'_>,
        store: &LogStore,
    ) -> CheckResult<SweepOutcome> {
        let OpeningCase { state, changed, depth } = *case;
        let part = self.range_to_read(case, store);
        let found = self.expected.read_forwards(store, &part)?;
        // Indexed records are not verified at opening, so reads must report exactly these.
        let unchecked = part.range.start..part.range.end.min(state.indexed);
        let changed_records = self.expected.changed_records(unchecked, &self.files, changed);
        ensure(found.missing == changed_records, || {
            format!(
                "events {changed_records:?} were changed, but events {:?} are missing",
                found.missing
            )
        })?;
        // Other kinds of read are slower, so a quick check covers only the damaged records.
        let closely = match (changed_records.first(), changed_records.last()) {
            (Some(first), Some(last)) if depth <= Depth::Quick => {
                Some(first.saturating_sub(1)..found.end.min(last + 2))
            }
            _ if depth > Depth::Quick => Some(part.range.clone()),
            _ => None,
        };
        if let Some(range) = closely {
            self.expected.check_other_reads(
                store,
                &EventRange { range, ..part.clone() },
                &found,
            )?;
        }
        // The whole range was read or reported.
        if found.end == part.range.end {
            let whole = found.missing.is_empty();
            return Ok(if whole { SweepOutcome::Unchanged } else { SweepOutcome::ReportedByReads });
        }
        // The log ended early: allowed for unproven events, if the opening reported it.
        let report = store.report();
        let reported = report.torn.is_some() || report.unmarked.is_some();
        let lost = state.events - found.end;
        ensure(lost <= state.unproven_events(changed) && reported, || {
            format!("{lost} acknowledged events are missing without an error")
        })?;
        Ok(SweepOutcome::TruncatedAfterMark)
    }

    /// Checks a store with reported damage: reads of every kind show the written events or report
    /// damage, unproven events may be missing at the end, and appends are refused.
    fn check_with_reported_damage(&self, case: &OpeningCase<'_>, store: &LogStore) -> CheckResult {
        let OpeningCase { state, changed, .. } = *case;
        let part = self.range_to_read(case, store);
        let found = self.expected.read_forwards(store, &part)?;
        let lost = part.range.end - found.end;
        ensure(lost <= state.unproven_events(changed), || {
            format!("a read ended without an error {lost} acknowledged events before the end")
        })?;
        self.expected.check_other_reads(store, &part, &found)?;
        // A damaged store is read-only.
        let append = Append::to(name("s-1"), ExpectedRevision::Any, [event(1, 1)]);
        match poll_once(store.append(append).as_mut()) {
            Some(Err(StoreError::Corrupt(_))) => Ok(()),
            answer => Err(Violation(format!("a damaged store accepted an append: {answer:?}"))),
        }
    }
}

impl StoreState {
    /// Number of events that no intact frame of the last segment proves durable.
    fn unproven_events(&self, changed: &ChangedFiles) -> usize {
        let Some(last) = changed.get(&self.last) else { return 0 };
        let is_whole = |frame: &&Frame| {
            let of = |bytes: &Bytes| bytes.get(frame.begin..frame.end).map(<[u8]>::to_vec);
            let then = self.files.get(&self.last).and_then(of);
            then.is_some() && then == last.as_ref().and_then(of)
        };
        // The highest durable mark of any intact frame; events below it must not be lost.
        let mark = self.frames.iter().filter(is_whole).map(|frame| frame.durable_mark).max();
        let after_mark = |frame: &&Frame| mark.is_none_or(|mark| frame.begin >= mark);
        self.frames.iter().filter(after_mark).map(|frame| frame.records).sum()
    }
}

/// Builds the state of each snapshot. A sealed segment no longer changes, so its corruption at the
/// end equals its corruption in the snapshot.
fn lagging_states(
    snapshots: BTreeMap<String, SealSnapshot>,
    expected: &ExpectedReads,
    end: &Files,
) -> CheckResult<BTreeMap<String, StoreState>> {
    let state = |(segment, SealSnapshot { files, events, last }): (String, SealSnapshot)| {
        ensure(files.get(&segment) == end.get(&segment), || format!("{segment} was changed"))?;
        let indexed = expected.of_segment(&segment).map_or(0, |events| events.start);
        let frames = files.get(&last).map_or(Vec::new(), |bytes| find_frames(bytes));
        let files = Arc::new(files);
        // The sealed segment is not indexed, so the opening reads it in spite of the limit.
        let checked_bytes_max = CHECKED_BYTES_MAX;
        Ok((segment, StoreState { files, events, indexed, last, frames, checked_bytes_max }))
    };
    snapshots.into_iter().map(state).collect()
}
