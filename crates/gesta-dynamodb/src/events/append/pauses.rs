//! Pauses between the tries of one step.

use std::time::Duration;

/// Tries of one step, and the pauses between them.
pub(super) const TRIES_MAX: u32 = 12;
const FIRST_PAUSE: Duration = Duration::from_millis(10);
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(2);

/// A pause that doubles with each round and varies.
pub(super) fn pause(round: u32) -> Duration {
    let longest = FIRST_PAUSE.saturating_mul(1 << round.min(10)).min(PAUSE_MAX);
    let random = uuid::Uuid::new_v4().as_bytes().first().copied().unwrap_or(0);
    longest.mul_f64(f64::from(random).mul_add(0.5 / 255.0, 0.5))
}
