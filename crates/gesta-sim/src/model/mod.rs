//! What a client knows of a store from outside, and what it may therefore demand.
//!
//! Owns: [`Model`]: every append that was offered, what was answered, and everything that was ever
//! seen. Always holds: it takes nothing from the engine but answers and reads; each demand is a
//! promise of the contract. Not here: who asks what, and when.

mod history;
mod scavenged;

use std::{collections::HashMap, fmt};

use gesta_store::{
    Append, Appended, Conflict, EventId, ExpectedRevision, NewEvent, Position, RecordedEvent,
    StoreError, StreamName, StreamState,
};

pub(crate) use self::history::History;
use self::scavenged::Scavenging;

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken(pub(crate) String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What holds, or which promise does not.
pub(crate) type Verdict<T = ()> = Result<T, Broken>;

/// Demands that something holds.
pub(crate) fn demand(holds: bool, otherwise: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Broken(otherwise())) }
}

/// An append by the order in which it was first offered.
pub(crate) type OfferNumber = usize;

/// How an append came to be offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Honesty {
    /// As a client should.
    Sound,
    /// Bad input; must be rejected.
    Malformed,
    /// Uses the first event id of another append that is there; must be a conflict.
    Forged,
}

/// An append that was offered, once or more often.
#[derive(Debug)]
struct Offer {
    append: Append,
    honesty: Honesty,
    /// The head when it was first offered in the store's present life, or its last one.
    offered_at: Position,
    /// Attempts in the store's present life whose outcome is not a definite failure.
    open: u32,
    /// Those of them that were answered: the outcome is unknown.
    doubtful: u32,
    /// What it was or must be answered, once it is published.
    published: Option<Appended>,
    /// That it is there was told or seen in a way that outlives attempts.
    confirmed: bool,
}

/// What was known when an append was offered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pub(crate) offer: OfferNumber,
    /// The head that readers saw.
    head: Position,
    was_published: bool,
    /// Earlier attempts that had been answered: the outcome is unknown.
    in_doubt: u32,
}

impl Attempt {
    /// Whether the append was not there yet when it was offered.
    pub(crate) const fn is_first(&self) -> bool {
        !self.was_published
    }
}

/// What the disk and the store have been through in the store's present life.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Excuses {
    /// An operation of the disk failed.
    pub(crate) disk_failed: bool,
    /// One of them was the write of a group.
    pub(crate) write_failed: bool,
    /// Something on the disk was damaged.
    pub(crate) damaged: bool,
}

/// Everything that a client knows.
#[derive(Debug, Default)]
pub(crate) struct Model {
    history: History,
    offers: Vec<Offer>,
    /// Which event is which: the offer, and the place in it.
    owners: HashMap<EventId, (OfferNumber, usize)>,
    scavenging: Scavenging,
}

impl Model {
    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    pub(crate) fn offers(&self) -> usize {
        self.offers.len()
    }

    pub(crate) fn append(&self, offer: OfferNumber) -> &Append {
        &self.offer_at(offer).append
    }

    pub(crate) fn honesty(&self, offer: OfferNumber) -> Honesty {
        self.offer_at(offer).honesty
    }

    pub(crate) fn published(&self, offer: OfferNumber) -> Option<&Appended> {
        self.offers.get(offer).and_then(|offer| offer.published.as_ref())
    }

    /// What an append that begins with this event is answered, if it is there.
    pub(crate) fn published_as(&self, first_event: EventId) -> Option<&Appended> {
        self.owners.get(&first_event).and_then(|(owner, _)| self.published(*owner))
    }

    /// The last position that some later frame must vouch for: an append that was offered after
    /// it could be read is there, too.
    pub(crate) fn vouched(&self) -> Position {
        let later = self.offers.iter().filter(|offer| offer.published.is_some());
        later.map(|offer| offer.offered_at).max().unwrap_or_default()
    }

    /// A new append that is about to be offered.
    pub(crate) fn register(&mut self, append: Append, honesty: Honesty) -> OfferNumber {
        let number = self.offers.len();
        if honesty == Honesty::Sound {
            for (ordinal, event) in append.events().enumerate() {
                self.owners.insert(event.id, (number, ordinal));
            }
        }
        self.offers.push(Offer {
            append,
            honesty,
            offered_at: Position::START,
            open: 0,
            doubtful: 0,
            published: None,
            confirmed: false,
        });
        number
    }

    /// An append is offered, for the first time or again.
    pub(crate) fn offered(&mut self, number: OfferNumber) -> Attempt {
        let head = self.history.head();
        let offer = self.offer_mut(number);
        if offer.open == 0 && offer.published.is_none() {
            offer.offered_at = head;
        }
        offer.open += 1;
        let (was_published, in_doubt) = (offer.published.is_some(), offer.doubtful);
        Attempt { offer: number, head, was_published, in_doubt }
    }

