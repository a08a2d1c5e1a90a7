//! Writes appends into an empty directory, exactly as another store has them.
//!
//! Invariants:
//! - The directory cannot be opened as a store before [`ImportWriter::finish`].
//! - Appends of an earlier attempt are durable; they are compared, not written again.
//! - An append that no store can contain is rejected.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    path::Path,
};

use gesta_store::{Incarnation, Limits, Position, RecordedAt, RecordedEvent, Revision};
use uuid::Uuid;

use super::{
    ImportError, StoreExport, StoredAppend,
    segment::{ImportedSegment, SegmentStart, is_unfinished},
};
use crate::{
    clock::{Rng, SystemRng},
    disk::{Access, Disk, FileDisk, Operation},
    format::Opening,
    maintenance::backup::{BackupError, first_file},
    recovery::incarnation_file::{self, StoreCreation},
};

/// The result of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportReport {
    /// The last event's position.
    pub end: Position,
    /// Number of segments written, without those of earlier attempts.
    pub segments: usize,
    /// Total size of these segments, in bytes.
    pub bytes: u64,
    /// The store's new incarnation.
    pub incarnation: Incarnation,
}

/// Creates a store from the appends of another one, with the same positions, revisions, recorded
/// times, append boundaries and places of scavenged events.
///
/// The store keeps the incarnations of the other one up to the last imported position, and begins a
/// new one after it. A checkpoint of the other store stays valid up to that position; a later one
/// is rejected with [`OtherIncarnation`](gesta_store::Invalid::OtherIncarnation).
///
/// ```
/// use gesta_log::{ImportWriter, LogStore, Options, StoreExport};
/// # use gesta_store::{
/// #     Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, StreamName,
/// #     conformance::block_on,
/// # };
///
/// # let directory = tempfile::tempdir()?;
/// # let at = |name: &str| directory.path().join(name);
/// # let store = LogStore::open(at("things"), Options::default())?;
/// # let event = NewEvent::json(EventId::random(), EventType::new("order-placed")?, "{}");
/// # let append = Append::to(StreamName::new("order-1")?, ExpectedRevision::NoStream, [event]);
/// # block_on(store.append(append.clone()))?;
/// let export = StoreExport::of(&at("things"))?;
/// let mut import = ImportWriter::begin(&at("copy"), export.incarnations())?;
/// for append in export.appends() {
///     import.push(append?)?;
/// }
/// import.finish(export.last_recorded_at()?)?;
///
/// let copy = LogStore::open(at("copy"), Options::default())?;
/// assert_eq!(block_on(copy.append(append))?.position, export.head(), "a repeat is recognized");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ImportWriter {
    disk: FileDisk,
    /// Incarnations that begin later, in order.
    incarnations: VecDeque<(Incarnation, Position)>,
    incarnation: Incarnation,
    /// Remaining appends of an earlier attempt, with which new ones are compared.
    known: Option<Box<dyn Iterator<Item = Result<StoredAppend, BackupError>>>>,
    before: SegmentStart,
    segment: Option<ImportedSegment>,
    check: AppendSequence,
    report: ImportReport,
}

impl fmt::Debug for ImportWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImportWriter").field("next", &self.check.next).finish_non_exhaustive()
    }
}

impl ImportWriter {
    /// Begins an import, or continues an unfinished one. The directory must be missing or empty, or
    /// hold a store without events or an unfinished import.
    ///
    /// `incarnations` are those of the other store, each with the position of its first event, in
    /// order.
    ///
    /// # Errors
    /// Returns [`ImportError`]; nothing was changed.
    pub fn begin(
        directory: &Path,
        incarnations: &[(Incarnation, Position)],
    ) -> Result<Self, ImportError> {
        let importing = |file: &str| file == StoreCreation::Import.file();
        let continues = first_file(directory, importing)?.is_some();
        let locked = |file: &str| file == "LOCK" || is_of_a_log(file);
        let is_store = first_file(directory, locked)?.is_some();
        // Next to a store there may be read models and other files of a program; these stay.
        let in_the_way = |file: &str| !continues && (!is_store || is_of_a_backup(file));
        if let Some(file) = first_file(directory, in_the_way)? {
            return Err(ImportError::Occupied { directory: directory.to_owned(), file });
        }
        let disk = FileDisk::open(directory, Access::ReadWrite)?;
        if is_store && !continues {
            clear(directory, &disk)?;
        }
        let mut rng = SystemRng;
        let cannot = |source| ImportError::Io { doing: "begin the import".to_owned(), source };
        // An interrupted attempt may have chosen the new incarnation already; keep it.
        let known = incarnation_file::importing(&disk).ok().flatten();
        let incarnation = known.unwrap_or_else(|| Incarnation::new(Uuid::from_bytes(rng.bytes())));
        if known.is_none() {
            incarnation_file::begin(&disk, StoreCreation::Import, incarnation).map_err(cannot)?;
        }
        // A killed attempt may have left a part of a segment; whole ones stay.
        for file in disk.list().map_err(cannot)?.into_iter().filter(|file| is_unfinished(file)) {
            disk.run(Operation::Remove { file }).map_err(cannot)?;
        }
        let existing = StoreExport::of_unfinished(directory)?;
        // The segments that are there keep their incarnations, so these have to be the same ones.
        check_incarnations(existing.incarnations(), incarnations)?;
        // Continue after the last complete segment of the earlier attempt.
        let before = match (existing.snapshot().store, existing.snapshot().parts.last()) {
            (Some(store), Some(last)) => SegmentStart {
                store,
                predecessor: Opening {
                    predecessor: last.number,
                    adopted_length: last.bytes,
                    salt: last.salt,
                },
                chain: last.after,
                next: last.next,
                recorded_at: RecordedAt::from_micros(0),
            },
            _ => SegmentStart::first(rng.bytes()),
        };
        // Skip the incarnations that the earlier attempt has begun.
        let incarnations =
            incarnations.iter().skip(existing.incarnations().len()).copied().collect();
        let last = existing.incarnations().last().map(|(incarnation, _)| *incarnation);
        let end = Position::START;
        Ok(Self {
            disk,
            incarnations,
            incarnation: last.unwrap_or(incarnation),
            known: Some(Box::new(existing.into_appends())),
            before,
            segment: None,
            check: AppendSequence::default(),
            report: ImportReport { end, segments: 0, bytes: 0, incarnation },
        })
    }

