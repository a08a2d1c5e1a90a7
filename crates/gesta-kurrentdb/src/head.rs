//! The last position of the store.

use gesta_store::{Incarnation, Position, StoreError};
use uuid::Uuid;

use crate::{core::Core, read::last_position};

/// The incarnation of every store behind the protocol, which has none. A checkpoint of another kind
/// of store is told by it.
pub(crate) const INCARNATION: Incarnation =
    Incarnation::new(Uuid::from_u128(0x6b75_7272_656e_4064_8000_7072_6f74_6f63));

/// Returns the position of the last event.
pub(crate) async fn head(core: &Core) -> Result<Position, StoreError> {
    // An answer of before may be newer than the node that answers now.
    Ok(last_position(core).await?.max(core.seen()))
}
