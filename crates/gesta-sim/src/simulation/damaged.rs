//! What a damaged store may show: what was there, up to where it says that something is missing.
//!
//! Always holds: nothing is compared with the damage, which is not known here; what is shown must
//! be what was appended, nothing may be missing in silence, and a store that calls itself damaged
//! takes no appends. Not here: which damage there is ([`last`](super::last)).

use std::{
    collections::BTreeSet,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use futures_core::Stream;
use gesta_log::{Engine, LogStore, OpenError};
use gesta_store::{
    Append, Delivery, Direction, EventId, EventStore, EventType, ExpectedRevision, ListStreams,
    NewEvent, Position, ReadAll, ReadFrom, ReadStream, RecordedEvent, StoreError, StreamName,
    StreamState, Subscribe, Visibility,
};
use uuid::Uuid;

use super::{
    Simulation,
    poll::{answer_now, poll_once},
    reads::{self, Shown, up_to_damage},
};
use crate::{
    disk::Hazards,
    model::{Broken, History, Verdict, demand},
};

/// Whether anybody was told of damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Nothing,
    Damage,
}

/// Whether something of what may be lost must still lie there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remains {
    Sure,
    Perhaps,
}

impl Told {
    const fn when(damage: bool) -> Self {
        if damage { Self::Damage } else { Self::Nothing }
    }

    pub(super) fn or(self, other: Self) -> Self {
        Self::when(self == Self::Damage || other == Self::Damage)
    }
}

impl Simulation {
    /// Opens the store, in which something may be damaged, and reads all of it. What is vouched
    /// for is there, or its loss is told.
    pub(super) fn judge(&mut self, vouched: Position, remains: Remains) -> Verdict<Told> {
        self.disk.expose_to(Hazards::default());
        let (mut engine, store) = match self.try_to_open() {
            Ok(opened) => opened,
            Err(OpenError::OtherVersion { .. } | OpenError::AnotherStore { .. }) => {
                return Ok(Told::Damage);
            }
            Err(error) => {
                return Err(Broken(format!("a damaged store does not open to be read: {error}")));
            }
        };
        let report = store.report();
        self.trace.note(|| format!("opened with damage: {:?}", report.damage));
        if !report.damage.is_empty() {
            self.judge_rest(&store, vouched)?;
            refuses_appends(&mut engine, &store)?;
            return Ok(Told::Damage);
        }
        let Shown { events, to_the_end } = up_to_damage(store.read_all(ReadAll::forwards()))?;
        if to_the_end && events.len() < self.model.history().events().len() {
            let unmarked = report.unmarked.is_some() && remains == Remains::Perhaps;
            let told = report.torn.is_some() || unmarked;
            demand(told, || format!("only {} events are left, in silence", events.len()))?;
            self.judge_rest(&store, vouched)?;
            return Ok(Told::Damage);
        }
        self.judge_reads(&store)
    }

    /// Reads of a store which says that nothing is missing: the right answer or none.
    pub(super) fn judge_reads(&mut self, store: &LogStore) -> Verdict<Told> {
        let history = self.model.history();
        let known: Vec<_> = history.events().iter().collect();
        let mut told = Told::Nothing;
        let mut same = |shown: Shown, known: &[&RecordedEvent], what: &str| {
            let right = shown.events.iter().eq(known.iter().copied().take(shown.events.len()));
            demand(right, || format!("other events were read of {what}"))?;
            demand(!shown.to_the_end || shown.events.len() == known.len(), || {
                format!("{what} ended after {} of {}", shown.events.len(), known.len())
            })?;
            told = told.or(Told::when(!shown.to_the_end));
            Ok(())
        };
        same(up_to_damage(store.read_all(ReadAll::forwards()))?, &known, "all")?;
        same(subscribed(store)?, &known, "a subscription to all")?;
        let reversed: Vec<_> = known.iter().rev().copied().collect();
        same(up_to_damage(store.read_all(backwards()))?, &reversed, "all backwards")?;
        for stream in readable(history) {
            let read = ReadStream::forwards(stream.clone());
            same(up_to_damage(store.read_stream(read))?, &history.shown(stream), stream.as_str())?;
        }
        for _ in 0..4 {
            let filter = reads::some_filter(&mut self.client, &mut self.chance);
            let read = ReadAll { filter, ..ReadAll::forwards() };
            let hidden = match read.filter.visibility(read.visibility) {
                Visibility::Raw => BTreeSet::new(),
                Visibility::Visible => history.hidden(),
            };
            let is_meant =
                |e: &&&RecordedEvent| read.filter.matches(e) && !hidden.contains(&e.position);
            let meant: Vec<_> = known.iter().filter(is_meant).copied().collect();
            same(
                up_to_damage(store.read_all(read.clone()))?,
                &meant,
                "what a filter lets through",
            )?;
        }
        self.judge_answers(store).map(|answers| told.or(answers))
    }

