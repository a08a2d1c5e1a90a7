//! Check of a store against an oracle log.
//!
//! Every acknowledged append exists exactly once, complete, in order, byte for byte, at the
//! acknowledged place. A refused append does not exist. An append with an unknown outcome exists
//! once and complete, or not at all. Nothing else exists. Reads by position, id, stream and tag
//! agree. An append that was acknowledged before another one started has a lower position.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context as _, Result, bail, ensure};
use gesta_store::{
    EventId, EventQuery, EventStore, Filter, Pages, Position, QueryItem, ReadAll, ReadStream,
    RecordedEvent, Revision, StreamName, Tag,
};
use serde::Serialize;

use super::{
    log::{Answer, AppendPlace, OfferedAppend, OracleLog},
    plan::{AppendId, PlannedAppend},
    record::place,
};
use crate::load::event_store::ThreadWaker;

/// Result of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    pub events: u64,
    pub acknowledged: usize,
    pub refused: usize,
    /// Existing appends with an unknown outcome.
    pub open_and_there: usize,
    pub streams: usize,
    pub tags: usize,
}

/// Reads the whole store and compares it with the log.
pub fn check(store: &dyn EventStore, log: &OracleLog) -> Result<CheckReport> {
    let parked = ThreadWaker::current();
    let mut found = StoreContents::default();
    let mut last = Position::START;
    each(store.read_all(ReadAll::forwards()), &parked, |event| {
        ensure!(
            event.position == last.next(),
            "position {} does not follow position {last}",
            event.position
        );
        last = event.position;
        found.add(log, event).with_context(|| format!("the event at position {last}"))
    })
    .context("while reading by position")?;
    found.end()?;
    found.compare(log)?;
    by_id(store, log, &found, &parked).context("while looking up appends by id")?;
    for (stream, expected) in &found.streams {
        let read = store.read_stream(ReadStream::forwards(stream.clone()));
        by_list(read, log, expected, &parked)
            .with_context(|| format!("while reading stream {stream}"))?;
    }
    for (tag, expected) in &found.tags {
        let tagged = Filter::Query(EventQuery::of(QueryItem::every().tagged([tag.clone()])));
        let read = store.read_all(ReadAll::forwards().filter(tagged));
        by_list(read, log, expected, &parked)
            .with_context(|| format!("while reading by tag {tag}"))?;
    }
    let (acknowledged, refused) = log.counts();
    Ok(CheckReport {
        events: last.number(),
        acknowledged,
        refused,
        open_and_there: found.appends.len() - acknowledged,
        streams: found.streams.len(),
        tags: found.tags.len(),
    })
}

fn each(
    mut pages: Pages,
    parked: &ThreadWaker,
    mut visit: impl FnMut(&RecordedEvent) -> Result<()>,
) -> Result<()> {
    while let Some(page) = parked.block_on(pages.next()) {
        page?.iter().try_for_each(&mut visit)?;
    }
    Ok(())
}

/// Contents of the store, collected in the order of positions.
#[derive(Default)]
struct StoreContents {
    appends: HashMap<AppendId, AppendPlace>,
    streams: BTreeMap<StreamName, Vec<EventId>>,
    tags: BTreeMap<Tag, Vec<EventId>>,
    /// Append whose events are not all read yet, with the number of those that are.
    begun: Option<(AppendId, PlannedAppend, u32)>,
}

impl StoreContents {
    /// Adds the event at the next position.
    fn add(&mut self, log: &OracleLog, event: &RecordedEvent) -> Result<()> {
        let (id, ordinal) = AppendId::of(event.id);
        let planned = match self.begun.take() {
            Some((begun, planned, next)) => {
                ensure!(
                    (id, ordinal) == (begun, next),
                    "append {begun:?} is incomplete: the store has only {next} of its events"
                );
                planned
            }
            None => {
                ensure!(ordinal == 0, "the first event of append {id:?} is missing");
                ensure!(log.appends.contains_key(&id), "append {id:?} is not in the log");
                log.plan(id)?
            }
        };
        same(&planned, ordinal, event)?;
        let ids_in_stream = self.streams.entry(event.stream.clone()).or_default();
        let revision = Revision::new(ids_in_stream.len() as u64);
        ensure!(
            event.revision == revision,
            "found revision {}, expected {revision}",
            event.revision
        );
        ids_in_stream.push(event.id);
        self.tags.entry(planned.tag.clone()).or_default().push(event.id);
        if ordinal + 1 < planned.count() {
            self.begun = Some((id, planned, ordinal + 1));
            return Ok(());
        }
        let head = |stream| self.streams.get(stream).map_or(0, |events| events.len() as u64 - 1);
        let revisions = planned.parts.iter().map(|(stream, _)| Revision::new(head(stream)));
        let place = AppendPlace { position: event.position, revisions: revisions.collect() };
        ensure!(self.appends.insert(id, place).is_none(), "the store has append {id:?} twice");
        Ok(())
    }

