//! The store as a whole: its counts and its features.

use gesta::store::{CountedNames, Durability};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::{Value, json};

use super::failure::of_read;
use crate::{
    GestaState, Problem, QueryOf, RequestFields, Schema, Schemas, built_in::responses::Shown,
};

/// Maximum number of names that are counted. Counting them reads them.
const COUNTED_MAX: usize = 100_000;

/// The number of names that are counted, from 1 to [`COUNTED_MAX`], which is the default.
#[derive(Clone, Copy, Debug)]
struct CountLimit(usize);

impl Default for CountLimit {
    fn default() -> Self {
        Self(COUNTED_MAX)
    }
}

impl<'de> Deserialize<'de> for CountLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let odd = |_| D::Error::custom(format!("must be a whole number from 1 to {COUNTED_MAX}"));
        match usize::deserialize(deserializer).map_err(odd)? {
            number @ 1..=COUNTED_MAX => Ok(Self(number)),
            number => {
                Err(D::Error::custom(format!("must be between 1 and {COUNTED_MAX}; got {number}")))
            }
        }
    }
}

impl Schema for CountLimit {
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "integer", "minimum": 1, "maximum": COUNTED_MAX, "default": COUNTED_MAX })
    }
}

/// The effort of a count.
#[derive(RequestFields, Clone, Debug)]
pub(super) struct CountsQuery {
    /// Maximum number of streams, and of categories, that are counted. Counting them reads their
    /// names.
    limit: Option<CountLimit>,
}

/// Numbers of a store.
#[derive(Debug, Serialize, Schema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Counts {
    /// Position of the last event.
    events: u64,
    /// Number of streams, up to `limit`.
    streams: u64,
    /// True if there are no further streams.
    streams_are_all: bool,
    /// Number of categories, up to `limit`.
    categories: u64,
    /// True if there are no further categories.
    categories_are_all: bool,
}

pub(super) async fn count_events(
    state: GestaState,
    query: QueryOf<CountsQuery>,
) -> Result<Shown<Counts>, Problem> {
    let CountLimit(limit) = query.limit.unwrap_or_default();
    let store = state.gesta().store();
    let head = store.head().await?;
    let store = store.as_ref();
    let streams = CountedNames::of_streams(store, limit).await.map_err(of_read)?;
    let categories = CountedNames::of_categories(store, limit).await.map_err(of_read)?;
    Ok(Shown(Counts {
        events: head.position.number(),
        streams: streams.number as u64,
        streams_are_all: streams.is_all,
        categories: categories.number as u64,
        categories_are_all: categories.is_all,
    }))
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
