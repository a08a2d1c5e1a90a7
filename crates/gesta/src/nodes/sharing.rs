//! The share of an application's parts that this node runs.
//!
//! Owns: [`Sharing`], the leases as this node has last seen them and its own parts; the rule when a
//! part asks for its lease and when it is handed over; the lease by which other nodes know of this
//! one.
//!
//! The rule: of `p` parts on `n` nodes, each node runs at most `p / n`, rounded up. A node with
//! room asks for a free lease at once. A node that has its share asks a little later, so that no
//! part waits for a node that cannot run it. A node that runs more than its share, because another
//! one has joined, hands the rest over while another node has room.
//!
//! Invariant: the rule decides who asks, never who runs: that is the lease alone. Not here: calls
//! for the lease of a part ([`LeasedTask`]), and the end of its run.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    fmt,
    future::pending,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use gesta_store::{AcquireLease, InvalidName, LeaseInForce, LeaseName, NodeName};
use tokio::sync::watch;

use super::{
    group::Nodes,
    status::{Closing, Holder, closed},
};
use crate::{
    Clock, LeasedTask, Sleep,
    backoff::Backoff,
    error_line::in_one_line,
    leased_task::{Asked, HeldLease, LOOK_MAX, LOOK_MIN, no_answer},
};

/// Start of the names of the leases by which nodes know of each other. Each node has the one with
/// the lowest number that is free, so there are as many as nodes.
const MEMBER: &str = "node:";

/// Time that a node with its share leaves a free lease to those with room.
const LEFT_TO_OTHERS: Duration = Duration::from_millis(500);
/// Time that a node leaves a lease to others after it has handed it over: a node may look for free
/// leases each second only.
const HANDED_OVER: Duration = Duration::from_secs(2);
/// Number of looks for which a part stays that no other node has taken.
const STAYS: u32 = 60;

/// The parts of this node, and the leases as it has last seen them.
pub(crate) struct Sharing {
    nodes: Nodes,
    clock: Arc<dyn Clock>,
    known: watch::Sender<KnownLeases>,
}

#[derive(Debug)]
struct KnownLeases {
    node: NodeName,
    has_looked: bool,
    /// The error of the last look.
    trouble: Option<String>,
    /// The leases in force, with their nodes.
    in_force: BTreeMap<LeaseName, NodeName>,
    parts: BTreeMap<LeaseName, Part>,
    /// Number of leases that this node has asked for.
    asked: u64,
}

/// A part of the application, on this node.
#[derive(Debug, Default)]
struct Part {
    state: PartState,
    /// The value of [`KnownLeases::asked`] at the last time.
    asked: u64,
    /// Number of looks before it may be handed over again.
    stays: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum PartState {
    #[default]
    Waiting,
    /// This node asks for its lease, or has it.
    Taken,
    /// The same, and this node is to release it.
    HandingOver,
}

/// The answer whether a part asks for its lease now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AskNow {
    Yes,
    /// The lease is free, and this node has its share.
    Leave,
    /// Another node has the lease, or nothing is known of it yet.
    Wait,
}

impl KnownLeases {
    /// Returns the largest number of parts that a node is to run.
    fn share(&self) -> usize {
        self.parts.len().div_ceil(1 + self.other_nodes().count())
    }

    fn other_nodes(&self) -> impl Iterator<Item = &NodeName> {
        let members = self.in_force.iter().filter(|(name, _)| name.as_str().starts_with(MEMBER));
        members.map(|(_, node)| node).filter(|node| **node != self.node)
    }

    fn taken(&self) -> usize {
        self.parts.values().filter(|part| part.state != PartState::Waiting).count()
    }

    /// Returns the other node that has the lease of a part.
    fn elsewhere(&self, name: &LeaseName) -> Option<&NodeName> {
        self.in_force.get(name).filter(|node| **node != self.node)
    }

    fn another_has_room(&self) -> bool {
        let runs = |node: &NodeName| {
            self.parts.keys().filter(|name| self.in_force.get(*name) == Some(node)).count()
        };
        self.other_nodes().any(|node| runs(node) < self.share())
    }

    /// Decides for a part whether it asks now, and takes it then.
    fn turn(&mut self, name: &LeaseName, may_exceed: bool) -> AskNow {
        if !self.has_looked || self.elsewhere(name).is_some() {
            return AskNow::Wait;
        }
        if !may_exceed && self.taken() >= self.share() {
            return AskNow::Leave;
        }
        self.asked += 1;
        let asked = self.asked;
        if let Some(part) = self.parts.get_mut(name) {
            (part.state, part.asked) = (PartState::Taken, asked);
        }
        AskNow::Yes
    }

