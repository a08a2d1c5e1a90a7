//! Verifies a whole store without changing it.
//!
//! Checks every checksum, the chain, the revisions of each stream and the links between segments,
//! on the bytes of the device instead of the page cache. Also checks every block of the index
//! files, and compares them with the log ([`index`]).
//!
//! Memory is bounded for any size of store; [`heads`] describes the cost. A store in use can be
//! verified: events that are being written are left out, and the lock is taken only if it is free,
//! to sync what a crash may have left in the page cache.
//!
//! Elsewhere: the classification of damage ([`recovery`](crate::recovery)).

mod compared_event;
mod heads;
mod index;

use std::{ops::ControlFlow, path::Path, sync::Arc, thread};

use bytes::Bytes;
use gesta_store::Damage;

use self::{
    compared_event::ComparedEvent,
    heads::{Misplaced, StreamHeads},
    index::IndexCheck,
};
use crate::{
    disk::{Access, Disk, FileDisk, Operation},
    format::{ChainLink, Frame, HEADER_BYTES, SegmentHeader},
    index::CoveredSegment,
    options::{OpenError, OpenReport},
    recovery::{Progress, SegmentVisitor, damage_by_index, verify_all},
    segment::scan::{self, ScanStart, VerifiedSegment},
    segment::segment_file,
};

/// Number of threads that verify the chain, next to the one that decodes and the one that reads.
const CHAIN_THREADS: usize = 2;

