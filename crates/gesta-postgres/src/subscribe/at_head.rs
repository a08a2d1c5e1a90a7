//! The events that a subscription at the head takes together with others.
//!
//! The first subscription that needs the next events reads them for all: one statement for each
//! rise of the head, however many subscriptions wait. A subscription that is further behind reads
//! pages of its own. Not here: which events are kept ([`tail`](crate::tail)).

use std::sync::Arc;

use gesta_store::{Direction, Filter, RecordedEvent, StoreError};
use tokio::time::Instant;

use crate::{
    head::SeenHead,
    read::{
        event_rows::{FetchedPage, PAGE_EVENTS_MAX},
        source::{PageRequest, PositionRange, Source},
    },
    shared::Core,
    tail::TailBatch,
};

/// Returns the batch with the event after a position, or `None` if the position is too far behind.
pub(super) async fn batch_after(
    core: &Core,
    position: u64,
    head: SeenHead,
) -> Result<Option<Arc<TailBatch>>, StoreError> {
    if position >= head.position || head.position - position > PAGE_EVENTS_MAX {
        return Ok(None);
    }
    // Others wait here for the batch that the first one reads.
    let mut tail = core.tail.lock().await;
    tail.forget(head, Instant::now());
    if tail.last().is_some_and(|last| head.position.saturating_sub(last) > PAGE_EVENTS_MAX) {
        tail.clear();
    }
    loop {
        // Up to the head, because the latest events may hide others.
        let after = tail.last().unwrap_or(position);
        if after >= head.position {
            return Ok(tail.following(position));
        }
        tail.add(read_batch(core, after, head.position).await?);
    }
}

async fn read_batch(core: &Core, after: u64, head: u64) -> Result<TailBatch, StoreError> {
    let source = Source::of(core, Filter::Everything).await?;
    let range = PositionRange { first: after + 1, last: head };
    let direction = Direction::Forwards;
    let read_at = Instant::now();
    let request = PageRequest { range, direction, visible_only: true, limit: PAGE_EVENTS_MAX };
    let FetchedPage { events, reached, cut } = source.fetch(core, request).await?;
    let last = reached.filter(|_| cut).unwrap_or(head);
    Ok(TailBatch { after, last, events, read_at })
}

/// Returns the events of a batch that a subscription to the whole store is to get. `None` if the
/// batch lacks some of them.
pub(super) fn selected(
    batch: &TailBatch,
    after: u64,
    filter: &Filter,
    visible_only: bool,
) -> Result<Option<Vec<RecordedEvent>>, StoreError> {
    if !visible_only && batch.has_hidden() {
        return Ok(None);
    }
    let mut events = Vec::new();
    for event in batch.events.iter().filter(|event| event.position.number() > after) {
        if filter.matches(event)? {
            events.push(event.clone());
        }
    }
    Ok(Some(events))
}
