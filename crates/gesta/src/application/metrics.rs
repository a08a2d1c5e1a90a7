//! The metrics of an application at one moment.
//!
//! Owns: [`Metrics`], and what its values cost. Counters and the states of components are in
//! memory. The store is asked for its head and its size, and for one event of each component that
//! is behind. Invariants: no read folds a stream or counts events; one application asks for one
//! report at a time; a report is there within [`READ_MAX`], with what has been answered by then.
//!
//! Not here: names, units and text for a monitoring system, which are those of an edge.

use std::{
    iter,
    sync::atomic::Ordering,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use gesta_store::{Capability, Filter, Position, ReadAll, RecordedAt, StoreError, Visibility};

use super::{Component, Gesta, PartStatus};
use crate::{
    Latencies, ProcessState, ProjectionState, QueryCacheCounts, ReactorState,
    following::first_event,
    process::ProcessHandle,
    projection::{ProjectionHandle, ProjectionProgress},
    reactor::ReactorHandle,
};

/// Maximum time for all questions to the store together.
const READ_MAX: Duration = Duration::from_secs(2);

/// Time after which a timer that is due and has not fired is overdue.
const TIMER_GRACE: Duration = Duration::from_secs(5);

/// The metrics of an application at one moment. Counters begin at 0 when it is opened.
///
/// ```
/// use gesta::Gesta;
///
/// # gesta::store::conformance::block_on(async {
/// let gesta = Gesta::at("memory:").open().await?;
/// let metrics = gesta.metrics().await;
/// assert!(metrics.commands.is_empty(), "none was executed");
/// assert_eq!(metrics.store.expect("it answers").head, gesta::Position::START);
/// # Ok::<(), gesta::OpenError>(())
/// # }).expect("a memory store opens");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Commands by name, of those that were executed.
    pub commands: Vec<CommandMetrics>,
    /// Times of the appends of commands, whatever their outcome.
    pub appends: Latencies,
    /// Number of events that commands have appended.
    pub events_appended: u64,
    /// Projections, process managers, reactors and [watched](Gesta::watch_part) parts, each kind by
    /// name.
    pub components: Vec<ComponentMetrics>,
    /// `None` if the store did not answer.
    pub store: Option<StoreMetrics>,
    /// `None` without a cache of queries.
    pub query_cache: Option<QueryCacheCounts>,
}

/// The commands of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommandMetrics {
    /// Name of the command.
    pub name: String,
    /// Number of commands by outcome: `executed`, a [kind](crate::ExecuteError::kind) of error, or
    /// `abandoned` if the caller gave up. Only outcomes that have happened.
    pub outcomes: Vec<(&'static str, u64)>,
    /// Times from the pipeline's first step to the outcome, with waits and retries.
    pub times: Latencies,
    /// Number of appends that failed because another one came first.
    pub conflicts: u64,
    /// Number of further attempts after conflicts.
    pub retries: u64,
}

/// A projection, process manager, reactor or watched part.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ComponentMetrics {
    /// Kind of component.
    pub component: Component,
    /// Name.
    pub name: String,
    /// State as a stable word, such as `running`, `waiting`, `retrying` or `halted`. A watched part
    /// is `running` or `in-trouble`.
    pub state: &'static str,
    /// Values that the node which runs it reports. `None` while another node runs it, while it
    /// starts, and for a watched part that tells no position.
    pub running: Option<RunningMetrics>,
}

/// A component that runs on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunningMetrics {
    /// Position up to which all events are handled.
    pub position: Position,
    /// `None` if the store did not answer.
    pub lag: Option<ComponentLag>,
    /// Number of dead letters; of a process manager, the number of set-aside inputs.
    pub dead_letters: usize,
    /// `None` unless it is a process manager.
    pub process: Option<ProcessMetrics>,
}

/// Distance of a component from the head of the store.
///
/// Unlike [`Lag`](crate::Lag), the time grows while a component stands still.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ComponentLag {
    /// Number of events of any type after the position; 0 if it handles none of them. `None` if the
    /// store's positions have gaps.
    pub events: Option<u64>,
    /// Time since the first event that it has to handle was recorded, by the clock of this node.
    pub time: Duration,
}

