//! Opening a directory with arbitrary bytes and reading all of it.
//!
//! Invariant: an event read is one of the intact store, at its position; a missing event is
//! reported. Forged bytes are exempt.

use std::{fs, ops::ControlFlow, path::Path};

use gesta_log::{LogStore, OpenError, Options, verify};
use gesta_store::{
    EventStore, ListStreams, Pages, Position, ReadAll, ReadStream, RecordedEvent, StoreError,
    conformance::block_on,
};

use crate::{
    mutate::{Damage, Files},
    stores::IntactStore,
};

pub(crate) fn write(directory: &Path, files: &Files) {
    for (name, bytes) in files {
        fs::write(directory.join(name), bytes).unwrap();
    }
}

/// Result of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Reads are unchanged.
    Same,
    /// The store opens, and reports missing events.
    Damaged,
    /// The store does not open.
    Refused,
}

pub(crate) fn check_directory(
    directory: &Path,
    intact: &IntactStore,
    damage: Damage,
    what: &str,
) -> Outcome {
    let verified = verify(directory, &mut |_| {});
    let read_only = LogStore::open(directory, Options::read_only());
    if let Ok(store) = &read_only {
        read_every_way(store, intact, damage, what);
    }
    let opened = LogStore::open(directory, Options::default());
    let store = match opened {
        Ok(store) => store,
        Err(
            OpenError::OtherVersion { .. }
            | OpenError::AnotherStore { .. }
            | OpenError::Restoring
            | OpenError::Importing,
        ) => {
            return Outcome::Refused;
        }
        Err(OpenError::Io { doing, .. }) if doing == "read RESTORED" => return Outcome::Refused,
        Err(other) => panic!("{what}: {other}"),
    };
    let report = store.report().clone();
    let read = read_every_way(&store, intact, damage, what);
    block_on(store.close()).unwrap();
    if read == Some(intact.events.len()) && report.damage.is_empty() {
        return Outcome::Same;
    }
    // Losses may only be unreported if more than bytes of one sector changed, or the store was not
    // closed.
    let told = !report.damage.is_empty() || verified.is_ok_and(|found| !found.damage.is_empty());
    let may_be_silent = damage != Damage::Bytes || !intact.ended;
    assert!(told || read.is_none() || may_be_silent, "{what}: {read:?} events, {report:?}");
    Outcome::Damaged
}

/// Reads everything by each kind of read. Returns the number of events, or `None` if a read met
/// damage.
fn read_every_way(
    store: &LogStore,
    intact: &IntactStore,
    damage: Damage,
    what: &str,
) -> Option<usize> {
    let known = |events: &[RecordedEvent], way: &str| {
        if damage == Damage::Forged {
            return;
        }
        for event in events {
            let at = intact.events.binary_search_by_key(&event.position, |known| known.position);
            let known = at.ok().and_then(|at| intact.events.get(at));
            assert_eq!(known, Some(event), "{what}: another event, {way}");
        }
    };
    let mut lost = false;
    let all = read(store.read_all(ReadAll::forwards()), &mut lost, what);
    known(&all, "forwards");
    known(&read(store.read_all(ReadAll::backwards()), &mut lost, what), "backwards");
    let listed = block_on(store.list_streams(ListStreams::all().limit(20)));
    for stream in taken(listed, &mut lost, what).unwrap_or_default() {
        let events = read(store.read_stream(ReadStream::forwards(stream)), &mut lost, what);
        known(&events, "by stream");
    }
    for event in intact.events.iter().step_by(7) {
        let found = taken(block_on(store.find_append(event.id)), &mut lost, what);
        let found = found.flatten().map(|appended| appended.position);
        let plausible = found.is_none_or(|position| position >= event.position);
        assert!(damage == Damage::Forged || plausible, "{what}: found at {found:?}");
    }
    let scanned = store.scan(Position::START, |_| ControlFlow::Continue(()));
    taken(scanned, &mut lost, what);
    (!lost).then_some(all.len())
}

fn read(mut pages: Pages, lost: &mut bool, what: &str) -> Vec<RecordedEvent> {
    let mut events = Vec::new();
    while let Some(page) = block_on(pages.next()) {
        match taken(page, lost, what) {
            Some(page) => events.extend(page),
            None => break,
        }
    }
    events
}

fn taken<T>(answer: Result<T, StoreError>, lost: &mut bool, what: &str) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer),
        Err(StoreError::Corrupt(_) | StoreError::Unavailable { .. }) => {
            *lost = true;
            None
        }
        // Invalid names and metadata are forged.
        Err(StoreError::Rejected(_) | StoreError::Deleted { .. }) => None,
        Err(other) => panic!("{what}: {other}"),
    }
}
