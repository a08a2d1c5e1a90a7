//! The projections that run on this server.
//!
//! Owns: [`Projections`], the handle that calls use, and the runners. Invariants:
//! - Runners follow the registry: a change by any server starts, stops or replaces them.
//! - A call that changes a projection is answered after its runner has followed; one that starts
//!   it, after the script was compiled, so the next question hears of its fault.
//!
//! Not here: what a runner does ([`runner`](super::runner)).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use gesta_store::{Capability, CapabilitySet, Conflict, EventStore, StoreError, Subscribe};
use tokio::{
    select,
    sync::{Mutex, MutexGuard, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tonic::Status as Refusal;

use super::{
    config::{Change, Mode, ProjectionConfig, ProjectionRegistry, Switch},
    idle_source::IdleSource,
    names,
    progress::{SharedProgress, Status},
    runner::{self, PAUSE_MAX, Stopping, Task},
};
use crate::{node::Node, tenure::Tenant, wire::status};

/// Features that the store must have.
const NEEDED: CapabilitySet = CapabilitySet::of(&[
    Capability::GlobalOrder,
    Capability::MultiStreamAppend,
    Capability::SystemStreams,
    Capability::StreamMetadata,
    Capability::Deletion,
]);

/// Reason for which an enabled projection does not run here.
const ELSEWHERE: &str = "another server runs the projections";

/// Time that a call waits for the begin of the projection that it has started.
const BEGIN_PATIENCE: Duration = Duration::from_secs(5);

/// All projections of one server.
#[derive(Clone)]
pub(crate) struct Projections {
    node: Node,
    control: Arc<Mutex<Control>>,
}

/// Configurations, and what runs.
#[derive(Default)]
pub(super) struct Control {
    registry: ProjectionRegistry,
    /// Projections of this server that are recorded nowhere.
    transient: ProjectionRegistry,
    runners: BTreeMap<String, ProjectionRunner>,
    is_stopped: bool,
    /// Another server runs the projections.
    is_dismissed: bool,
}

pub(super) struct ProjectionRunner {
    pub(super) config: ProjectionConfig,
    pub(super) progress: SharedProgress,
    source: IdleSource,
    stop: watch::Sender<Stopping>,
    task: Option<JoinHandle<()>>,
}

/// A projection as of one moment, but for its progress.
pub(super) struct DescribedProjection {
    pub(super) config: ProjectionConfig,
    pub(super) progress: SharedProgress,
    pub(super) source: IdleSource,
}

impl Projections {
    pub(crate) fn new(node: Node) -> Self {
        Self { node, control: Arc::default() }
    }

    /// Starts the projections that are enabled. Returns at once.
    pub(crate) fn start(&self) {
        let followed = self.clone();
        if self.check_support().is_ok() {
            tokio::spawn(async move {
                let stopped = followed.node.stopped();
                select! {
                    () = followed.follow() => {}
                    () = stopped => {}
                }
            });
        }
    }

    /// Follows the changes of the registry by any server.
    async fn follow(&self) {
        loop {
            if let Err(error) = self.follow_once().await {
                tracing::warn!(%error, "cannot follow the changes of projections; trying again");
            }
            sleep(PAUSE_MAX).await;
        }
    }

    async fn follow_once(&self) -> Result<(), StoreError> {
        self.refresh().await?;
        let request = Subscribe::to_stream(names::registry());
        let mut subscription = self.store().subscribe(request.into());
        while let Some(delivery) = subscription.next().await {
            drop(delivery?);
            self.refresh().await?;
        }
        Ok(())
    }

    async fn refresh(&self) -> Result<(), StoreError> {
        let mut control = self.control.lock().await;
        control.registry.refresh(self.store()).await?;
        control.reconcile(&self.node).await;
        Ok(())
    }

    pub(super) fn store(&self) -> &dyn EventStore {
        self.node.store()
    }

    /// Returns the state of the registry as of now.
    pub(super) async fn look(&self) -> Result<MutexGuard<'_, Control>, Refusal> {
        self.check_support()?;
        let mut control = self.control.lock().await;
        control.registry.refresh(self.store()).await.map_err(|error| status(&error))?;
        control.reconcile(&self.node).await;
        Ok(control)
    }

    /// Records the change that is decided on the newest state, and follows it.
    pub(super) async fn change(
        &self,
        decide: impl Fn(&Control) -> Result<Option<Change>, Refusal>,
    ) -> Result<(), Refusal> {
        let mut control = self.look().await?;
        loop {
            let Some(change) = decide(&control)? else { return Ok(()) };
            if control.is_transient(&change) {
                control.transient.apply(change);
                break;
            }
            match control.registry.record(self.store(), change).await {
                Ok(()) => break,
                Err(StoreError::Conflict(Conflict::Stream { .. })) => {
                    // Another server was faster: decide on its change.
                    let refreshed = control.registry.refresh(self.store()).await;
                    refreshed.map_err(|error| status(&error))?;
                }
                Err(error) => return Err(status(&error)),
            }
        }
        control.reconcile(&self.node).await;
        Ok(())
    }

    /// Starts a projection anew that is enabled and does not run, or, without a name, all of them.
    pub(super) async fn restart(&self, name: Option<&str>) -> Result<(), Refusal> {
        let mut control = self.look().await?;
        let mut anew = Vec::new();
        for (found, runner) in &control.runners {
            let is_meant = name.is_none_or(|name| name == found);
            let is_idle = matches!(runner.progress.lock().status, Status::Faulted(_));
            if is_meant && (is_idle || name.is_none()) {
                anew.push(found.clone());
            }
        }
        for name in anew {
            if let Some(mut runner) = control.runners.remove(&name) {
                runner.halt(Stopping::WithCheckpoint).await;
            }
        }
        control.reconcile(&self.node).await;
        Ok(())
    }

    /// Waits until a projection handles events, waits or has failed, so that those who ask next
    /// hear of a script that cannot run. Gives up after a short time.
    pub(super) async fn until_begun(&self, name: &str) {
        let control = self.control.lock().await;
        let progress = control.runner(name).map(|runner| runner.progress.clone());
        drop(control);
        if let Some(progress) = progress {
            let _ = timeout(BEGIN_PATIENCE, progress.until_begun()).await;
        }
    }

    fn check_support(&self) -> Result<(), Refusal> {
        self.store().capabilities().check(NEEDED).map_err(|error| status(&error))
    }
}

impl Tenant for Projections {
    const LEASE: &'static str = "projections";

    fn node(&self) -> &Node {
        &self.node
    }

    async fn admit(&self) {
        let mut control = self.control.lock().await;
        control.is_dismissed = false;
        // Projections that waited begin with the states that the other server has stored.
        control.end_all(Stopping::AtOnce).await;
        control.reconcile(&self.node).await;
    }

    async fn dismiss(&self) {
        let mut control = self.control.lock().await;
        control.is_dismissed = true;
        control.end_all(Stopping::WithCheckpoint).await;
        control.reconcile(&self.node).await;
    }

    async fn shut_down(&self) {
        let mut control = self.control.lock().await;
        control.is_stopped = true;
        control.end_all(Stopping::WithCheckpoint).await;
    }
}

impl Control {
    pub(super) fn config(&self, name: &str) -> Option<&ProjectionConfig> {
        self.registry.get(name).or_else(|| self.transient.get(name))
    }

    pub(super) fn runner(&self, name: &str) -> Option<&ProjectionRunner> {
        self.runners.get(name)
    }

    /// Returns all projections in the order of their names.
    pub(super) fn runners(&self) -> impl Iterator<Item = &ProjectionRunner> {
        self.runners.values()
    }

    fn is_transient(&self, change: &Change) -> bool {
        match change {
            Change::Created(config) => config.mode == Mode::Transient,
            Change::Updated { name, .. }
            | Change::Switched { name, .. }
            | Change::Reset { name }
            | Change::Deleted { name } => self.transient.get(name).is_some(),
        }
    }

    /// Stops all runners side by side.
    async fn end_all(&mut self, wish: Stopping) {
        let runners = std::mem::take(&mut self.runners);
        for runner in runners.values() {
            runner.stop.send_replace(wish);
        }
        for mut runner in runners.into_values() {
            runner.ended().await;
        }
    }

    /// Makes the runners follow the configurations.
    async fn reconcile(&mut self, node: &Node) {
        let configs: Vec<_> = self.registry.all().chain(self.transient.all()).cloned().collect();
        let names: Vec<_> = self.runners.keys().cloned().collect();
        for name in names {
            if !configs.iter().any(|config| config.name == name)
                && let Some(mut runner) = self.runners.remove(&name)
            {
                runner.halt(Stopping::AtOnce).await;
            }
        }
        for config in configs {
            if self.is_stopped || self.runners.get(&config.name).is_some_and(|r| r.config == config)
            {
                continue;
            }
            let before = self.runners.remove(&config.name);
            let progress = match before {
                Some(mut runner) => {
                    runner.halt(way_to_stop(&runner.config, &config)).await;
                    // A stopped projection still tells its state.
                    Some(runner.progress).filter(|_| runner.config.epoch == config.epoch)
                }
                None => None,
            };
            self.runners.insert(
                config.name.clone(),
                ProjectionRunner::start(node, config, self.is_dismissed, progress),
            );
        }
    }
}

/// A reset or aborted projection leaves no last checkpoint.
fn way_to_stop(before: &ProjectionConfig, after: &ProjectionConfig) -> Stopping {
    let is_other = before.id != after.id || before.epoch != after.epoch;
    match is_other || after.switch == Switch::Aborted {
        true => Stopping::AtOnce,
        false => Stopping::WithCheckpoint,
    }
}

impl ProjectionRunner {
    fn start(
        node: &Node,
        config: ProjectionConfig,
        is_dismissed: bool,
        before: Option<SharedProgress>,
    ) -> Self {
        // A transient projection is known to this server only.
        let waits = is_dismissed && config.mode != Mode::Transient;
        let initial = match config.switch {
            Switch::Enabled if waits => Status::Waiting(ELSEWHERE.to_owned()),
            Switch::Enabled => Status::Running,
            Switch::Disabled => Status::Stopped,
            Switch::Aborted => Status::Aborted,
        };
        let progress = before.unwrap_or_else(|| SharedProgress::new(initial.clone()));
        if config.switch == Switch::Aborted || waits {
            // The stored states count.
            progress.lock().states.clear();
        }
        progress.starts();
        progress.set_status(initial);
        let (stop, stopped) = watch::channel(Stopping::No);
        let task = (config.switch == Switch::Enabled && !waits).then(|| {
            tokio::spawn(runner::run(Task {
                node: node.clone(),
                config: config.clone(),
                progress: progress.clone(),
                stop: stopped,
            }))
        });
        Self { config, progress, source: IdleSource::default(), stop, task }
    }

    /// Returns what there is to describe, for use without the lock.
    pub(super) fn described(&self) -> DescribedProjection {
        DescribedProjection {
            config: self.config.clone(),
            progress: self.progress.clone(),
            source: self.source.clone(),
        }
    }

    /// Returns `true` if the projection has been at work on this server since its last change.
    pub(super) fn is_here(&self) -> bool {
        self.task.is_some()
    }

    /// Returns `true` if the projection is at work, or would be.
    pub(super) fn is_running(&self) -> bool {
        matches!(self.progress.lock().status, Status::Running | Status::Waiting(_))
    }

    async fn halt(&mut self, wish: Stopping) {
        self.stop.send_replace(wish);
        self.ended().await;
    }

    async fn ended(&mut self) {
        if let Some(task) = self.task.take()
            && let Err(panicked) = task.await
        {
            tracing::error!(projection = %self.config.name, %panicked, "a runner has panicked");
        }
    }
}
