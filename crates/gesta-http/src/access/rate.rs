//! Limits of the rate of requests, by actor.
//!
//! A bucket of tokens for each subject, in the form of its theoretical arrival time (GCRA): one
//! time for each subject, and no timer.
//!
//! Invariant: at most [`SUBJECTS_MAX`] subjects are remembered. A full bucket is the same as none.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use axum::http::StatusCode;

use crate::Problem;

/// Maximum number of subjects that are remembered.
const SUBJECTS_MAX: usize = 100_000;

/// A limit of the rate of requests.
///
/// ```
/// use std::time::Duration;
/// use gesta_http::RateLimit;
///
/// let limit = RateLimit::every(Duration::from_millis(100)).burst(50);
/// assert_eq!(limit, RateLimit::every(Duration::from_millis(100)).burst(50));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    interval: Duration,
    burst: u32,
}

impl RateLimit {
    /// Allows one request in this interval, in the long run, and no more at once. An interval of
    /// zero is no limit.
    #[must_use]
    pub const fn every(interval: Duration) -> Self {
        Self { interval, burst: 1 }
    }

    /// Allows this number of requests at once, after a pause of as many intervals. At least 1.
    #[must_use]
    pub const fn burst(self, requests: u32) -> Self {
        Self { burst: if requests == 0 { 1 } else { requests }, ..self }
    }
}

/// The requests of all subjects.
#[derive(Debug)]
pub(super) struct Meter {
    limit: RateLimit,
    /// The time at which the bucket of each subject is full again.
    full_at: Mutex<HashMap<String, SystemTime>>,
}

impl Meter {
    pub(super) fn new(limit: RateLimit) -> Self {
        Self { limit, full_at: Mutex::default() }
    }

    /// Takes a token out of a subject's bucket.
    ///
    /// # Errors
    /// A 429 if it is empty, with the time until there is one.
    pub(super) fn count(&self, subject: &str, now: SystemTime) -> Result<(), Problem> {
        let RateLimit { interval, burst } = self.limit;
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let full = full_at.get(subject).copied().unwrap_or(now).max(now);
        // The bucket holds `burst` tokens, and one comes back in each interval.
        let until_full = full.duration_since(now).unwrap_or_default();
        let allowed = interval.saturating_mul(burst - 1);
        if let Some(wait) = until_full.checked_sub(allowed).filter(|wait| !wait.is_zero()) {
            return Err(too_many(wait));
        }
        if full_at.len() >= SUBJECTS_MAX && !full_at.contains_key(subject) {
            forget_one(&mut full_at, now);
        }
        full_at.insert(subject.to_owned(), full.checked_add(interval).unwrap_or(full));
        Ok(())
    }
}

/// Forgets the subjects whose buckets are full, or else the one whose bucket is full first.
fn forget_one(full_at: &mut HashMap<String, SystemTime>, now: SystemTime) {
    full_at.retain(|_, full| *full > now);
    if full_at.len() < SUBJECTS_MAX {
        return;
    }
    let first = full_at.iter().min_by_key(|(_, full)| **full).map(|(subject, _)| subject.clone());
    if let Some(first) = first {
        full_at.remove(&first);
    }
}

fn too_many(wait: Duration) -> Problem {
    let detail = "the actor has sent too many requests; Retry-After says when to send the next one";
    // Rounded up, because a header has whole seconds.
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", detail)
        .retry_after(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn at(seconds: f64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_burst_passes_and_then_one_request_in_each_interval() {
        let meter = Meter::new(RateLimit::every(Duration::from_secs(2)).burst(3));
        let passes = |subject: &str, seconds: f64| meter.count(subject, at(seconds)).is_ok();
        let first: Vec<_> = (0..5).map(|_| passes("ann", 100.0)).collect();
        assert_eq!(first, [true, true, true, false, false]);
        assert!(passes("bob", 100.0), "another actor has a bucket of its own");
        let later = [101.9, 102.0, 102.1, 104.0].map(|seconds| passes("ann", seconds));
        assert_eq!(later, [false, true, false, true]);
        let rested: Vec<_> = (0..4).map(|_| passes("ann", 200.0)).collect();
        assert_eq!(rested, [true, true, true, false], "no more than a burst after a pause");
    }

    #[test]
    fn the_subjects_are_bounded() {
        let meter = Meter::new(RateLimit::every(Duration::from_secs(1)));
        for number in 0..SUBJECTS_MAX + 10 {
            meter.count(&number.to_string(), at(1.0)).unwrap();
        }
        assert_eq!(meter.full_at.lock().unwrap().len(), SUBJECTS_MAX);
        meter.count("one more", at(9.0)).unwrap();
        assert_eq!(meter.full_at.lock().unwrap().len(), 1, "full buckets are forgotten");
    }
}
