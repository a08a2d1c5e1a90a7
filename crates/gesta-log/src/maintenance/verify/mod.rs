//! Looking at a whole store without changing it.
//!
//! Always holds: every checksum, the chain, the places of events in their streams and the links
//! between segments are checked, past the cache, on the bytes that the device has, and so is every
//! block of the index's files, and what they say of the log ([`index`]); memory is bounded, however
//! large the store is ([`heads`] says at what price). Takes no lock, so a store in use can be verified; what is being
//! written is not looked at. Not here: the names of what is wrong, which are an opening's
//! ([`recovery`](crate::recovery)).

mod heads;
mod index;

use std::{path::Path, sync::Arc, thread};

use bytes::Bytes;
use gesta_store::{Damage, Position, RecordedEvent, Revision};

use self::{
    heads::{Heads, Misplaced},
    index::Files,
};
use crate::{
    disk::{Access, Disk, FileDisk},
    format::{BorrowedEvent, ChainLink, Frame, GapEvent, HEADER_BYTES, SegmentHeader},
    index::Covered,
    options::{OpenError, OpenReport},
    recovery::{Progress, SegmentVisitor, damage_by_index, verify_all},
    segment::scan::{self, ScanStart, VerifiedSegment},
    segment::segment_file,
};

/// Threads that follow the chain, beside the one that checks all else and the one that reads.
const CHAIN_THREADS: usize = 2;

/// Checks everything in a directory; tells of progress after each segment.
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
/// [`OpenError`] when the directory cannot be read at all. Damage is no error but in the report; it is
/// what an opening of the store finds, and what reads find later.
pub fn verify(
    directory: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<OpenReport, OpenError> {
    let disk: Arc<dyn Disk> = Arc::new(FileDisk::open(directory, Access::ReadOnly)?);
    let mut visitor = Verifier { heads: Heads::default(), files: Files::open(&disk), wrong: None };
    let mut report = verify_all(&*disk, &mut visitor, progress)?;
    // What only the index's files know: that there were more segments, or more in them.
    for damage in damage_by_index(&disk)? {
        if !report.damage.iter().any(|known| known.file == damage.file) {
            report.damage.push(damage);
        }
    }
    report.damage.sort_by(|one, other| one.file.cmp(&other.file));
    let is_damaged = |file: &str| report.damage.iter().any(|damage| damage.file == file);
    let unmarked = report.unmarked.as_ref().map(|unmarked| unmarked.file.as_str());
    report.index_damage = visitor.files.wrong(is_damaged, |file| unmarked == Some(file));
    Ok(report)
}

/// What is compared of an event.
#[derive(Clone, Copy, Debug)]
struct Event<'a> {
    position: Position,
    revision: Revision,
    stream: &'a str,
}

impl<'a> From<&BorrowedEvent<'a>> for Event<'a> {
    fn from(event: &BorrowedEvent<'a>) -> Self {
        let BorrowedEvent { position, revision, stream, .. } = *event;
        Self { position, revision, stream }
    }
}

impl<'a> From<&'a RecordedEvent> for Event<'a> {
    fn from(event: &'a RecordedEvent) -> Self {
        let RecordedEvent { position, revision, stream, .. } = event;
        Self { position: *position, revision: *revision, stream: stream.as_str() }
    }
}

impl<'a> From<&'a GapEvent> for Event<'a> {
    fn from(event: &'a GapEvent) -> Self {
        let GapEvent { position, revision, stream } = event;
        Self { position: *position, revision: *revision, stream: stream.as_str() }
    }
}

/// Who looks.
struct Verifier {
    heads: Heads,
    files: Files,
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
        let (mut filed, file) = (self.files.of_segment(of), segment_file(of.number));
        thread::scope(|scope| {
            let each = links.len().div_ceil(CHAIN_THREADS).max(1);
            let chained: Vec<_> =
                links.chunks(each).map(|links| scope.spawn(|| all_hold(links))).collect();
            let sound = scan::verify_segment(segment, start, |offset, event| {
                let event = Event::from(event);
                note(wrong, &file, heads.take(offset, &event));
                filed.event(offset, &event);
            });
            note(wrong, &file, heads.settle());
            let chained = chained.into_iter().all(|thread| thread.join().is_ok_and(|holds| holds));
            let sound = sound.filter(|_| chained);
            if sound.is_none() {
                // What is looked at closely comes again, or did not come.
                heads.lose();
                *wrong = None;
            }
            sound
        })
    }

    fn frame(&mut self, of: &SegmentHeader, frame: &Frame) {
        let (mut filed, file) = (self.files.of_segment(of), segment_file(of.number));
        let gone = frame.gap.iter().flat_map(|gap| &gap.gone);
        let gone = gone.map(|gone| (None, Event::from(gone)));
        let there = frame.events.iter().map(|(offset, event)| (Some(*offset), Event::from(event)));
        let mut events: Vec<_> = gone.chain(there).collect();
        events.sort_unstable_by_key(|(_, event)| event.position);
        for (offset, event) in events {
            note(&mut self.wrong, &file, self.heads.take(offset.unwrap_or_default(), &event));
            if let Some(offset) = offset {
                filed.event(offset, &event);
            }
        }
        note(&mut self.wrong, &file, self.heads.settle());
    }

    fn ended(&mut self, segment: &Covered) {
        self.files.ended(segment);
    }

    fn misplaced(&mut self) -> Option<Damage> {
        self.wrong.take()
    }
}

fn all_hold(links: &[ChainLink<'_>]) -> bool {
    let mut room = Vec::new();
    links.iter().all(|link| link.holds(&mut room))
}

/// Keeps the first that is misplaced.
fn note(wrong: &mut Option<Damage>, file: &str, misplaced: Option<Misplaced>) {
    let Some(Misplaced { offset, position, what }) = misplaced else { return };
    wrong.get_or_insert_with(|| {
        let positions = Some(position..=position);
        Damage { file: file.to_owned(), offset, positions, what }
    });
}
