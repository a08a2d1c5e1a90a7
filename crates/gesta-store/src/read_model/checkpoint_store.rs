//! Checkpoints of consumers that keep no rows.
//!
//! Not here: the checkpoint of a read model, which lives and changes with its rows
//! ([`ReadModelTx`](super::ReadModelTx)).

use super::DatabaseAnswer;
use crate::Checkpoint;

/// Where consumers without a read model, such as relays, keep their checkpoints.
///
/// ```
/// use gesta_store::{Checkpoint, CheckpointStore, Incarnation, MemoryReadModels, Position};
/// use uuid::Uuid;
///
/// # gesta_store::conformance::block_on(async {
/// let store: &dyn CheckpointStore = &MemoryReadModels::new();
/// let done = Checkpoint { position: Position::new(7), incarnation: Incarnation::new(Uuid::nil()) };
/// store.save_checkpoint("relay", done).await?;
/// assert_eq!(store.load_checkpoint("relay").await?, Some(done));
/// # Ok::<(), gesta_store::DatabaseError>(())
/// # }).expect("a memory store keeps checkpoints");
/// ```
pub trait CheckpointStore: Send + Sync + 'static {
    /// The consumer's checkpoint, if it ever saved one.
    fn load_checkpoint<'a>(&'a self, consumer: &'a str) -> DatabaseAnswer<'a, Option<Checkpoint>>;

    /// Sets the consumer's checkpoint. Within one incarnation an earlier position is ignored.
    fn save_checkpoint<'a>(
        &'a self,
        consumer: &'a str,
        checkpoint: Checkpoint,
    ) -> DatabaseAnswer<'a, ()>;
}
