//! The chain of batches as a writer sees it: its end, and the heads of streams at its end.
//!
//! Invariants: the heads are those at `next`, or missing. The key `next` is the one at which a
//! batch may be put; only the server knows whether it is free. Before a batch is put, everything
//! before it is visible.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use gesta_store::{Category, Position, RecordedAt, Revision, StoreError, StreamName};
use uuid::Uuid;

use super::pauses::{TRIES_MAX, pause};
use crate::{
    errors::CallError,
    events::{
        layout::{Batch, Description, LOG, MARK, NEXT, TIME, category_entry},
        lookups,
        shared::Shared,
    },
    item::{ALONE, Attributes as _, number, sorted},
    table::{Query, Range, Table, Update},
};

/// Streams whose heads are kept, and categories that are known to be written.
const HEADS_MAX: usize = 100_000;
const CATEGORIES_MAX: usize = 10_000;
/// Tries after the first one while a server does not answer. Each takes some seconds.
const AWAY_TRIES_MAX: u32 = 2;
/// Heads that are read at the same time.
const READS_MAX: usize = 16;

pub(super) struct Chain {
    shared: Arc<Shared>,
    /// The key of the next batch.
    next: u64,
    last_recorded: RecordedAt,
    /// `false` before the first look, and after a step whose outcome is not known.
    is_known: bool,
    heads: HashMap<StreamName, Option<Revision>>,
    categories: HashSet<Category>,
}

