//! Locks, condition variables and threads, as the modules that hand something over have them.
//!
//! Owns: where those modules take them from: the standard library, or in this crate's own tests
//! built with `--cfg gesta_shuttle` the crate `shuttle`, which lets one thread run at a time and
//! draws from a seed which one, and for how long. Always holds: any other build has nothing here but
//! other names for what is in `std`. Not here: what never makes a thread wait for another (the index's
//! own locks, counters of caches), and threads below a [`Disk`](crate::Disk) of real files.

#[cfg(not(all(test, gesta_shuttle)))]
pub(crate) use std::{
    sync::{
        Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, TryLockError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

#[cfg(all(test, gesta_shuttle))]
pub(crate) use shuttle::{
    sync::{
        Mutex, MutexGuard, RwLock, RwLockReadGuard, TryLockError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

#[cfg(all(test, gesta_shuttle))]
pub(crate) mod timed;
#[cfg(all(test, gesta_shuttle))]
pub(crate) use timed::Condvar;
