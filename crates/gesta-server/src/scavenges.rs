//! Scavenges of the store: started, stopped and reported while the server runs.
//!
//! Owns: [`Scavenger`], the seam to a store that can be scavenged, and the state of the last
//! scavenge. Invariants: one scavenge runs at a time; it has a thread of its own; the server ends
//! after it. Not here: the removal of events (the store), and who may ask for it
//! ([`access`](crate::access)).

use std::{
    error::Error,
    ops::ControlFlow,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use gesta_store::RecordedAt;
use serde_json::{Value, json};
use tokio::{sync::watch, task::spawn_blocking};
use uuid::Uuid;

use crate::clock::{time_text, wall_now};

/// The removal of hidden events from a store, while the store is served.
///
/// ```
/// use std::{error::Error, ops::ControlFlow};
///
/// use gesta_server::{ScavengeFigures, ScavengeRequest, Scavenger};
///
/// /// A store in which nothing is hidden.
/// struct Nothing;
///
/// impl Scavenger for Nothing {
///     fn scavenge(
///         &self,
///         _: &ScavengeRequest,
///         progress: &mut dyn FnMut(ScavengeFigures) -> ControlFlow<()>,
///     ) -> Result<ScavengeFigures, Box<dyn Error + Send + Sync>> {
///         let done = ScavengeFigures::default();
///         let _ = progress(done);
///         Ok(done)
///     }
/// }
/// ```
pub trait Scavenger: Send + Sync {
    /// Removes hidden events. May block for long: it is called on a thread for blocking work.
    ///
    /// Calls `progress` between its steps, with the figures so far, and ends soon after a break.
    /// What was reclaimed by then stays reclaimed.
    ///
    /// # Errors
    ///
    /// The store's error; the scavenge has failed then, and no visible event is lost.
    fn scavenge(
        &self,
        request: &ScavengeRequest,
        progress: &mut dyn FnMut(ScavengeFigures) -> ControlFlow<()>,
    ) -> Result<ScavengeFigures, Box<dyn Error + Send + Sync>>;
}

/// The options of a scavenge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScavengeRequest {
    /// Minimum share of a part of the store that must be reclaimable, in percent; `None` leaves it
    /// to the store.
    pub threshold_percent: Option<u8>,
}

/// The work of a scavenge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScavengeFigures {
    /// Bytes that were examined.
    pub bytes_done: u64,
    /// Bytes to examine.
    pub bytes_total: u64,
    /// Bytes that were reclaimed; may be known only at the end.
    pub bytes_reclaimed: u64,
    /// Events that were removed; may be known only at the end.
    pub events: u64,
}

/// A scavenge, running or ended.
#[derive(Clone, Debug)]
pub(crate) struct ScavengeStatus {
    pub(crate) id: Uuid,
    pub(crate) state: ScavengeState,
    pub(crate) started: RecordedAt,
    pub(crate) ended: Option<RecordedAt>,
    pub(crate) figures: ScavengeFigures,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ScavengeState {
    Running,
    Completed,
    /// It was ended before all was examined.
    Stopped,
    /// The store's error.
    Failed(String),
}

impl ScavengeStatus {
    pub(crate) fn is_running(&self) -> bool {
        self.state == ScavengeState::Running
    }

    /// Returns the scavenge as an answer over HTTP.
    pub(crate) fn to_json(&self) -> Value {
        let Self { id, state, started, ended, figures } = self;
        let (state, error) = match state {
            ScavengeState::Running => ("running", None),
            ScavengeState::Completed => ("completed", None),
            ScavengeState::Stopped => ("stopped", None),
            ScavengeState::Failed(error) => ("failed", Some(error)),
        };
        json!({
            "scavengeId": id.to_string(),
            "state": state,
            "error": error,
            "startedAt": time_text(*started),
            "endedAt": ended.map(time_text),
            "bytesDone": figures.bytes_done,
            "bytesTotal": figures.bytes_total,
            "bytesReclaimed": figures.bytes_reclaimed,
            "eventsRemoved": figures.events,
        })
    }
}

/// The reason for which no scavenge was started.
#[derive(Debug)]
pub(crate) enum NotStarted {
    /// The store cannot be scavenged by this server.
    Unsupported,
    /// This one is running.
    UnderWay(ScavengeStatus),
    /// Other work on the store is running, in words.
    Busy(String),
    /// The server ends.
    Ending,
}

/// The scavenges of one server.
#[derive(Default)]
pub(crate) struct Scavenges {
    scavenger: OnceLock<Arc<dyn Scavenger>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    is_ending: bool,
    last: Option<ScavengeRun>,
}

/// The last scavenge, as others see it.
#[derive(Clone)]
struct ScavengeRun {
    stop: Arc<AtomicBool>,
    status: watch::Receiver<ScavengeStatus>,
}

impl Scavenges {
    /// Sets the seam to the store. The first one stays.
    pub(crate) fn enable(&self, scavenger: Arc<dyn Scavenger>) {
        let _ = self.scavenger.set(scavenger);
    }

