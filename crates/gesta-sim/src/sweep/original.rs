//! An undamaged store, and what may be read of it once it is damaged.
//!
//! Always holds: each damaged store is opened, by the engine's own door, and judged by what it
//! says. Not here: how it was written ([`written`](super::written)), which damage there is
//! ([`wounds`](super::wounds)), the reads themselves ([`known`](super::known)).

use std::{collections::BTreeMap, ops::Range, panic, sync::Arc};

use bytes::Bytes;
use gesta_log::{Engine, LogStore, OpenError, Options};
use gesta_store::{Append, EventStore, ExpectedRevision, StoreError};

use super::{
    frames::{Frame, frames_of},
    known::{Known, Part},
    still::{Changed, Files, StillDisk},
    written::{Ending, Fresh, Written, event, is_segment, name, options, written},
};
use crate::{
    chance::Chance,
    clock::SimClock,
    model::{Broken, Verdict, demand},
    simulation::poll_once,
};

/// Of what the index's files cover, only the last segment is checked at opening, which always is.
const CHECKED_BYTES_MAX: u64 = 0;
/// A store up to this size is opened without files of the index after each damage.
const SMALL_BYTES_MAX: usize = 128 << 10;

/// How a damaged store answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// Everything is there.
    Same,
    /// It did not open, for a reason that has a type.
    Refused,
    /// It opened and says what is damaged.
    Named,
    /// It opened, and reads of the damaged records say that they are.
    NamedByReads,
    /// Of what no later frame vouches for, something is gone, and it says so.
    FewerAfterMark,
}

/// How a store lies when it is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lying {
    /// The index's files have what has ended, and are believed.
    Filed,
    /// The damaged segment has just ended, and the index's files do not have it yet.
    Fresh,
    /// There are no files of the index.
    Bare,
    /// The index's files have what has ended, and all segments are checked all the same.
    Checked,
}

/// How much is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Look {
    /// As quick, but, of a store that is not small, only with the index's files.
    Short,
    /// What the opening says, and, where it says that all is well, the events that the damage may
    /// touch.
    Quick,
    /// Whatever the opening says, these events in every kind of read.
    Thorough,
    /// All events, and however the store may lie.
    Whole,
}

/// A store as it lay at some time.
#[derive(Debug)]
struct State {
    files: Arc<Files>,
    /// How many events there are.
    events: usize,
    /// How many of them the index's files have.
    filed: usize,
    /// The segment that was written to last, and its frames.
    last: String,
    frames: Vec<Frame>,
    checked_bytes_max: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Original {
    /// In the end.
    pub(super) files: Arc<Files>,
    pub(super) last_written: String,
    known: Known,
    filed: State,
    checked: State,
    bare: State,
    fresh: BTreeMap<String, State>,
    clock: Arc<SimClock>,
}

/// A damaged store that is judged.
struct Judged<'a> {
    state: &'a State,
    changed: &'a Changed,
    look: Look,
}

impl Original {
    /// Writes a store whose segments have so many bytes together at least.
    pub(super) fn written(bytes_min: usize, ending: Ending) -> Verdict<Self> {
        let Written { files, events, places, fresh, clock } = written(bytes_min, ending)?;
        let last_written = places.last().map(|place| place.file.clone()).unwrap_or_default();
        let known = Known::new(events, places);
        let before_last = known.of_segment(&last_written).map_or(0, |events| events.start);
        let filed = match ending {
            Ending::Closed => known.events.len(),
            Ending::Killed => before_last,
        };
        let files = Arc::new(files);
        let segments = files.iter().filter(|(file, _)| is_segment(file));
        let segments = segments.map(|(file, bytes)| (file.clone(), bytes.clone())).collect();
        let state = |files: &Arc<Files>, filed, checked_bytes_max| {
            let frames = files.get(&last_written).map_or(Vec::new(), |bytes| frames_of(bytes));
            let (files, last) = (Arc::clone(files), last_written.clone());
            State { files, events: known.events.len(), filed, last, frames, checked_bytes_max }
        };
        let original = Self {
            filed: state(&files, filed, CHECKED_BYTES_MAX),
            checked: state(&files, filed, Options::default().checked_bytes_max),
            bare: state(&Arc::new(segments), 0, 0),
            fresh: fresh_states(fresh, &known, &files)?,
            files,
            last_written,
            known,
            clock,
        };
        original.is_sound()?;
        Ok(original)
    }

