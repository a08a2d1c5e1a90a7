//! Where events of an import were in the store that they come from.
//!
//! Owns: the events in which that is kept, in the streams `imported-positions-…`, one for each
//! incarnation that was imported from. Always holds: they are written by the import, the first one
//! before any event and the last one after all of them, so an import that did not end is told apart.
//! An import into an empty store of the same kind keeps positions and needs none of this.
//! Not here: importing itself.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::{
    EventId, EventStore, EventType, Incarnation, InvalidName, ListStreams, NewEvent, Position,
    ReadStream, RecordedEvent, StoreError, StreamName,
};

/// Names of streams that are asked for at a time.
const PAGE_NAMES_MAX: usize = 1_000;
/// Ranges in one event.
const RANGES_MAX: usize = 10_000;
const BEGUN: &str = "import-begun";
const POSITIONS: &str = "positions-imported";
const ENDED: &str = "import-ended";

/// Events that followed each other in the one store and follow each other in the other.
///
/// ```
/// use gesta_store::{Position, PositionRange};
///
/// let range = PositionRange { was: Position::new(7), now: Position::new(107), events: 3 };
/// assert_eq!(range.now_of(Position::new(9)), Some(Position::new(109)));
/// assert_eq!(range.now_of(Position::new(10)), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PositionRange {
    /// Where the first one was.
    pub was: Position,
    /// Where it is.
    pub now: Position,
    /// How many there are.
    pub events: u64,
}

impl PositionRange {
    /// Returns where the event is that was at a position, if it is one of these.
    #[must_use]
    pub fn now_of(&self, was: Position) -> Option<Position> {
        let nth = was.number().checked_sub(self.was.number())?;
        (nth < self.events).then(|| Position::new(self.now.number() + nth))
    }

    fn was_of(&self, now: Position) -> Option<Position> {
        let nth = now.number().checked_sub(self.now.number())?;
        (nth < self.events).then(|| Position::new(self.was.number() + nth))
    }
}

/// The positions of all imports of a store.
///
/// Whoever keeps positions inside events, as process managers do, looks each up here when the event
/// that says it is itself imported.
///
/// ```
/// use gesta_store::{ImportedPositions, Position, memory::MemoryStore};
///
/// # gesta_store::conformance::block_on(async {
/// let imported = ImportedPositions::of(&MemoryStore::new()).await?;
/// assert!(imported.is_empty());
/// let (said_at, said) = (Position::new(9), Position::new(7));
/// assert_eq!(imported.now_of(said_at, said), Some(said), "nothing was imported");
/// # Ok::<(), gesta_store::StoreError>(())
/// # }).expect("a memory store answers");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportedPositions {
    /// Ordered by where they ended.
    imports: Vec<Import>,
    unfinished: Option<StreamName>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Import {
    /// Incarnations of the store that was imported, each with the position of its first event.
    lives: Vec<(Incarnation, Position)>,
    /// The last position of that store.
    head: Position,
    /// Of the event that says that it ended.
    ended: Position,
    /// Ordered by where events were.
    ranges: Vec<PositionRange>,
}

/// Each incarnation and where its first event was.
type Lives = Vec<(String, u64)>;
/// Of each range where the first event was, where it is, and how many there are.
type Ranges = Vec<(u64, u64, u64)>;

impl ImportedPositions {
    /// What the names of the streams begin with.
    pub const STREAM_PREFIX: &str = "imported-positions-";

    /// Returns the stream for imports from this incarnation.
    ///
    /// # Errors
    /// [`InvalidName`] never, as an incarnation's text is short.
    pub fn stream(incarnation: Incarnation) -> Result<StreamName, InvalidName> {
        StreamName::new(format!("{}{incarnation}", Self::STREAM_PREFIX))
    }

    /// Returns the event that an import begins with: of a store with these incarnations, each with
    /// the position of its first event, up to `head`.
    ///
    /// # Errors
    /// [`InvalidName`] never.
    pub fn begun(
        incarnations: &[(Incarnation, Position)],
        head: Position,
    ) -> Result<NewEvent, InvalidName> {
        let last = incarnations.last().map_or(Incarnation::new(Uuid::nil()), |(last, _)| *last);
        let lives = incarnations.iter();
        let lives = lives.map(|(life, first)| (life.to_string(), first.number()));
        let json = serde_json::json!({ "incarnations": lives.collect::<Lives>(), "head": [["", head.number()]] });
        event(BEGUN, last, head, 0, &json)
    }

    /// Returns the events that an import ends with.
    ///
    /// # Errors
    /// [`InvalidName`] never.
    pub fn ended(
        incarnation: Incarnation,
        head: Position,
        ranges: &[PositionRange],
    ) -> Result<Vec<NewEvent>, InvalidName> {
        let mut events = Vec::new();
        for (nth, ranges) in (1..).zip(ranges.chunks(RANGES_MAX)) {
            let ranges = ranges.iter();
            let ranges = ranges.map(|range| (range.was.number(), range.now.number(), range.events));
            let json = serde_json::json!({ "ranges": ranges.collect::<Ranges>() });
            events.push(event(POSITIONS, incarnation, head, nth, &json)?);
        }
        let json = serde_json::json!({ "head": head.number() });
        events.push(event(ENDED, incarnation, head, u64::MAX, &json)?);
        Ok(events)
    }

