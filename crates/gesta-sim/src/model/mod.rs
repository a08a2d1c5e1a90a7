//! A client's knowledge of a store, and the promises of the contract that follow from it.
//!
//! Owns: [`Model`]: every submitted append, its answers, and every event ever read. Invariants: its
//! only inputs are answers and reads; each check is a promise of the contract. Not here: the
//! schedule of requests.

mod history;
mod scavenging;
mod violation;

use std::collections::HashMap;

use gesta_store::{
    Append, Appended, Conflict, EventId, ExpectedRevision, NewEvent, Position, RecordedEvent,
    RecordedWhen, StoreError, StreamName, StreamState,
};

use self::scavenging::ScavengeTracker;
pub(crate) use self::{
    history::History,
    violation::{CheckResult, Violation, ensure},
};

/// Index of an append, in order of first submission.
pub(crate) type AppendId = usize;

/// Validity of a submitted append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AppendKind {
    Valid,
    /// Invalid input; must be rejected.
    Malformed,
    /// Reuses the first event id of a published append; must be a conflict.
    ReusedEventId,
}

/// An append and the state of its attempts.
#[derive(Debug)]
struct TrackedAppend {
    append: Append,
    kind: AppendKind,
    /// Head at its first attempt in the current session, or in the last one that tried it.
    first_attempt_head: Position,
    /// Attempts in the current session without a definite failure.
    open: u32,
    /// Number of `open` attempts that were answered with an unknown outcome.
    doubtful: u32,
    /// The only correct acknowledgement of a repeat, once the append is published.
    published: Option<Appended>,
    /// Number of attempts in all sessions.
    attempts: u32,
    /// Set once an attempt was answered that it recorded the append.
    recorded: bool,
    /// Set once its presence was acknowledged or survived a restart.
    confirmed: bool,
}

/// Knowledge at the time of an attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pub(crate) append: AppendId,
    /// Head visible to readers.
    head: Position,
    was_published: bool,
    /// Earlier attempts answered with an unknown outcome.
    in_doubt: u32,
}

impl Attempt {
    /// Returns whether the append was absent when the attempt began.
    pub(crate) const fn is_first(&self) -> bool {
        !self.was_published
    }
}

/// Faults in the current session that excuse failed appends.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ObservedFaults {
    /// An operation of the disk failed.
    pub(crate) disk_failed: bool,
    /// The write of a commit group failed.
    pub(crate) write_failed: bool,
    /// Bytes on the disk were damaged.
    pub(crate) damaged: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    history: History,
    appends: Vec<TrackedAppend>,
    /// The appends that each event id was submitted in, and its index there: one for each stream.
    owners: HashMap<EventId, Vec<(AppendId, usize)>>,
    scavenge: ScavengeTracker,
}

impl Model {
    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    pub(crate) fn append_count(&self) -> usize {
        self.appends.len()
    }

    pub(crate) fn append(&self, id: AppendId) -> &Append {
        &self.tracked(id).append
    }

    pub(crate) fn kind(&self, id: AppendId) -> AppendKind {
        self.tracked(id).kind
    }

    pub(crate) fn published(&self, id: AppendId) -> Option<&Appended> {
        self.appends.get(id).and_then(|tracked| tracked.published.as_ref())
    }

    /// Returns the acknowledgements of the published appends that start with this event id.
    pub(crate) fn published_as(&self, first_event: EventId) -> impl Iterator<Item = &Appended> {
        let owners = self.owners.get(&first_event).into_iter().flatten();
        owners.filter_map(|(owner, ordinal)| self.published(*owner).filter(|_| *ordinal == 0))
    }

    /// Returns whether this event id was ever submitted for this stream.
    pub(crate) fn was_submitted(&self, id: EventId, stream: &StreamName) -> bool {
        self.owner(id, stream).is_some()
    }

    /// Returns the append in which an event id was submitted for a stream, and its index there.
    fn owner(&self, id: EventId, stream: &StreamName) -> Option<(AppendId, usize)> {
        let has = |(owner, _): &&(AppendId, usize)| {
            let parts = &self.append(*owner).streams;
            parts.iter().any(|part| {
                part.stream == *stream && part.events.iter().any(|event| event.id == id)
            })
        };
        self.owners.get(&id)?.iter().find(has).copied()
    }

    /// The last position that is proven durable: a later published append was submitted after it
    /// was visible.
    pub(crate) fn proven(&self) -> Position {
        let later = self.appends.iter().filter(|tracked| tracked.published.is_some());
        later.map(|tracked| tracked.first_attempt_head).max().unwrap_or_default()
    }

