//! A task that runs on one node at a time: on the node that holds a lease.
//!
//! Invariants: the task is not polled once the term is over by this node's clock, counted from
//! before the call that was granted; a task that was stopped is dropped before its lease is
//! released. Not here: the leases ([`gesta_store::Leases`]), and the token's way into the writes of
//! the task.

use std::{fmt, future::Future, pin::pin, sync::Arc, time::Duration};

use gesta_store::{AcquireLease, FencingToken, Lease, LeaseError, Leases};

use crate::{Clock, Sleep, SystemClock, backoff::Backoff, error_line::in_one_line};

/// Renewals within one term. One or two may fail.
const RENEWALS_PER_TERM: u32 = 3;
/// Further attempts after a renewal that failed, within one term.
const ATTEMPTS_PER_TERM: u32 = 10;
/// Longest wait of a node before it asks again for a lease that may have been released.
const HANDOVER_MAX: Duration = Duration::from_secs(1);
const HANDOVER_MIN: Duration = Duration::from_millis(10);

/// A task that runs on one node at a time, such as a relay or a report by night.
///
/// Each node runs the same program with the same lease name. One of them runs the task. Another
/// takes over within a second after a graceful stop, and after the rest of the term if the node was
/// killed.
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

    /// Waits for the lease, runs the task while this node has it, and begins again if the lease is
    /// lost. Returns the task's output once it has ended, or `None` after `stop` is ready.
    ///
    /// The future of the task is dropped if the lease is lost or at `stop`; then it is made anew
    /// with the next token. The lease is renewed beside the task, so the task must not block its
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
            let (lease, term) = tokio::select! {
                biased;
                () = &mut stop => return None,
                acquired = self.acquired() => acquired,
            };
            // In this order: a task whose lease is over is not polled again.
            let ended = tokio::select! {
                biased;
                () = &mut stop => Some(None),
                () = self.until_lost(&lease, term) => None,
                output = task(lease.token) => Some(Some(output)),
            };
            if let Some(outcome) = ended {
                self.release(&lease).await;
                return outcome;
            }
            tracing::warn!(lease = %lease.name, token = %lease.token, "lease lost; task stopped");
        }
    }

    /// Asks until the lease is granted. Returns it with the end of its term.
    async fn acquired(&self) -> (Lease, Sleep) {
        let mut backoff = Backoff::new();
        loop {
            let mut term = self.clock.sleep(self.acquire.term);
            let outcome = tokio::select! {
                biased;
                // Polled first, so that the term begins before the call.
                () = &mut term => {
                    tracing::warn!(lease = %self.acquire.name, "no answer within the term");
                    // Perhaps only answers are lost. Then each call is granted, and would keep the
                    // lease from other nodes without anyone running the task.
                    self.clock.sleep(self.acquire.term).await;
                    continue;
                }
                outcome = self.leases.acquire(self.acquire.clone()) => outcome,
            };
            match outcome {
                Ok(lease) => return (lease, term),
                Err(LeaseError::Held { remaining, .. }) => {
                    backoff.reset();
                    self.clock.sleep(remaining.clamp(HANDOVER_MIN, HANDOVER_MAX)).await;
                }
                Err(error) => {
                    let trouble = in_one_line(&error);
                    tracing::warn!(lease = %self.acquire.name, %trouble, "lease not acquired");
                    backoff.pause(self.clock.as_ref()).await;
                }
            }
        }
    }

    /// Renews the lease. Returns when it is over, or may be over.
    async fn until_lost(&self, lease: &Lease, mut term: Sleep) {
        let mut pause = lease.term / RENEWALS_PER_TERM;
        loop {
            tokio::select! {
                biased;
                () = &mut term => return,
                () = self.clock.sleep(pause) => {}
            }
            let mut next_term = self.clock.sleep(lease.term);
            let renewed = tokio::select! {
                biased;
                () = &mut term => return,
                // Never first to end. Polled here, so that the term begins before the call.
                () = &mut next_term => return,
                renewed = self.leases.renew(lease) => renewed,
            };
            match renewed {
                Ok(()) => {
                    term = next_term;
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
    async fn release(&self, lease: &Lease) {
        tokio::select! {
            biased;
            () = self.clock.sleep(lease.term) => {}
            released = self.leases.release(lease) => {
                if let Err(error) = released {
                    let trouble = in_one_line(&error);
                    tracing::warn!(lease = %lease.name, %trouble, "lease not released");
                }
            }
        }
    }
}

impl fmt::Debug for LeasedTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeasedTask").field("acquire", &self.acquire).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