    /// Checks that the last append is complete.
    fn end(&self) -> Result<()> {
        match &self.begun {
            Some((id, _, events)) => {
                bail!("append {id:?} is incomplete: the store has only {events} of its events")
            }
            None => Ok(()),
        }
    }

    /// Compares the contents with the log.
    fn compare(&self, log: &OracleLog) -> Result<()> {
        for (id, OfferedAppend { after, answer }) in &log.appends {
            let found = self.appends.get(id);
            match (answer, found) {
                (Answer::Acknowledged(acknowledged), Some(found)) => {
                    ensure!(
                        acknowledged == found,
                        "append {id:?} was acknowledged at {acknowledged:?}, but is at {found:?}"
                    );
                }
                (Answer::Acknowledged(acknowledged), None) => {
                    bail!("append {id:?} was acknowledged at {acknowledged:?}, but is missing")
                }
                (Answer::Refused, Some(found)) => {
                    bail!("append {id:?} was refused, but is at {found:?}")
                }
                (Answer::Refused | Answer::Open, None) | (Answer::Open, Some(_)) => {}
            }
            if let Some(found) = found {
                let first = found.position.number() + 1 - u64::from(log.plan(*id)?.count());
                ensure!(
                    first > after.number(),
                    "append {id:?} is at position {first}, but was submitted after position \
                     {after} was acknowledged"
                );
            }
        }
        Ok(())
    }
}

/// Compares an event with the planned one.
fn same(planned: &PlannedAppend, ordinal: u32, event: &RecordedEvent) -> Result<()> {
    ensure!(ordinal < planned.count(), "the append has no event with ordinal {ordinal}");
    let streams = planned.parts.iter().flat_map(|(stream, count)| (0..*count).map(move |_| stream));
    let stream = streams.clone().nth(ordinal as usize);
    let offered = planned.event(ordinal);
    let texts = stream == Some(&event.stream)
        && event.event_type == offered.event_type
        && event.schema_version == offered.schema_version
        && event.content_type == offered.content_type
        && event.tags == offered.tags
        && event.correlation_id.is_none()
        && event.causation_id.is_none();
    ensure!(texts, "the stream, type or tags differ from the submitted event: {event:?}");
    ensure!(event.data == offered.data, "the data differ from the submitted event");
    ensure!(event.metadata == offered.metadata, "the metadata differ from the submitted event");
    Ok(())
}

fn by_id(
    store: &dyn EventStore,
    log: &OracleLog,
    found: &StoreContents,
    parked: &ThreadWaker,
) -> Result<()> {
    for id in log.appends.keys() {
        let appended = parked.block_on(store.find_append(id.event(0)))?;
        let appended = appended.as_ref().map(place);
        let expected = found.appends.get(id);
        ensure!(
            appended.as_ref() == expected,
            "the lookup found append {id:?} at {appended:?}; expected {expected:?}"
        );
    }
    Ok(())
}

