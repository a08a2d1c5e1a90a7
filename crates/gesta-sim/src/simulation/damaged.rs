//! Reads of a damaged store: intact events up to the reported damage.
//!
//! Invariants: the checks do not know the injected damage; every event shown was appended, nothing
//! is missing without an error, and a store that reports damage accepts no appends. Not here:
//! injecting the damage ([`final_phase`](super::final_phase)).

use std::{
    collections::BTreeSet,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use futures_core::Stream;
use gesta_log::{Engine, LogStore, OpenError};
use gesta_store::{
    Append, Delivery, EventId, EventStore, EventType, ExpectedRevision, ListStreams, NewEvent,
    Position, ReadAll, ReadStream, RecordedEvent, StoreError, StreamName, StreamState, Subscribe,
    Visibility,
};
use uuid::Uuid;

use super::{
    Simulation,
    poll::{answer_now, poll_once},
    reads::{self, PartialRead, read_until_damage},
};
use crate::{
    disk::FaultConfig,
    model::{CheckResult, History, Violation, ensure},
};

/// Result of the checks of a damaged store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reported {
    Nothing,
    Damage,
}

/// Certainty that bytes of a lost log end are still on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Residue {
    Certain,
    Possible,
}

impl Reported {
    const fn damage_if(damage: bool) -> Self {
        if damage { Self::Damage } else { Self::Nothing }
    }

    pub(super) fn or(self, other: Self) -> Self {
        Self::damage_if(self == Self::Damage || other == Self::Damage)
    }
}

impl Simulation {
    /// Opens the possibly damaged store and reads everything. Events up to `proven` must be present
    /// or reported as damaged.
    pub(super) fn check_damaged_store(
        &mut self,
        proven: Position,
        residue: Residue,
    ) -> CheckResult<Reported> {
        self.disk.set_faults(FaultConfig::default());
        let (mut engine, store) = match self.try_to_open() {
            Ok(opened) => opened,
            // Damage to a header can look like another version or another store.
            Err(OpenError::OtherVersion { .. } | OpenError::AnotherStore { .. }) => {
                return Ok(Reported::Damage);
            }
            Err(error) => {
                return Err(Violation(format!("a damaged store could not be opened: {error}")));
            }
        };
        // The report decides which reads may be incomplete.
        let report = store.report();
        self.trace.record(|| format!("opened with damage: {:?}", report.damage));
        if !report.damage.is_empty() {
            self.check_remaining(&store, proven)?;
            check_refuses_appends(&mut engine, &store)?;
            return Ok(Reported::Damage);
        }
        let PartialRead { events, complete } =
            read_until_damage(store.read_all(ReadAll::forwards()))?;
        // A shorter log must report a torn end, or an end without a durable mark.
        if complete && events.len() < self.model.history().events().len() {
            let unmarked = report.unmarked.is_some() && residue == Residue::Possible;
            let reported = report.torn.is_some() || unmarked;
            ensure(reported, || {
                format!("only {} events are left, but no damage was reported", events.len())
            })?;
            self.check_remaining(&store, proven)?;
            return Ok(Reported::Damage);
        }
        // Nothing is reported and nothing is missing: reads must be complete or name damage.
        self.check_reads(&store)
    }

    /// Checks reads of a store without reported damage: each returns the correct events or an
    /// error.
    pub(super) fn check_reads(&mut self, store: &LogStore) -> CheckResult<Reported> {
        let history = self.model.history();
        let known: Vec<_> = history.events().iter().collect();
        let mut reported = Reported::Nothing;
        // A read must return a prefix of the expected events, and all of them unless it reported
        // damage.
        let mut same = |shown: PartialRead, known: &[&RecordedEvent], what: &str| {
            let right = shown.events.iter().eq(known.iter().copied().take(shown.events.len()));
            ensure(right, || format!("a read of {what} returned wrong events"))?;
            ensure(!shown.complete || shown.events.len() == known.len(), || {
                format!(
                    "{what} ended without an error after {} of {} events",
                    shown.events.len(),
                    known.len()
                )
            })?;
            reported = reported.or(Reported::damage_if(!shown.complete));
            Ok(())
        };
        same(read_until_damage(store.read_all(ReadAll::forwards()))?, &known, "all")?;
        same(subscribed(store)?, &known, "all events by a subscription")?;
        // Each kind of read takes another path through index and segments.
        let reversed: Vec<_> = known.iter().rev().copied().collect();
        same(read_until_damage(store.read_all(backwards()))?, &reversed, "all events backwards")?;
        for stream in readable_streams(history) {
            let read = ReadStream::forwards(stream.clone());
            same(
                read_until_damage(store.read_stream(read))?,
                &history.shown(stream),
                stream.as_str(),
            )?;
        }
        for _ in 0..4 {
            let filter = reads::random_filter(&mut self.client, &mut self.rng);
            let read = ReadAll::forwards().filter(filter);
            // The filter may override the requested visibility.
            let hidden = match read.filter.visibility(read.visibility) {
                Visibility::Raw => BTreeSet::new(),
                Visibility::Visible => history.hidden(),
            };
            let is_meant = |e: &&&RecordedEvent| {
                reads::selects(&read.filter, e) && !hidden.contains(&e.position)
            };
            let meant: Vec<_> = known.iter().filter(is_meant).copied().collect();
            same(read_until_damage(store.read_all(read.clone()))?, &meant, "filtered events")?;
        }
        self.check_lookups(store).map(|answers| reported.or(answers))
    }

