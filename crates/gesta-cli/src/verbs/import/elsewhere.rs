//! What was exported, appended to a store that has a life of its own.
//!
//! Always holds: events keep their ids, their order, and which were appended together, so whoever
//! repeats an append of the other store is recognized; where events were and where they are now is
//! kept in the store ([`mapping`]). A stream of which the beginning was scavenged begins
//! anew, and its `$tb` moves with it.

use std::collections::HashMap;

use anyhow::{Context as _, Result, anyhow};
use gesta_log::{LogStore, StoredAppend};
use gesta_store::{
    Append, Conflict, EventId, ExpectedRevision, Incarnation, NewEvent, Position, RecordedAt,
    RecordedEvent, Revision, StoreError, StreamAppend, StreamMetadata, StreamName,
};

use super::{
    End, Imported, Input, Taken, Way, each_append, ended_early,
    flight::{Flight, Offer},
    known::Known,
    mapping,
};
use crate::{
    counted::counted,
    events::Printable,
    transfer::{Header, Line},
};

/// Imports what an export of the present format has.
pub(super) fn import(
    mut lines: Input,
    header: &Header,
    store: &LogStore,
    way: Way<'_>,
) -> Result<Imported> {
    let source = header.incarnations.last().map(|(incarnation, _)| *incarnation);
    if let Some(source) = source {
        mapping::begin(store, source, header)?;
    }
    let mut elsewhere = Elsewhere::new(store, false);
    let taken = each_append(&mut lines, way, |taken| elsewhere.take(taken));
    let (end, mut warnings) = elsewhere.end(taken, source, header)?;
    if matches!(end, End::Cut) {
        warnings.insert(0, "the export was cut; there may have been more".to_owned());
    }
    Ok(elsewhere.imported(warnings))
}

/// Imports a file of before, which has a line for each event and nothing else.
pub(super) fn import_old(
    mut lines: Input,
    first: (u64, Line),
    store: &LogStore,
    way: Way<'_>,
) -> Result<Imported> {
    let mut elsewhere = Elsewhere::new(store, true);
    let had_places = matches!(first, (_, Line::Append { .. }));
    let taken = take_old(&mut lines, first, way, &mut elsewhere);
    let landed = elsewhere.flight.land();
    taken.and(landed).with_context(|| elsewhere.ended_early())?;
    let mut warnings = Vec::new();
    if had_places {
        warnings.push(
            "the file is of an earlier version, which does not say which events were appended \
             together: each is an append of its own here, so a repeat of an append of several is a \
             conflict; and recorded times, positions and checkpoints are not kept. An export by this \
             version keeps them"
                .to_owned(),
        );
    }
    warnings.extend(elsewhere.begun_anew());
    Ok(elsewhere.imported(warnings))
}

fn take_old(
    lines: &mut Input,
    first: (u64, Line),
    way: Way<'_>,
    elsewhere: &mut Elsewhere<'_>,
) -> Result<()> {
    let mut next = Some(first);
    while let Some((number, line)) = next {
        let append = match line {
            Line::Append { append, is_part: false } => append,
            Line::Event(offered) => {
                let event = offered.as_recorded(Position::START, RecordedAt::from_micros(0));
                StoredAppend { first: event.position, events: vec![event], scavenged: None }
            }
            Line::Append { is_part: true, .. } | Line::Header(_) | Line::Closing(_) => {
                let why = "it belongs to an export of which the first line is missing";
                return Err(lines.wrong(why).into());
            }
        };
        elsewhere.take(Taken { number, append, is_part: false })?;
        way.bar.inc(lines.bytes());
        next = lines.next()?;
    }
    Ok(())
}

/// An import at work.
struct Elsewhere<'store> {
    known: Known<'store>,
    flight: Flight<'store>,
    store: &'store LogStore,
    /// How many events of a stream were scavenged, as far as the export was read.
    gone: HashMap<StreamName, u64>,
    /// By how much revisions of a stream are lower here than they were there.
    lower: HashMap<StreamName, u64>,
    /// Whether it is not known what was scavenged.
    is_old: bool,
    events_known: u64,
    /// Appends of which the export had a part.
    parts: u64,
}

