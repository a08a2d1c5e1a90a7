//! The progress of a relay, for health checks and for callers that wait for an event.

use gesta_store::Position;
use tokio::sync::watch;

/// The activity of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RelayState {
    /// It connects to the cluster and looks up its checkpoint.
    Starting,
    /// It publishes events, or waits for new ones.
    Running,
    /// It starts again after a pause; [`RelayStatus::trouble`] has the cause.
    Retrying,
    /// It has ended.
    Stopped,
}

/// A look at a relay.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelayStatus {
    /// Current activity.
    pub state: RelayState,
    /// Every event up to this position is published, or is not to be. `None` before the relay has
    /// looked up its checkpoint.
    pub position: Option<Position>,
    /// Number of events that it has published since it started, with repetitions.
    pub published_events: u64,
    /// The failure for which it starts again, if there is one. Names the brokers or the store.
    pub trouble: Option<String>,
}

/// A view of a relay's progress. Clones are cheap.
#[derive(Clone, Debug)]
pub struct RelayProgress {
    status: watch::Receiver<RelayStatus>,
}

impl RelayProgress {
    /// Returns the current status.
    #[must_use]
    pub fn status(&self) -> RelayStatus {
        self.status.borrow().clone()
    }

    /// Waits until every event up to a position is published. Returns `false` if the relay ended
    /// before.
    ///
    /// Waits for as long as the brokers are away; use a time limit of your own.
    pub async fn reached(&mut self, position: Position) -> bool {
        let reached = |status: &RelayStatus| status.position >= Some(position);
        let ended = |status: &RelayStatus| status.state == RelayState::Stopped;
        let waited = self.status.wait_for(|status| reached(status) || ended(status)).await;
        waited.is_ok_and(|status| reached(&status))
    }

    /// Waits until the status satisfies a condition. Returns `false` if the relay ended before.
    pub async fn until(&mut self, condition: impl FnMut(&RelayStatus) -> bool) -> bool {
        self.status.wait_for(condition).await.is_ok()
    }
}

/// The side of the relay.
#[derive(Debug)]
pub(crate) struct ProgressWriter(watch::Sender<RelayStatus>);

impl ProgressWriter {
    pub(crate) fn new() -> Self {
        let status = RelayStatus {
            state: RelayState::Starting,
            position: None,
            published_events: 0,
            trouble: None,
        };
        Self(watch::Sender::new(status))
    }

    pub(crate) fn view(&self) -> RelayProgress {
        RelayProgress { status: self.0.subscribe() }
    }

    pub(crate) fn starting(&self) {
        self.0.send_modify(|status| status.state = RelayState::Starting);
    }

    pub(crate) fn running_at(&self, position: Position, new_events: u64) {
        self.0.send_modify(|status| {
            status.state = RelayState::Running;
            status.position = Some(position);
            status.published_events += new_events;
            status.trouble = None;
        });
    }

    pub(crate) fn retrying(&self, trouble: String) {
        self.0.send_modify(|status| {
            status.state = RelayState::Retrying;
            status.trouble = Some(trouble);
        });
    }

    pub(crate) fn stopped(&self, trouble: Option<String>) {
        self.0.send_modify(|status| {
            status.state = RelayState::Stopped;
            status.trouble = trouble;
        });
    }
}
