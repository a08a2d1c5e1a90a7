//! Positions of imported events in the store that they come from.
//!
//! Owns: the events that record an import, in the streams `imported-positions-…`, one stream for
//! each source incarnation. An import appends the first of them before any imported event and the
//! last one after all of them, so an unfinished import is recognizable. An import into an empty
//! store of the same kind keeps the positions and records nothing. Not here: the import itself.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::{
    EventId, EventStore, EventType, Incarnation, InvalidName, ListStreams, NewEvent, Position,
    ReadStream, RecordedEvent, StoreError, StreamName,
};

/// Stream names per listing request.
const PAGE_NAMES_MAX: usize = 1_000;
/// Ranges per event.
const RANGES_MAX: usize = 10_000;
const BEGUN: &str = "import-begun";
const POSITIONS: &str = "positions-imported";
const ENDED: &str = "import-ended";

/// A run of events that are consecutive in both the source store and this store.
///
/// ```
/// use gesta_store::{Position, PositionRange};
///
/// let range = PositionRange { source: Position::new(7), target: Position::new(107), events: 3 };
/// assert_eq!(range.target_of(Position::new(9)), Some(Position::new(109)));
/// assert_eq!(range.target_of(Position::new(10)), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PositionRange {
    /// Position of the first event in the source store.
    pub source: Position,
    /// Position of the first event in this store.
    pub target: Position,
    /// Number of events.
    pub events: u64,
}

impl PositionRange {
    /// Translates a position in the source store, or returns `None` outside the range.
    #[must_use]
    pub fn target_of(&self, source: Position) -> Option<Position> {
        let nth = source.number().checked_sub(self.source.number())?;
        (nth < self.events).then(|| Position::new(self.target.number() + nth))
    }

    fn source_of(&self, target: Position) -> Option<Position> {
        let nth = target.number().checked_sub(self.target.number())?;
        (nth < self.events).then(|| Position::new(self.source.number() + nth))
    }
}

/// The mapping from positions in imported stores to positions in this one.
///
/// Needed where events contain positions, as those of process managers do: after an import such a
/// position refers to the source store.
///
/// ```
/// use gesta_store::{ImportedPositions, Position, memory::MemoryStore};
///
/// # gesta_store::conformance::block_on(async {
/// let imported = ImportedPositions::load(&MemoryStore::new()).await?;
/// assert!(imported.is_empty());
/// let (stored_at, position) = (Position::new(9), Position::new(7));
/// assert_eq!(imported.translate(stored_at, position), Some(position), "nothing was imported");
/// # Ok::<(), gesta_store::StoreError>(())
/// # }).expect("a memory store answers");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportedPositions {
    /// Ordered by `end`.
    imports: Vec<Import>,
    unfinished: Option<StreamName>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Import {
    /// Incarnations of the source store, each with the position of its first event.
    incarnations: Vec<(Incarnation, Position)>,
    /// Head of the source store.
    head: Position,
    /// Position in this store of the event that ended the import.
    end: Position,
    /// Ordered by position in the source store.
    ranges: Vec<PositionRange>,
}

/// Incarnation and position of its first event, as encoded in JSON.
type IncarnationsJson = Vec<(String, u64)>;
/// Source position, target position and number of events, as encoded in JSON.
type RangesJson = Vec<(u64, u64, u64)>;

impl ImportedPositions {
    /// Prefix of the names of the streams that record imports.
    pub const STREAM_PREFIX: &str = "imported-positions-";

    /// Returns the name of the stream that records imports of this incarnation.
    ///
    /// # Errors
    ///
    /// Never [`InvalidName`]: the text of an incarnation is short.
    pub fn stream(incarnation: Incarnation) -> Result<StreamName, InvalidName> {
        StreamName::new(format!("{}{incarnation}", Self::STREAM_PREFIX))
    }

