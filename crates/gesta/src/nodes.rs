//! Nodes that share the work of one application, each part of it under a lease.
//!
//! Owns: [`Nodes`], the configuration; [`RunsElsewhere`], the refusal of an operation; and the loop
//! of a task that runs on one node at a time.
//!
//! Invariant: without [`Nodes`], every part runs at once, and asks for nothing.
//!
//! Not here: the renewal of a lease ([`LeasedTask`]), the way of its token into writes, which
//! belongs to each kind of task.

use std::{fmt, future::Future, pin::pin, sync::Arc, time::Duration};

use gesta_store::{
    AcquireLease, FencingToken, InvalidName, Lease, LeaseError, LeaseName, Leases, NodeName,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use crate::{
    Clock, LeasedTask, Rng as _, SystemRng, error_line::in_one_line, leased_task::HeldLease,
};

/// Length of the part of a long name that its lease shows.
const SHOWN_BYTES: usize = 150;

/// The nodes that share the projections, process managers and reactors of an application.
///
/// Each node is a start of the same program, with the same event store, the same read models and
/// the same leases. A projection, process manager or reactor runs on one node at a time, under a
/// lease with its name. Another node takes over within a second after a node was closed, and after
/// the rest of the term if it was killed. Leases belong to one application: another one has a
/// schema or a file of its own.
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
    pub const TERM: Duration = Duration::from_secs(10);

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

/// The decision whether the parts of an application run on this node.
#[derive(Clone, Debug)]
pub(crate) struct Hosting {
    pub(crate) nodes: Option<Nodes>,
    /// False if the role of this node excludes projections, process managers and reactors.
    pub(crate) runs: bool,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Hosting {
    /// Returns when a part runs on this node: one of this kind (`projection`) and name.
    pub(crate) fn post(&self, kind: &str, name: &str) -> Result<Post, InvalidName> {
        let lease = self.nodes.as_ref().map(|_| lease_name(kind, name)).transpose()?;
        let node = self.nodes.as_ref().map(|nodes| nodes.node.clone());
        let acquire = self.nodes.as_ref().zip(lease.clone());
        let task = acquire.map(|(nodes, lease)| {
            let acquire = AcquireLease::new(lease, nodes.node.clone(), nodes.term);
            LeasedTask::on_clock(Arc::clone(&nodes.leases), acquire, Arc::clone(&self.clock))
        });
        let runs = match task {
            _ if !self.runs => WhenToRun::Never,
            Some(task) => WhenToRun::UnderLease(task),
            None => WhenToRun::Always,
        };
        Ok(Post { lease, node, runs })
    }
}

/// The place of one part of the application on this node.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    /// Its lease. `None` without nodes.
    pub(crate) lease: Option<LeaseName>,
    /// This node. `None` without nodes.
    pub(crate) node: Option<NodeName>,
    runs: WhenToRun,
}

#[derive(Clone, Debug)]
enum WhenToRun {
    Always,
    UnderLease(LeasedTask),
    Never,
}

/// Returns the name of a lease. A name that is too long for a lease ends with its hash.
fn lease_name(kind: &str, name: &str) -> Result<LeaseName, InvalidName> {
    let full = format!("{kind}:{name}");
    if full.len() <= LeaseName::BYTES_MAX {
        return LeaseName::new(full);
    }
    let shown = name.char_indices().take_while(|(at, _)| *at < SHOWN_BYTES);
    let shown: String = shown.map(|(_, letter)| letter).collect();
    LeaseName::new(format!("{kind}:{shown}#{}", blake3::hash(name.as_bytes()).to_hex()))
}

/// The node that has the lease, as this node has last heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holder {
    /// False until the first answer. Until then the task may start any moment.
    pub(crate) is_known: bool,
    pub(crate) node: Option<NodeName>,
    /// The error of the last call.
    pub(crate) trouble: Option<String>,
}

impl Holder {
    fn of(outcome: &Result<Lease, LeaseError>) -> Self {
        let (node, trouble) = match outcome {
            Ok(lease) => (Some(lease.node.clone()), None),
            Err(LeaseError::Held { node, .. }) => (Some(node.clone()), None),
            Err(error) => (None, Some(in_one_line(error))),
        };
        Self { is_known: true, node, trouble }
    }

    /// No lease is asked for.
    fn of_no_lease() -> Self {
        Self { is_known: true, ..Self::default() }
    }

    /// Returns the trouble for the status of a task.
    pub(crate) fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.as_ref()?;
        Some(format!("the lease cannot be asked for: {trouble}"))
    }
}

/// The end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunEnd {
    /// The application was closed.
    Closed,
    /// A write was refused, because a later lease has written.
    Fenced,
}