/// The instances and the outstanding work of a process manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessMetrics {
    /// Instances that have started and not ended, without those set aside, as of the last count.
    pub running: u64,
    /// Instances that are set aside.
    pub troubled: u64,
    /// Instances that ended by themselves, as of the last count.
    pub ended: u64,
    /// Instances that an operator ended, as of the last count.
    pub cancelled: u64,
    /// Pending timers.
    pub timers: usize,
    /// Timers that were due 5 seconds ago and have not fired. Without those of set-aside inputs.
    pub timers_overdue: usize,
    /// Commands that are decided and not executed yet.
    pub commands: usize,
}

/// The store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreMetrics {
    /// Position of the last event.
    pub head: Position,
    /// Space that it takes, in bytes. `None` if it does not know.
    pub bytes: Option<u64>,
}

impl Gesta {
    /// Returns the metrics. Takes at most 2 seconds: what the store has not answered by then is
    /// missing.
    ///
    /// Asks the store for its head and size, and for one event of each component that is behind.
    /// Reports that are asked for at the same time read one after the other.
    pub async fn metrics(&self) -> Metrics {
        let mut metrics = self.known_metrics();
        let deadline = self.clock().sleep(READ_MAX);
        tokio::select! {
            // Prefer answers that arrive together with the deadline.
            biased;
            read = self.read_metrics(&mut metrics) => {
                if let Err(error) = read {
                    tracing::debug!(%error, "the store could not be read for metrics");
                }
            }
            () = deadline => {}
        }
        metrics
    }

    /// Returns what is known without a read.
    fn known_metrics(&self) -> Metrics {
        let counters = self.counters();
        let commands = counters.commands.iter().map(|(name, counters)| CommandMetrics {
            name: name.to_owned(),
            outcomes: counters.outcomes(),
            times: counters.times.read(),
            conflicts: counters.conflicts.load(Ordering::Relaxed),
            retries: counters.retries.load(Ordering::Relaxed),
        });
        let now = self.clock().now();
        let mut components: Vec<_> = self.read_side().handles().map(of_projection).collect();
        components.extend(self.processes().handles().map(|handle| of_process(handle, now)));
        components.extend(self.reactor_side().handles().map(of_reactor));
        components.extend(self.watched().ask().into_iter().map(of_part));
        Metrics {
            commands: commands.collect(),
            appends: counters.appends.read(),
            events_appended: counters.events.load(Ordering::Relaxed),
            components,
            store: None,
            query_cache: self.answers().map(|answers| answers.counts()),
        }
    }

    /// Adds what the store answers, as it comes.
    async fn read_metrics(&self, metrics: &mut Metrics) -> Result<(), StoreError> {
        let _one_at_a_time = self.measuring().lock().await;
        let head = self.store().head().await?.position;
        // A size that cannot be told is no reason to leave out the rest.
        let bytes = self.store().stored_bytes().await.ok().flatten();
        metrics.store = Some(StoreMetrics { head, bytes });
        let types = self.read_side().handles().map(|handle| handle.event_types.as_slice());
        let types = types.chain(self.processes().handles().map(|it| it.event_types.as_slice()));
        let types = types.chain(self.reactor_side().handles().map(|it| &*it.event_types));
        // A part, which comes last, may handle events of any type.
        let filters = types.map(|types| Filter::EventTypes(types.to_vec()));
        let filters = filters.chain(iter::repeat(Filter::Everything));
        for (component, filter) in metrics.components.iter_mut().zip(filters) {
            if let Some(running) = &mut component.running {
                running.lag = Some(self.component_lag(running.position, head, filter).await?);
            }
        }
        Ok(())
    }

    async fn component_lag(
        &self,
        position: Position,
        head: Position,
        filter: Filter,
    ) -> Result<ComponentLag, StoreError> {
        let store = self.store();
        // Positions with gaps have a difference that counts no events.
        let counts = store.capabilities().has(Capability::DensePositions);
        let events = |events| counts.then_some(events);
        if position >= head {
            return Ok(ComponentLag { events: events(0), time: Duration::ZERO });
        }
        let left = ReadAll::forwards()
            .from(position.next())
            .filter(filter)
            .visibility(Visibility::Visible);
        let Some(first) = first_event(store.as_ref(), left).await? else {
            return Ok(ComponentLag { events: events(0), time: Duration::ZERO });
        };
        let recorded = UNIX_EPOCH + Duration::from_micros(first.recorded_at.micros());
        // The clock of the store may be ahead.
        let time = self.clock().now().duration_since(recorded).unwrap_or_default();
        Ok(ComponentLag { events: events(head.number() - position.number()), time })
    }
}

