//! The task that runs one projection: events in the order of the store, handlers, appends.
//!
//! Owns: the loop, and when a checkpoint is written. Invariants:
//! - A checkpoint, the states as of it and every event that was emitted up to it are one append
//!   ([`write`](super::write)), so a crash between any two steps leaves all of them or none.
//! - An emitted event waits for no further event once the projection is live.
//! - The task holds one page, the outputs of about 1 MiB of events, and a bounded size of states.
//! - A projection stops within [`STOP_WAIT_MAX`], whatever its script does.
//!
//! Not here: which projections run ([`control`](super::control)).

use std::{collections::HashSet, future::Future, pin::pin, time::Duration};

use futures_util::future::try_join_all;
use gesta_scripts::{Partitions, ScriptError, ScriptLimits, ScriptThread};
use gesta_store::{
    Checkpoint, Delivery, Position, RecordedEvent, Revision, StoreError, StreamName, Subscribe,
    Subscription,
};
use tokio::{
    select,
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{
    checkpoint::{self, LastCheckpoint, PartitionState},
    config::{Mode, ProjectionConfig},
    emission::{Emissions, Numbering, event_of},
    fold::{Folded, States, fold, keys},
    names,
    progress::{SharedProgress, Status},
    source::{Input, Source},
    tracked,
};
use crate::node::Node;

/// Events that handlers are called for at once.
const CHUNK_EVENTS: usize = 256;
/// Emitted events after which they are appended, live or not.
const EMISSIONS_MAX: usize = 1_000;
/// Handled events, or positions without one, after which a checkpoint is written.
const CHECKPOINT_EVENTS: u64 = 10_000;
/// Time after which a new state is stored.
const CHECKPOINT_AFTER: Duration = Duration::from_secs(5);
/// Time that a projection which is to stop waits for its script.
const STOP_WAIT_MAX: Duration = Duration::from_secs(2);
/// Size of states that are loaded for handlers at once, and number of partitions in one look.
const LOADED_BYTES_MAX: usize = 8 << 20;
const LOADED_AT_ONCE: usize = 8;
/// Part of the reason of a fault that is kept.
const REASON_BYTES_MAX: usize = 4 << 10;
/// First and longest pause before the store is asked again.
const PAUSE_MIN: Duration = Duration::from_millis(100);
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A wish that a projection stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopping {
    No,
    WithCheckpoint,
    /// Without a last checkpoint.
    AtOnce,
}

/// Everything that a runner needs from outside.
pub(super) struct Task {
    pub(super) node: Node,
    pub(super) config: ProjectionConfig,
    pub(super) progress: SharedProgress,
    pub(super) stop: watch::Receiver<Stopping>,
}

/// The reason why a runner does not continue.
pub(super) enum Halt {
    Stopped,
    Completed,
    /// The projection is wrong, or the store refuses it.
    Fault(String),
    /// Begin again from the stored checkpoint, after a pause.
    Again(String),
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        match error.is_transient() {
            true => Self::Again(error.to_string()),
            false => Self::Fault(error.to_string()),
        }
    }
}

impl From<ScriptError> for Halt {
    fn from(error: ScriptError) -> Self {
        Self::Fault(error.to_string())
    }
}

/// Runs a projection until it is stopped, completes or fails.
pub(super) async fn run(mut task: Task) {
    let mut pause = PAUSE_MIN;
    loop {
        task.progress.set_status(Status::Running);
        let (halt, checkpoint) = attempt(&mut task).await;
        let name = &task.config.name;
        match halt {
            // The one who stops it sets the status.
            Halt::Stopped => return,
            Halt::Completed => return task.progress.set_status(Status::Completed),
            Halt::Fault(reason) => {
                let reason = shortened(reason);
                tracing::warn!(projection = %name, %reason, "the projection has failed");
                task.node.counters().projections_failed.add(1);
                return task.progress.set_status(Status::Faulted(reason));
            }
            Halt::Again(reason) => {
                tracing::info!(projection = %name, %reason, "the projection waits");
                task.progress.set_status(Status::Waiting(reason));
                // A checkpoint in between says that the trouble is another one.
                pause = if checkpoint { PAUSE_MIN } else { (pause * 2).min(PAUSE_MAX) };
                select! {
                    _ = stopping(&mut task.stop) => return,
                    () = sleep(pause) => {}
                }
            }
        }
    }
}

/// Cuts a reason that is too long for logs and answers: a script makes its errors as long as it
/// likes.
fn shortened(mut reason: String) -> String {
    let bytes = reason.len();
    if bytes > REASON_BYTES_MAX {
        reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
        reason.push_str(&format!("… ({bytes} bytes in all)"));
    }
    reason
}