    /// Adds the next append atomically. Returns true if an earlier attempt had written it already;
    /// it is then compared instead.
    ///
    /// # Errors
    /// Returns [`ImportError`] if the append is invalid, differs from the earlier attempt, or
    /// cannot be written.
    pub fn push(&mut self, append: StoredAppend) -> Result<bool, ImportError> {
        // Validate before comparing, so that the state of the checks is the same in each attempt.
        self.check.take(&append)?;
        if let Some(known) = &mut self.known {
            match known.next().transpose()? {
                Some(existing) if existing == append => return Ok(true),
                Some(_) => return Err(ImportError::AnotherImport { position: append.first }),
                None => self.known = None,
            }
        }
        self.begin_incarnations(append.first)?;
        if self.segment.as_ref().is_some_and(ImportedSegment::is_full) {
            self.end_segment(None)?;
        }
        self.segment().push(&append);
        Ok(false)
    }

    /// Returns the position at which the next append must begin.
    #[must_use]
    pub fn next(&self) -> Position {
        self.check.next
    }

    /// Makes the appends so far durable, so that a later attempt continues after them. The
    /// directory is not a store yet.
    ///
    /// # Errors
    /// Returns [`ImportError`] if the segment cannot be written.
    pub fn keep(mut self) -> Result<(), ImportError> {
        self.end_segment(None)
    }

    /// Completes the store. `last_recorded_at` is the recorded time of the last event, which may
    /// have been scavenged.
    ///
    /// # Errors
    /// Returns [`ImportError`]; the import can be continued.
    pub fn finish(
        mut self,
        last_recorded_at: Option<RecordedAt>,
    ) -> Result<ImportReport, ImportError> {
        if let Some(mut known) = self.known.take()
            && known.next().transpose()?.is_some()
        {
            // The earlier attempt had more appends.
            return Err(ImportError::AnotherImport { position: self.check.next });
        }
        // Also those without events, which begin right after the last one.
        self.begin_incarnations(self.check.next)?;
        self.end_segment(last_recorded_at)?;
        let cannot = |source| ImportError::Io { doing: "end the import".to_owned(), source };
        // All names must be durable before the store is marked as complete.
        self.disk.run(Operation::SyncDirectory).map_err(cannot)?;
        incarnation_file::end(&self.disk, StoreCreation::Import).map_err(cannot)?;
        let end = Position::new(self.check.next.number() - 1);
        Ok(ImportReport { end, ..self.report })
    }

    /// Begins each incarnation that starts at or before a position, with a segment of its own. The
    /// last of these segments is still open afterwards.
    fn begin_incarnations(&mut self, position: Position) -> Result<(), ImportError> {
        while let Some((next, _)) = self.incarnations.pop_front_if(|(_, first)| *first <= position)
        {
            self.end_segment(None)?;
            self.incarnation = next;
            // An incarnation without events is recorded by an empty segment.
            let _ = self.segment();
        }
        Ok(())
    }

    fn segment(&mut self) -> &mut ImportedSegment {
        let (before, incarnation) = (self.before, self.incarnation);
        let begin = || ImportedSegment::new(before, incarnation, SystemRng.bytes());
        self.segment.get_or_insert_with(begin)
    }

    fn end_segment(&mut self, last_recorded_at: Option<RecordedAt>) -> Result<(), ImportError> {
        let Some(segment) = self.segment.take() else { return Ok(()) };
        let (before, bytes) = segment.write(&self.disk, last_recorded_at)?;
        self.before = before;
        self.report.segments += 1;
        self.report.bytes += bytes;
        Ok(())
    }
}