    /// What is not pages: descriptions, lists, appends.
    fn judge_answers(&mut self, store: &LogStore) -> Verdict<Told> {
        let mut told = Told::Nothing;
        let history = self.model.history();
        for stream in history.stream_names() {
            told = told.or(Told::when(reads::describe(store, history, stream)?.is_none()));
        }
        for _ in 0..8 {
            let found = reads::find_append(store, &self.model, &mut self.chance)?;
            told = told.or(Told::when(found.is_none()));
        }
        let history = self.model.history();
        let scanned = reads::scan(store, history, Position::START)?;
        let listed = reads::list(store, history, &mut self.chance)?;
        Ok(told.or(Told::when(scanned.is_none() || listed.is_none())))
    }

    /// Reads of a store that says that something is missing: what there is, in order, and an error
    /// where something is missing.
    fn judge_rest(&self, store: &LogStore, vouched: Position) -> Verdict {
        let history = self.model.history();
        let known = history.events();
        let vouched = known.partition_point(|event| event.position <= vouched);
        for shown in [up_to_damage(store.read_all(ReadAll::forwards()))?, subscribed(store)?] {
            demand(known.starts_with(&shown.events), || {
                let wrong = known.iter().zip(&shown.events).find(|(known, found)| known != found);
                let place = wrong.map(|(known, _)| known.position);
                format!("after damage, a read went on as if nothing were missing at {place:?}")
            })?;
            demand(!shown.to_the_end || shown.events.len() >= vouched, || {
                format!("a read of all ended in silence after {}", shown.events.len())
            })?;
        }
        let mut shown = up_to_damage(store.read_all(backwards()))?.events;
        shown.reverse();
        let ends = |end: usize| known.get(..end).is_some_and(|all| all.ends_with(&shown));
        demand((vouched..=known.len()).any(ends), || {
            "after damage, other events were read backwards".to_owned()
        })?;
        let vouched = known.get(vouched.saturating_sub(1)).map_or(Position::START, |e| e.position);
        for stream in readable(history) {
            let read = ReadStream::forwards(stream.clone());
            is_stretch(history, stream, &up_to_damage(store.read_stream(read))?, vouched)?;
            head_is_told(store, history, stream, vouched)?;
        }
        all_are_listed(store, history, vouched)?;
        self.appends_are_found(store, vouched)
    }

    /// What is vouched for is found, as it was answered, or its loss is told.
    fn appends_are_found(&self, store: &LogStore, vouched: Position) -> Verdict {
        for offer in 0..self.model.offers() {
            let Some(answer) = self.model.published(offer) else { continue };
            let Some(first) = self.model.append(offer).events().next() else { continue };
            let found = reads::unless_damaged(answer_now(store.find_append(first.id)))?;
            let right = match found {
                Some(Some(found)) => found == *answer,
                Some(None) => answer.position > vouched,
                None => true,
            };
            demand(right, || format!("after damage, append {offer} was not found, in silence"))?;
        }
        Ok(())
    }
}

/// A list has all streams of which something is vouched for, or says that some may be missing.
fn all_are_listed(store: &LogStore, history: &History, vouched: Position) -> Verdict {
    let list = ListStreams { prefix: String::new(), after: None, limit: usize::MAX };
    let Some(listed) = reads::unless_damaged(answer_now(store.list_streams(list)))? else {
        return Ok(());
    };
    // The end that the damage left: metadata in between may hide a stream for a while.
    let head = reads::unless_damaged(answer_now(store.head()))?;
    let end = head.map_or(history.head(), |head| head.position);
    let is_live =
        |stream: &StreamName, as_of| history.stream_past(stream, as_of).state == StreamState::Live;
    let missing = history.stream_names().find(|stream| {
        !stream.is_system()
            && is_live(stream, vouched)
            && is_live(stream, end)
            && is_live(stream, history.head())
            && !listed.contains(stream)
    });
    demand(missing.is_none(), || format!("after damage, {missing:?} is not listed, in silence"))
}

