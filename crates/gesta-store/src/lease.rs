//! Leases: the right of one node at a time to run a projection, a process manager or a relay.
//!
//! Owns: [`Leases`], [`Lease`] and its [`FencingToken`], [`LeaseError`], and [`LeaseRecord`], the
//! rules of one lease for stores that change a record under a lock.
//!
//! A lease promises:
//!
//! - **One holder.** A name has at most one lease in force at a time. A lease is in force from the
//!   answer that grants it until its term is over, it is released, or its node asks for it again.
//! - **The leases' own clock.** Terms are measured where the leases are kept, by one clock for all
//!   nodes, so clocks of nodes may differ. A node that counts the term from before its call, by its
//!   own clock, stops in time if its clock is not slower.
//! - **Growing tokens.** Each lease of a name has a greater token than every earlier one of that
//!   name: also after releases, after expiry, after a restart of the store. A renewal keeps it.
//! - **An end is final.** A lease that is over cannot be renewed, even if no other node has the
//!   name now. The node asks again and gets a new token.
//!
//! A lease does not stop a node. A node can be paused between a look at its lease and its write,
//! for longer than the term, while another node gets the lease. So **writes carry the token**, and
//! the place that is written to refuses a token that is lower than one it has seen:
//! [`FencingToken::fence`] does so in the transaction of a read model. A database that keeps leases
//! next to the data can check the lease in the transaction of the write instead.
//!
//! Not here: the tasks that run under a lease, and the decision which node should run what.

mod error;
mod fence;
mod memory;
mod record;

use std::{
    borrow::Borrow,
    fmt,
    future::{Future, pending},
    pin::Pin,
    str::FromStr,
    sync::Arc,
    time::Duration,
};

pub use self::{error::LeaseError, memory::MemoryLeases, record::LeaseRecord};
use crate::name::{InvalidName, text_type};

text_type! {
    /// The name of a lease: the task that one node at a time may run.
    ///
    /// ```
    /// use gesta_store::LeaseName;
    ///
    /// let name = LeaseName::new("projection:order-summaries")?;
    /// assert_eq!(name.as_str(), "projection:order-summaries");
    /// # Ok::<(), gesta_store::InvalidName>(())
    /// ```
    LeaseName, "lease name", BYTES_MAX = 255
}

text_type! {
    /// The name of a node: one start of one program. Two programs that run at the same time, or one
    /// after the other, have different names.
    ///
    /// ```
    /// use gesta_store::{EventId, NodeName};
    ///
    /// let node = NodeName::new(format!("shop on host-7, {}", EventId::random()))?;
    /// assert!(node.as_str().starts_with("shop on host-7"));
    /// # Ok::<(), gesta_store::InvalidName>(())
    /// ```
    NodeName, "node name", BYTES_MAX = 255
}

impl LeaseName {
    fn checked(text: Arc<str>) -> Result<Self, InvalidName> {
        Ok(Self(text))
    }
}

impl NodeName {
    fn checked(text: Arc<str>) -> Result<Self, InvalidName> {
        Ok(Self(text))
    }
}

/// The number of a lease among those of its name, from 1. A later lease has a greater token.
///
/// ```
/// use gesta_store::FencingToken;
///
/// let (first, second) = (FencingToken::new(1), FencingToken::new(2));
/// assert!(second > first, "whoever has the second holds the lease now, or held it later");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FencingToken(u64);

impl FencingToken {
    /// Creates a token from its number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A lease that was granted. Whether it is still in force, only its store knows.
///
/// ```
/// use std::time::Duration;
///
/// use gesta_store::{AcquireLease, LeaseName, Leases, MemoryLeases, NodeName};
///
/// # gesta_store::conformance::block_on(async {
/// let leases = MemoryLeases::new();
/// let (name, node) = (LeaseName::new("relay:orders")?, NodeName::new("node 1")?);
/// let lease = leases.acquire(AcquireLease::new(name, node, Duration::from_secs(10))).await?;
/// assert_eq!(lease.token.number(), 1);
/// leases.renew(&lease).await?;
/// leases.release(&lease).await?;
/// # Ok::<(), gesta_store::LeaseError>(())
/// # }).expect("a free lease is granted");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lease {
    /// Name of the lease.
    pub name: LeaseName,
    /// The node that holds it.
    pub node: NodeName,
    /// Number of the lease, for every write under it.
    pub token: FencingToken,
    /// Time for which it is in force after it was granted or renewed.
    pub term: Duration,
}

