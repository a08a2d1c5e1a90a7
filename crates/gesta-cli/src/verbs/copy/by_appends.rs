//! A copy through the contract alone, to or from a server or DynamoDB: the events are appended
//! again.
//!
//! Keeps streams, revisions, ids, types, data, metadata, tags, and the metadata and ends of
//! streams; their order in the store is that of the source. Positions and recorded times are the
//! target's. Invariants: what the target has is compared with the source before anything is
//! appended, and all of it at the end; a copy that was interrupted continues where it stopped. Not
//! here: exact copies ([`transfer`](crate::transfer)).

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use futures_executor::block_on;
use gesta_store::{
    Append, EventStore, ExpectedRevision, NewEvent, Page, Pages, Position, ReadAll, RecordedEvent,
    Revision, StreamName, TombstoneStream,
};

use super::progress::{EventProgress, Phase};
use crate::{events::Printable, exit::Refusal, store_url::StoreUrl};

/// Most events of one append.
const APPEND_EVENTS_MAX: usize = 256;
/// Most bytes of data of one append.
const APPEND_BYTES_MAX: usize = 4 << 20;

/// The result of a copy whose target is equal to its source.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Appended {
    /// Events that this run appended.
    pub(super) copied: u64,
    /// Events that source and target have.
    pub(super) events: u64,
    /// Events of the source's own streams, which are left out.
    pub(super) left_out: u64,
}

/// Copies what the target lacks, unless it is only to be compared, and compares both.
pub(super) fn copy(source: &StoreUrl, target: &StoreUrl, only_compare: bool) -> Result<Appended> {
    let from = source.open_to_read()?;
    let to = match (only_compare, target) {
        (true, _) => target.open_to_read()?,
        (false, StoreUrl::Log(log)) => {
            // The source answers, or nothing is created.
            block_on(from.head())?;
            log.create_directory()?;
            target.open_to_append()?
        }
        (false, _) => target.open_to_append()?,
    };
    let mut copied = 0;
    if !only_compare {
        let head = block_on(from.head())?.position;
        let bar = EventProgress::start(Phase::Copied, head, Position::START.next());
        let ended = append_the_rest(from.as_ref(), to.as_ref(), &bar);
        bar.end();
        copied = ended.context(
            "the copy is not complete; correct the cause, then run the same command again to \
             continue",
        )?;
    }
    let compared = compare(from.as_ref(), to.as_ref());
    // The log is written out before the command says that it is there.
    block_on(to.close())?;
    Ok(Appended { copied, ..compared? })
}

/// The events of a store that are copied, in order.
struct Copyable {
    pages: Pages,
    page: std::vec::IntoIter<RecordedEvent>,
    left_out: u64,
}

impl Copyable {
    fn of(store: &dyn EventStore) -> Self {
        let pages = store.read_all(ReadAll::forwards());
        Self { pages, page: Page::new().into_iter(), left_out: 0 }
    }

    fn next(&mut self) -> Result<Option<RecordedEvent>> {
        loop {
            for event in self.page.by_ref() {
                if is_copied(&event.stream) {
                    return Ok(Some(event));
                }
                self.left_out += 1;
            }
            match block_on(self.pages.next()) {
                Some(page) => self.page = page?.into_iter(),
                None => return Ok(None),
            }
        }
    }
}

/// Returns `false` for streams that a server makes for itself, such as users, groups and links.
fn is_copied(stream: &StreamName) -> bool {
    match stream.described_stream() {
        Some(described) => !described.is_system(),
        None => !stream.is_system(),
    }
}

fn is_tombstone(event: &RecordedEvent) -> bool {
    event.event_type.as_str() == TombstoneStream::EVENT_TYPE
}

/// Returns `true` if an event of the target is the copy of one of the source.
fn is_copy(source: &RecordedEvent, target: &RecordedEvent) -> bool {
    // A tombstone is made by the target, and servers count it in their own ways.
    if is_tombstone(source) {
        return is_tombstone(target) && source.stream == target.stream;
    }
    let is_metadata = source.stream.described_stream().is_some();
    let sorted = |event: &RecordedEvent| {
        let mut event = NewEvent::from(event);
        event.tags.sort();
        event
    };
    source.stream == target.stream
        && (is_metadata || source.revision == target.revision)
        && sorted(source) == sorted(target)
}

