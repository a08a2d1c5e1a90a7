//! Nodes that share the work of one application, each part of it under a lease.
//!
//! Owns: [`Nodes`], the configuration; [`RunsElsewhere`], the refusal of an operation; the loop of
//! a task that runs on one node at a time ([`hosting`]), and the choice of the parts that this node
//! runs ([`sharing`]).
//!
//! Invariant: without [`Nodes`], every part runs at once, and asks for nothing.
//!
//! Not here: the renewal of a lease ([`LeasedTask`](crate::LeasedTask)), the way of its token into
//! writes, which belongs to each kind of task.

mod group;
mod hosting;
mod sharing;
mod status;

use std::{future::Future, pin::pin};

use gesta_store::NodeName;
use tokio::sync::{mpsc, watch};

pub use self::group::Nodes;
pub(crate) use self::{
    hosting::{Hosting, Membership, NodeTask, Post},
    status::{Closing, Holder, RunEnd, abandoned, close, closed},
};

/// The refusal of an operation on something that runs on another node.
///
/// ```
/// use gesta::RunsElsewhere;
///
/// let refused = RunsElsewhere::new("projection openings", None);
/// assert!(refused.to_string().starts_with("projection openings does not run on this node"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{part} does not run on this node; {}", place(.node.as_ref()))]
#[non_exhaustive]
pub struct RunsElsewhere {
    /// The projection, process manager or reactor, such as `projection openings`.
    pub part: String,
    /// The node that runs it, if one is known.
    pub node: Option<NodeName>,
}

impl RunsElsewhere {
    /// Creates the refusal for a part of the application.
    pub fn new(part: impl Into<String>, node: Option<NodeName>) -> Self {
        Self { part: part.into(), node }
    }
}

fn place(node: Option<&NodeName>) -> String {
    match node {
        Some(node) => format!("send the operation to {node}, which runs it"),
        None => "no node is known to run it at the moment, try again later".to_owned(),
    }
}

/// The messages to a task that runs on another node.
pub(crate) struct Refusing<'t, M> {
    pub(crate) closing: &'t mut watch::Receiver<Closing>,
    pub(crate) control: &'t mut mpsc::Receiver<M>,
    pub(crate) holder: &'t mut watch::Receiver<Holder>,
}

impl<M> Refusing<'_, M> {
    /// Refuses messages until the pause is over or the lease has another holder, so that it is time
    /// to look again. Returns `None` once the application is closed.
    ///
    /// Cancel-safe.
    pub(crate) async fn refuse_until(
        self,
        pause: impl Future<Output = ()>,
        refuse: impl Fn(M),
    ) -> Option<()> {
        let Self { closing, control, holder } = self;
        let mut pause = pin!(pause);
        loop {
            tokio::select! {
                biased;
                _ = closed(closing) => return None,
                message = control.recv() => refuse(message?),
                Ok(()) = holder.changed() => return Some(()),
                () = &mut pause => return Some(()),
            }
        }
    }
}
