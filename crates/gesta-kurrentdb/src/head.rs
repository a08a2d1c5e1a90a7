//! The last position of the store.

use gesta_store::{Position, StoreError};

use crate::{core::Core, read::last_position};

/// Returns the position of the last event.
pub(crate) async fn head(core: &Core) -> Result<Position, StoreError> {
    // An answer of before may be newer than the node that answers now.
    Ok(last_position(core).await?.max(core.seen()))
}
