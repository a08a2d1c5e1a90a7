//! The right to run something that one of several servers on a store runs at a time.
//!
//! Owns: [`Tenant`], and the task that keeps its lease. Invariants: a tenant is at work only while
//! the lease is in force by this server's clock, counted from before the call that was granted. A
//! server that stops gives the lease back after the tenant has ended. So does one that resigns,
//! which leaves the lease to others for a while.
//!
//! Not here: protection against a server that was paused for longer than the term. Its writes are
//! refused by the revisions of the streams.

use std::{future::Future, sync::Arc, time::Duration};

use gesta_store::{AcquireLease, Lease, LeaseError, LeaseName, Leases};
use tokio::{
    select,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use crate::node::Node;

/// Time after which another server takes over from one that is gone.
const TERM: Duration = Duration::from_secs(5);
/// Age at which a lease is renewed.
const RENEW_AFTER: Duration = Duration::from_secs(1);
/// Age at which the tenant of a lease that could not be renewed ends.
const GIVE_UP_AFTER: Duration = Duration::from_secs(4);
/// Maximum time between two looks at a lease that another server has.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Time for which a server that has resigned does not ask for the lease: others look for it twice.
const RESIGNED_FOR: Duration = Duration::from_secs(3);

/// Work that needs a lease. All calls come from one task.
pub(crate) trait Tenant: Clone + Send + Sync + 'static {
    /// Name of the lease.
    const LEASE: &'static str;

    fn node(&self) -> &Node;

    /// Notes that this server may work.
    fn admit(&self) -> impl Future<Output = ()> + Send;

    /// Ends all work, because this server may no longer do it.
    fn dismiss(&self) -> impl Future<Output = ()> + Send;

    /// Ends all work, because the server stops.
    fn shut_down(&self) -> impl Future<Output = ()> + Send;
}

/// The time of a tenant at work.
pub(crate) struct Tenancy<Work> {
    tenant: Work,
    task: Option<JoinHandle<()>>,
}

impl<Work: Tenant> Tenancy<Work> {
    /// Lets a tenant work until the server stops: always, or while it has its lease.
    pub(crate) async fn begin(tenant: &Work, leases: Option<&Arc<dyn Leases>>) -> Self {
        let mut task = None;
        if let Some(leases) = leases {
            tenant.dismiss().await;
            task = Some(tokio::spawn(keep(tenant.clone(), Arc::clone(leases))));
        }
        Self { tenant: tenant.clone(), task }
    }

    /// Waits for the end of the tenant. The node was stopped before.
    pub(crate) async fn ended(self) {
        match self.task {
            // A task that has panicked has ended, too.
            Some(task) => drop(task.await),
            None => self.tenant.shut_down().await,
        }
    }
}

/// Holds the lease whenever it is to be had, until the server stops.
async fn keep<Work: Tenant>(tenant: Work, leases: Arc<dyn Leases>) {
    let name = LeaseName::new(Work::LEASE).expect("the name of the lease is valid");
    let acquire = AcquireLease::new(name, tenant.node().lease_holder(), TERM);
    while !tenant.node().is_stopped() {
        // Made before the look, so that no release in between is missed.
        let released = leases.released();
        let asked = Instant::now();
        match leases.acquire(acquire.clone()).await {
            Ok(lease) => {
                tracing::info!(lease = Work::LEASE, "this server has the lease");
                tenant.node().holders().note(Work::LEASE, None);
                // Before the work begins, so that no request in between is missed.
                let resigned = tenant.node().resigned();
                tenant.admit().await;
                let is_left = select! {
                    () = renew(tenant.node(), leases.as_ref(), &lease, asked) => false,
                    () = resigned => true,
                };
                if tenant.node().is_stopped() {
                    tenant.shut_down().await;
                    give_back(leases.as_ref(), &lease).await;
                    return;
                }
                tenant.dismiss().await;
                if is_left {
                    tracing::info!(lease = Work::LEASE, "this server leaves the lease to others");
                    give_back(leases.as_ref(), &lease).await;
                    select! {
                        () = sleep(RESIGNED_FOR) => {}
                        () = tenant.node().stopped() => {}
                    }
                }
                continue;
            }
            Err(LeaseError::Held { node, .. }) => {
                if tenant.node().holders().note(Work::LEASE, Some(&node)) {
                    tracing::info!(lease = Work::LEASE, holder = %node, "another server has it");
                }
            }
            Err(error) => tracing::warn!(lease = Work::LEASE, %error, "a lease is not known"),
        }
        select! {
            () = released => {}
            () = sleep(LOOK_INTERVAL) => {}
            () = tenant.node().stopped() => {}
        }
    }
    tenant.shut_down().await;
}

/// Renews a lease until it is lost, or the server stops.
async fn renew(node: &Node, leases: &dyn Leases, lease: &Lease, granted: Instant) {
    let mut in_force_since = granted;
    loop {
        select! {
            () = sleep(RENEW_AFTER) => {}
            () = node.stopped() => return,
        }
        let asked = Instant::now();
        let left = GIVE_UP_AFTER.saturating_sub(in_force_since.elapsed());
        match timeout(left, leases.renew(lease)).await {
            Ok(Ok(())) => in_force_since = asked,
            Ok(Err(error)) if error.is_transient() => {
                tracing::warn!(lease = %lease.name, %error, "a lease is renewed again");
            }
            Ok(Err(error)) => {
                tracing::warn!(lease = %lease.name, %error, "another server has a lease");
                return;
            }
            Err(_) => {
                tracing::warn!(lease = %lease.name, "a lease could not be renewed in time");
                return;
            }
        }
    }
}

async fn give_back(leases: &dyn Leases, lease: &Lease) {
    // It expires otherwise.
    if let Ok(Err(error)) = timeout(TERM, leases.release(lease)).await {
        tracing::warn!(lease = %lease.name, %error, "a lease was not given back");
    }
}
