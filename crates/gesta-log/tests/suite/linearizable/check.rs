//! Checks that a history is linearizable.
//!
//! Invariant: an append takes effect at the position in its answer, so
//! - the order of positions respects time: an append answered before another one was submitted
//!   precedes it;
//! - at its place, the append's expectations held, and its answer follows from it;
//! - a refused append was refused correctly at some time between its submission and its answer;
//! - a read shows a state between its submission and its answer.
//!
//! A *state* is the number of appends that took effect. The states that an operation may have met
//! follow from time alone: everything answered before its submission, nothing submitted after its
//! answer.

use std::{collections::HashMap, ops::RangeInclusive};

use gesta_store::{
    Append, Conflict, EventId, EventQuery, ExpectedRevision, Position, Revision, StreamMetadata,
    StreamName, Tag,
};

use super::history::{Action, History, Operation};

/// Number of checked operations in a history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CheckReport {
    pub(super) acknowledged: usize,
    pub(super) refused: usize,
    pub(super) reads: usize,
    /// Appends accepted although hidden events matched their condition.
    pub(super) passed_over: usize,
}

impl CheckReport {
    pub(super) fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.reads += other.reads;
        self.passed_over += other.passed_over;
    }
}

/// Checks a history that started with an empty store.
pub(super) fn check(history: &History) -> Result<CheckReport, String> {
    let order = AppendOrder::of(history)?;
    let (acknowledged, passed_over) = (order.appends.len(), order.passed_over);
    let mut checked = CheckReport { acknowledged, passed_over, ..CheckReport::default() };
    for operation in &history.0 {
        let states = order.states(operation);
        match &operation.what {
            Action::Appended { .. } => {}
            Action::Refused { append, conflict } => {
                checked.refused += 1;
                let mut states = states.clone();
                if !states.any(|state| order.refuses(state, append, conflict)) {
                    return Err(format!("refused for nothing: {conflict} of {append:?}"));
                }
            }
            Action::ReadStream { stream, ids } => {
                checked.reads += 1;
                let all = order.streams.get(stream).map(Vec::as_slice).unwrap_or_default();
                order.shown(states, all, ids).map_err(|what| format!("{stream}: {what}"))?;
            }
            Action::ReadAll { ids } => {
                checked.reads += 1;
                order.shown(states, &order.events, ids)?;
            }
            Action::Head { position } => {
                checked.reads += 1;
                if !states.clone().any(|state| order.head(state) == *position) {
                    return Err(format!("a head of {position} in states {states:?}"));
                }
            }
        }
    }
    Ok(checked)
}

/// An event and its place.
#[derive(Clone, Debug)]
struct PlacedEvent {
    id: EventId,
    position: Position,
    tags: Vec<Tag>,
    stream: StreamName,
    revision: Revision,
    /// Only for events of metadata streams.
    metadata: Option<StreamMetadata>,
}

/// An append that took effect.
#[derive(Clone, Copy, Debug)]
struct AppliedAppend {
    offered: u64,
    answered: u64,
    /// Position of its last event.
    position: Position,
}

/// The appends that took effect, in order.
#[derive(Debug, Default)]
struct AppendOrder {
    appends: Vec<AppliedAppend>,
    events: Vec<PlacedEvent>,
    streams: HashMap<StreamName, Vec<PlacedEvent>>,
    /// For each append, the latest submission of it or an earlier one.
    offered_up_to: Vec<u64>,
    /// For each append, the earliest answer of it or a later one.
    answered_from: Vec<u64>,
    passed_over: usize,
}

impl AppendOrder {
    fn of(history: &History) -> Result<Self, String> {
        let mut appended: Vec<_> = history.0.iter().filter_map(appended).collect();
        appended.sort_by_key(|(took, ..)| took.position);
        let mut order = Self::default();
        for (took, append, revisions) in appended {
            order.take(took, append, revisions)?;
        }
        let mut latest = 0;
        for took in &order.appends {
            latest = latest.max(took.offered);
            order.offered_up_to.push(latest);
        }
        let mut earliest = u64::MAX;
        for took in order.appends.iter().rev() {
            earliest = earliest.min(took.answered);
            order.answered_from.push(earliest);
        }
        order.answered_from.reverse();
        let pairs = order.offered_up_to.iter().zip(order.answered_from.iter().skip(1));
        for (at, (offered, answered)) in pairs.enumerate() {
            if offered > answered {
                let position = order.appends[at + 1].position;
                return Err(format!(
                    "what is at position {position} or after it was answered before something at \
                     a lower position was offered"
                ));
            }
        }
        Ok(order)
    }