impl Lease {
    /// Creates the lease that a request was granted. For stores that assign tokens by themselves.
    #[must_use]
    pub fn granted(acquire: &AcquireLease, token: FencingToken) -> Self {
        let AcquireLease { name, node, term } = acquire.clone();
        Self { name, node, token, term }
    }
}

/// A request for a lease.
///
/// ```
/// use std::time::Duration;
///
/// use gesta_store::{AcquireLease, LeaseError, LeaseName, NodeName};
///
/// let (name, node) = (LeaseName::new("relay:orders")?, NodeName::new("node 1")?);
/// let acquire = AcquireLease::new(name, node, Duration::ZERO);
/// assert!(matches!(acquire.check(), Err(LeaseError::Term { .. })));
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AcquireLease {
    /// Name of the lease.
    pub name: LeaseName,
    /// The node that asks.
    pub node: NodeName,
    /// Time for which the lease is to be in force, and for which each renewal extends it.
    pub term: Duration,
}

impl AcquireLease {
    /// Shortest term. A renewal has to arrive within it.
    pub const TERM_MIN: Duration = Duration::from_millis(100);
    /// Longest term. The work of a killed node waits for this time.
    pub const TERM_MAX: Duration = Duration::from_secs(24 * 60 * 60);

    /// Creates a request.
    #[must_use]
    pub const fn new(name: LeaseName, node: NodeName, term: Duration) -> Self {
        Self { name, node, term }
    }

    /// Checks the term. Every store calls this first.
    ///
    /// # Errors
    ///
    /// [`LeaseError::Term`] if the term is shorter than [`TERM_MIN`](Self::TERM_MIN) or longer than
    /// [`TERM_MAX`](Self::TERM_MAX).
    pub fn check(&self) -> Result<(), LeaseError> {
        match (Self::TERM_MIN..=Self::TERM_MAX).contains(&self.term) {
            true => Ok(()),
            false => Err(LeaseError::Term { term: self.term }),
        }
    }
}

/// A lease in force, as listed for operators.
///
/// ```
/// use std::time::Duration;
///
/// use gesta_store::{AcquireLease, LeaseName, Leases, MemoryLeases, NodeName};
///
/// # gesta_store::conformance::block_on(async {
/// let leases = MemoryLeases::new();
/// let (name, node) = (LeaseName::new("relay:orders")?, NodeName::new("node 1")?);
/// leases.acquire(AcquireLease::new(name, node.clone(), Duration::from_secs(10))).await?;
/// assert_eq!(leases.list().await?[0].node, node);
/// # Ok::<(), gesta_store::LeaseError>(())
/// # }).expect("a lease in force is listed");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseInForce {
    /// Name of the lease.
    pub name: LeaseName,
    /// The node that holds it.
    pub node: NodeName,
    /// Number of the lease.
    pub token: FencingToken,
    /// Time until it expires unless it is renewed.
    pub remaining: Duration,
}

impl LeaseInForce {
    /// Creates an entry of a list. For stores.
    #[must_use]
    pub const fn new(
        name: LeaseName,
        node: NodeName,
        token: FencingToken,
        remaining: Duration,
    ) -> Self {
        Self { name, node, token, remaining }
    }
}

