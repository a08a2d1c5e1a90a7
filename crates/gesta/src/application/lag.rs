//! The distance of a follower from the head of the store.

use std::time::Duration;

use gesta_store::{
    Capability, EventStore, EventType, Filter, Position, ReadAll, StoreError, Visibility,
};

use crate::{Lag, following::first_event};

/// Returns the distance of a position from the head, for a follower of these event types.
pub(super) async fn lag(
    store: &dyn EventStore,
    position: Position,
    types: &[EventType],
) -> Result<Lag, StoreError> {
    let head = store.head().await?.position;
    // Positions with gaps have a difference that counts no events.
    let counts = store.capabilities().has(Capability::DensePositions);
    let events = counts.then(|| head.number().saturating_sub(position.number()));
    let left = ReadAll::forwards()
        .from(position.next())
        .filter(Filter::EventTypes(types.to_vec()))
        .visibility(Visibility::Visible);
    let first = first_event(store, left).await?;
    let last = first_event(store, ReadAll::backwards()).await?;
    // From the first event that is left to the newest one, both by the time that the store
    // recorded. At the head nothing is left.
    let time = match (first, last) {
        (Some(first), Some(last)) => last.recorded_at.since(first.recorded_at),
        (None, _) | (_, None) => Duration::ZERO,
    };
    Ok(Lag { events, time })
}