/// Waits for a wish to stop. A sender that is gone is one, too.
pub(super) async fn stopping(stop: &mut watch::Receiver<Stopping>) -> Stopping {
    match stop.wait_for(|stopping| *stopping != Stopping::No).await {
        Ok(stopping) => *stopping,
        Err(_) => Stopping::AtOnce,
    }
}

/// Runs from the stored checkpoint. Also says whether a checkpoint was written.
async fn attempt(task: &mut Task) -> (Halt, bool) {
    let mut running = match Running::open(task).await {
        Ok(running) => running,
        Err(halt) => return (halt, false),
    };
    let halt = match running.follow().await {
        Ok(never) => match never {},
        Err(halt) => halt,
    };
    (halt, running.checkpoints > 0)
}

/// A projection that runs.
pub(super) struct Running<'a> {
    pub(super) task: &'a mut Task,
    script: ScriptThread,
    source: Source,
    pub(super) stream: StreamName,
    /// Head of the stream of checkpoints.
    pub(super) head: Option<Revision>,
    pub(super) emissions: Emissions,
    /// Streams that were emitted to, if the projection keeps them.
    pub(super) tracked: HashSet<StreamName>,
    pub(super) shared: Option<String>,
    /// Every event up to here is handled.
    pub(super) at: Checkpoint,
    pub(super) handled: u64,
    pub(super) handled_since: u64,
    pub(super) due: Option<Instant>,
    pub(super) checkpoints: u64,
    is_live: bool,
}

/// A value that does not exist: the loop ends with a halt only.
enum Never {}

impl<'a> Running<'a> {
    async fn open(task: &'a mut Task) -> Result<Self, Halt> {
        let starting = ScriptThread::start(task.config.query.clone(), ScriptLimits::default());
        let script = unless_given_up(&task.stop, starting).await?;
        let stream = names::checkpoints(&task.config.name);
        let store = task.node.store();
        let last = match task.config.mode {
            Mode::Transient => {
                LastCheckpoint { head: None, id: None, record: None, is_before_reset: false }
            }
            Mode::Continuous | Mode::OneTime => {
                checkpoint::last_checkpoint(store, &task.config, &stream).await?
            }
        };
        let mut known = HashSet::new();
        if task.config.tracks_streams {
            known = tracked::names(store, &task.config.name).await?;
            if last.is_before_reset {
                tracked::delete(store, &known).await?;
            }
        }
        let incarnation = store.head().await?.incarnation;
        let mut at = Checkpoint { position: Position::START, incarnation };
        let mut root = PartitionState::default();
        let (mut handled, mut shared) = (0, None);
        if let Some(record) = &last.record {
            at = record.checkpoint().unwrap_or(at);
            (root, handled, shared) = (record.root(last.head), record.handled, record.shared());
        }
        {
            let mut progress = task.progress.lock();
            progress.states = [(String::new(), root)].into();
            (progress.position, progress.checkpoint) = (at.position, at.position);
        }
        if last.record.is_some_and(|record| record.is_completed) {
            return Err(Halt::Completed);
        }
        let source = Source::of(script.definition()).map_err(Halt::Fault)?;
        Ok(Self {
            task,
            script,
            source,
            stream,
            head: last.head,
            emissions: Emissions::default(),
            tracked: known,
            shared,
            at,
            handled,
            handled_since: 0,
            due: None,
            checkpoints: 0,
            is_live: false,
        })
    }

    /// Handles events until there is a reason to halt.
    async fn follow(&mut self) -> Result<Never, Halt> {
        self.load_first_state().await?;
        self.task.progress.has_begun();
        let request = Subscribe::to_all().resume(self.at).filter(self.source.filter());
        let mut subscription = self.task.node.store().subscribe(request.into());
        let mut stop = self.task.stop.clone();
        loop {
            let due = self.due;
            let mut timer = pin!(async move {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            });
            select! {
                biased;
                wish = stopping(&mut stop) => return Err(self.stop(wish).await),
                () = &mut timer => self.store(false).await?,
                delivery = next(&mut subscription) => self.take(delivery?).await?,
            }
        }
    }

    /// A projection without events has the state that its script begins with.
    async fn load_first_state(&mut self) -> Result<(), Halt> {
        if self.script.definition().partitions != Partitions::None {
            return Ok(());
        }
        let root = self.task.progress.lock().states.get("").cloned().unwrap_or_default();
        if root.state.is_some() {
            return Ok(());
        }
        let begin = self.script.run(|script| {
            script.load(None, None)?;
            Ok((script.state()?, script.result()?))
        });
        let (state, result) = unless_given_up(&self.task.stop, begin).await?;
        // The first result is no change yet: with `outputState` it is told after the first event.
        let result = if self.script.definition().outputs_state { None } else { result };
        let root = PartitionState { state: Some(state), result, ..root };
        self.task.progress.lock().states.insert(String::new(), root);
        Ok(())
    }