    /// Reads what imports a store has had.
    ///
    /// # Errors
    /// Whatever the store says; [`StoreError::Corrupt`] where an event is not what it should be.
    pub async fn of<S: EventStore + ?Sized>(store: &S) -> Result<Self, StoreError> {
        let mut imported = Self::default();
        let mut after = None;
        loop {
            let prefix = Self::STREAM_PREFIX.to_owned();
            let list = ListStreams { prefix, after, limit: PAGE_NAMES_MAX };
            let names = store.list_streams(list).await?;
            for name in &names {
                let events = store.read_stream(ReadStream::forwards(name.clone()));
                imported.take(name, &events.collect_events().await?)?;
            }
            if names.len() < PAGE_NAMES_MAX {
                break;
            }
            after = names.last().cloned();
        }
        imported.imports.sort_unstable_by_key(|import| import.ended);
        Ok(imported)
    }

    fn take(&mut self, stream: &StreamName, events: &[RecordedEvent]) -> Result<(), StoreError> {
        let mut ranges = Vec::new();
        let mut open = None;
        for event in events {
            match event.event_type.as_str() {
                BEGUN => open = Some(begun(event)?),
                POSITIONS => {
                    let mut said: BTreeMap<String, Ranges> = serde_json::from_slice(&event.data)
                        .map_err(|error| unreadable(event, &error.to_string()))?;
                    let said = said.remove("ranges").unwrap_or_default();
                    ranges.extend(said.into_iter().map(|(was, now, events)| {
                        let (was, now) = (Position::new(was), Position::new(now));
                        PositionRange { was, now, events }
                    }));
                }
                ENDED => {
                    let mut ranges = std::mem::take(&mut ranges);
                    ranges.sort_unstable_by_key(|range| range.was);
                    let (lives, head) = open.take().unwrap_or_default();
                    self.imports.push(Import { lives, head, ended: event.position, ranges });
                }
                _ => {}
            }
        }
        if open.is_some() {
            self.unfinished = Some(stream.clone());
        }
        Ok(())
    }

    /// Returns whether nothing was imported, so that every position is what it says.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.imports.is_empty() && self.unfinished.is_none()
    }

    /// Returns the stream of an import that did not end, if there is one: positions that its events
    /// say cannot be looked up yet. Import the same file again.
    #[must_use]
    pub fn unfinished(&self) -> Option<&StreamName> {
        self.unfinished.as_ref()
    }

    /// Returns the position here up to which everything is that was imported of what a consumer of
    /// another store had seen: up to a position of an incarnation. `None` where that was not imported,
    /// or the consumer had seen more.
    #[must_use]
    pub fn reached(&self, incarnation: Incarnation, seen: Position) -> Option<Position> {
        self.imports.iter().rev().find_map(|import| {
            let at = import.lives.iter().position(|(life, _)| *life == incarnation)?;
            let next = import.lives.get(at + 1).map(|(_, first)| first.number().saturating_sub(1));
            if seen > next.map_or(import.head, Position::new) {
                return None;
            }
            let after = import.ranges.partition_point(|range| range.was <= seen);
            let Some(range) = import.ranges.get(..after)?.last() else {
                return Some(Position::START);
            };
            let nth = (seen.number() - range.was.number()).min(range.events.saturating_sub(1));
            Some(Position::new(range.now.number() + nth))
        })
    }

    /// Returns where the event is that an event at `said_at` says is at `said`; `None` where it was
    /// not imported. A position that was said here is what it says.
    #[must_use]
    pub fn now_of(&self, said_at: Position, said: Position) -> Option<Position> {
        let imports: Vec<_> = self.imports.iter().map(|import| (import, import.ended)).collect();
        now_of(&imports, said_at, said)
    }
}

/// `imports` are those of one store, each with where it ended in that store, in this order. One that
/// ended within what a later one imported is an import of that one's store, and not of this one.
fn now_of(imports: &[(&Import, Position)], said_at: Position, said: Position) -> Option<Position> {
    let Some(((outer, _), earlier)) = imports.split_last() else { return Some(said) };
    let was_of = |now| outer.ranges.iter().find_map(|range| range.was_of(now));
    let (inner, beside): (Vec<_>, Vec<_>) =
        earlier.iter().copied().partition(|(_, ended)| was_of(*ended).is_some());
    let Some(said_at) = was_of(said_at) else { return now_of(&beside, said_at, said) };
    let inner: Vec<_> =
        inner.into_iter().filter_map(|(import, ended)| Some((import, was_of(ended)?))).collect();
    let was = now_of(&inner, said_at, said)?;
    let after = outer.ranges.partition_point(|range| range.was <= was);
    outer.ranges.get(after.checked_sub(1)?)?.now_of(was)
}

