//! Postings of event, correlation and causation ids, and of the first events of streams, in a
//! memtable.
//!
//! Invariant: only the kinds of ids that the index is asked for have postings. A memtable without
//! any has no [`IdPostings`], so that appends pay nothing for them.
//!
//! Elsewhere: visibility of staged entries ([`memtable`](super::memtable)).

use foldhash::HashMap;
use gesta_store::{
    Category, CausationId, CorrelationId, EventId, OrdinalIndex, Revision, StreamName,
};

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
    /// First events of streams but the system's.
    streams: Option<MemtablePostings>,
    streams_of: HashMap<Category, MemtablePostings>,
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
                streams: None,
                streams_of: HashMap::default(),
            })
        })
    }

    /// Adds the ids of one event.
    pub(super) fn add(&mut self, entry: &IndexEntry<'_>, place: u32) {
        if self.kinds.contains(IndexedIds::EVENT) {
            extend_of(&mut self.events, &entry.id, place);
        }
        self.add_correlation(entry.correlation_id, place);
        self.add_stream(entry.stream, entry.revision, place);
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

    /// Adds an event that may be the first of its stream, and may have been scavenged: its ordinal
    /// stays.
    pub(super) fn add_stream(&mut self, stream: &StreamName, revision: Revision, place: u32) {
        let begins = OrdinalIndex::begins_stream(stream, revision);
        if !begins || !self.kinds.contains(IndexedIds::STREAMS) {
            return;
        }
        match &mut self.streams {
            Some(postings) => postings.extend(place..place + 1),
            None => self.streams = Some(MemtablePostings::of(place..place + 1)),
        }
        if let Some(category) = stream.category() {
            extend_of(&mut self.streams_of, &category, place);
        }
    }

    /// Returns the postings of an id. `None` for other terms.
    pub(super) fn of(&self, term: &OwnedTerm) -> Option<&MemtablePostings> {
        match term {
            OwnedTerm::EventId(id) => self.events.get(id),
            OwnedTerm::Correlation(id) => self.correlations.get(id),
            OwnedTerm::Causation(id) => self.causations.get(id),
            OwnedTerm::Streams => self.streams.as_ref(),
            OwnedTerm::StreamsOf(category) => self.streams_of.get(category),
            OwnedTerm::Stream(_)
            | OwnedTerm::Category(_)
            | OwnedTerm::EventType(_)
            | OwnedTerm::Tag(_) => None,
        }
    }

    /// Number of terms.
    pub(super) fn len(&self) -> usize {
        let ids = self.events.len() + self.correlations.len() + self.causations.len();
        ids + usize::from(self.streams.is_some()) + self.streams_of.len()
    }

    /// All terms with their postings, in any order.
    pub(super) fn terms(&self) -> impl Iterator<Item = (Term<'_>, &MemtablePostings)> {
        let events = self.events.iter().map(|(id, postings)| (Term::EventId(*id), postings));
        let correlations =
            self.correlations.iter().map(|(id, postings)| (Term::Correlation(id), postings));
        let causations =
            self.causations.iter().map(|(id, postings)| (Term::Causation(id), postings));
        let streams = self.streams.iter().map(|postings| (Term::Streams, postings));
        let streams_of = self.streams_of.iter();
        let streams_of =
            streams_of.map(|(category, postings)| (Term::StreamsOf(category), postings));
        events.chain(correlations).chain(causations).chain(streams).chain(streams_of)
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