/// Checks that the pages hold exactly the expected events.
fn by_list(
    pages: Pages,
    log: &OracleLog,
    expected: &[EventId],
    parked: &ThreadWaker,
) -> Result<()> {
    let mut expected = expected.iter();
    each(pages, parked, |event| {
        let next = expected.next();
        ensure!(next == Some(&event.id), "found event {}; expected {next:?}", event.id);
        let (id, ordinal) = AppendId::of(event.id);
        same(&log.plan(id)?, ordinal, event)
    })?;
    ensure!(expected.len() == 0, "{} events are missing", expected.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use gesta_store::{Append, ExpectedRevision, NewEvent, memory::MemoryStore};

    use super::*;
    use crate::oracle::{log::LogEntry, plan::Shape, record::record};

    fn shape() -> Shape {
        Shape { life: 1, writers: 4, events_per_append: 0, event_bytes: 40, streams: 5, tags: 5 }
    }

    /// A store with appends, and its log.
    fn recorded() -> (MemoryStore, Vec<LogEntry>) {
        let store = MemoryStore::new();
        let lines = Mutex::new(Vec::new());
        let sink = |entry: &LogEntry| {
            lines.lock().unwrap().push(entry.clone());
            Ok(())
        };
        record(&store, &shape(), Some(60), &sink).unwrap();
        (store, lines.into_inner().unwrap())
    }

    fn log(lines: impl IntoIterator<Item = LogEntry>) -> OracleLog {
        let mut log = OracleLog::default();
        lines.into_iter().for_each(|entry| log.add(entry).unwrap());
        log
    }

    fn append(store: &MemoryStore, stream: &StreamName, events: Vec<NewEvent>) {
        let append = Append::to(stream.clone(), ExpectedRevision::Any, events);
        ThreadWaker::current().block_on(store.append(append)).unwrap();
    }

    /// Returns the error of a check with a modified log or store.
    fn complaint(store: &MemoryStore, lines: Vec<LogEntry>) -> String {
        format!("{:#}", check(store, &log(lines)).unwrap_err())
    }

    /// A planned append that was never made, of one event.
    fn unmade(demand: u64) -> (AppendId, PlannedAppend) {
        (demand..)
            .map(|number| AppendId { life: 1, writer: 0, number })
            .map(|id| (id, shape().plan(id).unwrap()))
            .find(|(_, planned)| planned.count() == 1)
            .unwrap()
    }

    #[test]
    fn what_was_told_is_found() {
        let (store, lines) = recorded();
        let found = check(&store, &log(lines)).unwrap();
        assert_eq!(found.acknowledged + found.refused, 240, "{found:?}");
        assert!(found.refused > 0 && found.events > found.acknowledged as u64, "{found:?}");
        assert_eq!(found.open_and_there, 0);
    }

    #[test]
    fn an_open_append_is_there_or_not() {
        let (store, mut lines) = recorded();
        lines.retain(|entry| !matches!(entry, LogEntry::Acknowledged { writer: 1, .. }));
        let (id, _) = unmade(1_000);
        lines.push(LogEntry::Offer { writer: id.writer, number: id.number });
        let found = check(&store, &log(lines)).unwrap();
        assert!(found.open_and_there > 0);
    }

    #[test]
    fn a_lost_acknowledgement_is_noticed() {
        let (store, mut lines) = recorded();
        let (AppendId { writer, number, .. }, _) = unmade(1_000);
        let place = AppendPlace { position: Position::new(9), revisions: vec![Revision::FIRST] };
        lines.push(LogEntry::Offer { writer, number });
        lines.push(LogEntry::Acknowledged { writer, number, place });
        assert!(complaint(&store, lines).contains("but is missing"));
    }

    #[test]
    fn an_append_that_is_elsewhere_is_noticed() {
        let (store, mut lines) = recorded();
        for entry in &mut lines {
            if let LogEntry::Acknowledged { place, .. } = entry {
                place.position = place.position.next();
            }
        }
        assert!(complaint(&store, lines).contains("but is at"));
    }

    #[test]
    fn a_refused_append_that_is_there_is_noticed() {
        let (store, mut lines) = recorded();
        for entry in &mut lines {
            if let LogEntry::Acknowledged { writer, number, .. } = *entry {
                *entry = LogEntry::Refused { writer, number };
            }
        }
        assert!(complaint(&store, lines).contains("was refused, but is at"));
    }

    #[test]
    fn an_append_that_overtook_is_noticed() {
        let (store, mut lines) = recorded();
        // This log moves the last acknowledgement before the first offer.
        let of = |entry: &LogEntry| match entry {
            LogEntry::Acknowledged { writer, number, .. } => Some((*writer, *number)),
            _ => None,
        };
        let (at, who) =
            lines.iter().enumerate().rev().find_map(|(at, entry)| Some((at, of(entry)?))).unwrap();
        let last = lines.remove(at);
        let (writer, number) = who;
        lines.retain(|entry| *entry != LogEntry::Offer { writer, number });
        lines.splice(1..1, [LogEntry::Offer { writer, number }, last]);
        assert!(complaint(&store, lines).contains("but was submitted after position"));
    }

    #[test]
    fn an_append_that_was_not_offered_is_noticed() {
        let (store, lines) = recorded();
        let (_, planned) = unmade(1_000);
        append(&store, &planned.parts[0].0, vec![planned.event(0)]);
        assert!(complaint(&store, lines).contains("is not in the log"));
    }

    #[test]
    fn other_bytes_are_noticed() {
        let (store, mut lines) = recorded();
        let (AppendId { writer, number, .. }, planned) = unmade(1_000);
        lines.push(LogEntry::Offer { writer, number });
        let mut event = planned.event(0);
        event.data = vec![1, 2, 3].into();
        append(&store, &planned.parts[0].0, vec![event]);
        assert!(complaint(&store, lines).contains("the data differ"));
    }

    #[test]
    fn half_an_append_is_noticed() {
        let (store, mut lines) = recorded();
        let (AppendId { writer, number, .. }, planned) = (1_000..)
            .map(|number| AppendId { life: 1, writer: 0, number })
            .map(|id| (id, shape().plan(id).unwrap()))
            .find(|(_, planned)| planned.count() > 1)
            .unwrap();
        lines.push(LogEntry::Offer { writer, number });
        append(&store, &planned.parts[0].0, vec![planned.event(0)]);
        assert!(complaint(&store, lines).contains("the store has only 1 of its events"));
    }
}