/// Which incarnations an import is of, and how far that store went.
fn begun(event: &RecordedEvent) -> Result<(Vec<(Incarnation, Position)>, Position), StoreError> {
    let mut said: BTreeMap<String, Lives> = serde_json::from_slice(&event.data)
        .map_err(|error| unreadable(event, &error.to_string()))?;
    let head = said.get("head").and_then(|head| head.first()).map_or(0, |(_, head)| *head);
    let mut lives = Vec::new();
    for (life, first) in said.remove("incarnations").unwrap_or_default() {
        let life = life.parse().map_err(|_| unreadable(event, "an incarnation is a UUID"))?;
        lives.push((Incarnation::new(life), Position::new(first)));
    }
    Ok((lives, Position::new(head)))
}

fn event(
    name: &str,
    incarnation: Incarnation,
    head: Position,
    nth: u64,
    json: &serde_json::Value,
) -> Result<NewEvent, InvalidName> {
    // The same import says the same, so that it is appended once.
    let id = EventId::derived_from(&format!("{incarnation} up to {head} {name}"), nth);
    Ok(NewEvent::json(id, EventType::new(name)?, json.to_string()))
}

fn unreadable(event: &RecordedEvent, what: &str) -> StoreError {
    StoreError::Corrupt(crate::Damage {
        file: event.stream.to_string(),
        offset: 0,
        positions: Some(event.position..=event.position),
        what: format!("it does not say which positions were imported: {what}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn import(ended: u64, ranges: &[(u64, u64, u64)]) -> Import {
        let ranges = ranges.iter().map(|(was, now, events)| PositionRange {
            was: Position::new(*was),
            now: Position::new(*now),
            events: *events,
        });
        let lives = vec![
            (Incarnation::new(Uuid::from_u128(1)), Position::new(1)),
            (Incarnation::new(Uuid::from_u128(2)), Position::new(5)),
        ];
        let (head, ended) = (Position::new(12), Position::new(ended));
        Import { lives, head, ended, ranges: ranges.collect() }
    }

    fn now(imports: &[Import], said_at: u64, said: u64) -> Option<u64> {
        let imported = ImportedPositions { imports: imports.to_vec(), unfinished: None };
        imported.now_of(Position::new(said_at), Position::new(said)).map(Position::number)
    }

    #[test]
    fn a_position_is_looked_up_where_the_event_that_says_it_was_imported() {
        // 1 to 10 came to 101 to 110, but for 5, which had been scavenged.
        let imports = [import(111, &[(1, 101, 4), (6, 105, 5)])];
        assert_eq!(now(&imports, 109, 2), Some(102));
        assert_eq!(now(&imports, 109, 10), Some(109));
        assert_eq!(now(&imports, 109, 5), None, "it was not there any more");
        assert_eq!(now(&imports, 50, 2), Some(2), "said here, before the import");
        assert_eq!(now(&imports, 120, 102), Some(102), "said here, after it");
    }

    #[test]
    fn a_checkpoint_of_the_store_that_was_imported_goes_on() {
        // Events 5, 11 and 12 had been scavenged; 12 was the last.
        let imports = vec![import(111, &[(1, 101, 4), (6, 105, 5)])];
        let imported = ImportedPositions { imports, unfinished: None };
        let reached = |life, seen| {
            let life = Incarnation::new(Uuid::from_u128(life));
            imported.reached(life, Position::new(seen)).map(Position::number)
        };
        assert_eq!(reached(1, 0), Some(0));
        assert_eq!(reached(1, 3), Some(103));
        assert_eq!(reached(2, 5), Some(104), "the last one before it that is there");
        assert_eq!(reached(2, 12), Some(109));
        assert_eq!(reached(2, 13), None, "more than was imported");
        assert_eq!(reached(1, 7), None, "more than the next life has of it");
        assert_eq!(reached(3, 1), None, "of another store");
    }

    #[test]
    fn what_was_imported_twice_is_looked_up_twice() {
        // The store that was imported had an import itself: 1 to 3 came to 11 to 13, ended at 14.
        let imports = [import(1014, &[(1, 11, 3)]), import(2000, &[(1, 1001, 20)])];
        assert_eq!(now(&imports, 1012, 1), Some(1011), "said in the first of the three stores");
        assert_eq!(now(&imports, 1015, 12), Some(1012), "said in the second");
        assert_eq!(now(&imports, 2001, 1012), Some(1012), "said in the third");
    }

    #[test]
    fn two_imports_beside_each_other_do_not_touch() {
        let imports = [import(20, &[(1, 11, 5)]), import(40, &[(1, 31, 5)])];
        assert_eq!(now(&imports, 12, 1), Some(11));
        assert_eq!(now(&imports, 33, 1), Some(31));
        assert_eq!(now(&imports, 22, 1), Some(1));
    }
}