    /// Adds an append that is about to be submitted.
    pub(crate) fn register(&mut self, append: Append, kind: AppendKind) -> AppendId {
        let number = self.appends.len();
        if kind == AppendKind::Valid {
            for (ordinal, event) in append.events().enumerate() {
                self.owners.entry(event.id).or_default().push((number, ordinal));
            }
        }
        self.appends.push(TrackedAppend {
            append,
            kind,
            first_attempt_head: Position::START,
            open: 0,
            doubtful: 0,
            published: None,
            attempts: 0,
            recorded: false,
            confirmed: false,
        });
        number
    }

    /// Starts an attempt of a registered append.
    pub(crate) fn begin_attempt(&mut self, number: AppendId) -> Attempt {
        let head = self.history.head();
        let tracked = self.tracked_mut(number);
        if tracked.open == 0 && tracked.published.is_none() {
            tracked.first_attempt_head = head;
        }
        tracked.open += 1;
        tracked.attempts += 1;
        let (was_published, in_doubt) = (tracked.published.is_some(), tracked.doubtful);
        Attempt { append: number, head, was_published, in_doubt }
    }

    /// Checks and adds newly published events.
    pub(crate) fn absorb(&mut self, events: &[RecordedEvent]) -> CheckResult {
        let mut rest = events;
        while let Some(first) = rest.first() {
            let owner = self.owner(first.id, &first.stream);
            let Some((number, ordinal)) = owner else {
                return Err(Violation(format!("event {} was never submitted", first.position)));
            };
            let count = self.append(number).events().count();
            ensure(ordinal == 0, || {
                format!("only a part of append {number} is visible, from {}", first.position)
            })?;
            // An append is atomic: all of its events become visible together.
            let Some((events, later)) = rest.split_at_checked(count) else {
                return Err(Violation(format!(
                    "only {} of {count} events of append {number} are visible",
                    rest.len()
                )));
            };
            self.absorb_append(number, events)?;
            rest = later;
        }
        Ok(())
    }

    fn absorb_append(&mut self, number: AppendId, events: &[RecordedEvent]) -> CheckResult {
        let head = self.history.head();
        let tracked = self.tracked(number);
        ensure(tracked.published.is_none(), || format!("append {number} was appended twice"))?;
        // Without an open attempt, the append was refused for certain or absent after a restart.
        ensure(tracked.open > 0, || {
            format!("append {number} appeared after it was definitely refused or found absent")
        })?;
        if let Some(refusal_reason) = self.history.refusal_reason(&tracked.append, head) {
            return Err(Violation(format!("append {number} was accepted, but {refusal_reason}")));
        }
        // Events of an append are recorded in order of its streams, at contiguous positions.
        let submitted: Vec<(StreamName, NewEvent)> = tracked
            .append
            .streams
            .iter()
            .flat_map(|part| part.events.iter().map(|event| (part.stream.clone(), event.clone())))
            .collect();
        let mut previous = None;
        for ((stream, new), event) in submitted.iter().zip(events) {
            ensure(is_same(stream, new, event), || {
                format!("event {} differs from the submitted append {number}", event.position)
            })?;
            ensure(previous.is_none_or(|p: Position| p.next() == event.position), || {
                format!("positions of append {number} are not contiguous at {}", event.position)
            })?;
            self.absorb_event(event)?;
            previous = Some(event.position);
        }
        // From now on every acknowledgement of this append must name these places.
        let appended = self.answer_for(number);
        self.tracked_mut(number).published = Some(appended);
        Ok(())
    }

    fn absorb_event(&mut self, event: &RecordedEvent) -> CheckResult {
        let (history, position) = (&self.history, event.position);
        ensure(position > history.head(), || format!("event {position} is out of order"))?;
        ensure(event.revision == history.next_revision(&event.stream), || {
            let expected = history.next_revision(&event.stream);
            format!("event {position} has revision {} instead of {expected}", event.revision)
        })?;
        ensure(event.recorded_at >= history.last_recorded_at(), || {
            format!("event {position} has an earlier time than its predecessor")
        })?;
        self.history.push(event.clone());
        Ok(())
    }

    /// Computes the correct acknowledgement of the append absorbed last.
    fn answer_for(&self, number: AppendId) -> Appended {
        let parts = self.append(number).streams.iter().filter(|part| !part.events.is_empty());
        let revision = |stream| self.history.next_revision(stream).previous();
        let revisions =
            parts.filter_map(|part| Some((part.stream.clone(), revision(&part.stream)?)));
        Appended::new(self.history.head(), revisions.collect()).earlier()
    }

