//! The work of one script, measured.
//!
//! Owns: [`Meter`], which the engine asks at its interrupts and before bulk work of its own.
//! Invariant: once a limit is exceeded, the call that exceeds it is ended at each interrupt, so a
//! script cannot catch these limits. Not here: what the limits are
//! ([`ScriptLimits`](crate::ScriptLimits)), and that of memory, which is the engine's own: an
//! engine that is refused memory for other reasons was seen to crash.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

use crate::{ScriptError, ScriptLimits};

/// Steps between two interrupts of the engine, which is how they are counted.
pub(crate) const STEPS_PER_INTERRUPT: u64 = 10_000;

/// The limit that a call has exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exceeded {
    Steps,
    Time,
    /// Nobody waits for the script any more.
    Cancelled,
}

/// The use of the call that runs, and its limits.
#[derive(Debug)]
pub(crate) struct Meter {
    limits: ScriptLimits,
    interrupts_left: Cell<u64>,
    /// Processor time of the thread at which the call is ended.
    time_end: Cell<Duration>,
    exceeded: Cell<Option<Exceeded>>,
    cancelled: Arc<AtomicBool>,
}

impl Meter {
    pub(crate) fn new(limits: ScriptLimits, cancelled: Arc<AtomicBool>) -> Self {
        let meter = Self {
            limits,
            interrupts_left: Cell::default(),
            time_end: Cell::default(),
            exceeded: Cell::default(),
            cancelled,
        };
        meter.refill();
        meter
    }

    pub(crate) const fn limits(&self) -> ScriptLimits {
        self.limits
    }

    /// Begins a call, with the whole allowance.
    pub(crate) fn refill(&self) {
        self.interrupts_left.set(self.interrupts_max());
        self.time_end.set(processor_time().saturating_add(self.limits.time_max));
        self.exceeded.set(None);
    }

    /// Counts an interrupt, and returns `true` if the call is to end.
    pub(crate) fn interrupt(&self) -> bool {
        self.interrupts_left.set(self.interrupts_left.get().saturating_sub(1));
        if self.interrupts_left.get() == 0 {
            self.exceed(Exceeded::Steps);
        }
        self.is_over()
    }

    /// Looks at the clock, and returns `true` if the call is to end.
    pub(crate) fn is_over(&self) -> bool {
        if self.exceeded.get().is_none() {
            if self.cancelled.load(Ordering::Relaxed) {
                self.exceed(Exceeded::Cancelled);
            } else if processor_time() >= self.time_end.get() {
                self.exceed(Exceeded::Time);
            }
        }
        self.exceeded.get().is_some()
    }

    /// Returns the steps of the call so far.
    pub(crate) fn steps(&self) -> u64 {
        self.interrupts_max().saturating_sub(self.interrupts_left.get()) * STEPS_PER_INTERRUPT
    }

    /// Returns the error of a call that has exceeded a limit.
    pub(crate) fn error(&self) -> Option<ScriptError> {
        let ScriptLimits { steps_max, time_max, .. } = self.limits;
        Some(match self.exceeded.get()? {
            Exceeded::Steps => ScriptError::TooManySteps { steps_max },
            Exceeded::Time => ScriptError::TooSlow { time_max },
            Exceeded::Cancelled => ScriptError::ThreadEnded,
        })
    }

    fn interrupts_max(&self) -> u64 {
        self.limits.steps_max.div_ceil(STEPS_PER_INTERRUPT).max(1)
    }

    fn exceed(&self, limit: Exceeded) {
        // The first one is the reason of what follows.
        if self.exceeded.get().is_none() {
            self.exceeded.set(Some(limit));
        }
    }
}

/// Returns the processor time of this thread: time in which the machine does something else fails
/// no script.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}
