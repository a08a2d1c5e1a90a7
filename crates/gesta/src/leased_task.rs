//! A task that runs on one node at a time: on the node that holds a lease.
//!
//! Invariants: the task is not polled once the term is over by this node's clock, counted from
//! before the call that was granted; a task that was stopped is dropped before its lease is
//! released. Not here: the leases ([`gesta_store::Leases`]), and the token's way into the writes of
//! the task.

use std::{
    fmt,
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use gesta_store::{
    AcquireLease, FencingToken, Lease, LeaseError, LeaseFuture, LeaseName, Leases, NodeName,
};

use crate::{Clock, Sleep, SystemClock, backoff::Backoff, error_line::in_one_line};

/// Renewals within one term. One or two may fail.
const RENEWALS_PER_TERM: u32 = 3;
/// Further attempts after a renewal that failed, within one term.
const ATTEMPTS_PER_TERM: u32 = 10;
/// Longest wait of a node before it asks again for a lease that may have been released: the leases
/// may not announce it.
pub(crate) const LOOK_MAX: Duration = Duration::from_secs(1);
pub(crate) const LOOK_MIN: Duration = Duration::from_millis(10);

/// A task that runs on one node at a time, such as a relay or a report by night.
///
/// Each node runs the same program with the same lease name. One of them runs the task. Another
/// takes over after a graceful stop, at once if the leases announce it ([`Leases::released`]) and
/// within a second otherwise, and after the rest of the term if the node was killed.
///
/// The task gets the token of its lease. **Writes of the task carry it**, because a node can be
/// paused for longer than the term: see [`FencingToken::fence`].
///
/// ```
/// use std::{future::pending, sync::Arc, time::Duration};
///
/// use gesta::{
///     LeasedTask,
///     store::{AcquireLease, LeaseName, MemoryLeases, NodeName},
/// };
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let (name, node) = (LeaseName::new("nightly-report")?, NodeName::new("node 1")?);
/// let acquire = AcquireLease::new(name, node, Duration::from_secs(10));
/// let task = LeasedTask::new(Arc::new(MemoryLeases::new()), acquire);
/// let outcome = task.run_until(pending(), |token| async move { token.number() }).await;
/// assert_eq!(outcome, Some(1), "the first lease has the first token");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct LeasedTask {
    leases: Arc<dyn Leases>,
    acquire: AcquireLease,
    clock: Arc<dyn Clock>,
}

impl LeasedTask {
    /// Creates a task for this node. Asks for nothing yet.
    #[must_use]
    pub fn new(leases: Arc<dyn Leases>, acquire: AcquireLease) -> Self {
        Self { leases, acquire, clock: Arc::new(SystemClock) }
    }

    /// Uses this clock to count terms and pauses.
    #[must_use]
    pub fn clock(self, clock: impl Clock) -> Self {
        Self { clock: Arc::new(clock), ..self }
    }

    pub(crate) const fn name(&self) -> &LeaseName {
        &self.acquire.name
    }

    /// Creates a task on a clock that others share.
    pub(crate) fn on_clock(
        leases: Arc<dyn Leases>,
        acquire: AcquireLease,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { leases, acquire, clock }
    }

    /// Waits for the lease, runs the task while this node has it, and begins again if the lease is
    /// lost. Returns the task's output once it has ended, or `None` after `stop` is ready.
    ///
    /// The future of the task is dropped if the lease is lost or at `stop`; then it is made anew
    /// with the next token. The lease is renewed next to the task, so the task must not block its
    /// thread. If this future is dropped, the lease ends with its term.
    pub async fn run_until<T, F>(
        &self,
        stop: impl Future<Output = ()>,
        mut task: impl FnMut(FencingToken) -> F,
    ) -> Option<T>
    where
        F: Future<Output = T>,
    {
        let mut stop = pin!(stop);
        loop {
            let mut held = self.acquire_until(stop.as_mut()).await?;
            let token = held.token();
            // In this order: a task whose lease is over is not polled again.
            let ended = tokio::select! {
                biased;
                () = &mut stop => Some(None),
                () = self.until_lost(&mut held) => None,
                output = task(token) => Some(Some(output)),
            };
            if let Some(outcome) = ended {
                self.release(held).await;
                return outcome;
            }
        }
    }