    pub(crate) fn are_supported(&self) -> bool {
        self.scavenger.get().is_some()
    }

    /// Starts a scavenge in the background. Needs the runtime.
    pub(crate) fn start(&self, request: ScavengeRequest) -> Result<ScavengeStatus, NotStarted> {
        let scavenger = self.scavenger.get().ok_or(NotStarted::Unsupported)?;
        let mut state = self.state();
        if state.is_ending {
            return Err(NotStarted::Ending);
        }
        if let Some(running) = state.last.as_ref().map(ScavengeRun::now)
            && running.is_running()
        {
            return Err(NotStarted::UnderWay(running));
        }
        let run = ScavengeRun::begin(Arc::clone(scavenger), request);
        let started = run.now();
        state.last = Some(run);
        tracing::info!(scavenge = %started.id, "a scavenge has started");
        Ok(started)
    }

    /// Ends a scavenge and waits for its end. Returns `None` if the last one has another id.
    pub(crate) async fn stop(&self, id: Uuid) -> Option<ScavengeStatus> {
        let run = self.state().last.clone().filter(|run| run.now().id == id)?;
        Some(run.stop().await)
    }

    /// Returns the last scavenge that was started.
    pub(crate) fn last(&self) -> Option<ScavengeStatus> {
        self.state().last.as_ref().map(ScavengeRun::now)
    }

    /// Ends the scavenge that runs, and starts no other one.
    pub(crate) async fn end(&self) {
        let last = {
            let mut state = self.state();
            state.is_ending = true;
            state.last.clone()
        };
        if let Some(run) = last {
            run.stop().await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ScavengeRun {
    fn begin(scavenger: Arc<dyn Scavenger>, request: ScavengeRequest) -> Self {
        let first = ScavengeStatus {
            id: Uuid::new_v4(),
            state: ScavengeState::Running,
            started: wall_now(),
            ended: None,
            figures: ScavengeFigures::default(),
        };
        let (told, status) = watch::channel(first);
        let (told, stop) = (Arc::new(told), Arc::new(AtomicBool::new(false)));
        let pass = Pass { told: Arc::clone(&told), stop: Arc::clone(&stop) };
        tokio::spawn(async move {
            let work = spawn_blocking(move || pass.run(scavenger.as_ref(), &request));
            // The sender must tell the end of a scavenge that has panicked, too.
            let state = work.await.unwrap_or_else(|error| ScavengeState::Failed(error.to_string()));
            told.send_modify(|status| {
                status.state = state;
                status.ended = Some(wall_now());
            });
            log_end(&told.borrow());
        });
        Self { stop, status }
    }

    fn now(&self) -> ScavengeStatus {
        self.status.borrow().clone()
    }

    async fn stop(mut self) -> ScavengeStatus {
        self.stop.store(true, Ordering::Relaxed);
        // The sender tells the end before it is dropped, unless the runtime itself ends.
        let ended = self.status.wait_for(|status| !status.is_running()).await;
        ended.map(|status| status.clone()).unwrap_or_else(|_| self.now())
    }
}

/// One scavenge on its thread.
struct Pass {
    told: Arc<watch::Sender<ScavengeStatus>>,
    stop: Arc<AtomicBool>,
}

impl Pass {
    fn run(self, scavenger: &dyn Scavenger, request: &ScavengeRequest) -> ScavengeState {
        let mut is_broken_off = false;
        let done = scavenger.scavenge(request, &mut |figures| {
            self.told.send_modify(|status| status.figures = figures);
            let is_over = figures.bytes_done >= figures.bytes_total;
            // Without receivers the server is gone, and its runtime waits for this thread.
            let is_unwanted = self.stop.load(Ordering::Relaxed) || self.told.is_closed();
            if is_unwanted && !is_over {
                is_broken_off = true;
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        match done {
            Ok(figures) => {
                self.told.send_modify(|status| status.figures = figures);
                if is_broken_off { ScavengeState::Stopped } else { ScavengeState::Completed }
            }
            Err(error) => ScavengeState::Failed(chain_text(error.as_ref())),
        }
    }
}

fn log_end(status: &ScavengeStatus) {
    let ScavengeStatus { id, state, started, ended, figures } = status;
    let micros = ended.map_or(0, |ended| ended.micros().saturating_sub(started.micros()));
    let (millis, events, bytes) = (micros / 1_000, figures.events, figures.bytes_reclaimed);
    match state {
        ScavengeState::Failed(error) => {
            tracing::error!(scavenge = %id, millis, error, "a scavenge has failed");
        }
        state => {
            tracing::info!(scavenge = %id, millis, events, bytes, ?state, "a scavenge has ended");
        }
    }
}

/// Returns an error with its causes, in one line.
pub(crate) fn chain_text(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
