//! The rules of one lease, without I/O: a record, and its changes at a time.
//!
//! Invariants: the token never decreases, and grows with each lease that is granted; a record is
//! kept forever, because a deleted one would start again at the first token.

use std::time::Duration;

use super::{AcquireLease, FencingToken, Lease, LeaseError, LeaseInForce, LeaseName, NodeName};

/// The state of one lease, for stores that read, change and write a record under a lock.
///
/// Times are those of the store's clock, counted from a start that the store chooses. The clock
/// never goes back, and is the same for all nodes.
///
/// ```
/// use std::time::Duration;
///
/// use gesta_store::{AcquireLease, LeaseName, LeaseRecord, NodeName};
///
/// let (name, node) = (LeaseName::new("relay:orders")?, NodeName::new("node 1")?);
/// let acquire = AcquireLease::new(name.clone(), node, Duration::from_secs(10));
/// let mut record = LeaseRecord::default();
/// let lease = record.acquire(&acquire, Duration::from_secs(100)).expect("nobody has it");
/// assert_eq!(record.expires_at, Duration::from_secs(110));
/// assert!(record.renew(&lease, Duration::from_secs(110)).is_err(), "its term is over");
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseRecord {
    /// Number of the last lease that was granted, or 0.
    pub token: u64,
    /// The node that has it, or `None` after its release.
    pub node: Option<NodeName>,
    /// End of the term. The lease is in force before this time.
    pub expires_at: Duration,
}

impl LeaseRecord {
    /// Grants the lease.
    ///
    /// # Errors
    ///
    /// The same as [`Leases::acquire`](super::Leases::acquire). The record is unchanged then.
    pub fn acquire(&mut self, acquire: &AcquireLease, now: Duration) -> Result<Lease, LeaseError> {
        acquire.check()?;
        let AcquireLease { name, node, term } = acquire;
        if let Some(held) = self.in_force(name, now)
            && held.node != *node
        {
            let LeaseInForce { name, node, remaining, .. } = held;
            return Err(LeaseError::Held { name, node, remaining });
        }
        self.token += 1;
        self.node = Some(node.clone());
        self.expires_at = now.saturating_add(*term);
        Ok(Lease::granted(acquire, FencingToken::new(self.token)))
    }

    /// Begins the term of a lease anew.
    ///
    /// # Errors
    ///
    /// The same as [`Leases::renew`](super::Leases::renew). The record is unchanged then.
    pub fn renew(&mut self, lease: &Lease, now: Duration) -> Result<(), LeaseError> {
        let Lease { name, token, term, .. } = lease;
        let in_force = self.in_force(name, now);
        if in_force.is_none_or(|held| held.token != *token) {
            return Err(LeaseError::Lost { name: name.clone(), token: *token });
        }
        self.expires_at = now.saturating_add(*term);
        Ok(())
    }

    /// Ends a lease. Has no effect on one that is over.
    pub fn release(&mut self, lease: &Lease) {
        if self.token == lease.token.number() {
            self.node = None;
        }
    }

    /// Returns the lease if it is in force at this time.
    #[must_use]
    pub fn in_force(&self, name: &LeaseName, now: Duration) -> Option<LeaseInForce> {
        let node = self.node.as_ref().filter(|_| now < self.expires_at)?;
        let remaining = self.expires_at.saturating_sub(now);
        let token = FencingToken::new(self.token);
        Some(LeaseInForce::new(name.clone(), node.clone(), token, remaining))
    }
}
