//! New events of a manager, for instance streams and its journal.

use gesta_store::{EventId, NewEvent, StreamName};

use super::{
    history::{CommandOutcome, CommandSettled, EffectId, ProcessEvent, TimerSkipped},
    setup::Identity,
    trouble::InputError,
};
use crate::{CustomMetadata, EventMetadata, EventSet};

/// Builds the event that settles a command.
pub(super) fn settled(
    identity: &Identity,
    stream: &StreamName,
    command: EffectId,
    outcome: CommandOutcome,
) -> Result<NewEvent, InputError> {
    let cause = command.command_id(stream).causes();
    let settled: ProcessEvent = CommandSettled { command, outcome }.into();
    let event = encoded(identity, command.settled_id(stream), &settled)?;
    Ok(event.causation_id(cause))
}

/// Builds the event that cancels a timer.
pub(super) fn timer_skipped(identity: &Identity, timer: EffectId) -> Result<NewEvent, InputError> {
    let skipped: ProcessEvent = TimerSkipped { timer }.into();
    encoded(identity, EventId::random(), &skipped)
}

/// Builds an event of a manager.
pub(super) fn encoded<E: EventSet>(
    identity: &Identity,
    id: EventId,
    event: &E,
) -> Result<NewEvent, InputError> {
    encoded_with(identity, id, event, CustomMetadata::new())
}

/// Builds an event of a manager, with metadata that its commands pass on.
pub(super) fn encoded_with<E: EventSet>(
    identity: &Identity,
    id: EventId,
    event: &E,
    custom: CustomMetadata,
) -> Result<NewEvent, InputError> {
    let encoded = event.encode()?;
    let metadata = EventMetadata { custom, ..EventMetadata::by(identity.actor()) };
    Ok(encoded.with_id(id).metadata(metadata.to_json()))
}
