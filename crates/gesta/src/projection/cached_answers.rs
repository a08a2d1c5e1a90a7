//! Changes of rows outside batches, as the cache of queries learns of them.
//!
//! Invariant: after a change of rows, no answer from before it is valid. Not here: batches of
//! events (`writer`) and appends (`inline`).

use gesta_store::{DatabaseError, ReadModelStore, RecordedEvent};

use super::{Apply, provenance::HistoryMarker, writer::ReadModelWriter};
use crate::RowGroups;

impl<P, S> ReadModelWriter<P, S>
where
    P: Apply<S::Tx>,
    S: ReadModelStore,
{
    /// Makes cached answers invalid after a change that moved no position.
    pub(super) async fn reset_cache(&mut self) {
        self.deps.work.cache.reset(&self.id, self.incarnation).await;
    }

    /// Commits an event of a metadata stream, which may have ended a stream and deleted its rows.
    pub(super) async fn commit_end(
        &mut self,
        tx: S::Tx,
        event: &RecordedEvent,
        has_ended: bool,
    ) -> Result<(), DatabaseError> {
        // The rows of any group may be among those of a stream.
        let changed = if has_ended { RowGroups::all() } else { RowGroups::none() };
        let cache = self.deps.work.cache.clone();
        let (id, to) = (self.id.clone(), self.advance_to(event.position).to);
        let commit = self.commit(tx, event.position, Some(HistoryMarker::of(event)));
        cache.announce((&id, to), &changed, commit).await
    }
}
