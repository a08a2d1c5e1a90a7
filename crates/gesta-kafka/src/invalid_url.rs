//! The error for URLs of clusters.
//!
//! Invariant: no text has a password.

/// The error for a text that is no URL of a cluster. Correct the URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid Kafka URL: {reason}")]
pub struct InvalidUrl {
    reason: String,
}

impl InvalidUrl {
    pub(crate) fn because(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}
