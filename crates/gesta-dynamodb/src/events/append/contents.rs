//! The log's form of an append, and the contents that are too large for it.
//!
//! Not here: the bytes (`codec.rs`), and the reading of parts (`parts.rs`).

use gesta_store::{Append, Revision, StreamName};

use crate::{
    events::{
        codec::{Content, LoggedAppend, LoggedEvent, LoggedPart, encode_content},
        parts,
    },
    item::Item,
};

/// Bytes of the events that an append puts into the log's item.
const APPEND_BYTES_MAX: usize = 256 * 1_024;
/// Bytes of an event that stays in the log's item, and of one in an append that is too large.
pub(super) const INLINE_BYTES_MAX: usize = 64 * 1_024;
const INLINE_BYTES_IF_LARGE: usize = 128;

/// The log's form of an append, at the revisions after these heads.
pub(super) fn logged(
    append: &Append,
    mut first: impl FnMut(&StreamName) -> Revision,
) -> LoggedAppend {
    let parts = append.streams.iter().filter(|part| !part.events.is_empty());
    let parts = parts.map(|part| LoggedPart {
        stream: part.stream.clone(),
        first: first(&part.stream),
        events: part
            .events
            .iter()
            .map(|event| LoggedEvent {
                id: event.id,
                content: Content::Inline(encode_content(event)),
            })
            .collect(),
    });
    LoggedAppend { parts: parts.collect() }
}

/// Puts contents that are too large into parts, and returns the parts' items.
pub(super) fn shrink(append: &mut LoggedAppend) -> Vec<Item> {
    let inline = |content: &Content| match content {
        Content::Inline(bytes) => bytes.len(),
        Content::InParts(_) => 0,
    };
    let events = append.parts.iter().flat_map(|part| &part.events);
    let bytes: usize = events.map(|event| inline(&event.content)).sum();
    let max = if bytes > APPEND_BYTES_MAX { INLINE_BYTES_IF_LARGE } else { INLINE_BYTES_MAX };
    let mut items = Vec::new();
    // Metadata are read in place.
    let parts = append.parts.iter_mut().filter(|part| part.stream.described_stream().is_none());
    for event in parts.flat_map(|part| &mut part.events) {
        let Content::Inline(content) = &event.content else { continue };
        if content.len() > max {
            let (place, pieces) = parts::split(content);
            event.content = Content::InParts(place);
            items.extend(pieces);
        }
    }
    items
}
