//! The configuration of nodes that share an application.

use std::{fmt, sync::Arc, time::Duration};

use gesta_store::{AcquireLease, InvalidName, LeaseError, LeaseName, Leases, NodeName};

use crate::{Rng as _, SystemRng};

/// The nodes that share the projections, process managers and reactors of an application.
///
/// Each node is a start of the same program, with the same event store, the same read models and
/// the same leases. A projection, process manager or reactor runs on one node at a time, under a
/// lease with its name, and each node runs its share of them. Other nodes take over at once after a
/// node was closed, and after the rest of the term if it was killed. A node that joins gets its
/// share after a second. Leases belong to one application: another one has a schema or a file of
/// its own.
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use gesta::{Gesta, Nodes, store::MemoryLeases};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let nodes = Nodes::new(Arc::new(MemoryLeases::new()), "shop on host-7")?;
/// assert!(nodes.node().as_str().starts_with("shop on host-7"));
/// let nodes = nodes.term(Duration::from_secs(5));
/// let gesta = Gesta::at("memory:").nodes(nodes).open().await?;
/// assert!(gesta.leases().await?.is_empty(), "nothing is registered that could run");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).expect("a memory store opens");
/// ```
#[derive(Clone)]
pub struct Nodes {
    leases: Arc<dyn Leases>,
    node: NodeName,
    term: Duration,
}

impl Nodes {
    /// Default of [`term`](Self::term).
    pub const TERM: Duration = Duration::from_secs(5);

    /// Joins the nodes that share these leases.
    ///
    /// `label` is what operators see, such as a host and a port. The name of the node is the label
    /// with a random part, because each start of a program has its own name.
    ///
    /// # Errors
    /// [`InvalidName`] if the label is empty or too long.
    pub fn new(leases: Arc<dyn Leases>, label: &str) -> Result<Self, InvalidName> {
        NodeName::new(label)?;
        let start = SystemRng.next_u64() & 0xffff_ffff_ffff;
        let node = NodeName::new(format!("{label} #{start:012x}"))?;
        Ok(Self { leases, node, term: Self::TERM })
    }

    /// Sets the term of the leases: the work of a node that was killed waits for it. Default:
    /// [`TERM`](Self::TERM).
    ///
    /// [`Builder::open`](crate::Builder::open) refuses a term out of the range of
    /// [`AcquireLease`].
    #[must_use]
    pub fn term(self, term: Duration) -> Self {
        Self { term, ..self }
    }

    /// Returns the name of this node.
    #[must_use]
    pub const fn node(&self) -> &NodeName {
        &self.node
    }

    pub(crate) fn leases(&self) -> &dyn Leases {
        self.leases.as_ref()
    }

    pub(super) fn shared_leases(&self) -> Arc<dyn Leases> {
        Arc::clone(&self.leases)
    }

    pub(super) const fn lease_term(&self) -> Duration {
        self.term
    }

    /// Checks the term.
    pub(crate) fn check(&self) -> Result<(), LeaseError> {
        AcquireLease::new(LeaseName::new("check")?, self.node.clone(), self.term).check()
    }
}

impl fmt::Debug for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, term, leases: _ } = self;
        f.debug_struct("Nodes").field("node", node).field("term", term).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_start_of_a_program_is_a_node_of_its_own() {
        let leases: Arc<dyn Leases> = Arc::new(gesta_store::MemoryLeases::new());
        let start = || Nodes::new(Arc::clone(&leases), "shop").expect("a node");
        assert_ne!(start().node(), start().node());
        assert!(Nodes::new(Arc::clone(&leases), "").is_err(), "operators see the label");
        assert!(start().term(Duration::ZERO).check().is_err(), "a renewal has to arrive in time");
    }
}