    /// Takes events that were published after everything that is known.
    pub(crate) fn absorb(&mut self, events: &[RecordedEvent]) -> Verdict {
        let mut rest = events;
        while let Some(first) = rest.first() {
            let owner = self.owners.get(&first.id).copied();
            let Some((number, ordinal)) = owner else {
                return Err(Broken(format!("event {} was never offered", first.position)));
            };
            let count = self.append(number).events().count();
            demand(ordinal == 0, || {
                format!("only a part of append {number} is visible, from {}", first.position)
            })?;
            let Some((events, later)) = rest.split_at_checked(count) else {
                return Err(Broken(format!(
                    "only {} of {count} events of append {number} are visible",
                    rest.len()
                )));
            };
            self.absorb_append(number, events)?;
            rest = later;
        }
        Ok(())
    }

    fn absorb_append(&mut self, number: OfferNumber, events: &[RecordedEvent]) -> Verdict {
        let head = self.history.head();
        let offer = self.offer_at(number);
        demand(offer.published.is_none(), || format!("append {number} was appended twice"))?;
        demand(offer.open > 0, || {
            format!("append {number} appeared after it was definitely refused or found absent")
        })?;
        if let Some(objection) = self.history.objection(&offer.append, head) {
            return Err(Broken(format!("append {number} was accepted, but {objection}")));
        }
        let offered: Vec<(StreamName, NewEvent)> = offer
            .append
            .streams
            .iter()
            .flat_map(|part| part.events.iter().map(|event| (part.stream.clone(), event.clone())))
            .collect();
        let mut previous = None;
        for ((stream, new), event) in offered.iter().zip(events) {
            demand(is_same(stream, new, event), || {
                format!("event {} differs from what append {number} offered", event.position)
            })?;
            demand(previous.is_none_or(|p: Position| p.next() == event.position), || {
                format!("positions of append {number} are torn apart at {}", event.position)
            })?;
            self.absorb_event(event)?;
            previous = Some(event.position);
        }
        let appended = self.answer_for(number);
        self.offer_mut(number).published = Some(appended);
        Ok(())
    }

    fn absorb_event(&mut self, event: &RecordedEvent) -> Verdict {
        let (history, position) = (&self.history, event.position);
        demand(position > history.head(), || format!("event {position} is out of order"))?;
        demand(event.revision == history.next_revision(&event.stream), || {
            let expected = history.next_revision(&event.stream);
            format!("event {position} has revision {} instead of {expected}", event.revision)
        })?;
        demand(event.recorded_at >= history.last_recorded(), || {
            format!("event {position} was recorded before the one before it")
        })?;
        self.history.push(event.clone());
        Ok(())
    }

    /// What the append just absorbed must be answered.
    fn answer_for(&self, number: OfferNumber) -> Appended {
        let parts = self.append(number).streams.iter().filter(|part| !part.events.is_empty());
        let revision = |stream| self.history.next_revision(stream).previous();
        let revisions =
            parts.filter_map(|part| Some((part.stream.clone(), revision(&part.stream)?)));
        Appended { position: self.history.head(), revisions: revisions.collect() }
    }

    /// The store was opened again after a crash: this is all that it shows.
    pub(crate) fn recovered(&mut self, events: &[RecordedEvent]) -> Verdict {
        self.settle_scavenging(events);
        let known = self.history.events();
        for (known, found) in known.iter().zip(events) {
            demand(known == found, || format!("event {} is not what it was", known.position))?;
        }
        let Some(later) = events.get(known.len()..) else {
            let lost = known.get(events.len()).map(|event| event.position);
            let lost = lost.unwrap_or_default();
            return Err(Broken(format!("what was published is lost from position {lost} on")));
        };
        self.absorb(later)?;
        for offer in &mut self.offers {
            (offer.open, offer.doubtful) = (0, 0);
            offer.confirmed = offer.published.is_some();
        }
        Ok(())
    }

    /// An append was answered; everything published until then was absorbed before.
    pub(crate) fn answered(
        &mut self,
        attempt: Attempt,
        answer: &Result<Appended, StoreError>,
        excuses: Excuses,
    ) -> Verdict {
        match answer {
            Ok(appended) => self.accepted(attempt, appended),
            Err(error) if error.is_definite() => {
                self.refused(attempt, error)?;
                self.justified(attempt, error, excuses)
            }
            Err(error) => {
                self.offer_mut(attempt.offer).doubtful += 1;
                demand(excuses.disk_failed, || {
                    format!("append {} for no reason: {error}", attempt.offer)
                })
            }
        }
    }

    fn accepted(&mut self, attempt: Attempt, appended: &Appended) -> Verdict {
        let number = attempt.offer;
        let offer = self.offer_mut(number);
        offer.open = offer.open.saturating_sub(1);
        offer.confirmed = true;
        demand(offer.honesty == Honesty::Sound, || format!("append {number} was accepted"))?;
        if offer.append.events().next().is_none() {
            return self.check_passed(attempt, appended);
        }
        let Some(published) = offer.published.clone() else {
            return Err(Broken(format!("append {number} was acknowledged but is not there")));
        };
        demand(published == *appended, || {
            format!("append {number} was answered {appended:?} instead of {published:?}")
        })?;
        let in_time = attempt.was_published || published.position > attempt.head;
        demand(in_time, || format!("append {number} was put before what was there already"))
    }

