//! Leases in memory, for tests and for nodes of one program.

use std::{
    collections::BTreeMap,
    fmt,
    future::{poll_fn, ready},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use super::{
    AcquireLease, Lease, LeaseError, LeaseFuture, LeaseHint, LeaseInForce, LeaseName, LeaseRecord,
    Leases,
};

/// Leases in memory. Clones share them.
///
/// ```
/// use std::{sync::{Arc, atomic::{AtomicU64, Ordering}}, time::Duration};
///
/// use gesta_store::{AcquireLease, LeaseName, Leases, MemoryLeases, NodeName};
///
/// # gesta_store::conformance::block_on(async {
/// let seconds = Arc::new(AtomicU64::new(0));
/// let clock = Arc::clone(&seconds);
/// let leases =
///     MemoryLeases::with_clock(move || Duration::from_secs(clock.load(Ordering::Relaxed)));
/// let (name, node) = (LeaseName::new("relay:orders")?, NodeName::new("node 1")?);
/// leases.acquire(AcquireLease::new(name, node, Duration::from_secs(10))).await?;
/// seconds.store(10, Ordering::Relaxed);
/// assert!(leases.list().await?.is_empty(), "the lease has expired");
/// # Ok::<(), gesta_store::LeaseError>(())
/// # }).expect("a free lease is granted");
/// ```
#[derive(Clone)]
pub struct MemoryLeases {
    shared: Arc<SharedLeases>,
}

struct SharedLeases {
    records: Mutex<BTreeMap<LeaseName, LeaseRecord>>,
    clock: Box<dyn Fn() -> Duration + Send + Sync>,
    releases: Mutex<Releases>,
}

/// The releases so far, and those who wait for the next one.
#[derive(Default)]
struct Releases {
    count: u64,
    waiting: Vec<Waker>,
}

impl Releases {
    fn poll_after(&mut self, seen: u64, context: &Context<'_>) -> Poll<()> {
        if self.count != seen {
            return Poll::Ready(());
        }
        // A waker stays after its future was dropped, until the next release. A task has one.
        if !self.waiting.iter().any(|waiting| waiting.will_wake(context.waker())) {
            self.waiting.push(context.waker().clone());
        }
        Poll::Pending
    }
}

impl MemoryLeases {
    /// Creates leases that use the system's monotonic clock.
    #[must_use]
    pub fn new() -> Self {
        let start = monotonic();
        Self::with_clock(move || monotonic().saturating_duration_since(start))
    }

    /// Creates leases with this clock, which returns the time since its start and never goes back.
    pub fn with_clock(clock: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        let (records, releases) = (Mutex::default(), Mutex::default());
        let shared = SharedLeases { records, clock: Box::new(clock), releases };
        Self { shared: Arc::new(shared) }
    }

    /// Changes the record of a lease at the present time.
    fn change<T>(
        &self,
        name: &LeaseName,
        change: impl FnOnce(&mut LeaseRecord, Duration) -> Result<T, LeaseError>,
    ) -> Result<T, LeaseError> {
        // The time is taken under the lock, so that changes are made in the order of their times.
        let mut records = self.records();
        let now = (self.shared.clock)();
        change(records.entry(name.clone()).or_default(), now)
    }

    fn records(&self) -> MutexGuard<'_, BTreeMap<LeaseName, LeaseRecord>> {
        // A record is changed by assignments that do not panic, so it is never half changed.
        self.shared.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn releases(&self) -> MutexGuard<'_, Releases> {
        // The same as for records.
        self.shared.releases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce_release(&self) {
        let waiting = {
            let mut releases = self.releases();
            releases.count += 1;
            std::mem::take(&mut releases.waiting)
        };
        // Woken without the lock, which a waker may ask for.
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl Default for MemoryLeases {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryLeases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLeases").field("records", &self.records().len()).finish()
    }
}

impl Leases for MemoryLeases {
    fn place(&self) -> String {
        "memory".to_owned()
    }

    fn acquire(&self, acquire: AcquireLease) -> LeaseFuture<'_, Lease> {
        let name = acquire.name.clone();
        let change = |record: &mut LeaseRecord, now| record.acquire(&acquire, now);
        Box::pin(ready(self.change(&name, change)))
    }

    fn renew<'a>(&'a self, lease: &'a Lease) -> LeaseFuture<'a, ()> {
        Box::pin(ready(self.change(&lease.name, |record, now| record.renew(lease, now))))
    }

    fn release<'a>(&'a self, lease: &'a Lease) -> LeaseFuture<'a, ()> {
        let change = |record: &mut LeaseRecord, _| {
            record.release(lease);
            Ok(())
        };
        let released = self.change(&lease.name, change);
        self.announce_release();
        Box::pin(ready(released))
    }

    fn list(&self) -> LeaseFuture<'_, Vec<LeaseInForce>> {
        let records = self.records();
        let now = (self.shared.clock)();
        let in_force = records.iter().filter_map(|(name, record)| record.in_force(name, now));
        Box::pin(ready(Ok(in_force.collect())))
    }

    fn released(&self) -> LeaseHint<'_> {
        let seen = self.releases().count;
        Box::pin(poll_fn(move |context| self.releases().poll_after(seen, context)))
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock; tests bring their own")]
fn monotonic() -> Instant {
    Instant::now()
}