    /// Checks descriptions, lists, lookups of appends and scans.
    fn check_lookups(&mut self, store: &LogStore) -> CheckResult<Reported> {
        let mut reported = Reported::Nothing;
        let history = self.model.history();
        for stream in history.stream_names() {
            reported = reported
                .or(Reported::damage_if(reads::describe(store, history, stream)?.is_none()));
        }
        for _ in 0..8 {
            let found = reads::find_append(store, &self.model, &mut self.rng)?;
            reported = reported.or(Reported::damage_if(found.is_none()));
        }
        let history = self.model.history();
        let scanned = reads::scan(store, history, Position::START)?;
        let listed = reads::list(store, history, &mut self.rng)?;
        Ok(reported.or(Reported::damage_if(scanned.is_none() || listed.is_none())))
    }

    /// Checks reads of a store with reported damage: the remaining events in order, and an error at
    /// each gap.
    fn check_remaining(&self, store: &LogStore, proven: Position) -> CheckResult {
        let history = self.model.history();
        let known = history.events();
        let proven = known.partition_point(|event| event.position <= proven);
        for shown in [read_until_damage(store.read_all(ReadAll::forwards()))?, subscribed(store)?] {
            ensure(known.starts_with(&shown.events), || {
                let wrong = known.iter().zip(&shown.events).find(|(known, found)| known != found);
                let place = wrong.map(|(known, _)| known.position);
                format!("after damage, a read skipped missing events at {place:?}")
            })?;
            ensure(!shown.complete || shown.events.len() >= proven, || {
                format!(
                    "a read of all events ended without an error after {} events",
                    shown.events.len()
                )
            })?;
        }
        let mut shown = read_until_damage(store.read_all(backwards()))?.events;
        shown.reverse();
        // The read starts at the head that is left, anywhere after the proven events.
        let ends = |end: usize| known.get(..end).is_some_and(|all| all.ends_with(&shown));
        ensure((proven..=known.len()).any(ends), || {
            "after damage, a backward read returned wrong events".to_owned()
        })?;
        let proven = known.get(proven.saturating_sub(1)).map_or(Position::START, |e| e.position);
        // Stream reads stop at their own gaps, so check each against its own events.
        for stream in readable_streams(history) {
            let read = ReadStream::forwards(stream.clone());
            check_partial_stream(
                history,
                stream,
                &read_until_damage(store.read_stream(read))?,
                proven,
            )?;
            check_described_head(store, history, stream, proven)?;
        }
        check_listing(store, history, proven)?;
        self.check_appends_found(store, proven)
    }

    /// Checks that proven appends are found with their acknowledgement, or reported as damaged.
    fn check_appends_found(&self, store: &LogStore, proven: Position) -> CheckResult {
        for append in 0..self.model.append_count() {
            let Some(answer) = self.model.published(append) else { continue };
            let Some(first) = self.model.append(append).events().next() else { continue };
            let found = reads::none_if_damaged(answer_now(store.find_append(first.id)))?;
            let right = match found {
                // Another append may begin with the same id, in another stream.
                Some(Some(found)) => self.model.published_as(first.id).any(|known| *known == found),
                Some(None) => answer.position > proven,
                None => true,
            };
            ensure(right, || {
                format!("after damage, append {append} was not found, but no error was reported")
            })?;
        }
        Ok(())
    }
}

