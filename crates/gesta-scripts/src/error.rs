//! Errors of scripts.

use std::time::Duration;

/// The reason why a script cannot run, or does not continue.
///
/// ```
/// use gesta_scripts::{Script, ScriptError, ScriptLimits};
///
/// let refused = Script::compile("fromAll(", ScriptLimits::default()).unwrap_err();
/// assert!(matches!(refused, ScriptError::Threw { .. }));
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// The script is too long.
    #[error("the script has {bytes} bytes; at most {max} are allowed")]
    TooLong {
        /// Length of the script.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The script is no valid JavaScript, misuses the language, or threw an error.
    #[error("{message}")]
    Threw {
        /// The error's message, with its place in the script if the engine knows it.
        message: String,
    },
    /// An event took more than [`ScriptLimits::steps_max`](crate::ScriptLimits::steps_max).
    #[error("the script did not end within {steps_max} steps; it may loop without an end")]
    TooManySteps {
        /// The limit.
        steps_max: u64,
    },
    /// An event took more processor time than
    /// [`ScriptLimits::time_max`](crate::ScriptLimits::time_max).
    #[error(
        "the script did not end within {} s of processor time; it may copy, sort or parse large \
         values again and again",
        time_max.as_secs_f64()
    )]
    TooSlow {
        /// The limit.
        time_max: Duration,
    },
    /// The script needs more than
    /// [`ScriptLimits::memory_bytes_max`](crate::ScriptLimits::memory_bytes_max).
    #[error("the script needs more than {bytes_max} bytes of memory")]
    OutOfMemory {
        /// The limit.
        bytes_max: usize,
    },
    /// The thread of the script is gone.
    #[error("the thread of the script has ended")]
    ThreadEnded,
}