    /// Applies the next append.
    fn take(
        &mut self,
        took: AppliedAppend,
        append: &Append,
        revisions: &[(StreamName, Revision)],
    ) -> Result<(), String> {
        let state = self.appends.len();
        let at = took.position;
        for part in &append.streams {
            let head = self.head_for(state, &part.stream, part.expected);
            if !part.expected.admits(head) {
                return Err(format!("at {at} {} was at {head:?}: {append:?}", part.stream));
            }
        }
        if let Some(condition) = &append.condition {
            let mut matches = self.matches(state, &condition.none_matching, condition.after);
            if let Some(matching) = matches.clone().find(|event| self.is_visible(state, event)) {
                let matching = matching.position;
                return Err(format!("at {at} position {matching} matched: {append:?}"));
            }
            let hidden = usize::from(matches.next().is_some());
            drop(matches);
            self.passed_over += hidden;
        }
        for part in &append.streams {
            for event in &part.events {
                let position = self.events.last().map_or(Position::START, |last| last.position);
                let stream = part.stream.clone();
                let of_stream = self.streams.entry(stream.clone()).or_default();
                let described = stream.described_stream();
                let placed = PlacedEvent {
                    id: event.id,
                    position: position.next(),
                    tags: event.tags.clone(),
                    revision: Revision::new(of_stream.len() as u64),
                    metadata: described.map(|_| StreamMetadata::from_json(&event.data).unwrap()),
                    stream,
                };
                of_stream.push(placed.clone());
                self.events.push(placed);
            }
        }
        if self.events.last().map(|last| last.position) != Some(at) {
            return Err(format!("{append:?} was answered with position {at}"));
        }
        self.appends.push(took);
        let heads: Vec<_> = append
            .streams
            .iter()
            .filter(|part| !part.events.is_empty())
            .map(|part| (part.stream.clone(), self.stream_head(state + 1, &part.stream)))
            .collect();
        let told = revisions.iter().map(|(stream, head)| (stream.clone(), Some(*head)));
        if heads != told.collect::<Vec<_>>() {
            return Err(format!("{append:?} was answered with {revisions:?}, not {heads:?}"));
        }
        Ok(())
    }

    /// States that an operation may have met.
    fn states(&self, operation: &Operation) -> RangeInclusive<usize> {
        let before = self.appends.iter().rposition(|took| took.answered < operation.offered);
        let after = self.appends.iter().position(|took| took.offered > operation.answered);
        before.map_or(0, |last| last + 1)..=after.unwrap_or(self.appends.len())
    }

    fn head(&self, state: usize) -> Position {
        let last = state.checked_sub(1).and_then(|last| self.appends.get(last));
        last.map_or(Position::START, |took| took.position)
    }

    fn stream_head(&self, state: usize, stream: &StreamName) -> Option<Revision> {
        let events = self.streams.get(stream)?;
        let head = self.head(state);
        let count = events.partition_point(|event| event.position <= head) as u64;
        count.checked_sub(1).map(Revision::new)
    }

    /// Head that an expected revision is compared with.
    fn head_for(
        &self,
        state: usize,
        stream: &StreamName,
        expected: ExpectedRevision,
    ) -> Option<Revision> {
        let head = self.stream_head(state, stream)?;
        let deleted = self.metadata(state, stream).is_some_and(|known| known.deletes(head));
        let exact = matches!(expected, ExpectedRevision::Exact(_));
        (exact || !deleted).then_some(head)
    }

