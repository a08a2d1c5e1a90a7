//! Subscriptions to the whole store.
//!
//! Invariant: with a filter, a client hears of its progress when it has caught up, and at least
//! once in the interval that it asked for, counted in positions; never twice of the same position.

use gesta_store::{Delivery, Filter, Position, ReadFrom, StoreError, Subscribe};

use super::{
    answers::{Answers, Ended},
    filter::FilterRequest,
    messages::{caught_up_with_all, checkpoint, confirmation},
    tombstones::as_ends,
};
use crate::proto::streams::ReadResp;

pub(super) async fn answer(
    answers: Answers,
    from: ReadFrom<Position>,
    filter: Option<FilterRequest>,
) -> Result<(), Ended> {
    answers.until_stopped(deliver(&answers, from, filter)).await
}

async fn deliver(
    answers: &Answers,
    from: ReadFrom<Position>,
    filter: Option<FilterRequest>,
) -> Result<(), Ended> {
    let store = answers.node.store();
    let after = match from {
        ReadFrom::At(position) => position,
        ReadFrom::End => store.head().await?.position,
        _ => Position::START,
    };
    let interval = filter.as_ref().map(|filter| filter.checkpoint_interval);
    let mut progress = Progress { interval, last: after, told: None };
    let filter = filter.map_or(Filter::Everything, |request| request.filter);
    let request = Subscribe::to_all().after(after).filter(filter);
    let mut subscription = store.subscribe(request.into());
    answers.send(vec![confirmation()]).await?;
    while let Some(delivery) = subscription.next().await {
        let messages = match delivery? {
            Delivery::Events(events) => {
                let events = answers.view().of_page(events).await?;
                let positions: Vec<_> = events.iter().map(|event| event.position).collect();
                let mut messages = Vec::with_capacity(positions.len());
                for (event, position) in
                    answers.events(as_ends(events)).await?.into_iter().zip(positions)
                {
                    messages.push(event);
                    messages.extend(progress.passed(position));
                }
                messages
            }
            Delivery::Checkpoint(position) => progress.passed(position).into_iter().collect(),
            Delivery::CaughtUp(position) => {
                let mut messages: Vec<_> = progress.reached(position).into_iter().collect();
                messages.push(caught_up_with_all(position));
                messages
            }
            _ => Vec::new(),
        };
        answers.send(messages).await?;
    }
    Err(StoreError::closed().into())
}

/// The checkpoints of a subscription with a filter.
struct Progress {
    interval: Option<u64>,
    /// The last checkpoint, or the start.
    last: Position,
    /// The last checkpoint.
    told: Option<Position>,
}

impl Progress {
    /// Returns a checkpoint if the interval has passed.
    fn passed(&mut self, position: Position) -> Option<ReadResp> {
        let distance = position.number().saturating_sub(self.last.number());
        if distance < self.interval? { None } else { self.reached(position) }
    }

    /// Returns a checkpoint, also of the start, unless the client was told of it.
    fn reached(&mut self, position: Position) -> Option<ReadResp> {
        let is_new = position > Position::START && self.told != Some(position);
        (self.interval.is_some() && is_new).then(|| {
            (self.last, self.told) = (position, Some(position));
            checkpoint(position)
        })
    }
}
