//! The groups of this server: the list as it is stored, and the task of each group.
//!
//! Owns: [`Groups`]. Invariants: what runs is what is stored, as of the last look; changes are made
//! one after the other.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use gesta_store::StoreError;
use tokio::{
    sync::{Mutex, MutexGuard, mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};
use tonic::Status;

use super::{
    checkpoint::delete_streams,
    configuration::{GroupConfig, GroupList},
    errors::{does_not_exist, exists, moved},
    name::{GroupId, GroupSource},
    runner::{self, EndReason, GroupCommand},
};
use crate::{node::Node, tenure::Tenant, wire::status};

/// Maximum number of attempts to change the list while others change it, too.
const ATTEMPTS_MAX: usize = 10;
/// Time for all groups to end.
const CLOSING_MAX: Duration = Duration::from_secs(12);

/// The consumer groups of a server. Clones share them.
#[derive(Clone)]
pub(crate) struct Groups {
    node: Node,
    registry: Arc<Mutex<Registry>>,
}

/// A group that runs, for calls.
#[derive(Clone)]
pub(super) struct RunningGroup {
    pub(super) config: Arc<GroupConfig>,
    pub(super) commands: mpsc::Sender<GroupCommand>,
}

#[derive(Default)]
struct Registry {
    right: RunRight,
    is_loaded: bool,
    running: BTreeMap<GroupId, (RunningGroup, JoinHandle<()>)>,
}

/// The right of this server to run groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum RunRight {
    /// No other server has the store.
    #[default]
    Always,
    Held,
    /// Another server has it.
    Missing,
}

impl Groups {
    pub(crate) fn new(node: Node) -> Self {
        Self { node, registry: Arc::default() }
    }

    pub(super) const fn node(&self) -> &Node {
        &self.node
    }

    pub(super) async fn create(&self, config: GroupConfig) -> Result<(), Status> {
        let mut registry = self.registry().await?;
        // The stored list counts: another server may have created the group.
        if GroupList::read(self.node.store()).await?.has_streams_of(&config.id) {
            return Err(exists(&config.id));
        }
        // An earlier group of this name may have been deleted by half.
        let leftovers = delete_streams(self.node.store(), &config.id).await;
        leftovers.map_err(|error| status(&error))?;
        self.change(&mut registry, |list| match list.has_streams_of(&config.id) {
            true => Err(exists(&config.id)),
            false => {
                list.groups.push(config.clone());
                Ok(())
            }
        })
        .await
    }

    /// Changes a group. Its consumers are dropped and may connect again.
    pub(super) async fn update(
        &self,
        id: &GroupId,
        change: impl Fn(&mut GroupConfig),
    ) -> Result<(), Status> {
        let mut registry = self.registry().await?;
        self.change(&mut registry, |list| {
            let group = list.groups.iter_mut().find(|group| group.id == *id);
            group.map(&change).ok_or_else(|| does_not_exist(id))
        })
        .await
    }

    /// Deletes a group with its checkpoint and its parked events, unless another group has the same
    /// streams: earlier versions created such groups.
    pub(super) async fn delete(&self, id: &GroupId) -> Result<(), Status> {
        let mut registry = self.registry().await?;
        let are_shared = AtomicBool::new(false);
        self.change(&mut registry, |list| match list.find(id) {
            None => Err(does_not_exist(id)),
            Some(_) => {
                list.groups.retain(|group| group.id != *id);
                are_shared.store(list.has_streams_of(id), Ordering::Relaxed);
                Ok(())
            }
        })
        .await?;
        if are_shared.into_inner() {
            tracing::info!(group = %id, "the streams of a deleted group stay for another group");
            return Ok(());
        }
        delete_streams(self.node.store(), id).await.map_err(|error| status(&error))
    }

    pub(super) async fn find(&self, id: &GroupId) -> Result<RunningGroup, Status> {
        let registry = self.registry().await?;
        let found = registry.running.get(id).map(|(group, _)| group.clone());
        found.ok_or_else(|| does_not_exist(id))
    }

    /// Returns the groups of a source, or all groups, by source and name.
    pub(super) async fn list(
        &self,
        source: Option<&GroupSource>,
    ) -> Result<Vec<RunningGroup>, Status> {
        let registry = self.registry().await?;
        let groups = registry.running.values().map(|(group, _)| group);
        let wanted = groups.filter(|group| source.is_none_or(|of| group.config.id.source == *of));
        Ok(wanted.cloned().collect())
    }

