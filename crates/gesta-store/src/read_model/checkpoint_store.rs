//! Checkpoints of consumers without a read model.
//!
//! Not here: the checkpoint of a read model, which changes in the transaction of its rows
//! ([`ReadModelTx`](super::ReadModelTx)).

use super::DatabaseFuture;
use crate::Checkpoint;

/// A store of checkpoints for consumers without a read model, such as relays.
///
/// ```
/// use gesta_store::{Checkpoint, CheckpointStore, Incarnation, MemoryReadModels, Position};
/// use uuid::Uuid;
///
/// # gesta_store::conformance::block_on(async {
/// let store: &dyn CheckpointStore = &MemoryReadModels::new();
/// let incarnation = Incarnation::new(Uuid::nil());
/// let done = Checkpoint { position: Position::new(7), incarnation };
/// store.save_checkpoint("relay", done).await?;
/// assert_eq!(store.load_checkpoint("relay").await?, Some(done));
/// # Ok::<(), gesta_store::DatabaseError>(())
/// # }).expect("a memory store keeps checkpoints");
/// ```
pub trait CheckpointStore: Send + Sync + 'static {
    /// Returns the checkpoint of a consumer, or `None` if it never saved one.
    fn load_checkpoint<'a>(&'a self, consumer: &'a str) -> DatabaseFuture<'a, Option<Checkpoint>>;

    /// Sets the checkpoint of a consumer.
    ///
    /// Ignores a position before the stored one in the same incarnation, so a delayed call does not
    /// move the consumer back.
    fn save_checkpoint<'a>(
        &'a self,
        consumer: &'a str,
        checkpoint: Checkpoint,
    ) -> DatabaseFuture<'a, ()>;
}