fn of_projection(handle: &ProjectionHandle) -> ComponentMetrics {
    let damage = handle.damage_found();
    let progress = handle.progress.borrow();
    let state = if damage.is_some() { "corrupt" } else { projection_state(&progress) };
    let running = RunningMetrics {
        position: progress.position,
        lag: None,
        dead_letters: progress.dead_letters,
        process: None,
    };
    ComponentMetrics {
        component: Component::Projection,
        name: handle.name.to_owned(),
        state,
        running: is_running(state).then_some(running),
    }
}

/// A component that starts or waits does not know the values of the node that runs it.
fn is_running(state: &str) -> bool {
    !matches!(state, "starting" | "waiting")
}

fn projection_state(progress: &ProjectionProgress) -> &'static str {
    let is_retrying = progress.trouble.is_some();
    match &progress.state {
        ProjectionState::Corrupt { .. } => "corrupt",
        _ if progress.damage.is_some() => "corrupt",
        ProjectionState::Halted { .. } => "halted",
        ProjectionState::Rebuilding(rebuild) if rebuild.halted.is_some() => "rebuild-halted",
        ProjectionState::AwaitingConfirmation(_) => "awaiting-confirmation",
        ProjectionState::Waiting => "waiting",
        ProjectionState::Starting => "starting",
        ProjectionState::Paused => "paused",
        ProjectionState::Rebuilding(_) | ProjectionState::Running if is_retrying => "retrying",
        ProjectionState::Rebuilding(_) => "rebuilding",
        ProjectionState::Running => "running",
    }
}

fn of_process(handle: &ProcessHandle, now: SystemTime) -> ComponentMetrics {
    // Before the status is borrowed, which must not be borrowed twice.
    let counts = handle.last_counts();
    let progress = handle.progress.borrow();
    let state = match progress.state {
        ProcessState::Starting => "starting",
        ProcessState::Waiting => "waiting",
        ProcessState::Paused => "paused",
        ProcessState::Halted => "halted",
        ProcessState::Running if progress.trouble.is_some() => "retrying",
        ProcessState::Running => "running",
    };
    let overdue_since = now.checked_sub(TIMER_GRACE).map_or(RecordedAt::from_micros(0), recorded);
    let process = ProcessMetrics {
        running: counts.running.saturating_sub(counts.troubled),
        troubled: counts.troubled,
        ended: counts.ended,
        cancelled: counts.cancelled,
        timers: progress.timers,
        timers_overdue: progress.timer_queue.due_by(overdue_since),
        commands: progress.commands,
    };
    let running = RunningMetrics {
        position: progress.position,
        lag: None,
        dead_letters: progress.asides.count(),
        process: Some(process),
    };
    ComponentMetrics {
        component: Component::ProcessManager,
        name: handle.name.to_owned(),
        state,
        running: is_running(state).then_some(running),
    }
}

fn recorded(time: SystemTime) -> RecordedAt {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    RecordedAt::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

fn of_reactor(handle: &ReactorHandle) -> ComponentMetrics {
    let progress = handle.progress.borrow();
    let state = match progress.state {
        ReactorState::Starting => "starting",
        ReactorState::Waiting => "waiting",
        ReactorState::Paused => "paused",
        ReactorState::Halted => "halted",
        ReactorState::Running if progress.trouble.is_some() => "retrying",
        ReactorState::Running => "running",
    };
    let running = RunningMetrics {
        position: progress.position,
        lag: None,
        dead_letters: progress.letters.len(),
        process: None,
    };
    ComponentMetrics {
        component: Component::Reactor,
        name: handle.name.to_owned(),
        state,
        running: is_running(state).then_some(running),
    }
}

fn of_part((name, status): (String, PartStatus)) -> ComponentMetrics {
    let running = status.position.map(|position| RunningMetrics {
        position,
        lag: None,
        dead_letters: 0,
        process: None,
    });
    let state = if status.trouble.is_some() { "in-trouble" } else { "running" };
    ComponentMetrics { component: Component::Part, name, state, running }
}