/// Verifies the store in a directory. Calls `progress` after each segment.
///
/// ```
/// use gesta_log::{LogStore, Options, verify};
/// # use gesta_store::{
/// #     Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, StreamName,
/// #     conformance::block_on,
/// # };
///
/// # let directory = tempfile::tempdir()?;
/// let store = LogStore::open(directory.path(), Options::default())?;
/// # let event = NewEvent::json(EventId::random(), EventType::new("order-placed")?, "{}");
/// # let append = Append::to(StreamName::new("order-1")?, ExpectedRevision::NoStream, [event]);
/// block_on(store.append(append))?;
/// drop(store);
///
/// let report = verify(directory.path(), &mut |_| {})?;
/// assert_eq!((report.events, report.damage), (1, vec![]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Returns [`OpenError`] if the directory cannot be read at all. Damage is reported in the result:
/// it includes the damage that opening the store finds, and the damage that only reads find.
pub fn verify(
    directory: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<OpenReport, OpenError> {
    let verified = verify_while(directory, &mut |done| {
        progress(done);
        ControlFlow::Continue(())
    })?;
    Ok(verified.expect("nothing has ended it early"))
}

/// Same as [`verify`], until `progress` returns a break. Returns `None` if it was ended before the
/// last segment.
///
/// # Errors
/// As [`verify`].
pub fn verify_while(
    directory: &Path,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Option<OpenReport>, OpenError> {
    let disk: Arc<dyn Disk> = Arc::new(FileDisk::open(directory, Access::ReadOnly)?);
    let mut visitor =
        Verifier { heads: StreamHeads::default(), index: IndexCheck::open(&disk), wrong: None };
    let Some(mut report) = verify_all(&*disk, &mut visitor, progress)? else { return Ok(None) };
    // Only the index files know of lost segments at the end of the log, or of lost events in them.
    for damage in damage_by_index(&disk)? {
        if !report.damage.iter().any(|known| known.file == damage.file) {
            report.damage.push(damage);
        }
    }
    report.damage.sort_by(|one, other| one.file.cmp(&other.file));
    let is_damaged = |file: &str| report.damage.iter().any(|damage| damage.file == file);
    let unmarked = report.unmarked.as_ref().map(|unmarked| unmarked.file.as_str());
    report.index_damage = visitor.index.wrong(is_damaged, |file| unmarked == Some(file));
    if let Some(unmarked) = &mut report.unmarked {
        unmarked.durable = sync_if_unlocked(directory, &unmarked.file);
        // A reader leaves them out until they are durable.
        if unmarked.durable {
            let (first, last) = (unmarked.positions.start(), unmarked.positions.end());
            report.events += last.number() - first.number() + 1;
        }
    }
    Ok(Some(report))
}

/// Syncs a file unless a process has the store open. Returns whether that was done.
fn sync_if_unlocked(directory: &Path, file: &str) -> bool {
    // A process that has the store open may be writing the events at this moment. Any other reason,
    // such as a file system that is read-only, leaves them unconfirmed as well.
    let disk = FileDisk::open(directory, Access::ReadWrite);
    disk.is_ok_and(|disk| disk.run(Operation::Sync { file: file.to_owned() }).is_ok())
}

/// The checks of [`verify`].
struct Verifier {
    heads: StreamHeads,
    index: IndexCheck,
    wrong: Option<Damage>,
}

impl SegmentVisitor for Verifier {
    fn sound(
        &mut self,
        of: &SegmentHeader,
        segment: &Bytes,
        start: &ScanStart,
    ) -> Option<VerifiedSegment> {
        let links = start.chain?.links(segment, HEADER_BYTES, start.adopted_length?)?;
        let (heads, wrong) = (&mut self.heads, &mut self.wrong);
        let (mut run, file) = (self.index.covering_run(of), segment_file(of.number));
        thread::scope(|scope| {
            // Hashing the chain takes most of the time, and its links are independent of each
            // other once the frames' stored values are known: hash them on threads of their own.
            let each = links.len().div_ceil(CHAIN_THREADS).max(1);
            let chained: Vec<_> =
                links.chunks(each).map(|links| scope.spawn(|| all_hold(links))).collect();
            let sound = scan::verify_segment(segment, start, |offset, event| {
                let event = ComparedEvent::from(event);
                note(wrong, &file, heads.take(offset, &event));
                run.event(offset, &event);
            });
            note(wrong, &file, heads.check_pending());
            let chained = chained.into_iter().all(|thread| thread.join().is_ok_and(|holds| holds));
            let sound = sound.filter(|_| chained);
            if sound.is_none() {
                // The full scan visits the events again, or not all of them.
                heads.lose();
                *wrong = None;
            }
            sound
        })
    }

    fn frame(&mut self, of: &SegmentHeader, frame: &Frame) {
        let (mut run, file) = (self.index.covering_run(of), segment_file(of.number));
        let scavenged = frame.gap.iter().flat_map(|gap| &gap.scavenged);
        let scavenged = scavenged.map(|scavenged| (None, ComparedEvent::from(scavenged)));
        let present =
            frame.events.iter().map(|(offset, event)| (Some(*offset), ComparedEvent::from(event)));
        let mut events: Vec<_> = scavenged.chain(present).collect();
        // Scavenged events have no record, but count for the revisions of their stream.
        events.sort_unstable_by_key(|(_, event)| event.position);
        for (offset, event) in events {
            note(&mut self.wrong, &file, self.heads.take(offset.unwrap_or_default(), &event));
            if let Some(offset) = offset {
                run.event(offset, &event);
            }
        }
        note(&mut self.wrong, &file, self.heads.check_pending());
    }

    fn ended(&mut self, segment: &CoveredSegment) {
        self.index.ended(segment);
    }

    fn misplaced(&mut self) -> Option<Damage> {
        self.wrong.take()
    }
}

fn all_hold(links: &[ChainLink<'_>]) -> bool {
    let mut room = Vec::new();
    links.iter().all(|link| link.holds(&mut room))
}

/// Keeps the first misplaced event.
fn note(wrong: &mut Option<Damage>, file: &str, misplaced: Option<Misplaced>) {
    let Some(Misplaced { offset, position, what }) = misplaced else { return };
    wrong.get_or_insert_with(|| {
        let positions = Some(position..=position);
        Damage::new(file.to_owned(), offset, what).positions(positions)
    });
}