    /// Returns the event that an import begins with.
    ///
    /// `incarnations` are those of the source store, each with the position of its first event;
    /// `head` is the last position that is imported.
    ///
    /// # Errors
    ///
    /// Never [`InvalidName`]: the names are constants.
    pub fn started_event(
        incarnations: &[(Incarnation, Position)],
        head: Position,
    ) -> Result<NewEvent, InvalidName> {
        // The id of the event depends on the newest incarnation only.
        let last = incarnations.last().map_or(Incarnation::new(Uuid::nil()), |(last, _)| *last);
        let pairs = incarnations.iter();
        let pairs = pairs.map(|(incarnation, first)| (incarnation.to_string(), first.number()));
        let json = serde_json::json!({
            "incarnations": pairs.collect::<IncarnationsJson>(),
            "head": [["", head.number()]],
        });
        event(BEGUN, last, head, 0, &json)
    }

    /// Returns the events that an import ends with.
    ///
    /// # Errors
    ///
    /// Never [`InvalidName`]: the names are constants.
    pub fn finished_events(
        incarnation: Incarnation,
        head: Position,
        ranges: &[PositionRange],
    ) -> Result<Vec<NewEvent>, InvalidName> {
        let mut events = Vec::new();
        // Several events, so that none exceeds the limit of one event.
        for (nth, ranges) in (1..).zip(ranges.chunks(RANGES_MAX)) {
            let ranges = ranges.iter();
            let ranges =
                ranges.map(|range| (range.source.number(), range.target.number(), range.events));
            let json = serde_json::json!({ "ranges": ranges.collect::<RangesJson>() });
            events.push(event(POSITIONS, incarnation, head, nth, &json)?);
        }
        let json = serde_json::json!({ "head": head.number() });
        events.push(event(ENDED, incarnation, head, u64::MAX, &json)?);
        Ok(events)
    }

    /// Reads the imports of a store.
    ///
    /// # Errors
    ///
    /// - Any error of the store.
    /// - [`StoreError::Corrupt`] if a recorded import cannot be decoded.
    pub async fn load<S: EventStore + ?Sized>(store: &S) -> Result<Self, StoreError> {
        let mut imported = Self::default();
        let mut after = None;
        loop {
            let prefix = Self::STREAM_PREFIX.to_owned();
            let list = ListStreams { prefix, after, limit: PAGE_NAMES_MAX };
            let names = store.list_streams(list).await?;
            for name in &names {
                let events = store.read_stream(ReadStream::forwards(name.clone()));
                imported.add_stream(name, &events.collect_events().await?)?;
            }
            // A page that is not full is the last one.
            if names.len() < PAGE_NAMES_MAX {
                break;
            }
            after = names.last().cloned();
        }
        // The lookup peels imports off, starting at the last one.
        imported.imports.sort_unstable_by_key(|import| import.end);
        Ok(imported)
    }

    fn add_stream(
        &mut self,
        stream: &StreamName,
        events: &[RecordedEvent],
    ) -> Result<(), StoreError> {
        let mut ranges = Vec::new();
        let mut started = None;
        for event in events {
            match event.event_type.as_str() {
                // A second start without an end repeats an interrupted import.
                BEGUN => started = Some(decode_start(event)?),
                POSITIONS => {
                    let mut json: BTreeMap<String, RangesJson> =
                        serde_json::from_slice(&event.data)
                            .map_err(|error| malformed(event, &error.to_string()))?;
                    let decoded = json.remove("ranges").unwrap_or_default();
                    ranges.extend(decoded.into_iter().map(|(source, target, events)| {
                        let (source, target) = (Position::new(source), Position::new(target));
                        PositionRange { source, target, events }
                    }));
                }
                ENDED => {
                    // The next import of the same source starts with no ranges.
                    let mut ranges = std::mem::take(&mut ranges);
                    ranges.sort_unstable_by_key(|range| range.source);
                    let (incarnations, head) = started.take().unwrap_or_default();
                    self.imports.push(Import { incarnations, head, end: event.position, ranges });
                }
                _ => {}
            }
        }
        // The last import of this source has not ended.
        if started.is_some() {
            self.unfinished = Some(stream.clone());
        }
        Ok(())
    }

