//! Import into a store that has events.
//!
//! Invariants: nothing is appended before a dry run has found that the whole input can be. Events
//! keep their ids, order and append boundaries, so a retry of an original append is recognized. The
//! store records old and new positions ([`mapping`]). With `--accept-truncated`, a stream whose
//! beginning was scavenged starts at revision 0, and its `$tb` is lowered accordingly.

use std::collections::{HashMap, HashSet};

use anyhow::{Context as _, Result, anyhow};
use gesta_log::{LogStore, StoredAppend};
use gesta_store::{
    Append, Conflict, EventId, ExpectedRevision, Incarnation, NewEvent, Position, RecordedEvent,
    Revision, StoreError, StreamAppend, StreamMetadata, StreamName,
};
use indicatif::ProgressBar;

use super::{
    End, Imported, Taken, Way, each, ended_early,
    flight::{Flight, ImportAppend},
    input::Kept,
    known::{Known, There},
    mapping,
    truncated::{self, Truncated},
};
use crate::{
    counted::counted,
    events::Printable,
    exit::Refusal,
    transfer::{Header, LOG, Line},
};

/// Imports an input whose first line has been read.
pub(super) fn import(
    input: &Kept,
    first: Line,
    store: &LogStore,
    way: Way<'_>,
) -> Result<Imported> {
    let format = match first {
        Line::Header(header) => Format::Present(header),
        Line::Append { .. } => Format::Old { has_places: true },
        Line::Event(_) | Line::Closing(_) => Format::Old { has_places: false },
    };
    let found = match on_trial(input, &format, store, way).context("nothing was imported")? {
        Tried::AllThere(there_already) => return Ok(there_already),
        Tried::Fits(found) => found,
    };
    let source = format.source();
    if let Some((source, header)) = source {
        mapping::begin(store, source, header)?;
    }
    let mut elsewhere = Elsewhere { found, ..Elsewhere::new(&format, Flight::new(store), store) };
    let taken = each(&mut input.lines()?, way, |taken| elsewhere.take(taken).map(drop));
    let landed = elsewhere.flight.land();
    let end = match (taken, landed) {
        (Ok(end), Ok(())) => end,
        (Err(error), _) | (_, Err(error)) => {
            let early = elsewhere.ended_early(&error);
            return Err(error.context(early));
        }
    };
    if let Some((source, header)) = source {
        mapping::end(store, source, header, elsewhere.flight.mapping.ranges())?;
    }
    Ok(elsewhere.imported(&end))
}

/// Checks the whole input without appending. Appends cannot be undone, so every problem must be
/// found before the first one.
fn on_trial(input: &Kept, format: &Format, store: &LogStore, way: Way<'_>) -> Result<Tried> {
    let mut trial = Elsewhere::new(format, Flight::on_trial(store), store);
    let bar = ProgressBar::hidden();
    let (mut is_all_there, mut known, mut last) = (true, 0, None);
    let mut ids = HashSet::new();
    let end = each(&mut input.lines()?, Way { bar: &bar, ..way }, |taken| {
        let Taken { number, append, .. } = &taken;
        let Some((first, last_of)) = append.events.first().zip(append.events.last()) else {
            return trial.take(taken).map(drop);
        };
        if matches!(format, Format::Old { .. }) && !ids.insert(first.id) {
            trial.found.repeats.insert(*number);
            return Ok(());
        }
        let (position, events) = (first.position, append.events.len() as u64);
        (known, last) = (known + events, Some(last_of.position));
        is_all_there &= trial.take(taken)? == Some(position);
        Ok(())
    })?;
    if let Some(told) = trial.truncated.told().filter(|_| !way.accept_truncated) {
        return Err(format.lacks(&told).into());
    }
    let is_whole = matches!((format, end), (Format::Present(_), End::Whole));
    if is_all_there && known > 0 && is_whole {
        let (exact, appended, warnings) = (false, 0, Vec::new());
        return Ok(Tried::AllThere(Imported { exact, appended, known, last, warnings }));
    }
    Ok(Tried::Fits(trial.found))
}

/// Result of a dry run.
enum Tried {
    /// Every event exists at its original position, as in a store imported exactly from this
    /// export.
    AllThere(Imported),
    Fits(KnownLines),
}

/// Parts of the input that exist in the store. Recorded by the dry run, to avoid a second lookup.
#[derive(Default)]
struct KnownLines {
    /// Line of the last append that exists in the store.
    last_known: u64,
    /// Lines of a version 1 file that repeat an earlier line.
    repeats: HashSet<u64>,
}

/// Format of an input, known from its first line.
enum Format {
    Present(Header),
    /// Version 1, which does not include scavenged events.
    Old {
        /// `true` if events have positions.
        has_places: bool,
    },
}

impl Format {
    /// Returns the latest incarnation of the exported store, if known.
    fn source(&self) -> Option<(Incarnation, &Header)> {
        let Self::Present(header) = self else { return None };
        let (incarnation, _) = header.incarnations.last()?;
        Some((*incarnation, header))
    }

