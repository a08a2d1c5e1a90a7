//! The parts of an application on this node: when each of them runs.
//!
//! Invariant: without [`Nodes`], every part runs at once, and asks for nothing. Not here: the
//! choice of the parts of a node ([`sharing`](super::sharing)).

use std::{
    convert::Infallible,
    future::{Future, pending},
    mem,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
};

use gesta_store::{AcquireLease, FencingToken, InvalidName, LeaseName, NodeName};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

use super::{
    group::Nodes,
    sharing::{Sharing, TakenPart},
    status::{Closing, Holder, RunEnd, close},
};
use crate::{
    Clock, LeasedTask,
    backoff::Backoff,
    leased_task::{Asked, HeldLease},
};

/// Length of the part of a long name that its lease shows.
const SHOWN_BYTES: usize = 150;

/// The decision whether the parts of an application run on this node.
#[derive(Clone, Debug)]
pub(crate) struct Hosting {
    nodes: Option<Nodes>,
    /// `None` without nodes, and if the role of this node excludes all parts.
    sharing: Option<Arc<Sharing>>,
    /// False if the role of this node excludes projections, process managers and reactors.
    runs: bool,
    clock: Arc<dyn Clock>,
}

impl Hosting {
    pub(crate) fn new(nodes: Option<Nodes>, runs: bool, clock: Arc<dyn Clock>) -> Self {
        let sharing = nodes.clone().filter(|_| runs);
        let sharing = sharing.map(|nodes| Arc::new(Sharing::new(nodes, Arc::clone(&clock))));
        Self { nodes, sharing, runs, clock }
    }

    /// Returns when a part runs on this node: one of this kind (`projection`) and name.
    pub(crate) fn post(&self, kind: &str, name: &str) -> Result<Post, InvalidName> {
        let lease = self.nodes.as_ref().map(|_| lease_name(kind, name)).transpose()?;
        let node = self.nodes.as_ref().map(|nodes| nodes.node().clone());
        let shared = self.nodes.as_ref().zip(self.sharing.as_ref()).zip(lease.clone());
        let shared = shared.map(|((nodes, sharing), lease)| {
            sharing.add(&lease);
            let acquire = AcquireLease::new(lease, nodes.node().clone(), nodes.lease_term());
            let leases = nodes.shared_leases();
            let task = LeasedTask::on_clock(leases, acquire, Arc::clone(&self.clock));
            SharedPart { task, sharing: Arc::clone(sharing) }
        });
        let runs = match shared {
            _ if !self.runs => WhenToRun::Never,
            Some(shared) => WhenToRun::UnderLease(shared),
            None => WhenToRun::Always,
        };
        Ok(Post { lease, node, runs })
    }

    /// Begins to share the parts with other nodes, once all of them are there. Parts wait for it.
    pub(crate) fn join(&self) -> Option<Membership> {
        let sharing = self.sharing.as_ref().filter(|sharing| sharing.has_parts())?;
        let (closing, closed) = watch::channel(Closing::NotYet);
        let run: Pin<Box<dyn Future<Output = ()> + Send>> =
            Box::pin(Arc::clone(sharing).run(closed));
        let task = Mutex::new(Some(tokio::spawn(run)));
        Some(Membership { closing, task })
    }
}

/// The membership of this node among those that share the parts. Ends when it is dropped.
pub(crate) struct Membership {
    closing: watch::Sender<Closing>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Membership {
    /// Leaves: the other nodes share the parts without this one. Comes before the end of the parts,
    /// so that each is taken over at once.
    pub(crate) async fn leave(&self) {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            close(&self.closing, task).await;
        }
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
    UnderLease(SharedPart),
    Never,
}

/// A part that this node shares with others.
#[derive(Clone, Debug)]
struct SharedPart {
    task: LeasedTask,
    sharing: Arc<Sharing>,
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

/// A task that runs on one node at a time.
pub(crate) trait NodeTask: Send {
    /// The end of the application, as the task hears of it. During a run it is replaced by one that
    /// also signals that the task is handed over.
    fn closing(&mut self) -> &mut watch::Receiver<Closing>;

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
            WhenToRun::UnderLease(part) => part.run_in_turns(task).await,
        }
    }
}