    /// Ends all groups, and starts them from what is stored.
    pub(crate) async fn restart(&self) -> Result<(), Status> {
        let mut registry = self.registry().await?;
        registry.is_loaded = false;
        registry.end_where(EndReason::Restarted, |_| true).await;
        drop(registry);
        self.registry().await.map(drop)
    }

    /// Locks the groups, which are started first if they do not run yet.
    async fn registry(&self) -> Result<MutexGuard<'_, Registry>, Status> {
        if self.node.is_stopped() {
            return Err(Status::unavailable("the server is shutting down"));
        }
        let mut registry = self.registry.lock().await;
        if registry.right == RunRight::Missing {
            return Err(self.moved());
        }
        if !registry.is_loaded {
            let list = GroupList::read(self.node.store()).await?;
            registry.follow(&self.node, &list).await;
            registry.is_loaded = true;
        }
        Ok(registry)
    }

    /// Returns the refusal of a server that does not run the groups.
    fn moved(&self) -> Status {
        moved(self.node.holders().address_of(Self::LEASE).as_ref())
    }

    /// Changes the stored list, and then what runs.
    async fn change(
        &self,
        registry: &mut Registry,
        change: impl Fn(&mut GroupList) -> Result<(), Status>,
    ) -> Result<(), Status> {
        for _ in 0..ATTEMPTS_MAX {
            let mut list = GroupList::read(self.node.store()).await?;
            change(&mut list)?;
            match list.write(self.node.store()).await {
                Ok(()) => {
                    registry.follow(&self.node, &list).await;
                    return Ok(());
                }
                Err(StoreError::Conflict(_)) => {}
                Err(error) => {
                    // The change may have happened; the next call looks.
                    registry.is_loaded = false;
                    return Err(status(&error));
                }
            }
        }
        Err(Status::unavailable("other servers change the groups all the time; try again"))
    }
}

impl Tenant for Groups {
    const LEASE: &'static str = "consumer-groups";

    fn node(&self) -> &Node {
        &self.node
    }

    async fn admit(&self) {
        self.registry.lock().await.right = RunRight::Held;
    }

    async fn dismiss(&self) {
        let mut registry = self.registry.lock().await;
        registry.right = RunRight::Missing;
        registry.is_loaded = false;
        registry.end_where(EndReason::Moved, |_| true).await;
    }

    async fn shut_down(&self) {
        let ended = async {
            let running = std::mem::take(&mut self.registry.lock().await.running);
            for (_, (group, task)) in running {
                drop(group);
                // A task that has panicked has ended, too.
                drop(task.await);
            }
        };
        if timeout(CLOSING_MAX, ended).await.is_err() {
            tracing::warn!("consumer groups did not end before the shutdown deadline");
        }
    }
}

impl Registry {
    /// Makes the groups of a list run, and no others.
    async fn follow(&mut self, node: &Node, list: &GroupList) {
        self.end_where(EndReason::Deleted, |config| list.find(&config.id).is_none()).await;
        self.end_where(EndReason::Restarted, |config| list.find(&config.id) != Some(config)).await;
        for config in &list.groups {
            if self.running.contains_key(&config.id) {
                continue;
            }
            let config = Arc::new(config.clone());
            let (commands, task) = runner::start(node.clone(), Arc::clone(&config));
            let group = RunningGroup { config: Arc::clone(&config), commands };
            self.running.insert(config.id.clone(), (group, task));
        }
    }

    async fn end_where(&mut self, reason: EndReason, is_over: impl Fn(&GroupConfig) -> bool) {
        let over = self.running.extract_if(.., |_, (group, _)| is_over(&group.config));
        let over: Vec<_> = over.map(|(_, running)| running).collect();
        // All at once: each may take its time for its last writes.
        let ends = over.into_iter().map(|(group, task)| end(group, task, reason));
        futures_util::future::join_all(ends).await;
    }
}

async fn end(group: RunningGroup, task: JoinHandle<()>, reason: EndReason) {
    let (done, ended) = oneshot::channel();
    if group.commands.send(GroupCommand::End { reason, done }).await.is_ok() {
        // A task that ends otherwise drops the sender.
        drop(ended.await);
    }
    drop(group);
    drop(task.await);
}