impl<'store> Elsewhere<'store> {
    fn new(store: &'store LogStore, is_old: bool) -> Self {
        Self {
            known: Known::new(store),
            flight: Flight::new(store),
            store,
            gone: HashMap::new(),
            lower: HashMap::new(),
            is_old,
            events_known: 0,
            parts: 0,
        }
    }

    fn take(&mut self, taken: Taken) -> Result<()> {
        let Taken { number, append, is_part } = taken;
        self.parts += u64::from(is_part);
        let known = self.known.append(&append.events)?;
        let Some(there) = known else {
            if let Some(offer) = self.offer(number, append)? {
                self.flight.send(offer)?;
            }
            return Ok(());
        };
        if !there.is(&append.events) {
            let first_event = append.events.first().map_or_else(EventId::random, |event| event.id);
            let repeat = StoreError::Conflict(Conflict::PartialRepeat { first_event });
            return Err(anyhow::Error::new(repeat).context(format!("line {number}")));
        }
        self.count_gone(&append, Position::MAX);
        self.events_known += append.events.len() as u64;
        for (offered, now) in append.events.iter().zip(there.begin.number()..) {
            self.flight.mapping.add(offered.position, Position::new(now));
        }
        for (there, offered) in there.pairs(&append.events) {
            let lower = offered.revision.number().saturating_sub(there.revision.number());
            self.lower.insert(offered.stream.clone(), lower);
        }
        Ok(())
    }

    /// Counts what was scavenged of an append before a position.
    fn count_gone(&mut self, append: &StoredAppend, before: Position) {
        let gone = append.scavenged.iter().flat_map(|of| &of.gone);
        for gone in gone.filter(|gone| gone.position < before) {
            *self.gone.entry(gone.stream.clone()).or_default() += 1;
        }
    }

