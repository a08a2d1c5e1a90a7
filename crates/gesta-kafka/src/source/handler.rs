//! The interface of what handles records, and its errors.

use std::{fmt, future::Future};

use gesta_store::StoreError;

use super::record::SourceRecord;

/// Handles the records of a [`Source`](crate::Source): turns them into commands or events.
///
/// A record is handled at least once. It is handled again after a crash, and when another consumer
/// of the group takes a partition over while it is handled here. The effect must therefore be the
/// same: use [`SourceRecord::command_id`] or [`SourceRecord::event_id`].
///
/// ```
/// use gesta_kafka::{HandleError, HandleRecord, SourceRecord};
///
/// struct Payments;
///
/// impl HandleRecord for Payments {
///     async fn handle(&self, record: &SourceRecord) -> Result<(), HandleError> {
///         let value = record.value.as_deref().unwrap_or_default();
///         let _amount: u64 = std::str::from_utf8(value)
///             .ok()
///             .and_then(|text| text.parse().ok())
///             .ok_or_else(|| HandleError::invalid("the value is not a number"))?;
///         // Execute a command with the id `record.command_id()`.
///         Ok(())
///     }
/// }
/// ```
pub trait HandleRecord: Send + Sync + 'static {
    /// Handles one record. Records of a partition are handled one after the other, those of
    /// different partitions at the same time.
    ///
    /// # Errors
    ///
    /// [`HandleError`] says whether the source tries again.
    fn handle(&self, record: &SourceRecord)
    -> impl Future<Output = Result<(), HandleError>> + Send;
}

/// The error of a handler, sorted by what the source does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandleError {
    pub(crate) reaction: HandleReaction,
    reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandleReaction {
    TryForever,
    TryAgain,
    SetAside,
}

impl HandleError {
    /// Says that something which the handler needs is away, such as the store. The source tries
    /// again until it is back: the record is not at fault.
    #[must_use]
    pub fn unavailable(reason: impl fmt::Display) -> Self {
        Self { reaction: HandleReaction::TryForever, reason: reason.to_string() }
    }

    /// Says that the attempt failed. The source tries a number of times, then sets the record
    /// aside.
    #[must_use]
    pub fn failed(reason: impl fmt::Display) -> Self {
        Self { reaction: HandleReaction::TryAgain, reason: reason.to_string() }
    }

    /// Says that the record can never be handled. The source sets it aside at once.
    #[must_use]
    pub fn invalid(reason: impl fmt::Display) -> Self {
        Self { reaction: HandleReaction::SetAside, reason: reason.to_string() }
    }
}

impl fmt::Display for HandleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for HandleError {}

impl From<StoreError> for HandleError {
    /// Transient errors are waited for. A conflict and everything else counts as a failed attempt.
    fn from(error: StoreError) -> Self {
        if error.is_transient() { Self::unavailable(error) } else { Self::failed(error) }
    }
}