    async fn stop(&mut self, wish: Stopping) -> Halt {
        if wish == Stopping::WithCheckpoint
            && self.has_news()
            && let Err(halt) = self.store(false).await
        {
            return halt;
        }
        Halt::Stopped
    }

    fn has_news(&self) -> bool {
        self.handled_since > 0 || !self.emissions.is_empty()
    }

    async fn take(&mut self, delivery: Delivery) -> Result<(), Halt> {
        match delivery {
            Delivery::Events(page) => self.take_page(page).await?,
            Delivery::Checkpoint(position) => self.pass(position),
            Delivery::CaughtUp(position) => {
                self.pass(position);
                self.is_live = true;
                if self.task.config.mode == Mode::OneTime {
                    self.store(true).await?;
                    return Err(Halt::Completed);
                }
            }
            // The contract may grow by deliveries that need no reaction.
            _ => {}
        }
        if self.is_checkpoint_due() { self.store(false).await } else { Ok(()) }
    }

    /// Notes that there is nothing to handle up to a position.
    fn pass(&mut self, position: Position) {
        self.at.position = self.at.position.max(position);
        self.task.progress.lock().position = self.at.position;
    }

    async fn take_page(&mut self, page: Vec<RecordedEvent>) -> Result<(), Halt> {
        let Some(last) = page.last().map(|event| event.position) else { return Ok(()) };
        let inputs = self.source.inputs(self.task.node.store(), page).await?;
        let mut rest = inputs.as_slice();
        while !rest.is_empty() {
            if *self.task.stop.borrow() != Stopping::No {
                // The rest comes again after the checkpoint.
                return Ok(());
            }
            let chunk = rest.get(..CHUNK_EVENTS).unwrap_or(rest);
            let handled = self.handle(chunk.to_vec()).await?;
            rest = rest.get(handled..).unwrap_or_default();
            if self.is_full() {
                self.store(false).await?;
            }
        }
        self.pass(last);
        Ok(())
    }

    /// Calls handlers for some of the inputs, and returns their number.
    async fn handle(&mut self, mut inputs: Vec<Input>) -> Result<usize, Halt> {
        let no_key = self.set_keys(&mut inputs).await?;
        // Events without a key have no state.
        let is_keyed = self.script.definition().partitions != Partitions::None;
        let skipped = |input: &Input| is_keyed && input.partition.is_empty();
        let leading = inputs.iter().take_while(|input| skipped(input)).count();
        if let Some(last) = leading.checked_sub(1).and_then(|last| inputs.get(last)) {
            self.pass(last.position);
            return Ok(leading);
        }
        let run = inputs.iter().take_while(|input| !skipped(input)).count();
        inputs.truncate(run);
        let folded = match inputs.is_empty() {
            true => Folded { failure: no_key, ..Folded::default() },
            false => self.fold(inputs.clone()).await?,
        };
        let (handled, failure) = (folded.handled, folded.failure.clone());
        self.absorb(&inputs, folded)?;
        let Some(failure) = failure else { return Ok(handled) };
        // The results of earlier events must not wait for a better script.
        if self.has_news() {
            self.store(false).await?;
        }
        Err(failure.into())
    }

    /// Asks the script for partitions by key. Inputs from the first failure on are dropped; the
    /// failure counts if it is the first input's.
    async fn set_keys(&mut self, inputs: &mut Vec<Input>) -> Result<Option<ScriptError>, Halt> {
        if self.script.definition().partitions != Partitions::ByKey {
            return Ok(None);
        }
        let asked = inputs.clone();
        let found = self.script.run(move |script| Ok(keys(script, &asked)));
        let (found, failure) = unless_given_up(&self.task.stop, found).await?;
        inputs.truncate(found.len());
        for (input, key) in inputs.iter_mut().zip(found) {
            input.partition = key;
        }
        Ok(failure)
    }

    async fn fold(&mut self, mut inputs: Vec<Input>) -> Result<Folded, Halt> {
        let states = self.states(&inputs).await?;
        let has_state = |input: &Input| states.partitions.contains_key(&input.partition);
        let run = inputs.iter().take_while(|input| has_state(input)).count();
        inputs.truncate(run);
        let folded = self.script.run(move |script| Ok(fold(script, &inputs, states)));
        unless_given_up(&self.task.stop, folded).await
    }

