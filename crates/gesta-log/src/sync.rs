//! Locks, condition variables and threads for modules that hand work between threads.
//!
//! Re-exports the standard library. In this crate's tests with `--cfg gesta_shuttle` it re-exports
//! `shuttle` instead, which runs one thread at a time and draws the schedule from a seed.
//!
//! Elsewhere: locks on which no thread waits for another (inside the index, cache counters), and
//! the threads below a [`Disk`](crate::Disk) of real files; these use `std` directly.

#[cfg(not(all(test, gesta_shuttle)))]
pub(crate) use std::{
    sync::{
        Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, TryLockError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread, thread_local,
};

#[cfg(all(test, gesta_shuttle))]
pub(crate) use shuttle::{
    sync::{
        Mutex, MutexGuard, RwLock, RwLockReadGuard, TryLockError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread, thread_local,
};

#[cfg(all(test, gesta_shuttle))]
pub(crate) mod timed;
#[cfg(all(test, gesta_shuttle))]
pub(crate) use timed::Condvar;
