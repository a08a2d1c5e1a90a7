//! The values that the page shows, and the time limit of each question for them.
//!
//! Not here: how they are found (`survey`), and their form in HTML (`page`).

use std::{fmt, future::Future, time::Duration};

use gesta::{ProjectionState, ProjectionStatus};
use gesta_http::Schema;
use serde::Serialize;
use tokio::time::timeout;

/// Time limit of a question to a part.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(3);

/// All parts at one moment.
#[derive(Clone, Debug, Serialize, Schema)]
pub(super) struct Picture {
    /// The parts, in the order of the way of an event.
    pub(super) parts: Vec<Part>,
}

/// A part of the shop.
#[derive(Clone, Debug, Serialize, Schema)]
pub(super) struct Part {
    /// Task of the part.
    pub(super) name: &'static str,
    /// Place, without a password.
    pub(super) url: String,
    /// State of the part.
    pub(super) state: PartState,
    /// Program with its version, as the server says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<String>,
    /// The reason if it is not up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    /// Amounts of its content and of its work.
    pub(super) figures: Vec<Figure>,
    /// Followers of the events in this part.
    pub(super) followers: Vec<FollowerState>,
}

/// The state of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Schema)]
pub(super) enum PartState {
    /// It answers.
    #[serde(rename = "up")]
    Up,
    /// It answers, and something in it is in trouble or behind.
    #[serde(rename = "troubled")]
    Troubled,
    /// It does not answer.
    #[serde(rename = "down")]
    Down,
}

/// A figure with its name.
#[derive(Clone, Debug, Serialize, Schema)]
pub(super) struct Figure {
    /// Name of the figure.
    pub(super) name: &'static str,
    /// The figure, for people.
    pub(super) value: String,
}

/// The progress of a follower.
#[derive(Clone, Debug, Serialize, Schema)]
pub(super) struct FollowerState {
    /// Name of the projection, process manager, reactor or relay.
    pub(super) name: String,
    /// State as a word.
    pub(super) state: &'static str,
    /// Position up to which it has handled all events. Absent while it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) position: Option<u64>,
    /// Number of events behind the end of its source. Absent while it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lag: Option<u64>,
    /// The error that it retries or has stopped at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

/// Waits for an answer up to the limit. The error is for people.
pub(super) async fn bounded<T, E: fmt::Display>(
    question: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    match timeout(ANSWER_MAX, question).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("it did not answer within {} s", ANSWER_MAX.as_secs())),
    }
}

impl Part {
    pub(super) fn up(name: &'static str, url: impl Into<String>) -> Self {
        Self {
            name,
            url: url.into(),
            state: PartState::Up,
            version: None,
            error: None,
            figures: Vec::new(),
            followers: Vec::new(),
        }
    }

    pub(super) fn version(self, version: impl Into<String>) -> Self {
        Self { version: Some(version.into()), ..self }
    }

    pub(super) fn figure(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.figures.push(Figure { name, value: value.to_string() });
        self
    }

    /// Lowers the state, with the reason. The reason of the worst state stays.
    pub(super) fn at_most(mut self, state: PartState, reason: impl Into<String>) -> Self {
        if state > self.state {
            self.state = state;
            // An error may repeat a URL that has its password in an unusual place.
            self.error = Some(crate::masking::masked(&reason.into()));
        }
        self
    }

    /// Adds followers. One with an error is a trouble of the part.
    pub(super) fn followed_by(mut self, followers: Vec<FollowerState>) -> Self {
        self.followers = followers;
        match self.followers.iter().find_map(|one| Some((&one.name, one.error.as_ref()?))) {
            Some((name, error)) => {
                let reason = format!("{name}: {error}");
                self.at_most(PartState::Troubled, reason)
            }
            None => self,
        }
    }
}

impl PartState {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Troubled => "troubled",
            Self::Down => "down",
        }
    }
}

impl FollowerState {
    pub(super) fn of_projection(status: &ProjectionStatus) -> Self {
        let state = match &status.state {
            ProjectionState::Starting => "starting",
            ProjectionState::Waiting => "on another node",
            ProjectionState::Running => "running",
            ProjectionState::Paused => "paused",
            ProjectionState::Rebuilding(_) => "rebuilding",
            ProjectionState::AwaitingConfirmation(_) => "awaiting confirmation",
            ProjectionState::Corrupt { .. } => "corrupt",
            ProjectionState::Halted { .. } => "halted",
            // `ProjectionState` is non-exhaustive.
            _ => "other",
        };
        let stopped = match &status.state {
            ProjectionState::Corrupt { error } | ProjectionState::Halted { error, .. } => {
                Some(error.clone())
            }
            _ => None,
        };
        Self {
            name: status.name.to_owned(),
            state,
            position: Some(status.position.number()),
            lag: status.lag.events,
            error: stopped.or_else(|| status.trouble.clone()),
        }
    }
}