    /// Returns whether the export includes all scavenged events. Partial exports do not.
    const fn tells_gone(&self) -> bool {
        matches!(self, Self::Present(Header { whole: true, .. }))
    }

    /// Returns the error for streams without their beginning.
    fn lacks(&self, streams: &str) -> Refusal {
        let way_out = match self {
            Self::Present(header) if header.whole && header.store == LOG => {
                "import into an empty directory, which keeps their revisions"
            }
            Self::Present(_) => {
                "export whole streams; or, where they were truncated and scavenged, all of the store, \
                 and import it into an empty directory, which keeps their revisions"
            }
            Self::Old { .. } => {
                "export all of the store by this version and import it into an empty directory, which \
                 keeps their revisions"
            }
        };
        Refusal::no(
            "streams-truncated",
            format!(
                "what came first is missing in {streams}. What is left would begin at revision 0 here, \
                 and be taken for whole"
            ),
        )
        .hint(format!("{way_out}; or say --accept-truncated if that is meant"))
    }
}

/// An import or a dry run in progress.
struct Elsewhere<'store> {
    format: &'store Format,
    known: Known<'store>,
    flight: Flight<'store>,
    /// The dry run's result, filled while it runs.
    found: KnownLines,
    /// Scavenged events per stream, in the lines read so far.
    gone: HashMap<StreamName, u64>,
    /// Difference between original and new revisions, per stream.
    lower: HashMap<StreamName, u64>,
    truncated: Truncated,
    events_known: u64,
    /// Number of partial appends.
    parts: u64,
}

impl<'store> Elsewhere<'store> {
    fn new(format: &'store Format, flight: Flight<'store>, store: &'store LogStore) -> Self {
        Self {
            format,
            known: Known::new(store),
            flight,
            found: KnownLines::default(),
            gone: HashMap::new(),
            lower: HashMap::new(),
            truncated: Truncated::default(),
            events_known: 0,
            parts: 0,
        }
    }