    /// Takes in the leases in force. Returns whether something has changed.
    fn learn(&mut self, listed: &[LeaseInForce]) -> bool {
        let listed = listed.iter().map(|lease| (lease.name.clone(), lease.node.clone())).collect();
        let before = std::mem::replace(&mut self.in_force, listed);
        let is_first = !std::mem::replace(&mut self.has_looked, true);
        let had_trouble = self.trouble.take().is_some();
        for part in self.parts.values_mut() {
            part.stays = part.stays.saturating_sub(1);
        }
        let hands_over = self.hand_over_surplus();
        before != self.in_force || is_first || had_trouble || hands_over
    }

    /// Marks what exceeds the share of this node, the parts that it has taken last.
    fn hand_over_surplus(&mut self) -> bool {
        let surplus = self.taken().saturating_sub(self.share());
        if surplus == 0 || !self.another_has_room() {
            return false;
        }
        let (mut can_go, mut others) = (Vec::new(), 0);
        for part in self.parts.values_mut() {
            match part.state {
                PartState::Waiting => {}
                PartState::Taken if part.stays == 0 => can_go.push(part),
                // No other node takes it, or it is going already.
                PartState::Taken | PartState::HandingOver => others += 1,
            }
        }
        can_go.sort_by_key(|part| Reverse(part.asked));
        let chosen = can_go.into_iter().take(surplus.saturating_sub(others));
        chosen.map(|part| part.state = PartState::HandingOver).count() > 0
    }

    fn holder(&self, name: &LeaseName) -> Holder {
        let node = self.elsewhere(name).cloned();
        Holder {
            is_known: node.is_some() || self.trouble.is_some(),
            node,
            trouble: self.trouble.clone(),
        }
    }
}

impl Sharing {
    pub(crate) fn new(nodes: Nodes, clock: Arc<dyn Clock>) -> Self {
        let known = watch::Sender::new(KnownLeases {
            node: nodes.node().clone(),
            has_looked: false,
            trouble: None,
            in_force: BTreeMap::new(),
            parts: BTreeMap::new(),
            asked: 0,
        });
        Self { nodes, clock, known }
    }

    /// Adds a part, before the first look.
    pub(crate) fn add(&self, name: &LeaseName) {
        self.known.send_modify(|known| {
            known.parts.insert(name.clone(), Part::default());
        });
    }

    pub(crate) fn has_parts(&self) -> bool {
        !self.known.borrow().parts.is_empty()
    }

