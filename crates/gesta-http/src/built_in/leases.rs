//! The JSON of a lease, in the lists of projections, process managers and reactors.

use gesta::store::{LeaseInForce, LeaseName};
use serde::Serialize;

use crate::{GestaState, Schema};

/// The lease under which one node runs a projection, process manager or reactor.
#[derive(Clone, Debug, Serialize, Schema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LeaseDetails {
    /// Name.
    name: String,
    /// Node that has it.
    node: String,
    /// Fencing token. A later lease of the same name has a greater one.
    token: u64,
    /// Time until it expires unless it is renewed, in seconds.
    remaining_seconds: f64,
}

/// The leases in force.
#[derive(Debug)]
pub(crate) struct LeasesInForce(Vec<LeaseInForce>);

impl LeasesInForce {
    /// Reads the leases. None are shown if they cannot be reached: health says so, and the lists
    /// are needed most then.
    pub(crate) async fn read(state: &GestaState) -> Self {
        Self(state.gesta().leases().await.unwrap_or_default())
    }

    pub(crate) fn of(&self, name: Option<&LeaseName>) -> Option<LeaseDetails> {
        let lease = self.0.iter().find(|lease| Some(&lease.name) == name)?;
        Some(LeaseDetails {
            name: lease.name.to_string(),
            node: lease.node.to_string(),
            token: lease.token.number(),
            remaining_seconds: lease.remaining.as_secs_f64(),
        })
    }
}