/// Compares the whole stores.
fn compare(source: &dyn EventStore, target: &dyn EventStore) -> Result<Appended> {
    let (mut from, mut to) = (Copyable::of(source), Copyable::of(target));
    let mut compared = Appended::default();
    loop {
        match (from.next()?, to.next()?) {
            (None, None) => break,
            (Some(source), Some(target)) if is_copy(&source, &target) => compared.events += 1,
            (Some(source), _) => {
                return Err(differs(&source, "is missing in the target, or differs there").into());
            }
            (None, Some(target)) => {
                return Err(differs(&target, "is in the target only").into());
            }
        }
    }
    compared.left_out = from.left_out;
    Ok(compared)
}

/// Appends the events that the target lacks. Returns their number.
fn append_the_rest(
    source: &dyn EventStore,
    target: &dyn EventStore,
    bar: &EventProgress,
) -> Result<u64> {
    let (mut from, mut to) = (Copyable::of(source), Copyable::of(target));
    let mut heads = Heads::default();
    let mut next = from.next()?;
    // The events that an earlier run has copied.
    while let Some(there) = to.next()? {
        match next {
            Some(event) if is_copy(&event, &there) => {
                heads.grow(&there);
                bar.reach(event.position.next());
            }
            _ => return Err(differs(&there, "is in the target and not in the source").into()),
        }
        next = from.next()?;
    }
    let mut copied = 0;
    while let Some(event) = next.take() {
        if is_tombstone(&event) {
            let ended = event.stream.described_stream().context("the end of no stream")?;
            let end = TombstoneStream::new(ended, ExpectedRevision::Any);
            block_on(target.tombstone_stream(end))?;
            copied += 1;
            bar.reach(event.position.next());
            next = from.next()?;
            continue;
        }
        let mut part = vec![event];
        next = loop {
            match from.next()? {
                Some(event) if continues(&part, &event) => part.push(event),
                other => break other,
            }
        };
        copied += part.len() as u64;
        let reached = append(target, &mut heads, part)?;
        bar.reach(reached.next());
    }
    Ok(copied)
}

/// Returns `true` for the next event of the same append, as far as it can be known: it was recorded
/// in the same stream at the same moment.
fn continues(part: &[RecordedEvent], event: &RecordedEvent) -> bool {
    let bytes: usize = part.iter().map(|event| event.data.len()).sum();
    part.last().is_some_and(|last| {
        last.stream == event.stream
            && last.recorded_at == event.recorded_at
            && last.revision.next() == event.revision
            && !is_tombstone(event)
    }) && part.len() < APPEND_EVENTS_MAX
        && bytes + event.data.len() <= APPEND_BYTES_MAX
}

/// Appends events of one stream. Returns the position of the last one in the source.
fn append(
    target: &dyn EventStore,
    heads: &mut Heads,
    part: Vec<RecordedEvent>,
) -> Result<Position> {
    let (Some(first), Some(last)) = (part.first(), part.last()) else {
        return Ok(Position::START);
    };
    let head = heads.of(&first.stream);
    // Servers keep the last metadata only, so theirs may begin later.
    let is_metadata = first.stream.described_stream().is_some();
    if !is_metadata && first.revision.previous() != head {
        let why = "begins a stream whose earlier events were removed; its revision cannot be kept";
        return Err(differs(first, why).into());
    }
    let expected = head.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact);
    let events = part.iter().map(NewEvent::from);
    let append = Append::to(first.stream.clone(), expected, events);
    let appended = block_on(target.append(append));
    appended.with_context(|| {
        format!("the events of {} are not copied", Printable(first.stream.as_str()))
    })?;
    for event in &part {
        heads.grow(event);
    }
    Ok(last.position)
}

/// The last revision of each stream of the target.
#[derive(Default)]
struct Heads(HashMap<StreamName, Revision>);

impl Heads {
    fn of(&self, stream: &StreamName) -> Option<Revision> {
        self.0.get(stream).copied()
    }

    fn grow(&mut self, event: &RecordedEvent) {
        if is_tombstone(event) {
            return;
        }
        let next = self.of(&event.stream).map_or(Revision::FIRST, Revision::next);
        self.0.insert(event.stream.clone(), next);
    }
}

fn differs(event: &RecordedEvent, what: &str) -> Refusal {
    let stream = Printable(event.stream.as_str());
    let message = format!(
        "the event at revision {} of {stream} (position {}) {what}",
        event.revision, event.position
    );
    Refusal::refused("copy-differs", message)
        .hint("copy into an empty store, and stop what appends to the source and the target")
}
