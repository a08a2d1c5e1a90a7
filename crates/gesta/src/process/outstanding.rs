//! What a process has decided and is not done yet.
//!
//! Always holds: it is folded from the process's stream and from nothing else.

use std::collections::BTreeMap;

use gesta_store::{CorrelationId, EventId, RecordedAt};

use super::history::{EffectId, Json, ProcessEvent, ProcessReacted, StoredEffect, StoredInput};
use crate::Recorded;

/// What a process has decided and is not done yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Outstanding {
    pub(super) commands: BTreeMap<EffectId, PendingCommand>,
    pub(super) timers: BTreeMap<EffectId, PendingTimer>,
}

/// A command that is not executed yet, as far as the stream says.
#[derive(Clone, Debug)]
pub(super) struct PendingCommand {
    pub(super) name: String,
    pub(super) payload: Json,
    pub(super) from: From,
}

#[derive(Clone, Debug)]
pub(super) struct PendingTimer {
    pub(super) due: RecordedAt,
    pub(super) timer: Json,
    pub(super) from: From,
}

/// Which event of the process's stream decided it, in which conversation.
#[derive(Clone, Debug)]
pub(super) struct From {
    pub(super) event: EventId,
    pub(super) correlation_id: Option<CorrelationId>,
}

impl Outstanding {
    pub(super) fn take(&mut self, recorded: &Recorded<ProcessEvent>) {
        match &recorded.event {
            ProcessEvent::Settled(settled) => drop(self.commands.remove(&settled.command)),
            ProcessEvent::Reacted(reacted) => self.take_reaction(reacted, recorded),
        }
    }

    fn take_reaction(&mut self, reacted: &ProcessReacted, recorded: &Recorded<ProcessEvent>) {
        match &reacted.input {
            StoredInput::Event { .. } => {}
            StoredInput::Timer { timer } => drop(self.timers.remove(timer)),
            StoredInput::Rejected { command, .. } => drop(self.commands.remove(command)),
        }
        for (ordinal, effect) in reacted.effects.iter().enumerate() {
            self.take_effect(EffectId::at(recorded.revision, ordinal), effect, recorded);
        }
        if reacted.ends() {
            self.timers.clear();
        }
    }

    fn take_effect(
        &mut self,
        id: EffectId,
        effect: &StoredEffect,
        recorded: &Recorded<ProcessEvent>,
    ) {
        let from = || From { event: recorded.id, correlation_id: recorded.correlation_id.clone() };
        match effect {
            StoredEffect::Send { command, payload } => {
                let (name, payload) = (command.clone(), payload.clone());
                self.commands.insert(id, PendingCommand { name, payload, from: from() });
            }
            StoredEffect::SetTimer { due, timer } => {
                let (due, timer) = (RecordedAt::from_micros(*due), timer.clone());
                self.timers.insert(id, PendingTimer { due, timer, from: from() });
            }
            StoredEffect::CancelTimer { timer } => drop(self.timers.remove(timer)),
            StoredEffect::End => {}
        }
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.commands.is_empty() && self.timers.is_empty()
    }
}
