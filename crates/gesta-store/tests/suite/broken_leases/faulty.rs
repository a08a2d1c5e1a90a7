//! Leases with one planted fault.

use std::{
    collections::BTreeMap,
    future::{poll_fn, ready},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use gesta_store::{
    AcquireLease, FencingToken, Lease, LeaseError, LeaseFuture, LeaseInForce, LeaseName,
    LeaseRecord, Leases, NodeName,
};

/// A planted fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Faulty {
    /// The answer names no node.
    AnswersWithoutNode,
    /// The refusal names the node that asks.
    RefusesInOwnName,
    /// A lease is free in the last eighth of its term.
    EndsEarly,
    /// A lease never expires.
    NeverExpires,
    /// A renewal changes nothing.
    RenewsNothing,
    /// Each renewal adds a term to the rest of the one before.
    RenewalsAddUp,
    /// A renewal grants a new token.
    RenewalCounts,
    /// A lease can be renewed after its term, unless another node has it.
    RevivesExpired,
    /// A renewal does not look at the token.
    RenewsAnyToken,
    /// A release changes nothing.
    ReleasesNothing,
    /// A lease can be renewed after its release.
    RevivesReleased,
    /// A second release is an error.
    ReleasesOnce,
    /// A release does not look at the token.
    ReleasesAnyToken,
    /// The node that has the lease is refused like any other.
    RefusesItsHolder,
    /// The token of a released lease is given again.
    ForgetsReleased,
    /// A record is deleted a year after its lease expired.
    ForgetsInAYear,
    /// All names share one record.
    OneForAll,
    /// A record may change between a look and a grant.
    LooksAndThenGrants,
    /// The list begins with the last name.
    ListsBackwards,
    /// The list has leases that are over.
    ListsAll,
    /// Names lose the difference between upper and lower case.
    LowersNames,
    /// Any term is granted.
    GrantsAnyTerm,
    /// A call that is dropped leaves a lock behind.
    KeepsLockOfDropped,
    /// Each node counts its own leases.
    CountsPerNode,
}

/// Leases with at most one fault. Clones share them.
#[derive(Clone)]
pub(super) struct FaultyLeases {
    fault: Option<Faulty>,
    shared: Arc<FaultyState>,
}

#[derive(Default)]
struct FaultyState {
    records: Mutex<BTreeMap<LeaseName, LeaseRecord>>,
    now: Mutex<Duration>,
    /// For [`Faulty::LooksAndThenGrants`]: nodes between their look and their grant.
    looking: Mutex<usize>,
    looked: Condvar,
    /// For [`Faulty::KeepsLockOfDropped`].
    is_locked: AtomicBool,
}

impl FaultyLeases {
    pub(super) fn new(fault: Option<Faulty>) -> Self {
        Self { fault, shared: Arc::default() }
    }

    pub(super) fn pass(&self, duration: Duration) {
        *lock(&self.shared.now) += duration;
    }

    fn has(&self, fault: Faulty) -> bool {
        self.fault == Some(fault)
    }

    /// The time, as this store takes it for a lease with this record and term.
    fn now(&self, record: &LeaseRecord, term: Duration) -> Duration {
        let now = *lock(&self.shared.now);
        match self.fault {
            Some(Faulty::EndsEarly) if now + term / 8 > record.expires_at => record.expires_at,
            Some(Faulty::NeverExpires) if record.node.is_some() => {
                now.min(record.expires_at.saturating_sub(Duration::from_secs(1)))
            }
            _ => now,
        }
    }

    fn change<T>(&self, name: &LeaseName, change: impl FnOnce(&mut LeaseRecord) -> T) -> T {
        let name = match self.has(Faulty::OneForAll) {
            true => LeaseName::new("one").expect("a name"),
            false => name.clone(),
        };
        let mut records = lock(&self.shared.records);
        let record = records.entry(name).or_default();
        let year = Duration::from_secs(365 * 24 * 60 * 60);
        if self.has(Faulty::ForgetsInAYear) && record.expires_at + year < *lock(&self.shared.now) {
            *record = LeaseRecord::default();
        }
        change(record)
    }

    fn grant(&self, mut acquire: AcquireLease) -> Result<Lease, LeaseError> {
        let asked = acquire.clone();
        if self.has(Faulty::LowersNames) {
            acquire.name = LeaseName::new(acquire.name.as_str().to_lowercase())?;
        }
        if self.has(Faulty::GrantsAnyTerm) && acquire.check().is_err() {
            acquire.term = AcquireLease::TERM_MIN;
        }
        let before = self.change(&acquire.name, |record| record.clone());
        self.wait_after_look();
        self.change(&acquire.name, |record| {
            if self.has(Faulty::LooksAndThenGrants) {
                *record = before;
            }
            let mut lease = self.grant_in(record, &acquire)?;
            lease.name = asked.name;
            Ok(lease)
        })
    }