    /// Checks the complete contents of the store after a restart.
    pub(crate) fn recovered(&mut self, events: &[RecordedEvent]) -> CheckResult {
        self.scavenge.settle(&mut self.history, events);
        let known = self.history.events();
        for (known, found) in known.iter().zip(events) {
            ensure(known == found, || {
                format!("event {} changed after it was published", known.position)
            })?;
        }
        let Some(later) = events.get(known.len()..) else {
            let lost = known.get(events.len()).map(|event| event.position);
            let lost = lost.unwrap_or_default();
            return Err(Violation(format!(
                "published events are lost, starting at position {lost}"
            )));
        };
        self.absorb(later)?;
        // A restart decides every open attempt: what is absent now can no longer appear.
        for tracked in &mut self.appends {
            (tracked.open, tracked.doubtful) = (0, 0);
            tracked.confirmed = tracked.published.is_some();
        }
        Ok(())
    }

    /// Records the hidden events before a scavenge. All published events must be absorbed.
    pub(crate) fn begin_scavenging(&mut self) {
        self.scavenge.begin(&self.history);
    }

    /// Checks the events left by a scavenge; `done` if it succeeded.
    pub(crate) fn scavenged(&mut self, left: &[RecordedEvent], done: bool) -> CheckResult {
        self.scavenge.check(&mut self.history, left, done)
    }

    /// Checks an answer. All events published before it must be absorbed.
    pub(crate) fn answered(
        &mut self,
        attempt: Attempt,
        answer: &Result<Appended, StoreError>,
        observed: ObservedFaults,
    ) -> CheckResult {
        match answer {
            Ok(appended) => self.accepted(attempt, appended),
            Err(error) if error.is_definite() => {
                self.refused(attempt, error)?;
                self.justified(attempt, error, observed)
            }
            Err(error) => {
                self.tracked_mut(attempt.append).doubtful += 1;
                ensure(observed.disk_failed, || {
                    format!("append {} failed without a disk failure: {error}", attempt.append)
                })
            }
        }
    }

    fn accepted(&mut self, attempt: Attempt, appended: &Appended) -> CheckResult {
        let number = attempt.append;
        let tracked = self.tracked_mut(number);
        tracked.open = tracked.open.saturating_sub(1);
        tracked.confirmed = true;
        ensure(tracked.kind == AppendKind::Valid, || {
            format!("append {number} was accepted although it is invalid")
        })?;
        if tracked.append.events().next().is_none() {
            return self.check_passed(attempt, appended);
        }
        let Some(published) = tracked.published.clone() else {
            return Err(Violation(format!("append {number} was acknowledged but is missing")));
        };
        ensure(published == appended.clone().earlier(), || {
            format!("append {number} was answered with {appended:?} instead of {published:?}")
        })?;
        self.check_recorded(attempt, appended.recorded)?;
        // A first attempt cannot get a position at or below the head that it started from.
        let in_time = attempt.was_published || published.position > attempt.head;
        ensure(in_time, || format!("append {number} was placed before existing events"))
    }

    /// Checks that one attempt at most recorded the append, and none that began later.
    fn check_recorded(&mut self, attempt: Attempt, recorded: RecordedWhen) -> CheckResult {
        let number = attempt.append;
        let tracked = self.tracked_mut(number);
        if recorded == RecordedWhen::Now {
            let twice = std::mem::replace(&mut tracked.recorded, true);
            return ensure(!twice && !attempt.was_published, || {
                format!("a repeat of append {number} was answered as recorded now")
            });
        }
        ensure(tracked.attempts > 1, || {
            format!("the only attempt of append {number} was answered as recorded earlier")
        })
    }

    /// Checks the acknowledgement of an append without events, which holds at the head that it
    /// names.
    fn check_passed(&self, attempt: Attempt, appended: &Appended) -> CheckResult {
        let Attempt { append: number, head, .. } = attempt;
        let at = appended.position;
        ensure(at >= head && at <= self.history.head() && appended.revisions.is_empty(), || {
            format!("check {number}, which began at {head}, was answered with {appended:?}")
        })?;
        match self.history.refusal_reason(self.append(number), at) {
            Some(refusal_reason) => {
                Err(Violation(format!("check {number} passed, but {refusal_reason}")))
            }
            None => Ok(()),
        }
    }