    /// Returns `true` if the store has no imports, so that every position refers to this store.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.imports.is_empty() && self.unfinished.is_none()
    }

    /// Returns the stream of an unfinished import, if there is one.
    ///
    /// Positions in its events cannot be translated yet. Import the same file again.
    #[must_use]
    pub fn unfinished(&self) -> Option<&StreamName> {
        self.unfinished.as_ref()
    }

    /// Returns the position in this store from which a consumer of an imported store continues.
    ///
    /// `seen` is the consumer's position in `incarnation`. Everything that it had seen and that was
    /// imported is at or before the result. Returns `None` if that incarnation was not imported, or
    /// if the consumer had seen more than was imported.
    #[must_use]
    pub fn resume_position(&self, incarnation: Incarnation, seen: Position) -> Option<Position> {
        self.imports.iter().rev().find_map(|import| {
            // The consumer may have seen events of its incarnation only up to the first event of
            // the next one: later events of it were lost.
            let mut incarnations = import.incarnations.iter();
            let at = incarnations.position(|(known, _)| *known == incarnation)?;
            let last =
                import.incarnations.get(at + 1).map(|(_, first)| first.number().saturating_sub(1));
            if seen > last.map_or(import.head, Position::new) {
                return None;
            }
            let after = import.ranges.partition_point(|range| range.source <= seen);
            let Some(range) = import.ranges.get(..after)?.last() else {
                return Some(Position::START);
            };
            // The event at `seen` may be missing: stop at the last one before.
            let nth = (seen.number() - range.source.number()).min(range.events.saturating_sub(1));
            Some(Position::new(range.target.number() + nth))
        })
    }

    /// Translates `position`, a position that the event at `stored_at` contains.
    ///
    /// Returns `position` itself if the event was not imported, and `None` if the event that
    /// `position` refers to was not imported.
    #[must_use]
    pub fn translate(&self, stored_at: Position, position: Position) -> Option<Position> {
        let imports: Vec<_> = self.imports.iter().map(|import| (import, import.end)).collect();
        translate(&imports, stored_at, position)
    }
}

/// `imports` belong to one store, each with the position of its end in that store, in this order.
/// An import whose end is inside the range of a later import belongs to the source store of the
/// later one.
fn translate(
    imports: &[(&Import, Position)],
    stored_at: Position,
    position: Position,
) -> Option<Position> {
    // Without imports left, a position refers to this store.
    let Some(((outer, _), earlier)) = imports.split_last() else { return Some(position) };
    let source_of = |target| outer.ranges.iter().find_map(|range| range.source_of(target));
    // Split the earlier imports into those of the source store and those of this store.
    let (inner, separate): (Vec<_>, Vec<_>) =
        earlier.iter().copied().partition(|(_, end)| source_of(*end).is_some());
    // An event outside the outer import belongs to this store, and the imports within the outer one
    // do not concern it.
    let Some(stored_at) = source_of(stored_at) else {
        return translate(&separate, stored_at, position);
    };
    let inner: Vec<_> =
        inner.into_iter().filter_map(|(import, end)| Some((import, source_of(end)?))).collect();
    // Translate within the source store first, then to this store.
    let source = translate(&inner, stored_at, position)?;
    let after = outer.ranges.partition_point(|range| range.source <= source);
    outer.ranges.get(after.checked_sub(1)?)?.target_of(source)
}

/// Decodes the source incarnations, and the head of the source store.
fn decode_start(
    event: &RecordedEvent,
) -> Result<(Vec<(Incarnation, Position)>, Position), StoreError> {
    let mut json: BTreeMap<String, IncarnationsJson> = serde_json::from_slice(&event.data)
        .map_err(|error| malformed(event, &error.to_string()))?;
    let head = json.get("head").and_then(|head| head.first()).map_or(0, |(_, head)| *head);
    let mut incarnations = Vec::new();
    for (incarnation, first) in json.remove("incarnations").unwrap_or_default() {
        let id =
            incarnation.parse().map_err(|_| malformed(event, "an incarnation must be a UUID"))?;
        incarnations.push((Incarnation::new(id), Position::new(first)));
    }
    Ok((incarnations, Position::new(head)))
}

