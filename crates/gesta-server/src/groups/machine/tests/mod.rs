//! Tests of the state machine: single stories, and random operations against a naive model.

mod model;
mod stories;

use std::time::Duration;

use uuid::Uuid;

use super::*;

/// A machine whose payload is the event's place.
type Machine = GroupMachine<u64>;

const SECOND: Duration = Duration::from_secs(1);

fn rules(strategy: Strategy) -> GroupRules {
    GroupRules {
        strategy,
        message_timeout: Some(30 * SECOND),
        retries_max: 2,
        consumers_max: None,
        extra_statistics: true,
        live_buffer: 50,
        history_buffer: 50,
        read_batch: 10,
        checkpoint_after: 2 * SECOND,
        checkpoint_min: 1,
        checkpoint_max: 5,
    }
}

fn machine(strategy: Strategy) -> Machine {
    Machine::new(rules(strategy), GroupStart::default(), Duration::ZERO)
}

fn id(place: u64) -> Uuid {
    Uuid::from_u128(u128::from(place))
}

fn event(place: u64, pin: u64) -> GroupEvent<u64> {
    GroupEvent { key: EventKey::Source(place), id: id(place), pin, bytes: 10, payload: place }
}