    fn grant_in(
        &self,
        record: &mut LeaseRecord,
        acquire: &AcquireLease,
    ) -> Result<Lease, LeaseError> {
        let now = self.now(record, acquire.term);
        if self.has(Faulty::RefusesItsHolder)
            && let Some(LeaseInForce { name, node, remaining, .. }) =
                record.in_force(&acquire.name, now)
        {
            return Err(LeaseError::Held { name, node, remaining });
        }
        let is_new_node = record.node.as_ref().is_none_or(|node| *node != acquire.node);
        let mut granted = record.acquire(acquire, now);
        // Terms count from the true time.
        if granted.is_ok() {
            record.expires_at = *lock(&self.shared.now) + acquire.term;
        }
        if self.has(Faulty::CountsPerNode) && is_new_node {
            record.token = 1;
        }
        match &mut granted {
            Ok(lease) => {
                lease.token = FencingToken::new(record.token);
                if self.has(Faulty::AnswersWithoutNode) {
                    lease.node = NodeName::new("-").expect("a name");
                }
            }
            Err(LeaseError::Held { node, .. }) if self.has(Faulty::RefusesInOwnName) => {
                *node = acquire.node.clone();
            }
            Err(_) => {}
        }
        granted
    }

    /// Waits until another node has looked as well, or for a moment.
    fn wait_after_look(&self) {
        if !self.has(Faulty::LooksAndThenGrants) {
            return;
        }
        let mut looking = lock(&self.shared.looking);
        *looking += 1;
        self.shared.looked.notify_all();
        let is_alone = |looking: &mut usize| *looking < 2;
        let moment = Duration::from_millis(100);
        let waited = self.shared.looked.wait_timeout_while(looking, moment, is_alone);
        let (mut looking, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        // Those that met stay counted, so that later ones need not wait.
        if timeout.timed_out() {
            *looking -= 1;
        }
    }

    fn renew_in(&self, record: &mut LeaseRecord, lease: &Lease) -> Result<(), LeaseError> {
        let now = self.now(record, lease.term);
        let is_same = record.token == lease.token.number();
        match self.fault {
            Some(Faulty::RenewsNothing) => record.clone().renew(lease, now),
            Some(Faulty::RenewalsAddUp) => {
                let before = record.expires_at;
                record.renew(lease, now)?;
                record.expires_at = before + lease.term;
                Ok(())
            }
            Some(Faulty::RenewalCounts) => {
                record.renew(lease, now)?;
                record.token += 1;
                Ok(())
            }
            Some(Faulty::RevivesExpired) if is_same && record.node.is_some() => {
                record.expires_at = now + lease.term;
                Ok(())
            }
            Some(Faulty::RevivesReleased) if is_same && record.node.is_none() => {
                record.node = Some(lease.node.clone());
                record.expires_at = now + lease.term;
                Ok(())
            }
            Some(Faulty::RenewsAnyToken) => {
                let mut current = lease.clone();
                current.token = FencingToken::new(record.token);
                record.renew(&current, now).map_err(|_| lost(lease))
            }
            _ => record.renew(lease, now),
        }
    }

    fn release_in(&self, record: &mut LeaseRecord, lease: &Lease) -> Result<(), LeaseError> {
        match self.fault {
            Some(Faulty::ReleasesNothing) => {}
            Some(Faulty::ReleasesOnce) if record.node.is_none() => return Err(lost(lease)),
            Some(Faulty::ReleasesAnyToken) => record.node = None,
            Some(Faulty::ForgetsReleased) => {
                let is_same = record.token == lease.token.number();
                record.release(lease);
                record.token -= u64::from(is_same);
            }
            _ => record.release(lease),
        }
        Ok(())
    }
}

impl Leases for FaultyLeases {
    fn acquire(&self, acquire: AcquireLease) -> LeaseFuture<'_, Lease> {
        if !self.has(Faulty::KeepsLockOfDropped) {
            return Box::pin(ready(self.grant(acquire)));
        }
        let mut has_lock = false;
        Box::pin(poll_fn(move |context| {
            // Pending once with the lock, as a call over a network is.
            if !has_lock {
                has_lock = !self.shared.is_locked.swap(true, Ordering::AcqRel);
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.shared.is_locked.store(false, Ordering::Release);
            Poll::Ready(self.grant(acquire.clone()))
        }))
    }

    fn renew<'a>(&'a self, lease: &'a Lease) -> LeaseFuture<'a, ()> {
        Box::pin(ready(self.change(&lease.name, |record| self.renew_in(record, lease))))
    }

    fn release<'a>(&'a self, lease: &'a Lease) -> LeaseFuture<'a, ()> {
        Box::pin(ready(self.change(&lease.name, |record| self.release_in(record, lease))))
    }

    fn list(&self) -> LeaseFuture<'_, Vec<LeaseInForce>> {
        let records = lock(&self.shared.records);
        let in_force = records.iter().filter_map(|(name, record)| {
            let now = match self.has(Faulty::ListsAll) {
                true => Duration::ZERO,
                false => self.now(record, Duration::ZERO),
            };
            record.in_force(name, now)
        });
        let mut in_force: Vec<_> = in_force.collect();
        if self.has(Faulty::ListsBackwards) {
            in_force.reverse();
        }
        Box::pin(ready(Ok(in_force)))
    }
}

fn lost(lease: &Lease) -> LeaseError {
    LeaseError::Lost { name: lease.name.clone(), token: lease.token }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