    fn metadata(&self, state: usize, stream: &StreamName) -> Option<&StreamMetadata> {
        let described = stream.metadata_stream().unwrap();
        let last = self.stream_head(state, &described)?.number() as usize;
        self.streams.get(&described)?.get(last)?.metadata.as_ref()
    }

    fn is_visible(&self, state: usize, event: &PlacedEvent) -> bool {
        let Some(metadata) = self.metadata(state, &event.stream) else { return true };
        let head = self.stream_head(state, &event.stream);
        head.is_some_and(|head| event.revision >= metadata.first_visible(head))
    }

    /// Events after a position that match, including hidden ones.
    fn matches<'a>(
        &'a self,
        state: usize,
        query: &'a EventQuery,
        after: Position,
    ) -> impl Iterator<Item = &'a PlacedEvent> + Clone {
        let event_type = gesta_store::EventType::new("raced").unwrap();
        let (from, head) = (after.number() as usize, self.head(state));
        let later = self.events.iter().skip(from).take_while(move |event| event.position <= head);
        later.filter(move |event| query.matches(&event_type, &event.tags))
    }

    /// Returns whether the conflict is correct in this state.
    fn refuses(&self, state: usize, append: &Append, conflict: &Conflict) -> bool {
        match conflict {
            Conflict::Stream { stream, expected, head } => {
                let asked: Option<ExpectedRevision> = append
                    .streams
                    .iter()
                    .find(|part| part.stream == *stream)
                    .map(|part| part.expected);
                asked == Some(*expected)
                    && self.head_for(state, stream, *expected) == *head
                    && !expected.admits(*head)
            }
            Conflict::Condition { matching } => {
                let Some(condition) = &append.condition else { return false };
                let at = matching.number() as usize;
                let event = at.checked_sub(1).and_then(|at| self.events.get(at));
                let event_type = gesta_store::EventType::new("raced").unwrap();
                *matching > condition.after
                    && *matching <= self.head(state)
                    && event.is_some_and(|event| {
                        condition.none_matching.matches(&event_type, &event.tags)
                            && self.is_visible(state, event)
                    })
            }
            // A writer retries its own appends unchanged.
            _ => false,
        }
    }

    /// Returns whether these are the events of one of the states.
    fn shown(
        &self,
        states: RangeInclusive<usize>,
        all: &[PlacedEvent],
        ids: &[EventId],
    ) -> Result<(), String> {
        if !all.iter().map(|event| event.id).take(ids.len()).eq(ids.iter().copied()) {
            return Err(format!(
                "a read of {} events shows others, or in another order",
                ids.len()
            ));
        }
        let counts = |state: usize| {
            let head = self.head(state);
            all.partition_point(|event| event.position <= head)
        };
        match states.clone().any(|state| counts(state) == ids.len()) {
            true => Ok(()),
            false => Err(format!(
                "a read of {} events, of which there were {} to {}",
                ids.len(),
                counts(*states.start()),
                counts(*states.end())
            )),
        }
    }
}

/// Streams that got events, with their new heads.
type Heads = [(StreamName, Revision)];

fn appended(operation: &Operation) -> Option<(AppliedAppend, &Append, &Heads)> {
    let Operation { offered, answered, what } = operation;
    match what {
        Action::Appended { append, position, revisions } => {
            let took =
                AppliedAppend { offered: *offered, answered: *answered, position: *position };
            Some((took, append, revisions))
        }
        Action::Refused { .. }
        | Action::ReadStream { .. }
        | Action::ReadAll { .. }
        | Action::Head { .. } => None,
    }
}

mod doctored {
    //! Histories that no store may have.

    use gesta_store::{AppendCondition, EventType, NewEvent, QueryItem};

    use super::*;
    use crate::harness::name;

    fn append(stream: &str, expected: ExpectedRevision) -> Append {
        let event_type = EventType::new("raced").unwrap();
        let event = NewEvent::json(EventId::random(), event_type, "{}")
            .tagged([Tag::of("raced", "1").unwrap()]);
        Append::to(name(stream), expected, [event])
    }

    fn unless_tagged(append: Append, after: u64) -> Append {
        let tagged = QueryItem::every().tagged([Tag::of("raced", "1").unwrap()]);
        let none_matching = EventQuery::of(tagged);
        append.with_condition(AppendCondition { none_matching, after: Position::new(after) })
    }