fn event(
    name: &str,
    incarnation: Incarnation,
    head: Position,
    nth: u64,
    json: &serde_json::Value,
) -> Result<NewEvent, InvalidName> {
    // The id is derived from the content, so a repeated import appends the event only once.
    let id = EventId::derived_from(&format!("{incarnation} up to {head} {name}"), nth);
    Ok(NewEvent::json(id, EventType::new(name)?, json.to_string()))
}

fn malformed(event: &RecordedEvent, what: &str) -> StoreError {
    StoreError::Corrupt(crate::Damage {
        file: event.stream.to_string(),
        offset: 0,
        positions: Some(event.position..=event.position),
        what: format!("malformed record of imported positions: {what}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn import(end: u64, ranges: &[(u64, u64, u64)]) -> Import {
        let ranges = ranges.iter().map(|(was, now, events)| PositionRange {
            source: Position::new(*was),
            target: Position::new(*now),
            events: *events,
        });
        let incarnations = vec![
            (Incarnation::new(Uuid::from_u128(1)), Position::new(1)),
            (Incarnation::new(Uuid::from_u128(2)), Position::new(5)),
        ];
        let (head, end) = (Position::new(12), Position::new(end));
        Import { incarnations, head, end, ranges: ranges.collect() }
    }

    fn now(imports: &[Import], stored_at: u64, position: u64) -> Option<u64> {
        let imported = ImportedPositions { imports: imports.to_vec(), unfinished: None };
        imported.translate(Position::new(stored_at), Position::new(position)).map(Position::number)
    }

    #[test]
    fn a_position_is_looked_up_where_the_event_that_says_it_was_imported() {
        // Source positions 1 to 10 are at 101 to 110, except 5, which had been scavenged.
        let imports = [import(111, &[(1, 101, 4), (6, 105, 5)])];
        assert_eq!(now(&imports, 109, 2), Some(102));
        assert_eq!(now(&imports, 109, 10), Some(109));
        assert_eq!(now(&imports, 109, 5), None, "it had been scavenged");
        assert_eq!(now(&imports, 50, 2), Some(2), "stored here, before the import");
        assert_eq!(now(&imports, 120, 102), Some(102), "stored here, after it");
    }

    #[test]
    fn a_checkpoint_of_the_store_that_was_imported_goes_on() {
        // Source events 5, 11 and 12 had been scavenged; 12 was the last.
        let imports = vec![import(111, &[(1, 101, 4), (6, 105, 5)])];
        let imported = ImportedPositions { imports, unfinished: None };
        let reached = |life, seen| {
            let life = Incarnation::new(Uuid::from_u128(life));
            imported.resume_position(life, Position::new(seen)).map(Position::number)
        };
        assert_eq!(reached(1, 0), Some(0));
        assert_eq!(reached(1, 3), Some(103));
        assert_eq!(reached(2, 5), Some(104), "the last one before it that still exists");
        assert_eq!(reached(2, 12), Some(109));
        assert_eq!(reached(2, 13), None, "more than was imported");
        assert_eq!(reached(1, 7), None, "more than the next life has of it");
        assert_eq!(reached(3, 1), None, "of another store");
    }

    #[test]
    fn what_was_imported_twice_is_looked_up_twice() {
        // The source store had an import itself: 1 to 3 at 11 to 13, ended at 14.
        let imports = [import(1014, &[(1, 11, 3)]), import(2000, &[(1, 1001, 20)])];
        assert_eq!(now(&imports, 1012, 1), Some(1011), "stored in the first of the three stores");
        assert_eq!(now(&imports, 1015, 12), Some(1012), "stored in the second");
        assert_eq!(now(&imports, 2001, 1012), Some(1012), "stored in the third");
    }

    #[test]
    fn two_imports_beside_each_other_do_not_touch() {
        let imports = [import(20, &[(1, 11, 5)]), import(40, &[(1, 31, 5)])];
        assert_eq!(now(&imports, 12, 1), Some(11));
        assert_eq!(now(&imports, 33, 1), Some(31));
        assert_eq!(now(&imports, 22, 1), Some(1));
    }
}
