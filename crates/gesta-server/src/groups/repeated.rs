//! Writes that are repeated until their outcome is known.

use std::{future::Future, time::Duration};

use gesta_store::StoreError;
use tokio::time::sleep;

/// First pause after a failure; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Repeats a write as long as a repeat may succeed. The write must be one that can be repeated.
pub(super) async fn until_known<T, Write>(mut write: impl FnMut() -> Write) -> Result<T, StoreError>
where
    Write: Future<Output = Result<T, StoreError>>,
{
    let mut pause = PAUSE_MIN;
    loop {
        match write().await {
            Err(error) if error.is_transient() => {
                tracing::debug!(%error, "repeating a write of a consumer group");
            }
            known => return known,
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