/// The boxed future that the methods of [`Leases`] return.
///
/// ```
/// use gesta_store::{LeaseFuture, LeaseInForce, Leases, MemoryLeases};
///
/// let leases = MemoryLeases::new();
/// let answer: LeaseFuture<'_, Vec<LeaseInForce>> = leases.list();
/// assert!(gesta_store::conformance::block_on(answer).expect("it answers").is_empty());
/// ```
pub type LeaseFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, LeaseError>> + Send + 'a>>;

/// The boxed future of a hint, which [`Leases::released`] returns.
///
/// ```
/// use std::{future::ready, task::{Context, Poll, Waker}};
/// use gesta_store::LeaseHint;
///
/// let mut hint: LeaseHint<'_> = Box::pin(ready(()));
/// assert_eq!(hint.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(()));
/// ```
pub type LeaseHint<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// The leases that a group of nodes share.
///
/// An implementation passes [`lease_conformance!`](crate::lease_conformance!). Futures do not block
/// the thread that polls them, and need no runtime. A future that is dropped leaves its outcome
/// open.
///
/// # Errors
///
/// Every method may return [`LeaseError::Unavailable`]: the outcome is unknown. Every call can be
/// repeated: a repeated [`acquire`](Self::acquire) of the holder gets a new token, and a lease that
/// the node does not know of expires.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use gesta_store::{AcquireLease, LeaseError, LeaseName, Leases, MemoryLeases, NodeName};
///
/// # gesta_store::conformance::block_on(async {
/// let leases = MemoryLeases::new();
/// let acquire = |node: &str| {
///     let (name, node) = (LeaseName::new("relay:orders")?, NodeName::new(node)?);
///     Ok::<_, LeaseError>(AcquireLease::new(name, node, Duration::from_secs(10)))
/// };
/// let first = leases.acquire(acquire("node 1")?).await?;
/// let refused = leases.acquire(acquire("node 2")?).await;
/// assert!(matches!(refused, Err(LeaseError::Held { .. })));
///
/// leases.release(&first).await?;
/// let second = leases.acquire(acquire("node 2")?).await?;
/// assert!(second.token > first.token);
/// assert!(matches!(leases.renew(&first).await, Err(LeaseError::Lost { .. })));
/// # Ok::<(), LeaseError>(())
/// # }).expect("the lease moves to the second node");
/// ```
pub trait Leases: Send + Sync + 'static {
    /// Grants the lease if no other node has it in force.
    ///
    /// The node that has it in force gets a new lease with a new token, so it can repeat a call
    /// whose answer it has not seen. The term begins when the store grants the lease, which is
    /// after this call and before its answer.
    ///
    /// # Errors
    ///
    /// - [`LeaseError::Held`] if another node has it. Ask again after the remaining time.
    /// - [`LeaseError::Term`] if the term is out of range.
    fn acquire(&self, acquire: AcquireLease) -> LeaseFuture<'_, Lease>;

    /// Begins the term of a lease anew, with the same token.
    ///
    /// # Errors
    ///
    /// - [`LeaseError::Lost`] if the lease is over. Stop the work, and ask again.
    fn renew<'a>(&'a self, lease: &'a Lease) -> LeaseFuture<'a, ()>;

    /// Ends a lease, so that another node gets it at once. Has no effect on a lease that is over.
    ///
    /// Stop the work first.
    fn release<'a>(&'a self, lease: &'a Lease) -> LeaseFuture<'a, ()>;

    /// Returns the leases in force, by name.
    fn list(&self) -> LeaseFuture<'_, Vec<LeaseInForce>>;

    /// Names the place of the leases, for texts of errors: the address of a server, without
    /// secrets, or a directory. By default a text that says no more than what it is.
    fn place(&self) -> String {
        "the store of leases".to_owned()
    }

    /// Waits until a lease of any name is released by any node, counted from this call, so a
    /// caller that looks at the leases after it misses no release.
    ///
    /// A hint, so that work moves at once: it may come late, for no reason, or not at all. A caller
    /// looks at the leases now and then as well. By default it never comes.
    fn released(&self) -> LeaseHint<'_> {
        Box::pin(pending())
    }
}
