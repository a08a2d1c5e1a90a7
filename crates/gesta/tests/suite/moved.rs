//! Process managers on a copied store: each input is handled once, before and after.

use std::{path::Path, sync::Arc, time::Duration};

use gesta::{
    Gesta, RetryPolicy,
    store::{
        Append, DeleteStream, EventId, EventStore, EventType, ExpectedRevision, ImportedPositions,
        NewEvent, Position, PositionRange, StreamAppend, StreamName,
    },
    testing::{VirtualClock, drain},
};
use gesta_log::{ImportWriter, LogStore, Options, ScavengeOptions, StoreExport};
use tempfile::TempDir;

use crate::library::{LendBook, Library, MONTH, Reminder};

fn log(directory: &Path) -> Arc<LogStore> {
    Arc::new(LogStore::open(directory, Options::default()).unwrap())
}

async fn open(store: Arc<LogStore>, clock: &VirtualClock) -> Gesta {
    let at_once = RetryPolicy::default().first_wait_max(Duration::ZERO).wait_max(Duration::ZERO);
    let builder = Gesta::on(store).clock(clock.clone()).retry(at_once);
    builder.process_with(Reminder::after(MONTH)).open().await.unwrap()
}

/// A library in a directory with three loans. The last loan was deleted and scavenged, and with it
/// the last event that the manager handled.
async fn source(clock: &VirtualClock) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let gesta = open(log(directory.path()), clock).await;
    for (book, reader) in [("emma", "ann"), ("persuasion", "bob"), ("ulysses", "cleo")] {
        gesta.execute(LendBook::new(book, reader)).await.unwrap();
        drain(&gesta).await;
    }
    gesta.close().await;
    let store = log(directory.path());
    let stream = StreamName::new("book-ulysses").unwrap();
    let expected = ExpectedRevision::StreamExists;
    store.delete_stream(DeleteStream::new(stream, expected)).await.unwrap();
    drop(store);
    let store = log(directory.path());
    let options = ScavengeOptions::default().threshold_percent(0);
    assert!(store.scavenge(options, &mut |_| {}).unwrap().events > 0);
    store.close().await.unwrap();
    directory
}

/// All events after a month on a copied store, with one more loan there.
async fn a_month_later(store: Arc<LogStore>, clock: &VirtualClock) -> Vec<String> {
    let gesta = open(Arc::clone(&store), clock).await;
    clock.advance(MONTH);
    drain(&gesta).await;
    gesta.execute(LendBook::new("middlemarch", "dan")).await.unwrap();
    drain(&gesta).await;
    gesta.close().await;
    Library::happened(store.as_ref()).await
}

/// A timer stays pending although its event was deleted, since its decision was made.
const EXPECTED: [&str; 6] = [
    "emma lent to ann",
    "persuasion lent to bob",
    "ann reminded of emma",
    "bob reminded of persuasion",
    "cleo reminded of ulysses",
    "middlemarch lent to dan",
];

#[tokio::test]
async fn a_process_manager_goes_on_over_a_store_that_was_moved_though_its_last_input_was_scavenged()
{
    let clock = VirtualClock::new();
    let (there, copy) = (source(&clock).await, tempfile::tempdir().unwrap());
    let export = StoreExport::of(there.path()).unwrap();
    let mut import = ImportWriter::begin(copy.path(), export.incarnations()).unwrap();
    for append in export.appends() {
        import.push(append.unwrap()).unwrap();
    }
    import.finish(export.last_recorded_at().unwrap()).unwrap();
    assert_eq!(a_month_later(log(copy.path()), &clock).await, EXPECTED);
}

#[tokio::test]
async fn a_process_manager_goes_on_in_a_store_to_which_its_events_were_imported() {
    let clock = VirtualClock::new();
    let (there, other) = (source(&clock).await, tempfile::tempdir().unwrap());
    let store = log(other.path());
    let noted = |nth| {
        NewEvent::json(EventId::derived_from("note", nth), EventType::new("noted").unwrap(), "{}")
    };
    let shelf = StreamName::new("shelf-1").unwrap();
    for nth in 0..100 {
        let append = Append::to(shelf.clone(), ExpectedRevision::Any, [noted(nth)]);
        store.append(append).await.unwrap();
    }
    import_as_the_program_does(there.path(), &store).await;
    assert_eq!(a_month_later(store, &clock).await, EXPECTED);
}

/// Appends every event again and records the old positions.
async fn import_as_the_program_does(from: &Path, to: &LogStore) {
    let export = StoreExport::of(from).unwrap();
    let source = export.incarnations().last().unwrap().0;
    let keep = ImportedPositions::stream(source).unwrap();
    let said = |event| Append::to(keep.clone(), ExpectedRevision::Any, [event]);
    let begun = ImportedPositions::started_event(export.incarnations(), export.head()).unwrap();
    to.append(said(begun)).await.unwrap();
    let mut ranges = Vec::new();
    for append in export.appends() {
        let append = append.unwrap();
        let mut parts: Vec<StreamAppend> = Vec::new();
        for event in &append.events {
            let new = NewEvent::from(event);
            match parts.last_mut().filter(|part| part.stream == event.stream) {
                Some(part) => part.events.push(new),
                None => parts.push(StreamAppend::new(
                    event.stream.clone(),
                    ExpectedRevision::Any,
                    vec![new],
                )),
            }
        }
        let Some(first) = append.events.first() else { continue };
        let events = append.events.len() as u64;
        let appended = to.append(Append::of(parts)).await.unwrap();
        let now = Position::new(appended.position.number() + 1 - events);
        ranges.push(PositionRange { source: first.position, target: now, events });
    }
    for event in ImportedPositions::finished_events(source, export.head(), &ranges).unwrap() {
        to.append(said(event)).await.unwrap();
    }
}