    /// However it lies, undamaged it shows everything.
    fn is_sound(&self) -> Verdict {
        let always = [&self.filed, &self.checked, &self.bare];
        for state in always.into_iter().chain(self.fresh.values()) {
            let changed = &Changed::new();
            let answered = self.judge_as(&Judged { state, changed, look: Look::Whole })?;
            demand(answered == Answered::Same, || format!("undamaged, it answered {answered:?}"))?;
        }
        Ok(())
    }

    /// Opens the store with these files changed, and judges what it answers, however it lies.
    pub(super) fn judge(&self, changed: &Changed, look: Look) -> Verdict<Vec<(Lying, Answered)>> {
        let mut states = vec![(Lying::Filed, &self.filed)];
        let is_small = self.bytes() <= SMALL_BYTES_MAX;
        if look > if is_small { Look::Quick } else { Look::Short } {
            states.extend(self.fresh_for(changed).map(|state| (Lying::Fresh, state)));
        }
        if is_small || look == Look::Whole {
            states.push((Lying::Bare, &self.bare));
        }
        if look == Look::Whole {
            states.push((Lying::Checked, &self.checked));
        }
        let judge = |(lying, state)| {
            let judged = Judged { state, changed, look };
            let caught = panic::catch_unwind(panic::AssertUnwindSafe(|| self.judge_as(&judged)));
            let answered = caught.unwrap_or_else(|_| Err(Broken("it panicked".to_owned())));
            let answered = answered.map_err(|Broken(what)| Broken(format!("{lying:?}: {what}")));
            Ok((lying, answered?))
        };
        states.into_iter().map(judge).collect()
    }

    /// The store as it lay when the last segment that is changed had just ended. What was prepared
    /// after the last one lay there then.
    fn fresh_for(&self, changed: &Changed) -> Option<&State> {
        let (last, _) = changed.last_key_value()?;
        self.fresh.get(last).or_else(|| self.fresh.get(&self.last_written))
    }

    fn bytes(&self) -> usize {
        self.files.iter().filter(|(file, _)| is_segment(file)).map(|(_, bytes)| bytes.len()).sum()
    }

    fn judge_as(&self, judged: &Judged<'_>) -> Verdict<Answered> {
        let Judged { state, changed, look } = *judged;
        let (disk, store) = match self.open(state, changed.clone()) {
            Ok(opened) => opened,
            Err(
                OpenError::OtherVersion { .. }
                | OpenError::AnotherStore { .. }
                | OpenError::Restoring
                | OpenError::Importing,
            ) => {
                return Ok(Answered::Refused);
            }
            Err(error @ (OpenError::Io { .. } | OpenError::Directory(_))) => {
                return Err(Broken(format!("it does not open: {error}")));
            }
        };
        demand(disk.changed_segments() == 0, || "opening wrote into a segment".to_owned())?;
        if store.report().damage.is_empty() {
            return self.judge_sound(judged, &store);
        }
        if look > Look::Quick {
            self.judge_damaged(judged, &store)?;
        }
        Ok(Answered::Named)
    }

    fn open(
        &self,
        state: &State,
        changed: Changed,
    ) -> Result<(Arc<StillDisk>, LogStore), OpenError> {
        let disk = Arc::new(StillDisk::holding(Arc::clone(&state.files), changed));
        let rng = Box::new(Chance::seeded(7));
        let options = Options { checked_bytes_max: state.checked_bytes_max, ..options(0) };
        let (_, store) =
            Engine::open(Arc::clone(&disk) as _, Arc::clone(&self.clock) as _, rng, options)?;
        Ok((disk, store))
    }

    /// Which events are looked at: those that the changed files have or that were read at opening
    /// after them, and one on either side.
    fn looked_at(&self, judged: &Judged<'_>, store: &LogStore) -> Part {
        let named = !store.report().damage.is_empty();
        Part { range: self.near(judged), of: judged.state.events, named }
    }

    fn near(&self, judged: &Judged<'_>) -> Range<usize> {
        let Judged { state, changed, look } = judged;
        let whole = 0..state.events;
        if *look == Look::Whole || state.filed == 0 {
            return whole;
        }
        let mut near = changed
            .keys()
            .map(|file| self.known.of_segment(file).unwrap_or(state.events..state.events));
        let Some(first) = near.next() else { return whole };
        let (start, end) = near.fold((first.start, first.end), |(start, end), other| {
            (start.min(other.start), end.max(other.end))
        });
        let end = if end > state.filed { state.events } else { state.events.min(end + 1) };
        start.saturating_sub(1)..end
    }