    /// Returns the states of the first inputs' partitions, from memory or from the store: so many
    /// that they have [`LOADED_BYTES_MAX`], and at least that of the first input.
    async fn states(&self, inputs: &[Input]) -> Result<States, Halt> {
        let mut states = States { shared: self.shared.clone(), ..States::default() };
        let mut bytes = 0;
        for group in inputs.chunks(LOADED_AT_ONCE) {
            let mut missing = HashSet::new();
            {
                let progress = self.task.progress.lock();
                for input in group {
                    let partition = &input.partition;
                    if states.partitions.contains_key(partition) {
                        continue;
                    }
                    match progress.states.get(partition) {
                        Some(state) => {
                            bytes += state.bytes();
                            states.partitions.insert(partition.clone(), state.clone());
                        }
                        None => {
                            missing.insert(partition.clone());
                        }
                    }
                }
            }
            for (partition, state) in self.stored_states(missing).await? {
                bytes += state.bytes();
                states.partitions.insert(partition, state);
            }
            if bytes >= LOADED_BYTES_MAX {
                break;
            }
        }
        Ok(states)
    }

    /// Returns the states of partitions that are not in memory.
    async fn stored_states(
        &self,
        partitions: HashSet<String>,
    ) -> Result<Vec<(String, PartitionState)>, StoreError> {
        let (store, config) = (self.task.node.store(), &self.task.config);
        let reads = partitions.into_iter().map(async |partition| {
            let state = match config.mode {
                // It has no other states than those in memory.
                Mode::Transient => PartitionState::default(),
                Mode::Continuous | Mode::OneTime => {
                    let stream = names::partition(&config.name, &partition);
                    checkpoint::stored_state(store, config, &stream).await?
                }
            };
            Ok::<_, StoreError>((partition, state))
        });
        try_join_all(reads).await
    }

    /// Takes over what handlers did.
    fn absorb(&mut self, inputs: &[Input], folded: Folded) -> Result<(), Halt> {
        let Folded { states, outputs, handled, lines, .. } = folded;
        for line in lines {
            tracing::info!(projection = %self.task.config.name, "{line}");
        }
        let mut numbering = Numbering::new(&self.task.config);
        for output in outputs {
            let definition = self.script.definition();
            let event = event_of(&mut numbering, definition, inputs, output);
            let (stream, event) = event.map_err(Halt::Fault)?;
            self.emissions.push(stream, event);
        }
        let Some(last) = handled.checked_sub(1).and_then(|last| inputs.get(last)) else {
            return Ok(());
        };
        self.shared = states.shared;
        self.handled += handled as u64;
        self.handled_since += handled as u64;
        self.due.get_or_insert_with(|| Instant::now() + CHECKPOINT_AFTER);
        {
            let mut progress = self.task.progress.lock();
            progress.states.extend(states.partitions);
            progress.handled += handled as u64;
        }
        self.task.node.counters().events_projected.add(handled as u64);
        self.pass(last.position);
        self.check_memory()
    }

    /// Refuses more states than a projection without stored ones may have.
    fn check_memory(&self) -> Result<(), Halt> {
        if self.task.config.mode == Mode::Transient {
            let bytes = self.task.progress.lock().state_bytes();
            let max = self.task.node.transient_state_bytes_max();
            if bytes > max {
                return Err(Halt::Fault(format!(
                    "the states of a transient projection may have {max} bytes in all, and these \
                     have {bytes}; make it a continuous one, whose states are stored"
                )));
            }
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.emissions.count >= EMISSIONS_MAX
            || self.handled_since >= CHECKPOINT_EVENTS
            || self.task.progress.lock().is_full()
    }

    fn is_checkpoint_due(&self) -> bool {
        let checkpoint = self.task.progress.lock().checkpoint;
        let passed = self.at.position.number().saturating_sub(checkpoint.number());
        self.is_live && !self.emissions.is_empty() || self.is_full() || passed >= CHECKPOINT_EVENTS
    }
}

/// Waits for the script, but for a short time only once the projection is to stop: a script may
/// work for seconds. What it does then is done again after the checkpoint.
async fn unless_given_up<Answer>(
    stop: &watch::Receiver<Stopping>,
    script: impl Future<Output = Result<Answer, ScriptError>>,
) -> Result<Answer, Halt> {
    let mut stop = stop.clone();
    let given_up = async {
        stopping(&mut stop).await;
        sleep(STOP_WAIT_MAX).await;
    };
    select! {
        biased;
        answer = script => Ok(answer?),
        () = given_up => Err(Halt::Stopped),
    }
}

async fn next(subscription: &mut Subscription) -> Result<Delivery, Halt> {
    match subscription.next().await {
        Some(delivery) => Ok(delivery?),
        None => Err(Halt::Again("the subscription has ended".to_owned())),
    }
}