    /// What is offered to the store for an append; nothing if nothing is left of it.
    fn offer(&mut self, line: u64, append: StoredAppend) -> Result<Option<Offer>> {
        let mut parts: Vec<StreamAppend> = Vec::new();
        let mut heads: Vec<(StreamName, Revision)> = Vec::new();
        let before: HashMap<_, _> = self.gone_before(&append);
        for event in &append.events {
            let stream = &event.stream;
            let at = match heads.iter().position(|(name, _)| name == stream) {
                Some(at) => at,
                None => {
                    let head = self.flight.head(stream)?;
                    let expected = head.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact);
                    parts.push(StreamAppend {
                        stream: stream.clone(),
                        expected,
                        events: Vec::new(),
                    });
                    // One before the first, for now.
                    heads.push((stream.clone(), head.unwrap_or(Revision::FIRST)));
                    parts.len() - 1
                }
            };
            let (Some(part), Some((_, head))) = (parts.get_mut(at), heads.get_mut(at)) else {
                continue;
            };
            let none_yet = part.events.is_empty() && part.expected == ExpectedRevision::NoStream;
            let next = if none_yet { Revision::FIRST } else { head.next() };
            let gone = before.get(&event.position).copied().unwrap_or_default();
            let place = Place { line, next, gone, is_new: none_yet };
            self.check_place(event, place)?;
            *head = next;
            let event = self.moved(event)?;
            part.events.push(event);
        }
        self.count_gone(&append, Position::MAX);
        if parts.is_empty() {
            return Ok(None);
        }
        let positions = append.events.iter().map(|event| event.position).collect();
        let append = Append { streams: parts, condition: None };
        Ok(Some(Offer { append, heads, positions, line }))
    }

    /// Of each event, how many events of its stream were scavenged before it.
    fn gone_before(&self, append: &StoredAppend) -> HashMap<Position, u64> {
        let here = append.scavenged.iter().flat_map(|of| &of.gone);
        let of = |event: &RecordedEvent| {
            let here = here
                .clone()
                .filter(|gone| gone.stream == event.stream && gone.position < event.position);
            self.gone.get(&event.stream).copied().unwrap_or_default() + here.count() as u64
        };
        append.events.iter().map(|event| (event.position, of(event))).collect()
    }

    /// Checks that the event comes next in its stream here, and notes by how much its revision is
    /// lower.
    fn check_place(&mut self, event: &RecordedEvent, place: Place) -> Result<()> {
        let Place { line, next, gone, is_new } = place;
        let (stream, revision) = (&event.stream, event.revision);
        let name = Printable(stream.as_str());
        let Some(lower) = revision.number().checked_sub(next.number()) else {
            let head = next.previous();
            let expected = revision.previous();
            let expected = expected.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact);
            let conflict = Conflict::Stream { stream: stream.clone(), expected, head };
            return Err(anyhow::Error::new(StoreError::Conflict(conflict))
                .context(format!("line {line}: {name} has other events in this store")));
        };
        let known = self.lower.get(stream).copied();
        let may_be = match known {
            Some(known) => lower == known || lower == gone,
            None => lower == 0 || (is_new && (lower == gone || self.is_old)),
        };
        if !may_be {
            return Err(anyhow!(
                "line {line}: it is revision {revision} of {name}, and the next one there can only \
                 be {next}; export whole streams, or import what comes before"
            ));
        }
        if lower > 0 || known.is_some() {
            self.lower.insert(stream.clone(), lower);
        }
        Ok(())
    }

    /// The event as it is appended: revisions that stream metadata name are lower, too.
    fn moved(&self, event: &RecordedEvent) -> Result<NewEvent> {
        let mut moved = NewEvent {
            id: event.id,
            event_type: event.event_type.clone(),
            schema_version: event.schema_version,
            content_type: event.content_type.clone(),
            data: event.data.clone(),
            metadata: event.metadata.clone(),
            tags: event.tags.clone(),
            correlation_id: event.correlation_id.clone(),
            causation_id: event.causation_id.clone(),
        };
        let Some(described) = event.stream.described_stream() else { return Ok(moved) };
        if event.event_type.as_str() != StreamMetadata::EVENT_TYPE {
            return Ok(moved);
        }
        let metadata = StreamMetadata::from_json(&event.data)?;
        let Some(before) = metadata.truncate_before else { return Ok(moved) };
        let lower = match self.lower.get(&described).copied() {
            Some(lower) => lower,
            None if self.flight.head(&described)?.is_some() => 0,
            None if self.is_old => before.number(),
            None => self.gone.get(&described).copied().unwrap_or_default(),
        };
        if lower > 0 {
            let before = Revision::new(before.number().saturating_sub(lower));
            let truncate_before = Some(before).filter(|before| *before > Revision::FIRST);
            moved.data = StreamMetadata { truncate_before, ..metadata }.to_json().into();
        }
        Ok(moved)
    }

    /// Waits for everything, and keeps where it is.
    fn end(
        &mut self,
        taken: Result<End>,
        source: Option<Incarnation>,
        header: &Header,
    ) -> Result<(End, Vec<String>)> {
        let landed = self.flight.land();
        let end = match (taken, landed) {
            (Ok(end), Ok(())) => end,
            (Err(error), _) | (_, Err(error)) => return Err(error.context(self.ended_early())),
        };
        if let Some(source) = source {
            mapping::end(self.store, source, header, self.flight.mapping.ranges())?;
        }
        let mut warnings: Vec<_> = self.begun_anew().into_iter().collect();
        if self.parts > 0 {
            warnings.push(format!(
                "the export has only a part of {}: whoever repeats one is not recognized",
                counted(self.parts, "append")
            ));
        }
        Ok((end, warnings))
    }

    fn ended_early(&self) -> String {
        ended_early(self.flight.mapping.events() - self.events_known, self.events_known)
    }

    /// What to say of streams whose revisions are others here.
    fn begun_anew(&self) -> Option<String> {
        let streams = self.lower.values().filter(|lower| **lower > 0).count() as u64;
        (streams > 0).then(|| {
            format!(
                "revisions of {} are lower here, as what came before was scavenged; import into an \
                 empty directory keeps them",
                counted(streams, "stream")
            )
        })
    }

    fn imported(&self, warnings: Vec<String>) -> Imported {
        let known = self.events_known;
        let appended = self.flight.mapping.events() - known;
        let last = self.flight.last;
        Imported { exact: false, appended, known, last, warnings }
    }
}

/// Where an event would go.
#[derive(Clone, Copy)]
struct Place {
    line: u64,
    /// The revision that comes next in its stream.
    next: Revision,
    /// How many events of its stream were scavenged before it.
    gone: u64,
    /// Whether the stream begins with it here.
    is_new: bool,
}