    fn took(times: (u64, u64), append: Append, position: u64, revision: u64) -> Operation {
        let revisions = vec![(append.streams[0].stream.clone(), Revision::new(revision))];
        let position = Position::new(position);
        let what = Action::Appended { append, position, revisions };
        Operation { offered: times.0, answered: times.1, what }
    }

    fn other(times: (u64, u64), what: Action) -> Operation {
        Operation { offered: times.0, answered: times.1, what }
    }

    /// Two appends to one stream, one after the other.
    fn sound() -> Vec<Operation> {
        vec![
            took((0, 1), append("a-1", ExpectedRevision::NoStream), 1, 0),
            took((2, 3), append("a-1", ExpectedRevision::Exact(Revision::new(0))), 2, 1),
        ]
    }

    fn complaint(operations: Vec<Operation>) -> String {
        check(&History(operations)).unwrap_err()
    }

    fn ids(operations: &[Operation]) -> Vec<EventId> {
        let appends = operations.iter().filter_map(appended);
        appends.flat_map(|(_, append, _)| append.events().map(|event| event.id)).collect()
    }

    #[test]
    fn a_sound_history_passes() {
        let mut history = sound();
        let ids = ids(&history);
        history.push(other((2, 9), Action::ReadAll { ids: ids[..1].to_vec() }));
        history.push(other((4, 9), Action::ReadStream { stream: name("a-1"), ids }));
        history.push(other((4, 9), Action::Head { position: Position::new(2) }));
        let stale = append("a-1", ExpectedRevision::NoStream);
        let conflict = Conflict::Stream {
            stream: name("a-1"),
            expected: ExpectedRevision::NoStream,
            head: Some(Revision::new(0)),
        };
        history.push(other((2, 5), Action::Refused { append: stale, conflict }));
        let checked =
            CheckReport { acknowledged: 2, refused: 1, reads: 3, ..CheckReport::default() };
        assert_eq!(check(&History(history)), Ok(checked));
    }

    #[test]
    fn positions_against_time_are_noticed() {
        let late = append("a-1", ExpectedRevision::Any);
        let early = append("a-2", ExpectedRevision::Any);
        let history = vec![took((0, 1), late, 2, 0), took((2, 3), early, 1, 0)];
        assert!(complaint(history.clone()).contains("answered before"));
        let mut overlapping = history;
        overlapping[1].offered = 0;
        assert!(check(&History(overlapping)).is_ok());
    }

    #[test]
    fn an_expectation_that_did_not_hold_is_noticed() {
        let mut history = sound();
        history.push(took((0, 9), append("a-1", ExpectedRevision::NoStream), 3, 2));
        assert!(complaint(history).contains("at 3 a-1 was at"));
    }

    #[test]
    fn a_condition_that_did_not_hold_is_noticed() {
        let mut history = sound();
        let append = unless_tagged(append("a-2", ExpectedRevision::Any), 1);
        history.push(took((0, 9), append, 3, 0));
        assert!(complaint(history).contains("position 2 matched"));
    }

    fn truncated(before: u64) -> Append {
        let truncate_before = Some(Revision::new(before));
        let metadata = StreamMetadata::default().truncate_before(truncate_before);
        let event_type = EventType::new(StreamMetadata::EVENT_TYPE).unwrap();
        let event = NewEvent::json(EventId::random(), event_type, metadata.to_json());
        Append::to(name("$$a-1"), ExpectedRevision::Any, [event])
    }

    #[test]
    fn a_condition_refused_for_a_hidden_event_or_held_for_a_shown_one_is_noticed() {
        for (before, hidden) in [(2, true), (1, false)] {
            let mut history = sound();
            history.push(took((4, 5), truncated(before), 3, 0));
            let demand = unless_tagged(append("a-2", ExpectedRevision::Any), 1);
            let conflict = Conflict::Condition { matching: Position::new(2) };
            let refused = Action::Refused { append: demand.clone(), conflict };
            let mut held = history.clone();
            held.push(took((6, 7), demand, 4, 0));
            history.push(other((6, 7), refused));
            assert_eq!(check(&History(held)).is_ok(), hidden);
            assert_eq!(check(&History(history)).is_ok(), !hidden);
        }
    }