    /// Checks a definite failure: neither this attempt nor earlier ones with unknown outcome took
    /// effect.
    fn refused(&mut self, attempt: Attempt, error: &StoreError) -> CheckResult {
        let number = attempt.append;
        let tracked = self.tracked_mut(number);
        // The refusal also decides earlier attempts with an unknown outcome.
        let earlier = tracked.doubtful.min(attempt.in_doubt);
        tracked.doubtful -= earlier;
        let settled = 1 + earlier;
        let by_this_attempt =
            tracked.published.is_some() && tracked.open == settled && !tracked.confirmed;
        tracked.open = tracked.open.saturating_sub(settled);
        ensure(!by_this_attempt, || format!("append {number} is stored, but was refused: {error}"))
    }

    fn justified(
        &self,
        attempt: Attempt,
        error: &StoreError,
        observed: ObservedFaults,
    ) -> CheckResult {
        let number = attempt.append;
        let tracked = self.tracked(number);
        let check_unpublished = || {
            // A concurrent attempt may have succeeded.
            ensure(!attempt.was_published, || {
                format!("a retry of stored append {number} was refused: {error}")
            })
        };
        let just = match error {
            StoreError::Conflict(conflict) => {
                check_unpublished()?;
                self.conflict_is_real(attempt, conflict)
            }
            StoreError::Deleted { stream } => {
                check_unpublished()?;
                let past = self.history.stream_state_at(stream, self.history.head());
                past.state == StreamState::Tombstoned
            }
            StoreError::Rejected(_) => tracked.kind == AppendKind::Malformed,
            // The simulated load never exceeds the queue, so only a failing disk may cause this.
            StoreError::Overloaded(_) => observed.disk_failed,
            // A failure before the first byte is written is transient, so only a failed write
            // stops.
            StoreError::Stopped { .. } => observed.write_failed,
            StoreError::Corrupt(_) => observed.damaged,
            // Bugs, and an unknown outcome, which is not a definite failure.
            _ => false,
        };
        ensure(just, || format!("append {number} was refused without a cause: {error}"))
    }

    /// Returns whether a conflict describes a state that was visible at some time during the
    /// attempt.
    fn conflict_is_real(&self, attempt: Attempt, conflict: &Conflict) -> bool {
        let tracked = self.tracked(attempt.append);
        match conflict {
            Conflict::Stream { stream, expected, head } => {
                let is_asked = |part: &&gesta_store::StreamAppend| {
                    part.stream == *stream && part.expected == *expected
                };
                let asked = tracked.append.streams.iter().any(|part| is_asked(&part));
                // The stream must have had this head at that time.
                let was_so = |as_of: Position| {
                    self.history.stream_state_at(stream, as_of).head_for(*expected) == *head
                };
                // Heads at or after its own publication do not count.
                let mut heads = self.history.heads_since(attempt.head).filter(|as_of| {
                    tracked.published.as_ref().is_none_or(|published| *as_of < published.position)
                });
                asked && !expected.admits(*head) && heads.any(was_so)
            }
            Conflict::Condition { matching } => {
                let Some(condition) = &tracked.append.condition else { return false };
                let query = &condition.none_matching;
                let Some(event) = self.history.at(*matching) else { return false };
                let mut heads = self.history.heads_since(attempt.head);
                // The matching event must be visible and after the condition's position.
                *matching > condition.after
                    && query.matches(&event.event_type, &event.tags)
                    && heads.any(|as_of| self.history.was_visible(event, as_of))
            }
            Conflict::PartialRepeat { first_event } => {
                let is_there = |(owner, _): &(AppendId, usize)| self.published(*owner).is_some();
                tracked.kind == AppendKind::ReusedEventId
                    && self
                        .owners
                        .get(first_event)
                        .is_some_and(|owners| owners.iter().any(is_there))
            }
            // The log reports no other conflicts.
            _ => false,
        }
    }

    fn tracked(&self, number: AppendId) -> &TrackedAppend {
        self.appends.get(number).expect("appends are registered first")
    }

    fn tracked_mut(&mut self, number: AppendId) -> &mut TrackedAppend {
        self.appends.get_mut(number).expect("appends are registered first")
    }

    /// Returns the expectation that matches the stream's current head.
    pub(crate) fn current_expectation(&self, stream: &StreamName) -> ExpectedRevision {
        let head = self.history.next_revision(stream).previous();
        head.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact)
    }
}

/// Returns whether an event was recorded as submitted.
fn is_same(stream: &StreamName, new: &NewEvent, recorded: &RecordedEvent) -> bool {
    *stream == recorded.stream && *new == NewEvent::from(recorded)
}
