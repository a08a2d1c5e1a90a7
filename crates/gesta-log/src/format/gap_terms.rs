//! The scavenged events of a gap, and their event types and correlation ids: the third and the
//! fourth list of a gap frame.
//!
//! They keep the ordinals of the remaining events, also when the index is rebuilt from the log.
//! Gap frames of earlier versions end after the second list.

use std::{collections::BTreeMap, sync::Arc};

use gesta_store::{CorrelationId, EventType, Position, RecordedEvent, Revision, StreamName};

use super::{Fields, Malformed, put_varint, varint};

/// A scavenged event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GapEvent {
    pub(crate) position: Position,
    pub(crate) stream: StreamName,
    pub(crate) revision: Revision,
    /// `None` in a gap frame of an earlier version.
    pub(crate) event_type: Option<EventType>,
    pub(crate) correlation_id: Option<CorrelationId>,
}

impl From<&RecordedEvent> for GapEvent {
    /// The remains of an event that is scavenged.
    fn from(event: &RecordedEvent) -> Self {
        Self {
            position: event.position,
            stream: event.stream.clone(),
            revision: event.revision,
            event_type: Some(event.event_type.clone()),
            correlation_id: event.correlation_id.clone(),
        }
    }
}

/// Upper bound of the bytes that an event needs in both lists, besides its texts: of each a length,
/// a count and a position.
const EVENT_BYTES_MAX: usize = 2 * 12;

/// Returns an upper bound for the size of the lists.
pub(super) fn bytes_max(scavenged: &[GapEvent]) -> usize {
    let texts = scavenged.iter().map(|event| {
        event.event_type.as_ref().map_or(0, |event_type| event_type.as_str().len())
            + event.correlation_id.as_ref().map_or(0, |id| id.as_str().len())
    });
    texts.sum::<usize>() + scavenged.len() * EVENT_BYTES_MAX
}

/// Appends both lists; `first` is the frame's first position.
pub(super) fn put(out: &mut Vec<u8>, scavenged: &[GapEvent], first: Position) {
    put_list(out, scavenged, first, |event| event.event_type.as_ref().map(EventType::as_str));
    put_list(out, scavenged, first, |event| {
        event.correlation_id.as_ref().map(CorrelationId::as_str)
    });
}

fn put_list<'a>(
    out: &mut Vec<u8>,
    scavenged: &'a [GapEvent],
    first: Position,
    term_of: impl Fn(&'a GapEvent) -> Option<&'a str>,
) {
    // Grouped by term, so that a text is stored once.
    let mut terms = BTreeMap::<_, Vec<Position>>::new();
    for event in scavenged {
        if let Some(term) = term_of(event) {
            terms.entry(term).or_default().push(event.position);
        }
    }
    put_varint(out, terms.len() as u64);
    for (term, positions) in terms {
        put_varint(out, term.len() as u64);
        out.extend_from_slice(term.as_bytes());
        put_varint(out, positions.len() as u64);
        let mut before = first;
        for position in positions {
            put_varint(out, position.number() - before.number());
            before = position;
        }
    }
}

/// Reads both lists into the scavenged events, which are in the order of positions.
pub(super) fn take(
    fields: &mut Fields<'_>,
    scavenged: &mut [GapEvent],
    first: Position,
) -> Result<(), Malformed> {
    take_list(fields, scavenged, first, |event, text| {
        let event_type = EventType::stored(text).map_err(|_| Malformed::Field("event type"))?;
        Ok(event.event_type.replace(event_type).is_none())
    })?;
    take_list(fields, scavenged, first, |event, text| {
        let id = CorrelationId::stored(text).map_err(|_| Malformed::Field("correlation id"))?;
        Ok(event.correlation_id.replace(id).is_none())
    })
}

/// Reads a list. `set` returns false for an event that has a term already.
fn take_list(
    fields: &mut Fields<'_>,
    scavenged: &mut [GapEvent],
    first: Position,
    set: impl Fn(&mut GapEvent, Arc<str>) -> Result<bool, Malformed>,
) -> Result<(), Malformed> {
    for _ in 0..take_count(fields, 1)? {
        let length = usize::try_from(varint(fields)?).map_err(|_| Malformed::Short)?;
        let text = str::from_utf8(fields.take(length)?).map_err(|_| Malformed::Field("text"))?;
        let text = Arc::<str>::from(text);
        let mut before = first;
        for _ in 0..take_count(fields, 1)? {
            let position = take_position(fields, before)?;
            let at = scavenged.binary_search_by_key(&position, |event| event.position);
            let event = at.ok().and_then(|at| scavenged.get_mut(at));
            // Only scavenged events are listed, each once.
            let event = event.ok_or(Malformed::Field("position"))?;
            if !set(event, Arc::clone(&text))? {
                return Err(Malformed::Field("position"));
            }
            before = position;
        }
    }
    Ok(())
}

/// Reads a count of items of at least `bytes_min` bytes each. Checked against the remaining bytes
/// before memory is reserved.
pub(super) fn take_count(fields: &mut Fields<'_>, bytes_min: usize) -> Result<usize, Malformed> {
    let count = usize::try_from(varint(fields)?).map_err(|_| Malformed::Short)?;
    if count > fields.0.len() / bytes_min { Err(Malformed::Short) } else { Ok(count) }
}

pub(super) fn take_position(
    fields: &mut Fields<'_>,
    before: Position,
) -> Result<Position, Malformed> {
    // Positions are stored as differences, which keeps them short and ascending.
    let step = varint(fields)?;
    before.number().checked_add(step).map(Position::new).ok_or(Malformed::Field("position"))
}
