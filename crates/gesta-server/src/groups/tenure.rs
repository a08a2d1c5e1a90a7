//! The right to run the groups, which one of several servers on a store has at a time.
//!
//! Invariants: groups run only while the lease is in force by this server's clock, counted from
//! before the call that was granted. A server that stops gives the lease back after its groups have
//! ended.
//!
//! Not here: protection against a server that was paused for longer than the term. Its writes are
//! refused by the revisions of the streams.

use std::{sync::Arc, time::Duration};

use gesta_store::{AcquireLease, Lease, LeaseError, LeaseName, Leases, NodeName};
use tokio::{
    select,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::registry::Groups;

const LEASE: &str = "consumer-groups";
/// Time after which another server takes over from one that is gone.
const TERM: Duration = Duration::from_secs(5);
/// Age at which a lease is renewed.
const RENEW_AFTER: Duration = Duration::from_secs(1);
/// Age at which the groups of a lease that could not be renewed end.
const GIVE_UP_AFTER: Duration = Duration::from_secs(4);
/// Maximum time between two looks at a lease that another server has.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Lets groups run under a lease only, from now until the server stops. The task ends when the
/// groups have ended.
pub(crate) async fn run_under(groups: &Groups, leases: Arc<dyn Leases>) -> JoinHandle<()> {
    groups.dismiss().await;
    tokio::spawn(keep(groups.clone(), leases))
}

/// Holds the lease whenever it is to be had, until the server stops.
async fn keep(groups: Groups, leases: Arc<dyn Leases>) {
    let name = LeaseName::new(LEASE).expect("the name of the lease is valid");
    let node = NodeName::new(groups.node().id().to_string()).expect("a UUID is a valid name");
    let acquire = AcquireLease::new(name, node, TERM);
    while !groups.node().is_stopped() {
        // Made before the look, so that no release in between is missed.
        let released = leases.released();
        let asked = Instant::now();
        match leases.acquire(acquire.clone()).await {
            Ok(lease) => {
                groups.admit().await;
                renew(&groups, leases.as_ref(), &lease, asked).await;
                if groups.node().is_stopped() {
                    groups.shut_down().await;
                    give_back(leases.as_ref(), &lease).await;
                    return;
                }
                groups.dismiss().await;
                continue;
            }
            Err(LeaseError::Held { .. }) => {}
            Err(error) => tracing::warn!(%error, "the lease of the consumer groups is not known"),
        }
        select! {
            () = released => {}
            () = sleep(LOOK_INTERVAL) => {}
            () = groups.node().stopped() => {}
        }
    }
}

/// Renews a lease until it is lost, or the server stops.
async fn renew(groups: &Groups, leases: &dyn Leases, lease: &Lease, granted: Instant) {
    let mut in_force_since = granted;
    loop {
        select! {
            () = sleep(RENEW_AFTER) => {}
            () = groups.node().stopped() => return,
        }
        let asked = Instant::now();
        let left = GIVE_UP_AFTER.saturating_sub(in_force_since.elapsed());
        match timeout(left, leases.renew(lease)).await {
            Ok(Ok(())) => in_force_since = asked,
            Ok(Err(error)) if error.is_transient() => {
                tracing::warn!(%error, "the lease of the consumer groups is renewed again");
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "another server runs the consumer groups");
                return;
            }
            Err(_) => {
                tracing::warn!("the lease of the consumer groups could not be renewed in time");
                return;
            }
        }
    }
}

async fn give_back(leases: &dyn Leases, lease: &Lease) {
    // It expires otherwise.
    if let Ok(Err(error)) = timeout(TERM, leases.release(lease)).await {
        tracing::warn!(%error, "the lease of the consumer groups was not given back");
    }
}
