//! Process managers and reactors that have not handled the events of a partition.
//!
//! Knows their journals by stream name, event type and JSON members only. Not here: projections,
//! whose checkpoints may be in other databases.

use anyhow::Result;
use futures_executor::block_on;
use gesta_postgres::PostgresStore;
use gesta_store::{
    EventStore, ListStreams, Position, ReadStream, RecordedEvent, StoreError, StreamName,
    StreamState,
};
use serde::Deserialize;

use crate::events::Printable;

/// Maximum number of journals of a kind that are looked at.
const JOURNALS_MAX: usize = 1_000;
/// Maximum number of the last events of a journal among which its position is looked for.
const EVENTS_MAX: u64 = 1_000;

const KINDS: [(&str, &str); 2] =
    [("process manager", "processes:journal-"), ("reactor", "reactors:journal-")];

#[derive(Deserialize)]
struct JournalPosition {
    position: u64,
}

#[derive(Deserialize)]
struct ReactorPosition {
    place: JournalPosition,
}

/// Names the process managers and reactors that have not come as far as a position.
pub(super) fn behind(store: &PostgresStore, last: Position) -> Result<Vec<String>> {
    let mut behind = Vec::new();
    for (kind, prefix) in KINDS {
        let list = ListStreams::all().prefix(prefix).limit(JOURNALS_MAX);
        for journal in block_on(store.list_streams(list))? {
            let live = block_on(store.describe_stream(&journal))?.state == StreamState::Live;
            let owner = journal.as_str().strip_prefix(prefix).unwrap_or_default();
            match position_of(store, &journal)?.filter(|_| live) {
                Some(position) if position < last.number() => {
                    let owner = Printable(owner);
                    behind.push(format!("{kind} {owner} (at position {position})"));
                }
                _ => {}
            }
        }
    }
    Ok(behind)
}

/// Returns the last position that a journal has. `None` if it is not among its last events.
fn position_of(store: &PostgresStore, journal: &StreamName) -> Result<Option<u64>> {
    let mut pages = store.read_stream(ReadStream::backwards(journal.clone()).limit(EVENTS_MAX));
    while let Some(page) = block_on(pages.next()) {
        let page = match page {
            // The journal begins in the archive.
            Err(StoreError::Archived { .. }) => return Ok(None),
            page => page?,
        };
        if let Some(position) = page.iter().find_map(reached) {
            return Ok(Some(position));
        }
    }
    Ok(None)
}

/// Returns the position that an event of a journal records.
fn reached(event: &RecordedEvent) -> Option<u64> {
    match event.event_type.as_str() {
        "process-checkpointed" => {
            serde_json::from_slice::<JournalPosition>(&event.data).ok().map(|of| of.position)
        }
        "reactor-advanced" | "reactor-checkpointed" => {
            serde_json::from_slice::<ReactorPosition>(&event.data).ok().map(|of| of.place.position)
        }
        _ => None,
    }
}
