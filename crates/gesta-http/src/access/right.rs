//! Rights: the kinds of operations that rules name.

use std::{fmt, str::FromStr};

/// A kind of operation, or [`Personal`](Self::Personal). Every route has a kind, and no right has
/// another one in it.
///
/// ```
/// use gesta_http::Right;
///
/// assert_eq!("raw-feed".parse(), Ok(Right::RawFeed));
/// assert_eq!(Right::Rebuild.to_string(), "rebuild");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Right {
    /// Health and documentation, which need no rule and no credentials. No role can have it.
    Open,
    /// Commands of the application.
    Command,
    /// Queries of the application, now.
    Query,
    /// The events of a stream as its history, and queries at an earlier time.
    History,
    /// The event feed without the streams of the framework.
    Feed,
    /// The event feed with the streams of process managers, of reactors and of the audit.
    RawFeed,
    /// All stored events as they are, of all streams, with data and metadata: pages and look-ups
    /// of the console.
    Inspect,
    /// The state of projections, process managers, reactors and their dead letters.
    Status,
    /// Changes of process managers, reactors and dead letters.
    Operate,
    /// Rebuilds of read models, and the switch to and from their rows.
    Rebuild,
    /// Personal data in what the other rights show to operators, which is masked without it. No
    /// operation needs it.
    Personal,
}

/// The error for a text that is not a right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error(
    "there is no right `{0}`; the rights are command, query, history, feed, raw-feed, inspect, \
     status, operate, rebuild and personal"
)]
pub struct ParseRightError(String);

impl Right {
    /// The rights that a role can have.
    pub const ALL: [Self; 10] = [
        Self::Command,
        Self::Query,
        Self::History,
        Self::Feed,
        Self::RawFeed,
        Self::Inspect,
        Self::Status,
        Self::Operate,
        Self::Rebuild,
        Self::Personal,
    ];

    /// Returns the name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Command => "command",
            Self::Query => "query",
            Self::History => "history",
            Self::Feed => "feed",
            Self::RawFeed => "raw-feed",
            Self::Inspect => "inspect",
            Self::Status => "status",
            Self::Operate => "operate",
            Self::Rebuild => "rebuild",
            Self::Personal => "personal",
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Right {
    type Err = ParseRightError;

    fn from_str(text: &str) -> Result<Self, ParseRightError> {
        let found = Self::ALL.into_iter().find(|right| right.as_str() == text);
        found.ok_or_else(|| ParseRightError(text.to_owned()))
    }
}
