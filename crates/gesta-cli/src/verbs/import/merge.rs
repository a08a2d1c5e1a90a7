//! Import into a store that has events.
//!
//! Invariants: nothing is appended before a dry run has found that the whole input can be. Events
//! keep their ids, order and append boundaries, so a retry of an original append is recognized. The
//! store records old and new positions ([`mapping`]). With `--accept-truncated`, a stream whose
//! beginning was scavenged starts at revision 0, and its `$tb` is lowered accordingly.

use std::collections::{HashMap, HashSet};

use anyhow::{Context as _, Result, anyhow};
use gesta_store::{
    Append, Conflict, EventId, EventStore, ExpectedRevision, Incarnation, NewEvent, Position,
    RecordedEvent, Revision, StoreError, StoredAppend, StreamAppend, StreamMetadata, StreamName,
};
use indicatif::ProgressBar;

use super::{
    appends::{ExportEnd, ExportedAppend, ImportOptions, for_each},
    input::SeekableInput,
    known::{KnownAppend, KnownAppends},
    mapping,
    pipeline::{AppendPipeline, ImportAppend},
    summary::{ImportSummary, interrupted},
    truncated::{self, TruncatedStreams},
};
use crate::{
    counted::counted,
    events::Printable,
    exit::Refusal,
    transfer::{Header, Line},
};

/// Imports an input whose first line has been read.
pub(super) fn import(
    input: &SeekableInput,
    first: Line,
    store: &dyn EventStore,
    options: ImportOptions<'_>,
) -> Result<ImportSummary> {
    let format = match first {
        Line::Header(header) => Format::Current(header),
        Line::Append { .. } => Format::Old { has_positions: true },
        Line::Event(_) | Line::Closing(_) => Format::Old { has_positions: false },
    };
    // First pass: check everything, append nothing.
    let checked = dry_run(input, &format, store, options).context("nothing was imported")?;
    let found = match checked {
        DryRun::AlreadyImported(summary) => return Ok(summary),
        DryRun::Importable(found) => found,
    };
    let source = format.source();
    if let Some((source, header)) = source {
        // Before any event, so that an interrupted import is recognizable by its missing end.
        mapping::begin(store, source, header)?;
    }
    // Second pass: append the events that the first one did not find in the store.
    let pipeline = AppendPipeline::new(store);
    let mut merge = Merge { found, ..Merge::new(&format, pipeline, store) };
    let read = for_each(&mut input.lines()?, options, |append| merge.take(append).map(drop));
    // Also after an error: appends in flight may still succeed, and the report counts them.
    let completed = merge.pipeline.wait();
    let end = match (read, completed) {
        (Ok(end), Ok(())) => end,
        (Err(error), _) | (_, Err(error)) => {
            let progress = merge.interrupted(&error);
            return Err(error.context(progress));
        }
    };
    if let Some((source, header)) = source {
        mapping::end(store, source, header, merge.pipeline.mapping.ranges())?;
    }
    Ok(merge.summary(&end))
}

/// Checks the whole input without appending. Appends cannot be undone, so every problem must be
/// found before the first one.
fn dry_run(
    input: &SeekableInput,
    format: &Format,
    store: &dyn EventStore,
    options: ImportOptions<'_>,
) -> Result<DryRun> {
    let mut merge = Merge::new(format, AppendPipeline::dry_run(store), store);
    let bar = ProgressBar::hidden();
    let (mut at_same_positions, mut known, mut last) = (true, 0, None);
    let mut ids = HashSet::new();
    let options = ImportOptions { bar: &bar, ..options };
    let end = for_each(&mut input.lines()?, options, |exported| {
        let ExportedAppend { line, append, .. } = &exported;
        let Some((first, last_of)) = append.events.first().zip(append.events.last()) else {
            return merge.take(exported).map(drop);
        };
        // A version 1 file that was written in several parts may contain a line twice. During a dry
        // run the first occurrence is not in the store yet, so its id is remembered here.
        if matches!(format, Format::Old { .. }) && !ids.insert(first.id) {
            merge.found.repeats.insert(*line);
            return Ok(());
        }
        let (position, events) = (first.position, append.events.len() as u64);
        (known, last) = (known + events, Some(last_of.position));
        at_same_positions &= merge.take(exported)? == Some(position);
        Ok(())
    })?;
    let lacking = merge.truncated.description().filter(|_| !options.accept_truncated);
    if let Some(streams) = lacking {
        return Err(format.truncated(&streams).into());
    }
    // An exact copy needs no mapping of positions, so a repeated import must not append one.
    let is_complete = matches!((format, end), (Format::Current(_), ExportEnd::Complete));
    if at_same_positions && known > 0 && is_complete {
        let (exact, appended, warnings) = (false, 0, Vec::new());
        let summary = ImportSummary { exact, appended, known, last, warnings };
        return Ok(DryRun::AlreadyImported(summary));
    }
    Ok(DryRun::Importable(merge.found))
}

