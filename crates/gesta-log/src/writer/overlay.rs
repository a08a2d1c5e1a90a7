//! What the appends of a group change, before it is published.
//!
//! Always holds: laid over the index, one group after the other, overlays give the state that the
//! next append meets.

use std::cell::OnceCell;

use foldhash::{HashMap, HashSet, fast::RandomState};
use gesta_store::{EventId, EventQuery, EventType, Revision, StreamName, Tag};

use super::placed::{Entries, Placed};
use crate::index::{IndexEntry, StreamMeta, stream_meta_change};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    heads: HashMap<StreamName, Revision>,
    /// Of streams whose metadata change, or which are tombstoned.
    lives: HashMap<StreamName, StreamMeta>,
    /// By the id of the first event: which append of the group.
    appends: HashMap<EventId, usize>,
    /// What conditions can be about, once one was looked at.
    terms: OnceCell<Terms>,
}

/// Types and tags of a group's events.
#[derive(Debug, Default)]
struct Terms {
    types: HashSet<EventType>,
    tags: HashSet<Tag>,
}

impl Overlay {
    /// Empty, with room for what so many appends change.
    pub(super) fn with_capacity(appends: usize) -> Self {
        Self {
            heads: HashMap::with_capacity_and_hasher(appends, RandomState::default()),
            appends: HashMap::with_capacity_and_hasher(appends, RandomState::default()),
            ..Self::default()
        }
    }

    /// The last revision of a stream, where the group has events of it.
    pub(super) fn head(&self, name: &StreamName) -> Option<Revision> {
        self.heads.get(name).copied()
    }

    /// Where a stream is in its life, where the group changes that.
    pub(super) fn life(&self, name: &StreamName) -> Option<&StreamMeta> {
        self.lives.get(name)
    }

    /// Which append of the group has this first event.
    pub(super) fn find(&self, first_event: EventId) -> Option<usize> {
        self.appends.get(&first_event).copied()
    }

    /// Whether the group describes or tombstones a stream.
    pub(super) fn changes_lives(&self) -> bool {
        !self.lives.is_empty()
    }

    /// The events of the group that match a query.
    pub(super) fn matches<'a>(
        &self,
        query: &'a EventQuery,
        placed: &'a Placed,
    ) -> impl Iterator<Item = IndexEntry<'a>> {
        let terms = self.terms.get_or_init(|| {
            let mut terms = Terms::default();
            placed.events().for_each(|entry| terms.add(&entry));
            terms
        });
        let may_match = terms.may_match(query);
        let events = may_match.then(|| placed.events()).into_iter().flatten();
        events.filter(|entry| query.matches(entry.event_type, entry.tags))
    }

    /// Adds the group's n-th append. `life_before` says where a stream stood before the group.
    pub(super) fn add(
        &mut self,
        n: usize,
        entries: Entries<'_>,
        life_before: impl Fn(&StreamName) -> StreamMeta,
    ) {
        let mut entries = entries.peekable();
        if let Some(first) = entries.peek() {
            self.appends.insert(first.id, n);
        }
        let mut last: Option<IndexEntry<'_>> = None;
        for entry in entries {
            if let Some((described, change)) = stream_meta_change(&entry) {
                let life = self.lives.entry(described);
                life.or_insert_with_key(life_before_of(&life_before)).change(change);
            }
            if let Some(terms) = self.terms.get_mut() {
                terms.add(&entry);
            }
            match last.replace(entry) {
                Some(before) if before.stream != entry.stream => self.set_head(&before),
                Some(_) | None => {}
            }
        }
        if let Some(last) = last {
            self.set_head(&last);
        }
    }

    fn set_head(&mut self, last: &IndexEntry<'_>) {
        match self.heads.get_mut(last.stream) {
            Some(head) => *head = last.revision,
            None => drop(self.heads.insert(last.stream.clone(), last.revision)),
        }
    }
}

fn life_before_of(
    before: &impl Fn(&StreamName) -> StreamMeta,
) -> impl FnOnce(&StreamName) -> StreamMeta + '_ {
    move |stream| before(stream)
}

impl Terms {
    fn add(&mut self, entry: &IndexEntry<'_>) {
        if !self.types.contains(entry.event_type) {
            self.types.insert(entry.event_type.clone());
        }
        for tag in entry.tags {
            if !self.tags.contains(tag) {
                self.tags.insert(tag.clone());
            }
        }
    }

    /// Whether any event can match, as far as single types and tags say.
    fn may_match(&self, query: &EventQuery) -> bool {
        query.items().iter().any(|item| {
            (item.types().is_empty() || item.types().iter().any(|one| self.types.contains(one)))
                && item.tags().iter().all(|tag| self.tags.contains(tag))
        })
    }
}
