//! A lack of what the next segment needs: room on the device, file descriptors, memory.
//!
//! Owns how long appends are refused before the next try. Invariant: a lack is never final, for
//! nothing of the refused appends was submitted; the first append after the last pause tries again.

use std::{io, time::Duration};

use gesta_store::{Overload, StoreError};

/// The pause after the second failure in a row; the first try after a failure comes at once.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// The longest pause, so that a store is back this soon after what it lacks is.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Shortage {
    last: Option<Lack>,
}

#[derive(Debug)]
struct Lack {
    overload: Overload,
    pause: Duration,
    /// When the next try may come.
    until: Duration,
}

impl Shortage {
    /// A try failed. Returns the error for what waited for it.
    pub(super) fn met(&mut self, error: &io::Error, now: Duration) -> StoreError {
        let pause = match &self.last {
            None => Duration::ZERO,
            Some(lack) => (lack.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX),
        };
        let overload = overload(error);
        self.last = Some(Lack { overload: overload.clone(), pause, until: now + pause });
        StoreError::Overloaded(overload)
    }

    /// A try went well.
    pub(super) fn over(&mut self) {
        self.last = None;
    }

    /// Whether a lack was met and is not known to be over.
    pub(super) fn is_known(&self) -> bool {
        self.last.is_some()
    }

    /// The error for an append while it is too early for the next try.
    pub(super) fn too_early(&self, now: Duration) -> Option<StoreError> {
        let lack = self.last.as_ref().filter(|lack| now < lack.until)?;
        Some(StoreError::Overloaded(lack.overload.clone()))
    }
}

fn overload(error: &io::Error) -> Overload {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Overload::DiskFull,
        _ => Overload::System { reason: format!("cannot make a segment: {error}") },
    }
}