/// Result of a dry run.
enum DryRun {
    /// Every event exists at its original position, as in a store imported exactly from this
    /// export.
    AlreadyImported(ImportSummary),
    Importable(KnownLines),
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
    Current(Header),
    /// Version 1, which does not include scavenged events.
    Old {
        /// `true` if events have positions.
        has_positions: bool,
    },
}

impl Format {
    /// Returns the latest incarnation of the exported store, if known.
    fn source(&self) -> Option<(Incarnation, &Header)> {
        let Self::Current(header) = self else { return None };
        let (incarnation, _) = header.incarnations.last()?;
        Some((*incarnation, header))
    }

    /// Returns whether the export includes all scavenged events. Partial exports do not.
    const fn has_scavenged_events(&self) -> bool {
        matches!(self, Self::Current(Header { whole: true, .. }))
    }

    /// Returns the error for streams without their beginning.
    fn truncated(&self, streams: &str) -> Refusal {
        let advice = match self {
            Self::Current(header) if header.whole => {
                "import into an empty directory, which keeps revisions"
            }
            Self::Current(_) => {
                "export whole streams; if they were truncated and scavenged, export the whole store \
                 and import it into an empty directory, which keeps revisions"
            }
            Self::Old { .. } => {
                "export the whole store with this version and import it into an empty directory, \
                 which keeps revisions"
            }
        };
        Refusal::refused(
            "streams-truncated",
            format!(
                "the export lacks the beginning of {streams}. The remaining events would be \
                 renumbered from revision 0 and look complete"
            ),
        )
        .hint(format!("{advice}; or use --accept-truncated to renumber them"))
    }
}

/// An import or a dry run in progress.
struct Merge<'store> {
    format: &'store Format,
    known: KnownAppends<'store>,
    pipeline: AppendPipeline<'store>,
    /// The dry run's result, filled while it runs.
    found: KnownLines,
    /// Scavenged events per stream, in the lines read so far.
    scavenged: HashMap<StreamName, u64>,
    /// Original minus new revision, per stream.
    offsets: HashMap<StreamName, u64>,
    truncated: TruncatedStreams,
    events_known: u64,
    /// Number of partial appends.
    parts: u64,
}

impl<'store> Merge<'store> {
    fn new(
        format: &'store Format,
        pipeline: AppendPipeline<'store>,
        store: &'store dyn EventStore,
    ) -> Self {
        Self {
            format,
            known: KnownAppends::new(store),
            pipeline,
            found: KnownLines::default(),
            scavenged: HashMap::new(),
            offsets: HashMap::new(),
            truncated: TruncatedStreams::default(),
            events_known: 0,
            parts: 0,
        }
    }

    /// Appends, unless the store has the append already; then returns its position.
    fn take(&mut self, exported: ExportedAppend) -> Result<Option<Position>> {
        let ExportedAppend { line, append, is_part } = exported;
        self.parts += u64::from(is_part);
        let Some(existing) = self.find(line, &append)? else {
            if let Some(import) = self.prepare(line, append)? {
                self.pipeline.send(import)?;
            }
            return Ok(None);
        };
        // The first id is known, but the rest differs: never skip events that are not there.
        if !existing.matches(&append.events) {
            let first_event = append.events.first().map_or_else(EventId::random, |event| event.id);
            let repeat = Conflict::PartialRepeat { first_event };
            return Err(conflict(&format!("line {line}"), repeat).into());
        }
        // Skipped events count like appended ones, so that a repeated import computes the same
        // offsets and the same mapping as one that was not interrupted.
        self.count_scavenged(&append);
        self.events_known += append.events.len() as u64;
        for (imported, now) in append.events.iter().zip(existing.begin.number()..) {
            self.pipeline.mapping.add(imported.position, Position::new(now));
        }
        for (existing, imported) in existing.pairs(&append.events) {
            let offset = imported.revision.number().saturating_sub(existing.revision.number());
            self.offsets.insert(imported.stream.clone(), offset);
        }
        Ok(Some(existing.begin))
    }