/// The close of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    NotYet,
    Asked,
    /// The caller has stopped waiting for the close.
    Abandoned,
}

/// Waits for the close of a task. Returns `false` if its handle was dropped instead.
pub(crate) async fn closed(closing: &mut watch::Receiver<Closing>) -> bool {
    closing.wait_for(|closing| *closing != Closing::NotYet).await.is_ok()
}

/// Waits until the caller of a close has stopped waiting, or the handle is dropped.
pub(crate) async fn abandoned(closing: &mut watch::Receiver<Closing>) {
    // An error means that the handle was dropped.
    let _ = closing.wait_for(|closing| *closing == Closing::Abandoned).await;
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

/// Closes a task and waits for its end. Dropping the returned future abandons the close.
pub(crate) async fn close(closing: &watch::Sender<Closing>, task: JoinHandle<()>) {
    closing.send_replace(Closing::Asked);
    let _caller = ClosingCaller(closing);
    // An error is a panic that was logged already.
    let _ = task.await;
}

/// The caller of a close.
struct ClosingCaller<'h>(&'h watch::Sender<Closing>);

impl Drop for ClosingCaller<'_> {
    fn drop(&mut self) {
        self.0.send_replace(Closing::Abandoned);
    }
}

/// A task that runs on one node at a time.
pub(crate) trait NodeTask: Send {
    /// Waits while the task does not run here. Returns once the application is closed.
    ///
    /// Cancel-safe.
    fn wait(&mut self, holder: watch::Receiver<Holder>) -> impl Future<Output = ()> + Send;

    /// Runs, with the token of the lease if there is one. Dropped if the lease is lost.
    fn run(&mut self, token: Option<FencingToken>) -> impl Future<Output = RunEnd> + Send;

    /// Ends the work in progress after the lease was lost.
    fn put_down(&mut self) -> impl Future<Output = ()> + Send;
}

impl Post {
    /// Runs a task whenever it is this node's turn, until the application is closed.
    pub(crate) async fn keep(&self, task: &mut impl NodeTask) {
        match &self.runs {
            WhenToRun::Always => {
                task.run(None).await;
            }
            // Nothing is ever heard of a lease.
            WhenToRun::Never => task.wait(watch::channel(Holder::of_no_lease()).1).await,
            WhenToRun::UnderLease(lease) => run_in_turns(lease, task).await,
        }
    }
}

async fn run_in_turns(lease: &LeasedTask, task: &mut impl NodeTask) {
    while let Some(mut held) = wait_for_turn(lease, task).await {
        let token = held.token();
        // In this order: a task whose lease is over is not polled again.
        let end = tokio::select! {
            biased;
            () = lease.until_lost(&mut held) => None,
            end = task.run(Some(token)) => Some(end),
        };
        if end == Some(RunEnd::Closed) {
            lease.release(held).await;
            return;
        }
        // The lease is over, so there is nothing to release.
        task.put_down().await;
    }
}

/// Waits for the lease. Returns `None` once the application is closed.
async fn wait_for_turn(lease: &LeasedTask, task: &mut impl NodeTask) -> Option<HeldLease> {
    let (heard, holder) = watch::channel(Holder::default());
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async { drop(stopped.await) };
    let seen = |outcome: &Result<Lease, LeaseError>| {
        let now = Holder::of(outcome);
        heard.send_if_modified(|before| std::mem::replace(before, now.clone()) != now);
    };
    let mut asking = pin!(lease.acquire_until(stopped, seen));
    tokio::select! {
        biased;
        held = &mut asking => return held,
        () = task.wait(holder) => {}
    }
    // A call may be in progress. It ends here, so that no lease is left for its term.
    drop(stop);
    if let Some(held) = asking.await {
        lease.release(held).await;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_gets_a_lease_of_its_own() {
        let long = |last: &str| format!("{}{last}", "größen ".repeat(40));
        let (one, two) =
            (lease_name("projection", &long("1")), lease_name("projection", &long("2")));
        assert_ne!(one.expect("a name"), two.expect("a name"));
        assert_eq!(lease_name("process", "welcome").expect("a name").as_str(), "process:welcome");
    }

    #[test]
    fn each_start_of_a_program_is_a_node_of_its_own() {
        let leases: Arc<dyn Leases> = Arc::new(gesta_store::MemoryLeases::new());
        let start = || Nodes::new(Arc::clone(&leases), "shop").expect("a node");
        assert_ne!(start().node(), start().node());
        assert!(Nodes::new(Arc::clone(&leases), "").is_err(), "operators see the label");
        assert!(start().term(Duration::ZERO).check().is_err(), "a renewal has to arrive in time");
    }
}