    /// An append without events holds as of the head that it names.
    fn check_passed(&self, attempt: Attempt, appended: &Appended) -> Verdict {
        let Attempt { offer: number, head, .. } = attempt;
        let at = appended.position;
        demand(at >= head && at <= self.history.head() && appended.revisions.is_empty(), || {
            format!("check {number} was answered {appended:?}, begun at {head}")
        })?;
        match self.history.objection(self.append(number), at) {
            Some(objection) => Err(Broken(format!("check {number} passed, but {objection}"))),
            None => Ok(()),
        }
    }

    /// A definite failure: nothing was appended, by this attempt or by those whose answer made the
    /// client ask again.
    fn refused(&mut self, attempt: Attempt, error: &StoreError) -> Verdict {
        let number = attempt.offer;
        let offer = self.offer_mut(number);
        let earlier = offer.doubtful.min(attempt.in_doubt);
        offer.doubtful -= earlier;
        let settled = 1 + earlier;
        let by_this_attempt =
            offer.published.is_some() && offer.open == settled && !offer.confirmed;
        offer.open = offer.open.saturating_sub(settled);
        demand(!by_this_attempt, || format!("append {number} is there, but was refused: {error}"))
    }

    fn justified(&self, attempt: Attempt, error: &StoreError, excuses: Excuses) -> Verdict {
        let number = attempt.offer;
        let offer = self.offer_at(number);
        let judged = || {
            // Another attempt may have succeeded while this one was under way.
            demand(!attempt.was_published, || {
                format!("the repeat of append {number} was refused: {error}")
            })
        };
        let just = match error {
            StoreError::Conflict(conflict) => {
                judged()?;
                self.conflict_is_real(attempt, conflict)
            }
            StoreError::Deleted { stream } => {
                judged()?;
                let past = self.history.stream_past(stream, self.history.head());
                past.state == StreamState::Tombstoned
            }
            StoreError::Rejected(_) => offer.honesty == Honesty::Malformed,
            StoreError::Overloaded(_) => excuses.disk_failed,
            // Whatever fails before a byte of an append is written is passing.
            StoreError::Stopped { .. } => excuses.write_failed,
            StoreError::Corrupt(_) => excuses.damaged,
            StoreError::Unsupported { .. } | StoreError::Unavailable { .. } => false,
        };
        demand(just, || format!("append {number} was refused without reason: {error}"))
    }

    /// A conflict names what readers can see, as it was at some time during the attempt.
    fn conflict_is_real(&self, attempt: Attempt, conflict: &Conflict) -> bool {
        let offer = self.offer_at(attempt.offer);
        match conflict {
            Conflict::Stream { stream, expected, head } => {
                let is_asked = |part: &&gesta_store::StreamAppend| {
                    part.stream == *stream && part.expected == *expected
                };
                let asked = offer.append.streams.iter().any(|part| is_asked(&part));
                let was_so = |as_of: Position| {
                    self.history.stream_past(stream, as_of).judged_head(*expected) == *head
                };
                let mut heads = self.history.heads_since(attempt.head).filter(|as_of| {
                    offer.published.as_ref().is_none_or(|published| *as_of < published.position)
                });
                asked && !expected.admits(*head) && heads.any(was_so)
            }
            Conflict::Condition { matching } => {
                let Some(condition) = &offer.append.condition else { return false };
                let query = &condition.none_matching;
                let Some(event) = self.history.at(*matching) else { return false };
                let mut heads = self.history.heads_since(attempt.head);
                *matching > condition.after
                    && query.matches(&event.event_type, &event.tags)
                    && heads.any(|as_of| self.history.was_visible(event, as_of))
            }
            Conflict::PartialRepeat { first_event } => {
                let is_there = |(owner, _): &(OfferNumber, usize)| self.published(*owner).is_some();
                offer.honesty == Honesty::Forged
                    && self.owners.get(first_event).is_some_and(is_there)
            }
        }
    }

    fn offer_at(&self, number: OfferNumber) -> &Offer {
        self.offers.get(number).expect("offers are registered first")
    }

    fn offer_mut(&mut self, number: OfferNumber) -> &mut Offer {
        self.offers.get_mut(number).expect("offers are registered first")
    }

    /// How many events streams have, for choosing what to expect of them.
    pub(crate) fn present_expectation(&self, stream: &StreamName) -> ExpectedRevision {
        let head = self.history.next_revision(stream).previous();
        head.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact)
    }
}

/// Whether an event was recorded as it was offered.
fn is_same(stream: &StreamName, new: &NewEvent, recorded: &RecordedEvent) -> bool {
    *stream == recorded.stream
        && *new
            == NewEvent {
                id: recorded.id,
                event_type: recorded.event_type.clone(),
                schema_version: recorded.schema_version,
                content_type: recorded.content_type.clone(),
                data: recorded.data.clone(),
                metadata: recorded.metadata.clone(),
                tags: recorded.tags.clone(),
                correlation_id: recorded.correlation_id.clone(),
                causation_id: recorded.causation_id.clone(),
            }
}