/// Removes the log files of a store without events. Read models next to it are rebuilt later.
fn clear(directory: &Path, disk: &FileDisk) -> Result<(), ImportError> {
    let existing = StoreExport::of(directory)?;
    if existing.head() > Position::START || !existing.snapshot().parts.is_empty() {
        let file = first_file(directory, is_of_a_log)?.unwrap_or_default();
        return Err(ImportError::Occupied { directory: directory.to_owned(), file });
    }
    let cannot = |source| ImportError::Io { doing: "begin the import".to_owned(), source };
    for file in disk.list().map_err(cannot)?.into_iter().filter(|file| is_of_a_log(file)) {
        disk.run(Operation::Remove { file }).map_err(cannot)?;
    }
    Ok(())
}

/// Returns whether a file belongs to a store by its name, except for the lock file.
fn is_of_a_log(file: &str) -> bool {
    let name = file.strip_suffix(".new").unwrap_or(file);
    matches!(name, "INDEX" | "RESTORED" | "RESTORING")
        || name.ends_with(".seg")
        || name.ends_with(".run")
}

fn is_of_a_backup(file: &str) -> bool {
    file == "MANIFEST" || file.ends_with(".segment")
}

/// Compares the incarnations of an earlier attempt with those of the imported store.
fn check_incarnations(
    existing: &[(Incarnation, Position)],
    wanted: &[(Incarnation, Position)],
) -> Result<(), ImportError> {
    let differs = existing.iter().zip(wanted).find(|(existing, wanted)| existing != wanted);
    let position = match differs {
        Some(((_, first), _)) => Some(*first),
        None => existing.get(wanted.len()).map(|(_, first)| *first),
    };
    position.map_or(Ok(()), |position| Err(ImportError::AnotherImport { position }))
}

/// Checks the invariants of a log over all appends so far.
#[derive(Debug)]
struct AppendSequence {
    next: Position,
    recorded_at: RecordedAt,
    /// The next revision of each stream, by a hash of its name: the names would take more memory.
    revisions: HashMap<u128, Revision>,
}

impl Default for AppendSequence {
    fn default() -> Self {
        Self {
            next: Position::START.next(),
            recorded_at: RecordedAt::from_micros(0),
            revisions: HashMap::new(),
        }
    }
}

impl AppendSequence {
    fn take(&mut self, append: &StoredAppend) -> Result<(), ImportError> {
        let position = append.first;
        let impossible = |what| ImportError::Impossible { position, what };
        if append.first != self.next {
            return Err(impossible(format!("position {} was expected", self.next)));
        }
        if append.events.is_empty() && append.scavenged.is_none() {
            return Err(impossible("it has no events".to_owned()));
        }
        check_limits(append).map_err(impossible)?;
        let scavenged = append.scavenged.iter().flat_map(|of| &of.scavenged);
        let mut scavenged = scavenged
            .map(|scavenged| (scavenged.position, &scavenged.stream, scavenged.revision))
            .peekable();
        let kept = append.events.iter();
        let mut kept = kept.map(|event| (event.position, &event.stream, event.revision)).peekable();
        // Kept and scavenged events together must fill the positions of the append without gaps.
        // The first hole ends the loop, so a wrong count costs nothing.
        for _ in 0..append.count() {
            let event = kept
                .next_if(|(position, ..)| *position == self.next)
                .or_else(|| scavenged.next_if(|(position, ..)| *position == self.next));
            let Some((_, stream, revision)) = event else {
                return Err(impossible(format!("no event has position {}", self.next)));
            };
            // Scavenged events count as well: the revisions of a stream have no holes.
            let next = self.revisions.entry(key(stream.as_str())).or_insert(Revision::FIRST);
            if revision != *next {
                return Err(impossible(format!(
                    "revision {next} of {stream} was expected, not {revision}"
                )));
            }
            *next = revision.next();
            self.next = self.next.next();
        }
        if kept.next().is_some() || scavenged.next().is_some() {
            return Err(impossible("it has more events than its count".to_owned()));
        }
        self.take_times(&append.events).map_err(impossible)
    }

    fn take_times(&mut self, events: &[RecordedEvent]) -> Result<(), String> {
        for event in events {
            if event.recorded_at < self.recorded_at {
                return Err("an event has an earlier recorded time than its predecessor".to_owned());
            }
            self.recorded_at = event.recorded_at;
        }
        Ok(())
    }
}

fn check_limits(append: &StoredAppend) -> Result<(), String> {
    let Limits { event_bytes_max, append_bytes_max, tags_max, .. } = Limits::DEFAULT;
    let mut bytes = 0;
    for event in &append.events {
        let length = event.data.len() + event.metadata.len();
        bytes += length;
        if event.tags.len() > tags_max || length > event_bytes_max {
            return Err(format!("event {} exceeds the limits of an event", event.id));
        }
    }
    if bytes > append_bytes_max {
        return Err("it exceeds the size limit of an append".to_owned());
    }
    Ok(())
}

fn key(stream: &str) -> u128 {
    // 128 bits: even among 10¹⁰ streams, two share a hash with a probability of about 10⁻¹⁹.
    let [front, ..] = [blake3::hash(stream.as_bytes())];
    front.as_bytes().first_chunk().map_or(0, |bytes| u128::from_le_bytes(*bytes))
}