impl Chain {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            next: 1,
            last_recorded: RecordedAt::from_micros(0),
            is_known: false,
            heads: HashMap::new(),
            categories: HashSet::new(),
        }
    }

    pub(super) fn table(&self) -> &Table {
        &self.shared.table
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The last position of the chain. It is visible.
    pub(super) const fn end(&self) -> Position {
        Position::new(self.next - 1)
    }

    /// Returns the time at which a batch would be recorded now: never before the last one.
    pub(super) fn recorded_at(&self, now: RecordedAt) -> RecordedAt {
        now.max(self.last_recorded)
    }

    /// An empty batch at the end of the chain.
    pub(super) fn next_batch(&self, now: RecordedAt) -> Batch {
        let recorded_at = self.recorded_at(now);
        Batch { id: Uuid::new_v4(), first: self.next, recorded_at, appends: Vec::new() }
    }

    /// Makes sure that the end of the chain is known.
    pub(super) async fn ready(&mut self) -> Result<(), CallError> {
        if self.is_known { Ok(()) } else { self.catch_up().await }
    }

    /// Goes to the end of the chain, and writes what earlier writers have left on the way.
    pub(super) async fn catch_up(&mut self) -> Result<(), CallError> {
        self.is_known = false;
        let mark = self.table().get(MARK, ALONE).await?;
        let (next, time) = match &mark {
            Some(mark) => (mark.number(NEXT)?, mark.number(TIME)?),
            None => (1, 0),
        };
        if next != self.next {
            // Other processes have appended to streams that are not known here.
            self.heads.clear();
        }
        self.next = next;
        self.last_recorded = self.last_recorded.max(RecordedAt::from_micros(time));
        loop {
            let (from, to) = (sorted(self.next), sorted(u64::MAX));
            let range = Range::Between(&from, &to);
            let table = self.table().clone();
            let page = table.query(Query { range, ..Query::of(LOG) }).await?;
            if page.items.is_empty() {
                break;
            }
            for item in &page.items {
                let batch = Batch::parse(item)?;
                self.show(&batch).await?;
            }
        }
        self.shared.note_visible(self.end());
        self.shared.described.follow(&self.shared.table, self.end()).await?;
        self.is_known = true;
        Ok(())
    }

    /// Puts a batch at the end of the chain, and makes it visible. Returns `false` if another
    /// process was faster, whose batches are then known.
    pub(super) async fn record(&mut self, batch: &Batch) -> Result<bool, StoreError> {
        if !self.put(batch).await? {
            // A failure here is found again by the next group.
            drop(self.catch_up().await);
            return Ok(false);
        }
        for round in 0..TRIES_MAX {
            match self.show(batch).await {
                Ok(()) => return Ok(true),
                Err(error @ (CallError::Denied(_) | CallError::Invalid(_))) => {
                    self.is_known = false;
                    let reason = error.into_store().to_string();
                    return Err(StoreError::unavailable(format!(
                        "recorded, not visible: {reason}"
                    )));
                }
                // The client has tried for seconds each time.
                Err(error) if round >= AWAY_TRIES_MAX && !is_throttled(&error) => break,
                Err(_) => tokio::time::sleep(pause(round)).await,
            }
        }
        self.is_known = false;
        Err(StoreError::unavailable("recorded, and visible once the server answers again"))
    }

    /// Returns whether no other process has appended since the end was seen. Its batches are known
    /// afterwards.
    pub(super) async fn is_at_end(&mut self) -> Result<bool, StoreError> {
        let next = self.table().get(LOG, &sorted(self.next)).await;
        if next.map_err(CallError::into_store)?.is_none() {
            return Ok(true);
        }
        self.catch_up().await.map_err(CallError::into_store)?;
        Ok(false)
    }

    /// Puts the log's item. An unclear answer is resolved by a look at the key.
    async fn put(&mut self, batch: &Batch) -> Result<bool, StoreError> {
        let item = batch.item();
        let (mut may_be_there, mut unknown_outcomes) = (false, 0);
        for round in 0..TRIES_MAX {
            let error = match self.shared.table.put_new(item.clone()).await {
                Ok(()) => return Ok(true),
                Err(CallError::Condition(found)) => {
                    let found = match found {
                        Some(found) => Some(found),
                        None => self.look(batch.first).await,
                    };
                    let Some(found) = found else { continue };
                    let found = Batch::parse(&found).map_err(CallError::into_store)?;
                    return Ok(found.id == batch.id);
                }
                Err(error) => error,
            };
            match &error {
                CallError::Unknown(..) => {
                    may_be_there = true;
                    unknown_outcomes += 1;
                }
                CallError::Throttled | CallError::Unreachable(..) => {}
                _ if may_be_there => {}
                _ => return Err(error.into_store()),
            }
            // A server that is away gets no more than a few tries, if nothing was sent to it.
            let is_away = matches!(error, CallError::Unreachable(..)) && !may_be_there;
            let is_over = round + 1 == TRIES_MAX || unknown_outcomes > AWAY_TRIES_MAX;
            if is_away && round >= AWAY_TRIES_MAX || is_over {
                self.is_known = false;
                let error = if may_be_there { unknown(&error) } else { error.into_store() };
                return Err(error);
            }
            tokio::time::sleep(pause(round)).await;
        }
        self.is_known = false;
        Err(StoreError::unavailable("the key of the next batch was neither free nor taken"))
    }

    async fn look(&self, first: u64) -> Option<crate::item::Item> {
        self.table().get(LOG, &sorted(first)).await.ok().flatten()
    }

    /// Writes the entries of a batch and moves the mark over it. Safe to repeat.
    async fn show(&mut self, batch: &Batch) -> Result<(), CallError> {
        let mut entries = batch.entries()?;
        let new: Vec<Category> =
            batch.categories().into_iter().filter(|one| !self.categories.contains(one)).collect();
        entries.extend(new.iter().map(category_entry));
        self.table().put_all(entries).await?;
        let mark = Update {
            change: "SET nx = :nx, tm = :tm",
            condition: "attribute_not_exists(nx) OR nx < :nx",
            ..Update::default()
        };
        let mark = mark.value(":nx", number(batch.next()));
        let mark = mark.value(":tm", number(batch.recorded_at.micros()));
        match self.table().update(MARK, ALONE, mark).await {
            // Another process has done the same.
            Err(CallError::Condition(_)) => {}
            outcome => outcome?,
        }
        self.advance(batch, new);
        let descriptions = Description::all_of(batch)?;
        self.shared.described.add(batch.first, batch.next(), descriptions).await;
        self.shared.note_visible(Position::new(batch.next() - 1));
        Ok(())
    }

    fn advance(&mut self, batch: &Batch, new: Vec<Category>) {
        self.next = batch.next();
        self.last_recorded = self.last_recorded.max(batch.recorded_at);
        if self.categories.len() + new.len() > CATEGORIES_MAX {
            self.categories.clear();
        }
        self.categories.extend(new);
        for part in batch.appends.iter().flat_map(|append| &append.parts) {
            let last = Revision::new(part.first.number() + part.events.len() as u64 - 1);
            self.heads.insert(part.stream.clone(), Some(last));
        }
    }

    /// Reads the heads of these streams that are not known.
    pub(super) async fn load_heads(
        &mut self,
        streams: HashSet<&StreamName>,
    ) -> Result<(), CallError> {
        if self.heads.len() + streams.len() > HEADS_MAX {
            self.heads.clear();
        }
        let missing = streams.into_iter().filter(|stream| !self.heads.contains_key(*stream));
        let missing: Vec<StreamName> = missing.cloned().collect();
        let (shared, end) = (Arc::clone(&self.shared), self.end());
        let reads = missing.into_iter().map(|stream| {
            let shared = Arc::clone(&shared);
            async move {
                let head = lookups::head(&shared.table, &stream, end).await?;
                Ok::<_, CallError>((stream, head))
            }
        });
        let read: Vec<_> = stream::iter(reads).buffer_unordered(READS_MAX).try_collect().await?;
        self.heads.extend(read);
        Ok(())
    }

    /// Returns the head of a stream that [was loaded](Self::load_heads).
    pub(super) fn head(&self, stream: &StreamName) -> Option<Revision> {
        self.heads.get(stream).copied().flatten()
    }
}

fn unknown(error: &CallError) -> StoreError {
    let reason = error.clone().into_store().to_string();
    StoreError::unavailable(format!("the server gave no clear answer: {reason}"))
}

const fn is_throttled(error: &CallError) -> bool {
    matches!(error, CallError::Throttled)
}