    /// Asks until the lease is granted. Returns `None` after `stop` is ready.
    async fn acquire_until(
        &self,
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Option<HeldLease> {
        let mut backoff = Backoff::new();
        loop {
            // Before the call, so that no release after it is missed.
            let released = self.leases.released();
            let pause = match self.ask(stop.as_mut(), &mut backoff).await? {
                Asked::Granted(held) => return Some(held),
                Asked::Held { remaining, .. } => remaining.clamp(LOOK_MIN, LOOK_MAX),
                // Others may release theirs; that does not help.
                Asked::Failed { pause, .. } => {
                    self.pause(stop.as_mut(), pause).await?;
                    continue;
                }
            };
            tokio::select! {
                biased;
                () = stop.as_mut() => return None,
                () = released => {}
                () = self.clock.sleep(pause) => {}
            }
        }
    }

    /// Asks for the lease once. Returns `None` after `stop` is ready.
    pub(crate) async fn ask(
        &self,
        stop: Pin<&mut impl Future<Output = ()>>,
        backoff: &mut Backoff,
    ) -> Option<Asked> {
        let mut term = self.clock.sleep(self.acquire.term);
        let mut call = self.leases.acquire(self.acquire.clone());
        let outcome = tokio::select! {
            biased;
            // Polled first, so that the term begins before the call.
            () = &mut term => None,
            () = stop => {
                self.give_back(call).await;
                return None;
            }
            outcome = &mut call => Some(outcome),
        };
        let had_answer = outcome.is_some();
        let error = match outcome {
            Some(Ok(lease)) => return Some(Asked::Granted(HeldLease { lease, term })),
            Some(Err(LeaseError::Held { node, remaining, .. })) => {
                backoff.reset();
                return Some(Asked::Held { node, remaining });
            }
            Some(Err(error)) => error,
            None => no_answer(self.leases.as_ref()),
        };
        let trouble = in_one_line(&error);
        tracing::warn!(lease = %self.acquire.name, %trouble, "lease not acquired");
        let pause = backoff.next();
        // Perhaps only answers are lost. Then each call is granted, and would keep the lease from
        // other nodes without anyone running the task.
        let pause = if had_answer { pause } else { pause.max(self.acquire.term) };
        Some(Asked::Failed { trouble, pause })
    }

    /// Waits before the next call. Returns `None` after `stop` is ready.
    pub(crate) async fn pause(
        &self,
        stop: Pin<&mut impl Future<Output = ()>>,
        pause: Duration,
    ) -> Option<()> {
        tokio::select! {
            biased;
            () = stop => None,
            () = self.clock.sleep(pause) => Some(()),
        }
    }

    /// Releases the lease that a call in progress may be granted, so that it does not wait for its
    /// term.
    async fn give_back(&self, call: LeaseFuture<'_, Lease>) {
        let granted = tokio::select! {
            biased;
            () = self.clock.sleep(LOOK_MAX) => return,
            granted = call => granted,
        };
        if let Ok(lease) = granted {
            let term = self.clock.sleep(lease.term);
            self.release(HeldLease { lease, term }).await;
        }
    }

    /// Renews the lease. Returns when it is over, or may be over.
    pub(crate) async fn until_lost(&self, held: &mut HeldLease) {
        self.renew_until_lost(held).await;
        let Lease { name, token, .. } = &held.lease;
        tracing::warn!(lease = %name, %token, "lease lost; task stopped");
    }

    /// The same, without a word about it.
    pub(crate) async fn renew_until_lost(&self, HeldLease { lease, term }: &mut HeldLease) {
        let mut pause = lease.term / RENEWALS_PER_TERM;
        loop {
            tokio::select! {
                biased;
                () = &mut *term => return,
                () = self.clock.sleep(pause) => {}
            }
            let mut next_term = self.clock.sleep(lease.term);
            let renewed = tokio::select! {
                biased;
                () = &mut *term => return,
                // Never first to end. Polled here, so that the term begins before the call.
                () = &mut next_term => return,
                renewed = self.leases.renew(lease) => renewed,
            };
            match renewed {
                Ok(()) => {
                    *term = next_term;
                    pause = lease.term / RENEWALS_PER_TERM;
                }
                Err(LeaseError::Lost { .. }) => return,
                // The lease may still be renewed until its term is over.
                Err(error) => {
                    let trouble = in_one_line(&error);
                    tracing::warn!(lease = %lease.name, %trouble, "lease not renewed");
                    pause = lease.term / ATTEMPTS_PER_TERM;
                }
            }
        }
    }

    /// Releases the lease, or lets it end with its term if that takes longer.
    pub(crate) async fn release(&self, HeldLease { lease, .. }: HeldLease) {
        tokio::select! {
            biased;
            () = self.clock.sleep(lease.term) => {}
            released = self.leases.release(&lease) => {
                if let Err(error) = released {
                    let trouble = in_one_line(&error);
                    tracing::warn!(lease = %lease.name, %trouble, "lease not released");
                }
            }
        }
    }
}

/// The error of a call for leases that takes longer than the term.
pub(crate) fn no_answer(leases: &dyn Leases) -> LeaseError {
    LeaseError::unavailable(format!("{}: no answer within the term of a lease", leases.place()))
}

/// The outcome of one call for a lease.
pub(crate) enum Asked {
    Granted(HeldLease),
    /// Another node has it.
    Held {
        node: NodeName,
        remaining: Duration,
    },
    /// The next call follows after the pause.
    Failed {
        trouble: String,
        pause: Duration,
    },
}

/// A lease that this node has, with the end of its term.
pub(crate) struct HeldLease {
    lease: Lease,
    term: Sleep,
}

impl HeldLease {
    pub(crate) const fn token(&self) -> FencingToken {
        self.lease.token
    }
}

impl fmt::Debug for LeasedTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeasedTask").field("acquire", &self.acquire).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
