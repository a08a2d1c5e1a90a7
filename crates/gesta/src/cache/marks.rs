//! The marks that projections set in the cache.
//!
//! Invariant: a mark is set before the change that it announces becomes visible. If it cannot be
//! set, the change takes place all the same, and every answer of the read model is made invalid
//! after it.

use std::{fmt, sync::Arc};

use gesta_store::{CacheScope, CacheUnavailable, Checkpoint, Incarnation, QueryCache, ReadModelId};

use super::RowGroups;

/// The cache, as projections see it.
#[derive(Clone, Default)]
pub(crate) struct CacheMarks(
    /// `None` if the application has no cache.
    pub(super) Option<Arc<dyn QueryCache>>,
);

impl CacheMarks {
    pub(crate) fn of(cache: Option<&Arc<dyn QueryCache>>) -> Self {
        Self(cache.cloned())
    }

    /// Returns whether changes need to be known.
    pub(crate) const fn are_kept(&self) -> bool {
        self.0.is_some()
    }

    /// Sets the marks of a change, then makes the change visible.
    pub(crate) async fn announce<T>(
        &self,
        (read_model, to): (&ReadModelId, Checkpoint),
        changed: &RowGroups,
        commit: impl Future<Output = T>,
    ) -> T {
        let set = self.set(read_model, to, changed).await;
        let committed = commit.await;
        // Also after a failure: its outcome may be unknown.
        if set.is_err() {
            self.reset(read_model, to.incarnation).await;
        }
        committed
    }

    /// Sets the marks of a change that brings the read model to a checkpoint.
    pub(crate) async fn set(
        &self,
        read_model: &ReadModelId,
        to: Checkpoint,
        changed: &RowGroups,
    ) -> Result<(), CacheUnavailable> {
        let Some(cache) = &self.0 else { return Ok(()) };
        let marks = changed.changed();
        if marks.is_empty() {
            return Ok(());
        }
        cache.mark(&scope(read_model, to.incarnation), &marks, to.position).await
    }

    /// Makes every answer of a read model invalid, after a change that is already visible.
    pub(crate) async fn reset(&self, read_model: &ReadModelId, incarnation: Incarnation) {
        if let Some(cache) = &self.0 {
            cache.reset(&scope(read_model, incarnation)).await;
        }
    }
}

fn scope(read_model: &ReadModelId, incarnation: Incarnation) -> CacheScope {
    CacheScope { read_model: read_model.clone(), incarnation }
}

impl fmt::Debug for CacheMarks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CacheMarks")
    }
}
