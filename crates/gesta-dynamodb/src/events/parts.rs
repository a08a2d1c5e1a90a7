//! Parts of contents that are too large for an item of the log.
//!
//! Parts are written before the log refers to them, under a random id. A group that is not recorded
//! leaves parts that nothing refers to.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use gesta_store::{NewEvent, RecordedEvent};
use uuid::Uuid;

use super::{
    codec::{Content, Parts, decode_content},
    layout::{Placed, part_bytes, part_item, part_partition},
};
use crate::{
    errors::CallError,
    item::{Item, PK, SK, key, sorted},
    table::Table,
};

/// Bytes of a part. An item has at most 400 KB with its key.
const PART_BYTES_MAX: usize = 380 * 1_024;
/// Parts of one request: about 1 MB.
const PARTS_AT_ONCE: usize = 3;

/// The items of a large content, and its place.
pub(super) fn split(content: &Bytes) -> (Parts, Vec<Item>) {
    let count = content.chunks(PART_BYTES_MAX).count();
    let count = u32::try_from(count).expect("the limit of an event is below the parts' numbers");
    let parts = Parts { id: Uuid::new_v4(), count };
    let items = (0..).zip(content.chunks(PART_BYTES_MAX));
    (parts, items.map(|(number, bytes)| part_item(parts, number, bytes)).collect())
}

/// Reads the contents of events, and makes recorded events of them, in the same order.
pub(super) async fn complete(
    table: &Table,
    placed: Vec<Placed>,
) -> Result<Vec<RecordedEvent>, CallError> {
    let wanted = placed.iter().filter_map(|placed| match placed.event.content {
        Content::InParts(parts) => Some(parts),
        Content::Inline(_) => None,
    });
    let mut loaded = load(table, wanted.collect()).await?;
    let complete = placed.into_iter().map(|placed| {
        let position = placed.position;
        let damaged = || CallError::Damaged(format!("the event at position {position}"));
        let content = match placed.event.content {
            Content::Inline(content) => content,
            Content::InParts(parts) => loaded.remove(&parts.id).ok_or_else(damaged)?,
        };
        let event: NewEvent = decode_content(placed.event.id, content).map_err(|_| damaged())?;
        let Placed { stream, revision, recorded_at, .. } = placed;
        Ok(RecordedEvent::new(event, stream, revision, position, recorded_at))
    });
    complete.collect()
}

/// Reads contents by their id. One that lacks a part is missing.
async fn load(table: &Table, wanted: Vec<Parts>) -> Result<HashMap<Uuid, Bytes>, CallError> {
    let keys = wanted.iter().flat_map(|parts| {
        let partition = part_partition(*parts);
        (0..parts.count).map(move |number| key(&partition, &sorted(u64::from(number))))
    });
    let keys: Vec<Item> = keys.collect();
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let mut found = HashMap::new();
    for item in table.get_all(keys, PARTS_AT_ONCE).await? {
        let part = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).cloned();
        let bytes = part_bytes(&item)?;
        found.insert((part(PK), part(SK)), bytes);
    }
    let mut contents = HashMap::new();
    for parts in wanted {
        let partition = part_partition(parts);
        let mut content = BytesMut::new();
        let pieces = (0..parts.count).map(|number| {
            let place = (Some(partition.clone()), Some(sorted(u64::from(number))));
            found.get(&place)
        });
        let Some(pieces) = pieces.collect::<Option<Vec<_>>>() else { continue };
        pieces.into_iter().for_each(|piece| content.extend_from_slice(piece));
        contents.insert(parts.id, content.freeze());
    }
    Ok(contents)
}
