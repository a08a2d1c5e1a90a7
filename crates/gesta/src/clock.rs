//! Time and chance, as far as the framework uses them.
//!
//! Owns: [`Clock`] and [`Rng`], the only ways to either, and the real ones. Always holds: domain
//! code sees neither. Not here: the virtual ones of the test kit.

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

/// What time it is, and how to wait.
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
    /// The present time.
    fn now(&self) -> SystemTime;

    /// Waits that long.
    fn sleep(&self, duration: Duration) -> Sleep;

    /// Waits before something is tried again: for long enough that others get on, not for a time
    /// that anything depends on. A clock that stands still lets the others run, and does not wait.
    fn pause(&self, duration: Duration) -> Sleep {
        self.sleep(duration)
    }

    /// Waits until this time; not at all, if it has come.
    fn sleep_until(&self, time: SystemTime) -> Sleep {
        self.sleep(time.duration_since(self.now()).unwrap_or_default())
    }
}

/// The computer's clock, and the waits of the tokio runtime.
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
        // Made when it is first polled: what is ready at once needs no runtime.
        Box::pin(async move { tokio::time::sleep(duration).await })
    }
}

/// Where chance comes from.
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
    /// The next number, evenly spread.
    fn next_u64(&self) -> u64;
}

/// The operating system's source of chance.
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
