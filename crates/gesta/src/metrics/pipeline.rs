//! The counters of the pipeline.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::{Keyed, LatencyHistogram};
use crate::error::OUTCOMES;

/// The outcome of a command that was executed.
pub(crate) const EXECUTED: &str = "executed";

/// The counters of the pipeline of one application.
#[derive(Debug, Default)]
pub(crate) struct PipelineCounters {
    /// By name of the command.
    pub(crate) commands: Keyed<CommandCounters>,
    /// Time of each append of a command, whatever its outcome.
    pub(crate) appends: LatencyHistogram,
    /// Events that commands have appended.
    pub(crate) events: AtomicU64,
}

/// The counters of the commands of one name.
#[derive(Debug, Default)]
pub(crate) struct CommandCounters {
    /// By outcome, in the order of [`OUTCOMES`].
    outcomes: [AtomicU64; OUTCOMES.len()],
    /// Time from the pipeline's first step to the outcome.
    pub(crate) times: LatencyHistogram,
    pub(crate) conflicts: AtomicU64,
    pub(crate) retries: AtomicU64,
}

impl CommandCounters {
    /// Counts an outcome with its time.
    pub(crate) fn record(&self, outcome: &'static str, time: Duration) {
        let known = OUTCOMES.iter().position(|known| *known == outcome);
        debug_assert!(known.is_some(), "{outcome} is not in the list");
        if let Some(count) = known.and_then(|known| self.outcomes.get(known)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.times.record(time);
    }

    /// Returns each outcome that has happened, with its number.
    pub(crate) fn outcomes(&self) -> Vec<(&'static str, u64)> {
        let counts = self.outcomes.iter().map(|count| count.load(Ordering::Relaxed));
        OUTCOMES.into_iter().zip(counts).filter(|(_, count)| *count > 0).collect()
    }
}
