//! Sources of time and randomness.
//!
//! Owns: [`Clock`] and [`Rng`], and their system implementations. Invariant: domain code sees
//! neither; the rest of the framework uses no other source. Not here: the virtual ones of the test
//! kit.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    time::{Duration, SystemTime},
};

use uuid::Uuid;

/// The future of a wait.
///
/// ```
/// use std::{future::ready, task::{Context, Poll, Waker}};
/// use gesta::Sleep;
///
/// let mut over: Sleep = Box::pin(ready(()));
/// assert_eq!(over.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(()));
/// ```
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A clock that returns the time and waits.
///
/// ```
/// use std::{future::ready, time::{Duration, SystemTime, UNIX_EPOCH}};
/// use gesta::{Clock, Sleep};
///
/// #[derive(Debug)]
/// struct Stopped;
///
/// impl Clock for Stopped {
///     fn now(&self) -> SystemTime {
///         UNIX_EPOCH
///     }
///
///     fn sleep(&self, _: Duration) -> Sleep {
///         Box::pin(ready(()))
///     }
/// }
///
/// assert_eq!(Stopped.now(), UNIX_EPOCH);
/// ```
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Returns the current time.
    fn now(&self) -> SystemTime;

    /// Waits for a duration.
    fn sleep(&self, duration: Duration) -> Sleep;

    /// Waits before a retry. The length of the pause affects fairness only, never correctness, so a
    /// virtual clock yields once instead of waiting.
    fn pause(&self, duration: Duration) -> Sleep {
        self.sleep(duration)
    }

    /// Waits until a time; returns at once if it has passed.
    fn sleep_until(&self, time: SystemTime) -> Sleep {
        self.sleep(time.duration_since(self.now()).unwrap_or_default())
    }
}

/// The system clock, with timers of the tokio runtime.
///
/// ```
/// use std::time::UNIX_EPOCH;
/// use gesta::{Clock, SystemClock};
///
/// assert!(SystemClock.now() > UNIX_EPOCH);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that all others ask")]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        // The timer is created on first poll, so that a future which is never polled needs no
        // runtime.
        Box::pin(async move { tokio::time::sleep(duration).await })
    }
}

/// A random number generator.
///
/// ```
/// use gesta::Rng;
///
/// #[derive(Debug)]
/// struct Four;
///
/// impl Rng for Four {
///     fn next_u64(&self) -> u64 {
///         4
///     }
/// }
///
/// assert_eq!(Four.next_u64(), 4);
/// ```
pub trait Rng: fmt::Debug + Send + Sync + 'static {
    /// Returns the next number, uniformly distributed.
    fn next_u64(&self) -> u64;
}

/// The operating system's random number generator.
///
/// ```
/// use gesta::{Rng, SystemRng};
///
/// assert_ne!(SystemRng.next_u64(), SystemRng.next_u64());
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRng;

impl Rng for SystemRng {
    fn next_u64(&self) -> u64 {
        // Six bits of a version 4 UUID are fixed, in different places of its halves.
        let (high, low) = Uuid::new_v4().as_u64_pair();
        high ^ low.rotate_left(32)
    }
}
