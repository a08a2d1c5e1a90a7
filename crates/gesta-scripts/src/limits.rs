//! Limits of one script.

use std::time::Duration;

/// Memory and work that one script may use. A script that exceeds a limit fails; nothing else is
/// affected.
///
/// ```
/// use gesta_scripts::ScriptLimits;
///
/// let limits = ScriptLimits::default().memory_bytes(8 << 20);
/// assert_eq!(limits.memory_bytes_max, 8 << 20);
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScriptLimits {
    /// Memory for the engine, the script, its state and one event, in bytes.
    pub memory_bytes_max: usize,
    /// Work on one event: calls, turns of loops and steps of regular expressions.
    pub steps_max: u64,
    /// Processor time of the script's thread for one event: a limit for what the engine does
    /// between two steps, such as the copy of a large array. A busy machine fails no script.
    pub time_max: Duration,
}

impl ScriptLimits {
    /// Stack of the engine, in bytes. Deeper recursion is an error that the script can catch.
    pub(crate) const STACK_BYTES_MAX: usize = 512 << 10;
    /// Length of a script, in bytes.
    pub const SCRIPT_BYTES_MAX: usize = 1 << 20;

    /// Sets the memory, in bytes. The engine and the language need about 1 MiB of it.
    #[must_use]
    pub const fn memory_bytes(self, max: usize) -> Self {
        Self { memory_bytes_max: max, ..self }
    }

    /// Sets the work on one event. Rounded up to the next 10,000.
    #[must_use]
    pub const fn steps(self, max: u64) -> Self {
        Self { steps_max: max, ..self }
    }

    /// Sets the processor time for one event.
    #[must_use]
    pub const fn time(self, max: Duration) -> Self {
        Self { time_max: max, ..self }
    }
}

impl Default for ScriptLimits {
    /// 64 MiB, 100 million steps, which are a few seconds of a modern processor, and ten seconds.
    fn default() -> Self {
        Self {
            memory_bytes_max: 64 << 20,
            steps_max: 100_000_000,
            time_max: Duration::from_secs(10),
        }
    }
}
