//! A shortage of a resource for the next segment: disk space, file descriptors, memory.
//!
//! Decides how long appends are refused before the next attempt. Invariant: a shortage is never
//! final, because nothing of the refused appends was submitted; the first append after the pause
//! tries again.

use std::{io, time::Duration};

use gesta_store::{Overload, StoreError};

/// Pause after the second failure in a row. The first attempt after a failure has none.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// Longest pause: a store recovers this soon after the shortage has ended.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The current shortage, if there is one.
#[derive(Debug)]
pub(super) struct Shortage {
    /// The directory, for texts of errors.
    place: String,
    last: Option<FailedAttempt>,
}

#[derive(Debug)]
struct FailedAttempt {
    overload: Overload,
    pause: Duration,
    /// Time of [`Clock::elapsed`](crate::Clock::elapsed) before which no attempt is made.
    until: Duration,
}

impl Shortage {
    pub(super) fn none_yet(place: String) -> Self {
        Self { place, last: None }
    }

    /// Records a failed attempt. Returns the error for the appends that waited for it.
    pub(super) fn met(&mut self, error: &io::Error, now: Duration) -> StoreError {
        // Try again at once after the first failure, then with growing pauses.
        let pause = match &self.last {
            None => Duration::ZERO,
            Some(failure) => (failure.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX),
        };
        let overload = self.overload(error);
        self.last = Some(FailedAttempt { overload: overload.clone(), pause, until: now + pause });
        StoreError::Overloaded(overload)
    }

    /// Records a successful attempt.
    pub(super) fn over(&mut self) {
        self.last = None;
    }

    /// Returns whether the last attempt failed.
    pub(super) fn is_known(&self) -> bool {
        self.last.is_some()
    }

    /// Returns the error for appends while it is too early for the next attempt.
    pub(super) fn too_early(&self, now: Duration) -> Option<StoreError> {
        let failure = self.last.as_ref().filter(|failure| now < failure.until)?;
        Some(StoreError::Overloaded(failure.overload.clone()))
    }
    fn overload(&self, error: &io::Error) -> Overload {
        let place = &self.place;
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Overload::DiskFull { reason: place.clone() }
            }
            _ => {
                Overload::System { reason: format!("cannot create a segment in {place}: {error}") }
            }
        }
    }
}
