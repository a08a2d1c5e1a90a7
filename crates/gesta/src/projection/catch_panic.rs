//! Conversion of a projection's panic to an error of the event, so that the runner survives it.

use super::ApplyError;
use crate::panics;

/// Runs a projection's future and returns [`ApplyError::Panicked`] if it panics. Its transaction is
/// then only rolled back.
pub(super) async fn catch_panic(
    future: impl Future<Output = Result<(), ApplyError>>,
) -> Result<(), ApplyError> {
    panics::catch(future).await.unwrap_or_else(|message| Err(ApplyError::Panicked { message }))
}