    #[test]
    fn a_position_that_was_given_twice_or_left_out_is_noticed() {
        for position in [2, 4] {
            let mut history = sound();
            history.push(took((0, 9), append("a-2", ExpectedRevision::Any), position, 0));
            assert!(complaint(history).contains("was answered with position"));
        }
    }

    #[test]
    fn a_wrong_revision_is_noticed() {
        let mut history = sound();
        history.push(took((0, 9), append("a-1", ExpectedRevision::Any), 3, 7));
        assert!(complaint(history).contains("was answered with ["));
    }

    #[test]
    fn a_conflict_with_what_is_not_there_yet_or_any_more_is_noticed() {
        let refused = |times, head| {
            let expected = ExpectedRevision::Exact(Revision::new(5));
            let append = append("a-1", expected);
            let conflict = Conflict::Stream { stream: name("a-1"), expected, head };
            other(times, Action::Refused { append, conflict })
        };
        let with = |operation| {
            let mut history = sound();
            history.push(operation);
            check(&History(history))
        };
        // Between the two appends the head is 0: neither missing nor 1.
        let second = |times| {
            let mut history = sound();
            history[1].offered = 10;
            history[1].answered = 11;
            history.push(refused(times, Some(Revision::new(1))));
            check(&History(history))
        };
        assert!(second((4, 5)).unwrap_err().contains("refused for nothing"));
        assert!(second((4, 12)).is_ok());
        assert!(with(refused((4, 5), None)).unwrap_err().contains("refused for nothing"));
        assert!(with(refused((4, 5), Some(Revision::new(0)))).is_err());
        assert!(with(refused((4, 5), Some(Revision::new(1)))).is_ok());
    }

    #[test]
    fn a_condition_refused_for_an_event_that_was_seen_is_noticed() {
        let refused = |after| {
            let mut history = sound();
            let append = unless_tagged(append("a-2", ExpectedRevision::Any), after);
            let conflict = Conflict::Condition { matching: Position::new(2) };
            history.push(other((4, 5), Action::Refused { append, conflict }));
            check(&History(history))
        };
        assert!(refused(1).is_ok());
        assert!(refused(2).unwrap_err().contains("refused for nothing"));
    }

    #[test]
    fn a_read_that_misses_an_acknowledged_append_is_noticed() {
        let mut history = sound();
        let ids = ids(&history);
        let stale = Action::ReadStream { stream: name("a-1"), ids: ids[..1].to_vec() };
        history.push(other((4, 5), stale));
        assert!(complaint(history).contains("a read of 1 events"));
        let mut history = sound();
        history.push(other((4, 5), Action::Head { position: Position::new(1) }));
        assert!(complaint(history).contains("a head of 1"));
    }

    #[test]
    fn a_read_that_shows_what_was_offered_later_or_in_another_order_is_noticed() {
        let mut history = sound();
        let mut ids = ids(&history);
        history[1].offered = 10;
        history[1].answered = 11;
        history.push(other((4, 5), Action::ReadAll { ids: ids.clone() }));
        assert!(complaint(history).contains("a read of 2 events"));
        let mut history = sound();
        ids = super::doctored::ids(&history);
        ids.reverse();
        history.push(other((4, 5), Action::ReadAll { ids }));
        assert!(complaint(history).contains("in another order"));
    }

    #[test]
    fn half_an_append_is_noticed() {
        let mut history = sound();
        let mut twice = append("a-2", ExpectedRevision::Any);
        let second = append("a-2", ExpectedRevision::Any).streams.remove(0).events.remove(0);
        twice.streams[0].events.push(second);
        history.push(took((4, 5), twice, 4, 1));
        let ids = ids(&history);
        history.push(other((4, 9), Action::ReadAll { ids: ids[..3].to_vec() }));
        assert!(complaint(history).contains("a read of 3 events"));
    }
}
