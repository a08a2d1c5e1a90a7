//! The store as a whole: its counts and its features.

use gesta::store::{Durability, EventStore, ListCategories, ListStreams, StoreError};
use serde::Serialize;

use super::failure::of_read;
use crate::{GestaState, Problem, Schema, built_in::responses::Shown};

/// Maximum number of names that are counted. Counting them reads them.
const COUNTED_MAX: usize = 100_000;
/// Names that are read together.
const NAMES_PER_READ: usize = 1_000;

/// Numbers of a store.
#[derive(Debug, Serialize, Schema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Counts {
    /// Position of the last event.
    events: u64,
    /// Number of streams.
    streams: u64,
    /// True if there are no further streams: only the first 100,000 are counted.
    streams_are_all: bool,
    /// Number of categories.
    categories: u64,
}

pub(super) async fn count_events(state: GestaState) -> Result<Shown<Counts>, Problem> {
    let store = state.gesta().store();
    let head = store.head().await?;
    let (streams, streams_are_all) = count_streams(store.as_ref()).await.map_err(of_read)?;
    let list = ListCategories::all().limit(COUNTED_MAX);
    let categories = store.list_categories(list).await.map_err(of_read)?.len();
    Ok(Shown(Counts {
        events: head.position.number(),
        streams: streams as u64,
        streams_are_all,
        categories: categories as u64,
    }))
}

/// Returns the number of streams, and whether it is that of all.
async fn count_streams(store: &dyn EventStore) -> Result<(usize, bool), StoreError> {
    let mut counted = 0;
    let mut after = None;
    loop {
        let list = ListStreams::all().after(after).limit(NAMES_PER_READ);
        let names = store.list_streams(list).await?;
        let is_last = names.len() < NAMES_PER_READ;
        counted += names.len();
        if is_last || counted >= COUNTED_MAX {
            return Ok((counted, is_last));
        }
        after = names.last().cloned();
    }
}

/// The abilities of a store.
#[derive(Debug, Serialize, Schema)]
#[serde(rename_all = "camelCase")]
pub(super) struct DescribedStore {
    /// Optional features that it has.
    features: Vec<String>,
    /// Durability of an append: `volatile`, `buffered` or `synced`.
    durability: &'static str,
    /// Limits of appends.
    limits: StoreLimits,
}

/// Limits of appends to a store.
#[derive(Debug, Serialize, Schema)]
#[serde(rename_all = "camelCase")]
struct StoreLimits {
    /// Maximum size of an event, in bytes.
    event_bytes_max: u64,
    /// Maximum size of an append, in bytes.
    append_bytes_max: u64,
    /// Maximum number of tags of an event.
    tags_max: u64,
}

pub(super) async fn describe_store(state: GestaState) -> Shown<DescribedStore> {
    let can = state.gesta().store().capabilities();
    Shown(DescribedStore {
        features: can.supported.iter().map(|one| one.words().to_owned()).collect(),
        durability: match can.durability {
            Durability::Volatile => "volatile",
            Durability::Buffered => "buffered",
            Durability::Synced => "synced",
            // `Durability` is non-exhaustive.
            _ => "other",
        },
        limits: StoreLimits {
            event_bytes_max: can.limits.event_bytes_max as u64,
            append_bytes_max: can.limits.append_bytes_max as u64,
            tags_max: can.limits.tags_max as u64,
        },
    })
}
