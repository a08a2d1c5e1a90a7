//! Metadata and tombstones of streams, kept in memory up to a position.
//!
//! Invariant: everything up to `until` is there. Streams without metadata take no memory. Not here:
//! heads of streams.

use std::collections::HashMap;

use gesta_store::{Position, RecordedAt, Revision, StreamMetadata, StreamName};
use tokio::sync::{Mutex, MutexGuard};

use super::layout::{DESCRIBED, Description};
use crate::{
    errors::CallError,
    item::sorted,
    table::{Query, Range, Table},
};

#[derive(Default)]
pub(super) struct Described(Mutex<State>);

#[derive(Default)]
pub(super) struct State {
    until: u64,
    streams: HashMap<StreamName, StreamInfo>,
}

/// Metadata and state of a stream.
#[derive(Clone, Debug, Default)]
pub(super) struct StreamInfo {
    pub(super) metadata: StreamMetadata,
    /// Head of the stream of its metadata.
    pub(super) metadata_revision: Option<Revision>,
    pub(super) is_tombstoned: bool,
}

impl StreamInfo {
    pub(super) fn deletes(&self, head: Revision) -> bool {
        self.metadata.deletes(head)
    }

    /// Returns whether visibility depends on the head of the stream.
    pub(super) const fn needs_head(&self) -> bool {
        self.metadata.max_count.is_some()
    }

    /// Returns whether a read at `now` hides an event. `head` may be missing unless it
    /// [is needed](Self::needs_head).
    pub(super) fn hides(
        &self,
        revision: Revision,
        recorded_at: RecordedAt,
        (head, now): (Option<Revision>, RecordedAt),
    ) -> bool {
        let first = self.metadata.first_visible(head.unwrap_or(Revision::FIRST));
        let first = if self.needs_head() { first } else { self.truncated_before() };
        self.is_tombstoned || revision < first || self.metadata.is_expired(recorded_at, now)
    }

    fn truncated_before(&self) -> Revision {
        self.metadata.truncate_before.unwrap_or(Revision::FIRST)
    }
}

impl State {
    /// Returns the metadata and state of a stream, or `None` if it never had metadata.
    pub(super) fn of(&self, stream: &StreamName) -> Option<&StreamInfo> {
        self.streams.get(stream)
    }

    fn apply(&mut self, description: Description) {
        let Description { stream, revision, metadata, .. } = description;
        let info = self.streams.entry(stream).or_default();
        info.metadata_revision = Some(revision);
        match metadata {
            Some(metadata) => info.metadata = metadata,
            None => info.is_tombstoned = true,
        }
    }
}

impl Described {
    pub(super) async fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().await
    }

    /// Returns the metadata and state of a stream.
    pub(super) async fn of(&self, stream: &StreamName) -> StreamInfo {
        self.lock().await.of(stream).cloned().unwrap_or_default()
    }

    /// Reads what was described up to a position that is visible.
    pub(super) async fn follow(&self, table: &Table, to: Position) -> Result<(), CallError> {
        let mut state = self.lock().await;
        let to = to.number();
        if state.until >= to {
            return Ok(());
        }
        let (from, last) = (sorted(state.until + 1), sorted(to));
        let (mut after, mut found) = (None, Vec::new());
        loop {
            let range = Range::Between(&from, &last);
            let query = Query { range, after: after.as_deref(), ..Query::of(DESCRIBED) };
            let page = table.query(query).await?;
            for entry in &page.items {
                found.push(Description::parse(entry)?);
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        found.into_iter().for_each(|description| state.apply(description));
        state.until = to;
        Ok(())
    }

    /// Takes over what a batch describes, if everything before it is there.
    pub(super) async fn add(&self, first: u64, next: u64, descriptions: Vec<Description>) {
        let mut state = self.lock().await;
        if state.until + 1 != first {
            return;
        }
        descriptions.into_iter().for_each(|description| state.apply(description));
        state.until = next - 1;
    }
}
