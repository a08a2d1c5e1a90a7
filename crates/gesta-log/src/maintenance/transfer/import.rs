//! Writing appends into an empty directory, exactly as another store has them.
//!
//! Always holds: the directory is no store before [`ImportWriter::finish`]; what was kept is durable
//! and not written again, but compared; an append that no store could have is refused.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    path::Path,
};

use gesta_store::{Incarnation, Limits, Position, RecordedAt, RecordedEvent, Revision};
use uuid::Uuid;

use super::{
    ImportError, StoreExport, StoredAppend,
    segment::{Before, Segment, is_unfinished},
};
use crate::{
    clock::{Rng, SystemRng},
    disk::{Access, Disk, FileDisk, Operation},
    format::Opening,
    maintenance::backup::{BackupError, first_file},
    recovery::restored::{self, Making},
};

/// What an import came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportReport {
    /// The last event's position.
    pub end: Position,
    /// How many segments were written, those of earlier attempts not counted.
    pub segments: usize,
    /// Their bytes.
    pub bytes: u64,
    /// The store's incarnation from now on.
    pub incarnation: Incarnation,
}

/// Makes a store of appends that another one had, exactly: with their positions, revisions, recorded
/// times and boundaries, and where events were that have been scavenged.
///
/// The store keeps the incarnations that the other one had, up to the position where it ended, and
/// has a new one from there on: a checkpoint of the other store goes on, unless it is past what was
/// imported; that is [`OtherIncarnation`](gesta_store::Invalid::OtherIncarnation).
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
    /// Incarnations that begin later, the next one first.
    lives: VecDeque<(Incarnation, Position)>,
    life: Incarnation,
    /// What an earlier attempt has kept, and is compared.
    known: Option<Box<dyn Iterator<Item = Result<StoredAppend, BackupError>>>>,
    before: Before,
    segment: Option<Segment>,
    check: Check,
    report: ImportReport,
}

impl fmt::Debug for ImportWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImportWriter").field("next", &self.check.next).finish_non_exhaustive()
    }
}