    /// Waits until a part is to ask for its lease. Cancel-safe.
    ///
    /// `seen` learns of the node that has it. After the part was handed over, other nodes come
    /// first.
    pub(crate) async fn until_turn(
        &self,
        name: &LeaseName,
        was_handed_over: bool,
        mut seen: impl FnMut(Holder),
    ) -> TakenPart<'_> {
        let mut changes = self.known.subscribe();
        let mut comes_back = was_handed_over;
        let mut pause = was_handed_over.then(|| self.clock.sleep(HANDED_OVER));
        let mut is_over = false;
        loop {
            let holder = changes.borrow_and_update().holder(name);
            let is_elsewhere = holder.node.is_some();
            if holder.is_known {
                seen(holder);
            }
            // The first pause holds also with room.
            let turn = match comes_back && !is_over && !is_elsewhere {
                true => AskNow::Leave,
                false => self.turn(name, is_over),
            };
            match turn {
                AskNow::Yes => return self.taken(name, comes_back),
                AskNow::Leave => {
                    pause.get_or_insert_with(|| self.clock.sleep(LEFT_TO_OTHERS));
                }
                AskNow::Wait => {
                    (comes_back, is_over, pause) = (comes_back && !is_elsewhere, false, None)
                }
            }
            tokio::select! {
                biased;
                // The sender lives as long as this value.
                _ = changes.changed() => {}
                () = until(&mut pause) => is_over = true,
            }
        }
    }

    fn turn(&self, name: &LeaseName, may_exceed: bool) -> AskNow {
        let mut turn = AskNow::Wait;
        // Others have less room now, so no node needs to know.
        self.known.send_if_modified(|known| {
            turn = known.turn(name, may_exceed);
            false
        });
        turn
    }

    fn taken(&self, name: &LeaseName, comes_back: bool) -> TakenPart<'_> {
        if comes_back {
            self.change(name, |part| part.stays = STAYS);
        }
        TakenPart { sharing: self, name: name.clone() }
    }

    fn change(&self, name: &LeaseName, change: impl FnOnce(&mut Part)) {
        self.known.send_modify(|known| {
            if let Some(part) = known.parts.get_mut(name) {
                change(part);
            }
        });
    }

    /// Records that another node has a lease, as it was told by a refusal.
    pub(crate) fn learn_holder(&self, name: &LeaseName, node: NodeName) {
        self.known.send_modify(|known| {
            known.in_force.insert(name.clone(), node);
        });
    }

    /// Looks at the leases, and stays known to other nodes, until the application is closed.
    pub(crate) async fn run(self: Arc<Self>, closing: watch::Receiver<Closing>) {
        let (mut leaving, mut ending) = (closing.clone(), closing);
        tokio::join!(
            async {
                tokio::select! {
                    biased;
                    _ = closed(&mut ending) => {}
                    () = self.look_on() => {}
                }
            },
            self.stay_known(&mut leaving),
        );
    }

    async fn look_on(&self) {
        loop {
            // Before the look, so that no release after it is missed.
            let released = self.nodes.leases().released();
            let pause = self.look().await;
            tokio::select! {
                () = released => {}
                () = self.clock.sleep(pause) => {}
            }
        }
    }

    /// Looks at the leases. Returns the time until the next look: the first lease of another node
    /// may expire then.
    async fn look(&self) -> Duration {
        let listed = tokio::select! {
            listed = self.nodes.leases().list() => listed,
            () = self.clock.sleep(self.nodes.lease_term()) => Err(no_answer(self.nodes.leases())),
        };
        match listed {
            Ok(listed) => {
                self.known.send_if_modified(|known| known.learn(&listed));
                let others = listed.iter().filter(|lease| lease.node != *self.nodes.node());
                let first = others.map(|lease| lease.remaining).min();
                first.unwrap_or(LOOK_MAX).clamp(LOOK_MIN, LOOK_MAX)
            }
            Err(error) => {
                let trouble = in_one_line(&error);
                tracing::warn!(node = %self.nodes.node(), %trouble, "leases not listed");
                self.known.send_modify(|known| known.trouble = Some(trouble));
                LOOK_MAX
            }
        }
    }

    /// Holds the lease by which other nodes know of this one.
    async fn stay_known(&self, closing: &mut watch::Receiver<Closing>) {
        let mut leave = pin!(async {
            closed(closing).await;
        });
        loop {
            let joined = self.join(leave.as_mut()).await;
            let Ok(Some((task, mut held))) = joined else { return };
            tokio::select! {
                biased;
                () = &mut leave => return task.release(held).await,
                () = task.renew_until_lost(&mut held) => {}
            }
        }
    }

    /// Takes the free lease of a node with the lowest number. Returns `None` after `leave` is
    /// ready.
    async fn join(
        &self,
        mut leave: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Option<(LeasedTask, HeldLease)>, InvalidName> {
        let mut backoff = Backoff::new();
        let mut number = 1;
        loop {
            let name = LeaseName::new(format!("{MEMBER}{number}"))?;
            let acquire =
                AcquireLease::new(name, self.nodes.node().clone(), self.nodes.lease_term());
            let leases = self.nodes.shared_leases();
            let task = LeasedTask::on_clock(leases, acquire, Arc::clone(&self.clock));
            match task.ask(leave.as_mut(), &mut backoff).await {
                None => return Ok(None),
                Some(Asked::Granted(held)) => return Ok(Some((task, held))),
                Some(Asked::Held { .. }) => number += 1,
                Some(Asked::Failed { pause, .. }) => {
                    if task.pause(leave.as_mut(), pause).await.is_none() {
                        return Ok(None);
                    }
                    number = 1;
                }
            }
        }
    }
}

impl fmt::Debug for Sharing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sharing").field("known", &self.known.borrow()).finish_non_exhaustive()
    }
}

/// Waits for a pause, forever if there is none.
async fn until(pause: &mut Option<Sleep>) {
    match pause {
        Some(sleep) => sleep.as_mut().await,
        None => pending().await,
    }
    *pause = None;
}

/// A part for whose lease this node asks, or which it runs. Given back when dropped.
pub(crate) struct TakenPart<'s> {
    sharing: &'s Sharing,
    name: LeaseName,
}

impl TakenPart<'_> {
    /// Waits until the part is to be handed over.
    pub(crate) async fn until_handed_over(&self) {
        let mut changes = self.sharing.known.subscribe();
        // The sender lives as long as this value.
        drop(changes.wait_for(|known| self.is_going(known)).await);
    }

    pub(crate) fn is_handed_over(&self) -> bool {
        self.is_going(&self.sharing.known.borrow())
    }

    fn is_going(&self, known: &KnownLeases) -> bool {
        known.parts.get(&self.name).is_some_and(|part| part.state == PartState::HandingOver)
    }
}

impl Drop for TakenPart<'_> {
    fn drop(&mut self) {
        self.sharing.change(&self.name, |part| part.state = PartState::Waiting);
    }
}
