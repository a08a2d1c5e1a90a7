//! New events of a manager, for instance streams and its journal.

use gesta_store::{CorrelationId, EventId, NewEvent, StreamName};

use super::{
    history::{
        CommandOutcome, CommandResent, CommandSettled, EffectId, ProcessEvent, TimerSkipped,
    },
    outstanding::PendingCommand,
    setup::Identity,
    trouble::InputError,
};
use crate::{CustomMetadata, EventMetadata, EventSet};

/// Builds the event that settles a command, in the conversation that the command belongs to.
pub(super) fn settled(
    identity: &Identity,
    stream: &StreamName,
    command: EffectId,
    correlation_id: Option<CorrelationId>,
    outcome: CommandOutcome,
) -> Result<NewEvent, InputError> {
    let cause = command.command_id(stream).causes();
    let settled: ProcessEvent = CommandSettled { command, outcome }.into();
    let event = encoded(identity, command.settled_id(stream), &settled)?;
    Ok(event.causation_id(cause).correlation_id(correlation_id))
}

/// Builds the event that sends a refused command again, in the conversation of that command.
pub(super) fn resent(
    identity: &Identity,
    refused: EffectId,
    PendingCommand { name, payload, from, .. }: PendingCommand,
) -> Result<NewEvent, InputError> {
    let resent: ProcessEvent = CommandResent { refused, command: name, payload }.into();
    let event = encoded(identity, EventId::random(), &resent)?;
    Ok(event.correlation_id(from.correlation_id))
}

/// Builds the event that cancels a timer, in the conversation that the timer belongs to.
pub(super) fn timer_skipped(
    identity: &Identity,
    timer: EffectId,
    correlation_id: Option<CorrelationId>,
) -> Result<NewEvent, InputError> {
    let skipped: ProcessEvent = TimerSkipped { timer }.into();
    Ok(encoded(identity, EventId::random(), &skipped)?.correlation_id(correlation_id))
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
