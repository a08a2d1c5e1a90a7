//! The events that are left for a projection that does not run.
//!
//! Owns: [`IdleSource`], the selection of its script. Invariant: a script is compiled only if
//! someone asks, and once for each configuration. Not here: what a running projection has handled
//! ([`progress`](super::progress)).

use std::sync::Arc;

use gesta_scripts::{ScriptLimits, ScriptThread};
use gesta_store::{EventStore, Position, StoreError};
use tokio::sync::OnceCell;

use super::source::Source;

/// The selection of a script, once it is known. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct IdleSource(Arc<OnceCell<Option<Source>>>);

impl IdleSource {
    /// Returns `true` if the script selects no event after a position. A script that cannot be
    /// compiled leaves the question open.
    pub(super) async fn is_exhausted(
        &self,
        store: &dyn EventStore,
        query: &str,
        after: Position,
    ) -> Result<bool, StoreError> {
        match self.0.get_or_init(|| compiled(query.to_owned())).await {
            Some(source) => source.is_exhausted(store, after).await,
            None => Ok(false),
        }
    }
}

async fn compiled(query: String) -> Option<Source> {
    let script = ScriptThread::start(query, ScriptLimits::default()).await.ok()?;
    Source::of(script.definition()).ok()
}