    /// Nothing is said to be damaged: then everything is there, but for records that changed after
    /// the index's files had them, and for what nobody vouches for.
    fn judge_sound(&self, judged: &Judged<'_>, store: &LogStore) -> Verdict<Answered> {
        let Judged { state, changed, look } = *judged;
        let part = self.looked_at(judged, store);
        let found = self.known.forwards(store, &part)?;
        let unchecked = part.range.start..part.range.end.min(state.filed);
        let touched = self.known.touched(unchecked, &self.files, changed);
        demand(found.missing == touched, || {
            format!("events {touched:?} were changed, events {:?} are missing", found.missing)
        })?;
        let closely = match (touched.first(), touched.last()) {
            (Some(first), Some(last)) if look <= Look::Quick => {
                Some(first.saturating_sub(1)..found.end.min(last + 2))
            }
            _ if look > Look::Quick => Some(part.range.clone()),
            _ => None,
        };
        if let Some(range) = closely {
            self.known.otherwise(store, &Part { range, ..part.clone() }, &found)?;
        }
        if found.end == part.range.end {
            let whole = found.missing.is_empty();
            return Ok(if whole { Answered::Same } else { Answered::NamedByReads });
        }
        let report = store.report();
        let told = report.torn.is_some() || report.unmarked.is_some();
        let lost = state.events - found.end;
        demand(lost <= state.not_vouched_for(changed) && told, || {
            format!("{lost} acknowledged events are missing in silence")
        })?;
        Ok(Answered::FewerAfterMark)
    }

    /// Reads of every kind show what was there, or say that it is damaged. What nobody vouches for
    /// may be missing at the end, besides the damage that is named. Nothing is written.
    fn judge_damaged(&self, judged: &Judged<'_>, store: &LogStore) -> Verdict {
        let Judged { state, changed, .. } = *judged;
        let part = self.looked_at(judged, store);
        let found = self.known.forwards(store, &part)?;
        let lost = part.range.end - found.end;
        demand(lost <= state.not_vouched_for(changed), || {
            format!("a read ended in silence, {lost} acknowledged events before the end")
        })?;
        self.known.otherwise(store, &part, &found)?;
        let append = Append::to(name("s-1"), ExpectedRevision::Any, [event(1, 1)]);
        match poll_once(store.append(append).as_mut()) {
            Some(Err(StoreError::Corrupt(_))) => Ok(()),
            answer => Err(Broken(format!("a damaged store answered an append: {answer:?}"))),
        }
    }
}

impl State {
    /// How many events no frame vouches for that is still whole in the last segment.
    fn not_vouched_for(&self, changed: &Changed) -> usize {
        let Some(last) = changed.get(&self.last) else { return 0 };
        let is_whole = |frame: &&Frame| {
            let of = |bytes: &Bytes| bytes.get(frame.begin..frame.end).map(<[u8]>::to_vec);
            let then = self.files.get(&self.last).and_then(of);
            then.is_some() && then == last.as_ref().and_then(of)
        };
        let mark = self.frames.iter().filter(is_whole).map(|frame| frame.durable_mark).max();
        let after_mark = |frame: &&Frame| mark.is_none_or(|mark| frame.begin >= mark);
        self.frames.iter().filter(after_mark).map(|frame| frame.records).sum()
    }
}

/// How the store lay each time that a segment had just ended. What has ended does not change any
/// more, so a damage of the store in the end is one of the store as it lay then.
fn fresh_states(
    fresh: BTreeMap<String, Fresh>,
    known: &Known,
    end: &Files,
) -> Verdict<BTreeMap<String, State>> {
    let state = |(segment, Fresh { files, events, last }): (String, Fresh)| {
        demand(files.get(&segment) == end.get(&segment), || format!("{segment} was changed"))?;
        let filed = known.of_segment(&segment).map_or(0, |events| events.start);
        let frames = files.get(&last).map_or(Vec::new(), |bytes| frames_of(bytes));
        let files = Arc::new(files);
        let checked_bytes_max = CHECKED_BYTES_MAX;
        Ok((segment, State { files, events, filed, last, frames, checked_bytes_max }))
    };
    fresh.into_iter().map(state).collect()
}