impl SharedPart {
    async fn run_in_turns(&self, task: &mut impl NodeTask) {
        let mut was_handed_over = false;
        while let Some((taken, mut held)) = self.wait_for_turn(task, was_handed_over).await {
            let end = self.run_once(task, &taken, &mut held).await;
            was_handed_over = end == Some(RunEnd::Closed) && taken.is_handed_over();
            match end {
                Some(RunEnd::Closed) => self.task.release(held).await,
                // The lease is over, so there is nothing to release.
                Some(RunEnd::Fenced) | None => task.put_down().await,
            }
            if end == Some(RunEnd::Closed) && !was_handed_over {
                return;
            }
        }
    }

    /// Runs a task until it ends by itself, is handed over or closed. Returns `None` if the lease
    /// was lost.
    async fn run_once(
        &self,
        task: &mut impl NodeTask,
        taken: &TakenPart<'_>,
        held: &mut HeldLease,
    ) -> Option<RunEnd> {
        let token = held.token();
        let (ends, ending) = watch::channel(Closing::NotYet);
        let mut closing = mem::replace(task.closing(), ending);
        let end = tokio::select! {
            biased;
            // First: a task whose lease is over is not polled again.
            () = self.task.until_lost(held) => None,
            never = pass_on(&mut closing, ends, taken.until_handed_over()) => match never {},
            end = task.run(Some(token)) => Some(end),
        };
        *task.closing() = closing;
        end
    }

    /// Waits for the lease. Returns `None` once the application is closed.
    async fn wait_for_turn(
        &self,
        task: &mut impl NodeTask,
        was_handed_over: bool,
    ) -> Option<(TakenPart<'_>, HeldLease)> {
        let (heard, holder) = watch::channel(Holder::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async { drop(stopped.await) };
        let seen = |now: Holder| {
            heard.send_if_modified(|before| mem::replace(before, now.clone()) != now);
        };
        let mut asking = pin!(self.acquire(stopped, was_handed_over, seen));
        tokio::select! {
            biased;
            taken = &mut asking => return taken,
            () = task.wait(holder) => {}
        }
        // A call may be in progress. It ends here, so that no lease is left for its term.
        drop(stop);
        if let Some((_taken, held)) = asking.await {
            self.task.release(held).await;
        }
        None
    }

    /// Asks for the lease, whenever it is this node's turn, until it is granted. Returns `None`
    /// after `stop` is ready.
    async fn acquire(
        &self,
        stop: impl Future<Output = ()>,
        mut was_handed_over: bool,
        mut seen: impl FnMut(Holder),
    ) -> Option<(TakenPart<'_>, HeldLease)> {
        let mut stop = pin!(stop);
        let mut backoff = Backoff::new();
        let name = self.task.name();
        loop {
            let taken = tokio::select! {
                biased;
                () = stop.as_mut() => return None,
                taken = self.sharing.until_turn(name, was_handed_over, &mut seen) => taken,
            };
            was_handed_over = false;
            match self.task.ask(stop.as_mut(), &mut backoff).await? {
                Asked::Granted(held) => return Some((taken, held)),
                Asked::Held { node, .. } => self.sharing.learn_holder(name, node),
                Asked::Failed { trouble, pause } => {
                    drop(taken);
                    seen(Holder::of_trouble(trouble));
                    self.task.pause(stop.as_mut(), pause).await?;
                }
            }
        }
    }
}

/// Passes the close of an application on to a task, and asks it to end when it is handed over.
async fn pass_on(
    closing: &mut watch::Receiver<Closing>,
    ends: watch::Sender<Closing>,
    handed_over: impl Future<Output = ()>,
) -> Infallible {
    let mut handed_over = pin!(handed_over);
    let mut is_handed_over = false;
    loop {
        let asked = *closing.borrow_and_update();
        if asked != Closing::NotYet {
            ends.send_replace(asked);
        }
        tokio::select! {
            biased;
            changed = closing.changed() => if changed.is_err() {
                // The task hears that its handle was dropped.
                drop(ends);
                return pending().await;
            },
            () = &mut handed_over, if !is_handed_over => {
                is_handed_over = true;
                ends.send_replace(Closing::Asked);
            }
        }
    }
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
}