    /// Appends, unless the store has the append already; then returns its position.
    fn take(&mut self, taken: Taken) -> Result<Option<Position>> {
        let Taken { number, append, is_part } = taken;
        self.parts += u64::from(is_part);
        let Some(there) = self.there(number, &append)? else {
            if let Some(offer) = self.offer(number, append)? {
                self.flight.send(offer)?;
            }
            return Ok(None);
        };
        if !there.is(&append.events) {
            let first_event = append.events.first().map_or_else(EventId::random, |event| event.id);
            let repeat = Conflict::PartialRepeat { first_event };
            return Err(conflict(&format!("line {number}"), repeat).into());
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
        Ok(Some(there.begin))
    }

    /// Looks an append up in the store. After the dry run, only appends that it found are looked
    /// up.
    fn there(&mut self, line: u64, append: &StoredAppend) -> Result<Option<There>> {
        if self.found.repeats.contains(&line) {
            // The earlier line may be in flight; wait until it can be found.
            self.flight.land()?;
        } else if !self.flight.is_trial() && line > self.found.last_known {
            return Ok(None);
        }
        let there = self.known.append(&append.events)?;
        if there.is_some() {
            self.found.last_known = self.found.last_known.max(line);
        }
        Ok(there)
    }

    /// Counts the scavenged events of an append before a position.
    fn count_gone(&mut self, append: &StoredAppend, before: Position) {
        let gone = append.scavenged.iter().flat_map(|of| &of.scavenged);
        for gone in gone.filter(|gone| gone.position < before) {
            *self.gone.entry(gone.stream.clone()).or_default() += 1;
        }
    }

    /// Builds the append for the store, or returns `None` if all its events were scavenged.
    fn offer(&mut self, line: u64, append: StoredAppend) -> Result<Option<ImportAppend>> {
        let mut parts: Vec<StreamAppend> = Vec::new();
        let mut heads: Vec<(StreamName, Revision)> = Vec::new();
        let before: HashMap<_, _> = self.gone_before(&append);
        for event in &append.events {
            let stream = &event.stream;
            let at = match heads.iter().position(|(name, _)| name == stream) {
                Some(at) => at,
                None => {
                    let head = self.flight.head(stream).with_context(|| format!("line {line}"))?;
                    let expected = head.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact);
                    parts.push(StreamAppend {
                        stream: stream.clone(),
                        expected,
                        events: Vec::new(),
                    });
                    // Not the head yet for a new stream: the first event replaces it.
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
            let place = Target { line, next, gone, is_new: none_yet };
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
        Ok(Some(ImportAppend { append, heads, positions, line }))
    }

    /// Returns the number of scavenged events of the same stream before each event.
    fn gone_before(&self, append: &StoredAppend) -> HashMap<Position, u64> {
        let here = append.scavenged.iter().flat_map(|of| &of.scavenged);
        let of = |event: &RecordedEvent| {
            let here = here
                .clone()
                .filter(|gone| gone.stream == event.stream && gone.position < event.position);
            self.gone.get(&event.stream).copied().unwrap_or_default() + here.count() as u64
        };
        append.events.iter().map(|event| (event.position, of(event))).collect()
    }

    /// Checks that the event continues its stream, and records the difference of its revisions.
    fn check_place(&mut self, event: &RecordedEvent, place: Target) -> Result<()> {
        let Target { line, next, gone, is_new } = place;
        let (stream, revision) = (&event.stream, event.revision);
        let name = Printable(stream.as_str());
        let Some(lower) = revision.number().checked_sub(next.number()) else {
            let head = next.previous();
            let expected = revision.previous();
            let expected = expected.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact);
            let other = Conflict::Stream { stream: stream.clone(), expected, head };
            let place = format!("line {line}: {name} has other events in this store");
            return Err(conflict(&place, other).into());
        };
        let known = self.lower.get(stream).copied();
        let may_be = match known {
            Some(known) => lower == known || lower == gone,
            None => lower == 0 || is_new,
        };
        if !may_be {
            return Err(anyhow!(
                "line {line}: it is revision {revision} of {name}, and the next one there can only \
                 be {next}; export whole streams, or import what comes before"
            ));
        }
        if lower > known.unwrap_or_default() {
            let has_the_rest = lower == gone || matches!(self.format, Format::Old { .. });
            self.truncated.take(event, has_the_rest);
        }
        if lower > 0 || known.is_some() {
            self.lower.insert(stream.clone(), lower);
        }
        Ok(())
    }

    /// Returns the event to append. Revisions in stream metadata are lowered like those of the
    /// stream.
    fn moved(&mut self, event: &RecordedEvent) -> Result<NewEvent> {
        let mut moved = NewEvent::from(event);
        let Some(described) = event.stream.described_stream() else { return Ok(moved) };
        if event.event_type.as_str() != StreamMetadata::EVENT_TYPE {
            self.truncated.forget(&described);
            return Ok(moved);
        }
        let metadata = StreamMetadata::from_json(&event.data)?;
        let head = self.flight.head(&described)?;
        let known = self.lower.get(&described).copied();
        let was = head.map(|head| Revision::new(head.number() + known.unwrap_or_default()));
        self.truncated.describe(&described, (event, &metadata), was);
        let before = metadata.truncate_before;
        let lower = match known {
            Some(lower) => lower,
            None if head.is_some() => 0,
            None if !self.format.tells_gone() => before.map_or(0, Revision::number),
            None => self.gone.get(&described).copied().unwrap_or_default(),
        };
        if lower == 0 {
            return Ok(moved);
        }
        let lowered = |before: Revision| Revision::new(before.number().saturating_sub(lower));
        if let Some(before) = before {
            let truncate_before = Some(lowered(before)).filter(|before| *before > Revision::FIRST);
            moved.data = StreamMetadata { truncate_before, ..metadata }.to_json().into();
        }
        if let Some(deleted) = truncated::deleted_before(event) {
            moved.metadata = truncated::with_deleted_before(event, lowered(deleted)).into();
        }
        Ok(moved)
    }

    fn ended_early(&self, error: &anyhow::Error) -> String {
        ended_early(self.flight.mapping.events() - self.events_known, self.events_known, error)
    }

    /// Returns a warning about streams with changed revisions.
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

    fn imported(&self, end: &End) -> Imported {
        let mut warnings = Vec::new();
        if matches!(end, End::Cut) {
            warnings.push("the export was cut; there may have been more".to_owned());
        }
        if let Format::Old { has_places: true } = self.format {
            warnings.push(
                "the file is of an earlier version, which does not say which events were appended \
                 together: each is an append of its own here, so a repeat of an append of several is \
                 a conflict; and recorded times, positions and checkpoints are not kept. An export by \
                 this version keeps them"
                    .to_owned(),
            );
        }
        warnings.extend(self.begun_anew());
        if self.parts > 0 {
            warnings.push(format!(
                "the export has only a part of {}: whoever repeats one is not recognized",
                counted(self.parts, "append")
            ));
        }
        let known = self.events_known;
        let appended = self.flight.mapping.events() - known;
        let last = self.flight.last;
        Imported { exact: false, appended, known, last, warnings }
    }
}

/// Returns the error for input that contradicts the store.
fn conflict(place: &str, conflict: Conflict) -> Refusal {
    Refusal::no("conflict", format!("{place}: {}", StoreError::Conflict(conflict)))
        .hint("import into another store, or export without that stream (--category, --type)")
}

/// Target of an event.
#[derive(Clone, Copy)]
struct Target {
    line: u64,
    /// Next revision of the stream.
    next: Revision,
    /// Number of scavenged events of the stream before the event.
    gone: u64,
    /// `true` if the event is the first of its stream in the target store.
    is_new: bool,
}