impl ImportWriter {
    /// Begins an import into a directory that is empty or not there, or holds a store that never had
    /// an event, or goes on with an import that did not end. `incarnations` are those of the other store, each with the position of its first
    /// event, in order.
    ///
    /// # Errors
    /// [`ImportError`]; nothing was changed.
    pub fn begin(
        directory: &Path,
        incarnations: &[(Incarnation, Position)],
    ) -> Result<Self, ImportError> {
        let importing = |file: &str| file == Making::Import.file();
        let goes_on = first_file(directory, importing)?.is_some();
        let locked = |file: &str| file == "LOCK" || is_of_a_log(file);
        let is_store = first_file(directory, locked)?.is_some();
        // A store's read models, and whatever a program keeps beside its store, may stay.
        let in_the_way = |file: &str| !goes_on && (!is_store || is_of_a_backup(file));
        if let Some(file) = first_file(directory, in_the_way)? {
            return Err(ImportError::Occupied { directory: directory.to_owned(), file });
        }
        let disk = FileDisk::open(directory, Access::ReadWrite)?;
        if is_store && !goes_on {
            clear(directory, &disk)?;
        }
        let mut rng = SystemRng;
        let cannot = |source| ImportError::Io { doing: "begin the import".to_owned(), source };
        let known = restored::importing(&disk).ok().flatten();
        let incarnation = known.unwrap_or_else(|| Incarnation::new(Uuid::from_bytes(rng.bytes())));
        if known.is_none() {
            restored::begin(&disk, Making::Import, incarnation).map_err(cannot)?;
        }
        for file in disk.list().map_err(cannot)?.into_iter().filter(|file| is_unfinished(file)) {
            disk.run(Operation::Remove { file }).map_err(cannot)?;
        }
        let there = StoreExport::of_unfinished(directory)?;
        check_lives(there.incarnations(), incarnations)?;
        let before = match (there.snapshot().store, there.snapshot().parts.last()) {
            (Some(store), Some(last)) => Before {
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
            _ => Before::first(rng.bytes()),
        };
        let mut lives: VecDeque<_> = incarnations.iter().copied().collect();
        // Those that were begun before are there already.
        lives.drain(..there.incarnations().len());
        let life = there.incarnations().last().map_or(incarnation, |(life, _)| *life);
        let end = Position::START;
        Ok(Self {
            disk,
            lives,
            life,
            known: Some(Box::new(there.into_appends())),
            before,
            segment: None,
            check: Check::default(),
            report: ImportReport { end, segments: 0, bytes: 0, incarnation },
        })
    }

    /// Takes the next append, whole or not at all. One that an earlier attempt has kept is compared
    /// and not written again; says whether it was.
    ///
    /// # Errors
    /// [`ImportError`].
    pub fn push(&mut self, append: StoredAppend) -> Result<bool, ImportError> {
        self.check.take(&append)?;
        if let Some(known) = &mut self.known {
            match known.next().transpose()? {
                Some(there) if there == append => return Ok(true),
                Some(_) => return Err(ImportError::AnotherImport { position: append.first }),
                None => self.known = None,
            }
        }
        self.begin_lives(append.first)?;
        if self.segment.as_ref().is_some_and(Segment::is_full) {
            self.end_segment(None)?;
        }
        self.segment().push(&append);
        Ok(false)
    }

    /// Returns the position that the next append has to begin at.
    #[must_use]
    pub fn next(&self) -> Position {
        self.check.next
    }

    /// Makes everything durable that was taken, so that a later attempt goes on from there; the
    /// directory is no store yet.
    ///
    /// # Errors
    /// [`ImportError`].
    pub fn keep(mut self) -> Result<(), ImportError> {
        self.end_segment(None)
    }

    /// Makes the directory a store. `last_recorded_at` is when the last event was recorded, which
    /// may have been scavenged.
    ///
    /// # Errors
    /// [`ImportError`]; the import can be gone on with.
    pub fn finish(
        mut self,
        last_recorded_at: Option<RecordedAt>,
    ) -> Result<ImportReport, ImportError> {
        if let Some(mut known) = self.known.take()
            && known.next().transpose()?.is_some()
        {
            return Err(ImportError::AnotherImport { position: self.check.next });
        }
        self.begin_lives(self.check.next)?;
        self.end_segment(last_recorded_at)?;
        let cannot = |source| ImportError::Io { doing: "end the import".to_owned(), source };
        self.disk.run(Operation::SyncDirectory).map_err(cannot)?;
        restored::end(&self.disk, Making::Import).map_err(cannot)?;
        let end = Position::new(self.check.next.number() - 1);
        Ok(ImportReport { end, ..self.report })
    }

    /// Begins the incarnations that begin at a position or before it, each with a segment: the last
    /// one's is still to be made.
    fn begin_lives(&mut self, position: Position) -> Result<(), ImportError> {
        while let Some((life, _)) = self.lives.pop_front_if(|(_, first)| *first <= position) {
            self.end_segment(None)?;
            self.life = life;
            // One that has no event of its own is known by a segment without events.
            let _ = self.segment();
        }
        Ok(())
    }

    fn segment(&mut self) -> &mut Segment {
        let (before, life) = (self.before, self.life);
        self.segment.get_or_insert_with(|| Segment::new(before, life, SystemRng.bytes()))
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

/// Removes what a store without events has left. Read models may be beside it; they are rebuilt.
fn clear(directory: &Path, disk: &FileDisk) -> Result<(), ImportError> {
    let there = StoreExport::of(directory)?;
    if there.head() > Position::START || !there.snapshot().parts.is_empty() {
        let file = first_file(directory, is_of_a_log)?.unwrap_or_default();
        return Err(ImportError::Occupied { directory: directory.to_owned(), file });
    }
    let cannot = |source| ImportError::Io { doing: "begin the import".to_owned(), source };
    for file in disk.list().map_err(cannot)?.into_iter().filter(|file| is_of_a_log(file)) {
        disk.run(Operation::Remove { file }).map_err(cannot)?;
    }
    Ok(())
}

/// Whether a file is a store's, by its name; that of its lock aside.
fn is_of_a_log(file: &str) -> bool {
    let name = file.strip_suffix(".new").unwrap_or(file);
    matches!(name, "INDEX" | "RESTORED" | "RESTORING")
        || name.ends_with(".seg")
        || name.ends_with(".run")
}

fn is_of_a_backup(file: &str) -> bool {
    file == "MANIFEST" || file.ends_with(".segment")
}

/// Compares the incarnations that were begun with those of the store that is imported.
fn check_lives(
    there: &[(Incarnation, Position)],
    wanted: &[(Incarnation, Position)],
) -> Result<(), ImportError> {
    let differs = there.iter().zip(wanted).find(|(there, wanted)| there != wanted);
    let position = match differs {
        Some(((_, first), _)) => Some(*first),
        None => there.get(wanted.len()).map(|(_, first)| *first),
    };
    position.map_or(Ok(()), |position| Err(ImportError::AnotherImport { position }))
}

/// What every log holds true, over all appends so far.
#[derive(Debug)]
struct Check {
    next: Position,
    recorded_at: RecordedAt,
    /// By a hash of the stream's name, which takes less space.
    revisions: HashMap<u128, Revision>,
}

impl Default for Check {
    fn default() -> Self {
        Self {
            next: Position::START.next(),
            recorded_at: RecordedAt::from_micros(0),
            revisions: HashMap::new(),
        }
    }
}

impl Check {
    fn take(&mut self, append: &StoredAppend) -> Result<(), ImportError> {
        let position = append.first;
        let impossible = |what| ImportError::Impossible { position, what };
        if append.first != self.next {
            return Err(impossible(format!("position {} comes next", self.next)));
        }
        if append.events.is_empty() && append.scavenged.is_none() {
            return Err(impossible("it has no event".to_owned()));
        }
        check_limits(append).map_err(impossible)?;
        let gone = append.scavenged.iter().flat_map(|of| &of.gone);
        let mut gone = gone.map(|gone| (gone.position, &gone.stream, gone.revision)).peekable();
        let kept = append.events.iter();
        let mut kept = kept.map(|event| (event.position, &event.stream, event.revision)).peekable();
        for _ in 0..append.count() {
            let event = kept
                .next_if(|(position, ..)| *position == self.next)
                .or_else(|| gone.next_if(|(position, ..)| *position == self.next));
            let Some((_, stream, revision)) = event else {
                return Err(impossible(format!("nothing is at position {}", self.next)));
            };
            let next = self.revisions.entry(key(stream.as_str())).or_insert(Revision::FIRST);
            if revision != *next {
                return Err(impossible(format!(
                    "revision {next} of {stream} comes next, and not {revision}"
                )));
            }
            *next = revision.next();
            self.next = self.next.next();
        }
        if kept.next().is_some() || gone.next().is_some() {
            return Err(impossible("it has more events than it counts".to_owned()));
        }
        self.take_times(&append.events).map_err(impossible)
    }

    fn take_times(&mut self, events: &[RecordedEvent]) -> Result<(), String> {
        for event in events {
            if event.recorded_at < self.recorded_at {
                return Err("it was recorded before what comes before it".to_owned());
            }
            self.recorded_at = event.recorded_at;
        }
        Ok(())
    }
}

fn check_limits(append: &StoredAppend) -> Result<(), String> {
    let Limits { event_bytes_max, append_bytes_max, tags_max } = Limits::DEFAULT;
    let mut bytes = 0;
    for event in &append.events {
        let length = event.data.len() + event.metadata.len();
        bytes += length;
        if event.tags.len() > tags_max || length > event_bytes_max {
            return Err(format!("event {} is larger than any can be", event.id));
        }
    }
    if bytes > append_bytes_max {
        return Err("it is larger than any append can be".to_owned());
    }
    Ok(())
}

fn key(stream: &str) -> u128 {
    let [front, ..] = [blake3::hash(stream.as_bytes())];
    front.as_bytes().first_chunk().map_or(0, |bytes| u128::from_le_bytes(*bytes))
}