/// Checks that streams with proven events are listed, or damage is reported.
fn check_listing(store: &LogStore, history: &History, proven: Position) -> CheckResult {
    let list = ListStreams::all();
    let Some(listed) = reads::none_if_damaged(answer_now(store.list_streams(list)))? else {
        return Ok(());
    };
    // The head after the damage: metadata in between may hide a stream temporarily.
    let head = reads::none_if_damaged(answer_now(store.head()))?;
    let end = head.map_or(history.head(), |head| head.position);
    let is_live = |stream: &StreamName, as_of| {
        history.stream_state_at(stream, as_of).state == StreamState::Live
    };
    // Live at every head that the damage may have left.
    let missing = history.stream_names().find(|stream| {
        !stream.is_system()
            && is_live(stream, proven)
            && is_live(stream, end)
            && is_live(stream, history.head())
            && !listed.contains(stream)
    });
    ensure(missing.is_none(), || {
        format!("after damage, {missing:?} is not listed, but no error was reported")
    })
}

/// Checks that a stream's description reaches its proven head, or damage is reported.
fn check_described_head(
    store: &LogStore,
    history: &History,
    stream: &StreamName,
    proven: Position,
) -> CheckResult {
    let described = reads::none_if_damaged(answer_now(store.describe_stream(stream)))?;
    let last = history.stream(stream).rev().find(|event| event.position <= proven);
    let last = last.map(|event| event.revision);
    ensure(described.is_none_or(|described| described.head >= last), || {
        format!("after damage, the description of {stream} lacks its last revision")
    })
}

/// Checks that a read shows a gapless part of the stream, apart from scavenged events, up to its
/// end or an error. Metadata that hides its beginning may be lost.
fn check_partial_stream(
    history: &History,
    stream: &StreamName,
    shown: &PartialRead,
    proven: Position,
) -> CheckResult {
    let genuine = shown
        .events
        .iter()
        .all(|event| event.stream == *stream && history.at(event.position) == Some(event));
    let mut steps = shown.events.iter().zip(shown.events.iter().skip(1));
    let whole = steps.all(|(one, next)| history.follows(one, next));
    ensure(genuine && whole, || format!("after damage, a read of {stream} returned wrong events"))?;
    let last = history.remaining_of(stream).rev().find(|event| event.position <= proven);
    let reached = shown.events.last().map(|event| event.position) >= last.map(|last| last.position);
    let may_be_hidden = shown.events.is_empty()
        && history.stream_state_at(stream, history.head()).metadata_head.is_some();
    ensure(!shown.complete || reached || may_be_hidden, || {
        format!("after damage, a read of {stream} ended without an error")
    })
}

/// Streams without a tombstone.
fn readable_streams(history: &History) -> impl Iterator<Item = &StreamName> {
    let state = |stream| history.stream_state_at(stream, history.head()).state;
    history.stream_names().filter(move |stream| state(stream) != StreamState::Tombstoned)
}

fn backwards() -> ReadAll {
    ReadAll::backwards()
}

/// Collects the deliveries of a new subscription up to the head or an error.
fn subscribed(store: &LogStore) -> CheckResult<PartialRead> {
    let mut subscription = store.subscribe(Subscribe::to_all().into());
    let mut context = Context::from_waker(Waker::noop());
    let mut events = Vec::new();
    loop {
        match Pin::new(&mut subscription).poll_next(&mut context) {
            Poll::Ready(Some(Ok(Delivery::Events(page)))) => events.extend(page),
            Poll::Ready(Some(Ok(_))) => {}
            Poll::Ready(Some(Err(StoreError::Corrupt(_)))) => {
                return Ok(PartialRead { events, complete: false });
            }
            Poll::Ready(Some(Err(error))) => {
                return Err(Violation(format!("a subscription reported damage as {error}")));
            }
            Poll::Ready(None) => {
                return Err(Violation("a subscription ended without an error".to_owned()));
            }
            Poll::Pending => return Ok(PartialRead { events, complete: true }),
        }
    }
}

fn check_refuses_appends(engine: &mut Engine, store: &LogStore) -> CheckResult {
    let stream = StreamName::new("order-1").expect("a valid name");
    let event_type = EventType::new("placed").expect("a valid name");
    let event = NewEvent::json(EventId::from(Uuid::nil()), event_type, "{}");
    let append = Append::to(stream, ExpectedRevision::Any, [event]);
    let mut outcome = store.append(append);
    // The refusal may come at once or with the next turn.
    let early = poll_once(outcome.as_mut());
    engine.poll();
    let answer = early.or_else(|| poll_once(outcome.as_mut()));
    ensure(matches!(answer, Some(Err(StoreError::Corrupt(_)))), || {
        format!("a damaged store accepted an append: {answer:?}")
    })
}