/// A description reaches as far as the stream does, or says that something is missing.
fn head_is_told(
    store: &LogStore,
    history: &History,
    stream: &StreamName,
    vouched: Position,
) -> Verdict {
    let described = reads::unless_damaged(answer_now(store.describe_stream(stream)))?;
    let last = history.stream(stream).rev().find(|event| event.position <= vouched);
    let last = last.map(|event| event.revision);
    demand(described.is_none_or(|described| described.head >= last), || {
        format!("after damage, {stream} was described without its end")
    })
}

/// A part of a stream without gaps but for what was scavenged, up to its end or to an error. What
/// hides its beginning may be among what is missing.
fn is_stretch(history: &History, stream: &StreamName, shown: &Shown, vouched: Position) -> Verdict {
    let genuine = shown
        .events
        .iter()
        .all(|event| event.stream == *stream && history.at(event.position) == Some(event));
    let mut steps = shown.events.iter().zip(shown.events.iter().skip(1));
    let whole = steps.all(|(one, next)| history.follows(one, next));
    demand(genuine && whole, || format!("after damage, other events were read of {stream}"))?;
    let last = history.left_of(stream).rev().find(|event| event.position <= vouched);
    let reached = shown.events.last().map(|event| event.position) >= last.map(|last| last.position);
    let may_be_hidden = shown.events.is_empty()
        && history.stream_past(stream, history.head()).metadata_head.is_some();
    demand(!shown.to_the_end || reached || may_be_hidden, || {
        format!("after damage, a read of {stream} ended in silence")
    })
}

/// The streams that were not tombstoned.
fn readable(history: &History) -> impl Iterator<Item = &StreamName> {
    let state = |stream| history.stream_past(stream, history.head()).state;
    history.stream_names().filter(move |stream| state(stream) != StreamState::Tombstoned)
}

fn backwards() -> ReadAll {
    ReadAll { direction: Direction::Backwards, from: ReadFrom::End, ..ReadAll::forwards() }
}

/// What a new subscriber is told, up to the head or to an error.
fn subscribed(store: &LogStore) -> Verdict<Shown> {
    let mut subscription = store.subscribe(Subscribe::to_all());
    let mut context = Context::from_waker(Waker::noop());
    let mut events = Vec::new();
    loop {
        match Pin::new(&mut subscription).poll_next(&mut context) {
            Poll::Ready(Some(Ok(Delivery::Events(page)))) => events.extend(page),
            Poll::Ready(Some(Ok(Delivery::CaughtUp(_) | Delivery::Checkpoint(_)))) => {}
            Poll::Ready(Some(Err(StoreError::Corrupt(_)))) => {
                return Ok(Shown { events, to_the_end: false });
            }
            Poll::Ready(Some(Err(error))) => {
                return Err(Broken(format!("a subscriber was told of damage as {error}")));
            }
            Poll::Ready(None) => return Err(Broken("a subscription ended".to_owned())),
            Poll::Pending => return Ok(Shown { events, to_the_end: true }),
        }
    }
}

fn refuses_appends(engine: &mut Engine, store: &LogStore) -> Verdict {
    let stream = StreamName::new("order-1").expect("a valid name");
    let event_type = EventType::new("placed").expect("a valid name");
    let event = NewEvent::json(EventId::from(Uuid::nil()), event_type, "{}");
    let append = Append::to(stream, ExpectedRevision::Any, [event]);
    let mut outcome = store.append(append);
    let early = poll_once(outcome.as_mut());
    engine.turn();
    let answer = early.or_else(|| poll_once(outcome.as_mut()));
    demand(matches!(answer, Some(Err(StoreError::Corrupt(_)))), || {
        format!("a damaged store answered an append: {answer:?}")
    })
}
