//! Postings of event, correlation and causation ids in a memtable.
//!
//! Invariant: only the kinds of ids that the index is asked for have postings. A memtable without
//! any has no [`IdPostings`], so that appends pay nothing for them.
//!
//! Elsewhere: visibility of staged entries ([`memtable`](super::memtable)).

use foldhash::HashMap;
use gesta_store::{CausationId, CorrelationId, EventId};

use super::{
    entry::{IndexEntry, OwnedTerm},
    posting_list::MemtablePostings,
    run::Term,
};
use crate::options::IndexedIds;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct IdPostings {
    kinds: IndexedIds,
    events: HashMap<EventId, MemtablePostings>,
    correlations: HashMap<CorrelationId, MemtablePostings>,
    causations: HashMap<CausationId, MemtablePostings>,
}

impl IdPostings {
    /// Creates postings of these kinds of ids, or `None` if there is no kind.
    pub(super) fn new(kinds: IndexedIds) -> Option<Box<Self>> {
        (!kinds.is_empty()).then(|| {
            Box::new(Self {
                kinds,
                events: HashMap::default(),
                correlations: HashMap::default(),
                causations: HashMap::default(),
            })
        })
    }

    /// Adds the ids of one event.
    pub(super) fn add(&mut self, entry: &IndexEntry<'_>, place: u32) {
        if self.kinds.contains(IndexedIds::EVENT) {
            extend_of(&mut self.events, &entry.id, place);
        }
        self.add_correlation(entry.correlation_id, place);
        if self.kinds.contains(IndexedIds::CAUSATION)
            && let Some(id) = entry.causation_id
        {
            extend_of(&mut self.causations, id, place);
        }
    }

    /// Adds the correlation id of an event, which may have been scavenged: its ordinal stays.
    pub(super) fn add_correlation(&mut self, id: Option<&CorrelationId>, place: u32) {
        if self.kinds.contains(IndexedIds::CORRELATION)
            && let Some(id) = id
        {
            extend_of(&mut self.correlations, id, place);
        }
    }

    /// Returns the postings of an id. `None` for other terms.
    pub(super) fn of(&self, term: &OwnedTerm) -> Option<&MemtablePostings> {
        match term {
            OwnedTerm::EventId(id) => self.events.get(id),
            OwnedTerm::Correlation(id) => self.correlations.get(id),
            OwnedTerm::Causation(id) => self.causations.get(id),
            OwnedTerm::Stream(_)
            | OwnedTerm::Category(_)
            | OwnedTerm::EventType(_)
            | OwnedTerm::Tag(_) => None,
        }
    }

    /// Number of ids.
    pub(super) fn len(&self) -> usize {
        self.events.len() + self.correlations.len() + self.causations.len()
    }

    /// All ids with their postings, in any order.
    pub(super) fn terms(&self) -> impl Iterator<Item = (Term<'_>, &MemtablePostings)> {
        let events = self.events.iter().map(|(id, postings)| (Term::EventId(*id), postings));
        let correlations =
            self.correlations.iter().map(|(id, postings)| (Term::Correlation(id), postings));
        let causations =
            self.causations.iter().map(|(id, postings)| (Term::Causation(id), postings));
        events.chain(correlations).chain(causations)
    }
}

fn extend_of<Id: Clone + Eq + std::hash::Hash>(
    postings: &mut HashMap<Id, MemtablePostings>,
    id: &Id,
    place: u32,
) {
    match postings.get_mut(id) {
        Some(postings) => postings.extend(place..place + 1),
        None => drop(postings.insert(id.clone(), MemtablePostings::of(place..place + 1))),
    }
}