    /// Looks an append up in the store. After the dry run, only appends that it found are looked
    /// up.
    fn find(&mut self, line: u64, append: &StoredAppend) -> Result<Option<KnownAppend>> {
        if self.found.repeats.contains(&line) {
            // The earlier line may be in flight; wait until it can be found.
            self.pipeline.wait()?;
        } else if !self.pipeline.is_dry_run() && line > self.found.last_known {
            return Ok(None);
        }
        let existing = self.known.append(&append.events)?;
        if existing.is_some() {
            self.found.last_known = self.found.last_known.max(line);
        }
        Ok(existing)
    }

    fn count_scavenged(&mut self, append: &StoredAppend) {
        for event in append.scavenged.iter().flat_map(|of| &of.scavenged) {
            *self.scavenged.entry(event.stream.clone()).or_default() += 1;
        }
    }

    /// Builds the append for the store, or returns `None` if all its events were scavenged.
    fn prepare(&mut self, line: u64, append: StoredAppend) -> Result<Option<ImportAppend>> {
        let mut parts: Vec<StreamAppend> = Vec::new();
        let mut heads: Vec<(StreamName, Revision)> = Vec::new();
        let scavenged: HashMap<_, _> = self.scavenged_before(&append);
        for event in &append.events {
            // The first part of a stream expects the head that earlier appends lead to: should one
            // of them fail, this one is a conflict and does not land at another revision.
            let stream = &event.stream;
            let known = heads.iter().position(|(name, _)| name == stream);
            let (head, expected) = match known.and_then(|at| heads.get(at)) {
                Some((_, head)) => (Some(*head), ExpectedRevision::Any),
                None => {
                    let head =
                        self.pipeline.head(stream).with_context(|| format!("line {line}"))?;
                    (head, head.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact))
                }
            };
            // The event takes the next revision of its stream, if it continues the stream at all.
            let (is_new, next) = (head.is_none(), head.map_or(Revision::FIRST, Revision::next));
            let scavenged = scavenged.get(&event.position).copied().unwrap_or_default();
            self.check_revision(event, Target { line, next, scavenged, is_new })?;
            match known.and_then(|at| heads.get_mut(at)) {
                Some((_, head)) => *head = next,
                None => heads.push((stream.clone(), next)),
            }
            // Events keep their order, also where those of another stream stand between them.
            if parts.last().is_none_or(|part| part.stream != *stream) {
                parts.push(StreamAppend::new(stream.clone(), expected, Vec::new()));
            }
            let Some(part) = parts.last_mut() else { continue };
            let event = self.renumbered(event)?;
            part.events.push(event);
        }
        self.count_scavenged(&append);
        if parts.is_empty() {
            return Ok(None);
        }
        let positions = append.events.iter().map(|event| event.position).collect();
        let append = Append::of(parts);
        Ok(Some(ImportAppend { append, heads, positions, line }))
    }

    /// Returns the number of scavenged events of the same stream before each event.
    fn scavenged_before(&self, append: &StoredAppend) -> HashMap<Position, u64> {
        let within = append.scavenged.iter().flat_map(|of| &of.scavenged);
        let before = |event: &RecordedEvent| {
            let within = within.clone().filter(|scavenged| {
                scavenged.stream == event.stream && scavenged.position < event.position
            });
            let earlier = self.scavenged.get(&event.stream).copied().unwrap_or_default();
            earlier + within.count() as u64
        };
        append.events.iter().map(|event| (event.position, before(event))).collect()
    }

    /// Checks that the event continues its stream, and records the difference of its revisions.
    fn check_revision(&mut self, event: &RecordedEvent, target: Target) -> Result<()> {
        let Target { line, next, scavenged, is_new } = target;
        let (stream, revision) = (&event.stream, event.revision);
        let name = Printable(stream.as_str());
        // Revisions only ever get lower. A higher one means that the store has events which the
        // export lacks.
        let Some(offset) = revision.number().checked_sub(next.number()) else {
            let head = next.previous();
            let expected = revision.previous();
            let expected = expected.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact);
            let other = Conflict::Stream { stream: stream.clone(), expected, head };
            let place = format!("line {line}: stream {name} has different events in this store");
            return Err(conflict(&place, other).into());
        };
        let known = self.offsets.get(stream).copied();
        // The offset is constant, except where more events were scavenged in between. A new stream
        // may start at any offset; --accept-truncated decides about that after the dry run.
        let continues = match known {
            Some(known) => offset == known || offset == scavenged,
            None => offset == 0 || is_new,
        };
        if !continues {
            return Err(anyhow!(
                "line {line}: revision {revision} of stream {name} leaves a gap, since its next \
                 revision in this store is {next}; export whole streams, or import the missing \
                 events first"
            ));
        }
        if offset > known.unwrap_or_default() {
            // Version 1 does not say what was scavenged, so the events count as present.
            let has_the_rest = offset == scavenged || matches!(self.format, Format::Old { .. });
            self.truncated.take(event, has_the_rest);
        }
        if offset > 0 || known.is_some() {
            self.offsets.insert(stream.clone(), offset);
        }
        Ok(())
    }

    /// Returns the event to append. Revisions in stream metadata are lowered like those of the
    /// stream.
    fn renumbered(&mut self, event: &RecordedEvent) -> Result<NewEvent> {
        let mut renumbered = NewEvent::from(event);
        let Some(described) = event.stream.described_stream() else { return Ok(renumbered) };
        // Other events of a metadata stream tombstone the stream: nothing of it can be read.
        if event.event_type.as_str() != StreamMetadata::EVENT_TYPE {
            self.truncated.forget(&described);
            return Ok(renumbered);
        }
        let metadata = StreamMetadata::from_json(&event.data)?;
        let head = self.pipeline.head(&described)?;
        let known = self.offsets.get(&described).copied();
        let was = head.map(|head| Revision::new(head.number() + known.unwrap_or_default()));
        self.truncated.describe(&described, (event, &metadata), was);
        let before = metadata.truncate_before;
        // Metadata can come before the first remaining event of its stream, which would set the
        // offset. The offset is then the number of events that were scavenged so far, or that this
        // metadata hides.
        let offset = match known {
            Some(offset) => offset,
            None if head.is_some() => 0,
            None if !self.format.has_scavenged_events() => before.map_or(0, Revision::number),
            None => self.scavenged.get(&described).copied().unwrap_or_default(),
        };
        if offset == 0 {
            return Ok(renumbered);
        }
        // An unchanged `$tb` would hide events of the renumbered stream.
        let lowered = |before: Revision| Revision::new(before.number().saturating_sub(offset));
        if let Some(before) = before {
            let truncate_before = Some(lowered(before)).filter(|before| *before > Revision::FIRST);
            renumbered.data = metadata.truncate_before(truncate_before).to_json().into();
        }
        if let Some(deleted) = truncated::deleted_before(event) {
            renumbered.metadata = truncated::with_deleted_before(event, lowered(deleted)).into();
        }
        Ok(renumbered)
    }

    fn interrupted(&self, error: &anyhow::Error) -> String {
        let appended = self.pipeline.mapping.events() - self.events_known;
        interrupted(appended, self.events_known, error)
    }

    fn summary(&self, end: &ExportEnd) -> ImportSummary {
        let mut warnings = Vec::new();
        if matches!(end, ExportEnd::Incomplete) {
            warnings.push("the export is incomplete; later events may be missing".to_owned());
        }
        if let Format::Old { has_positions: true } = self.format {
            warnings.push(
                "the file has version 1 of the format, which lacks append boundaries: each event \
                 became an append of its own, so a retry of an original append of several events \
                 ends in a conflict. Recorded times, positions and checkpoints were not kept. An \
                 export by this version keeps all of these"
                    .to_owned(),
            );
        }
        let renumbered = self.offsets.values().filter(|offset| **offset > 0).count() as u64;
        if renumbered > 0 {
            warnings.push(format!(
                "revisions of {} were lowered, because earlier events were scavenged; an import \
                 into an empty directory keeps them",
                counted(renumbered, "stream")
            ));
        }
        if self.parts > 0 {
            warnings.push(format!(
                "the export has only a part of {}; a retry of such an append is not recognized as \
                 a repeat",
                counted(self.parts, "append")
            ));
        }
        let known = self.events_known;
        let appended = self.pipeline.mapping.events() - known;
        let last = self.pipeline.last;
        ImportSummary { exact: false, appended, known, last, warnings }
    }
}

/// Returns the error for input that contradicts the store.
fn conflict(place: &str, conflict: Conflict) -> Refusal {
    Refusal::refused("conflict", format!("{place}: {}", StoreError::Conflict(conflict)))
        .hint("import into another store, or export without that stream (--category, --type)")
}

/// Target of an event.
#[derive(Clone, Copy)]
struct Target {
    line: u64,
    /// Next revision of the stream.
    next: Revision,
    /// Number of scavenged events of the stream before the event.
    scavenged: u64,
    /// `true` if the event is the first of its stream in the target store.
    is_new: bool,
}
