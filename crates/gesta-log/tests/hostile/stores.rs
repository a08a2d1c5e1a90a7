//! Intact stores to start with.

use std::{fs, io::ErrorKind, path::Path, time::Duration};

use gesta_log::{LogStore, Options, ScavengeOptions, backup, restore};
use gesta_store::{
    Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, ReadAll, RecordedEvent,
    Revision, SetStreamMetadata, StreamMetadata, StreamName, Tag, conformance::block_on,
};

use crate::mutate::Files;

const MINUTE: Duration = Duration::from_secs(60);

/// A store: its files and its events.
pub(crate) struct IntactStore {
    pub(crate) files: Files,
    pub(crate) events: Vec<RecordedEvent>,
    /// Set if the store was closed.
    pub(crate) ended: bool,
}

/// Creates a closed store with a compacted index, one without index files, a killed one, a restored
/// one and a scavenged one.
pub(crate) fn stores() -> Vec<IntactStore> {
    let ended = tempfile::tempdir().unwrap();
    let events = fill(ended.path(), 60);
    let mut stores = vec![whole(ended.path(), &events, true)];
    let mut bare = whole(ended.path(), &events, true);
    bare.files.retain(|name, _| Path::new(name).extension().is_some_and(|end| end == "seg"));
    stores.push(bare);

    let killed = tempfile::tempdir().unwrap();
    let store = LogStore::open(killed.path(), small()).unwrap();
    (0..20).for_each(|number| append(&store, number));
    let events = block_on(store.read_all(ReadAll::forwards()).collect_events()).unwrap();
    stores.push(whole(killed.path(), &events, false));
    block_on(store.close()).unwrap();

    let (kept, restored) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    backup(ended.path(), kept.path(), &mut |_| {}).unwrap();
    let target = restored.path().join("store");
    restore(kept.path(), &target, &mut |_| {}).unwrap();
    stores.push(whole(&target, &stores[0].events, true));

    let left = scavenge(&target);
    stores.push(whole(&target, &left, true));
    stores
}

fn small() -> Options {
    Options::default().segment_bytes_first(6 << 10).segment_bytes_max(12 << 10)
}

fn fill(directory: &Path, appends: u64) -> Vec<RecordedEvent> {
    let store = LogStore::open(directory, small()).unwrap();
    (0..appends).for_each(|number| append(&store, number));
    let described = StreamMetadata::default().cache_control(MINUTE);
    describe(&store, "order-1", described);
    ended(&store)
}

/// Closes a store, so that its files are complete. Returns its events.
fn ended(store: &LogStore) -> Vec<RecordedEvent> {
    let events = block_on(store.read_all(ReadAll::forwards()).collect_events()).unwrap();
    block_on(store.close()).unwrap();
    events
}

/// Hides the first events of some streams and scavenges them.
fn scavenge(directory: &Path) -> Vec<RecordedEvent> {
    let store = LogStore::open(directory, small()).unwrap();
    for stream in ["order-2", "order-3", "order-4"] {
        let truncated = StreamMetadata::default().truncate_before(Revision::new(12));
        describe(&store, stream, truncated);
    }
    let report =
        store.scavenge(ScavengeOptions::default().threshold_percent(0), &mut |_| {}).unwrap();
    assert!(report.events > 20, "{report:?}");
    ended(&store)
}

fn describe(store: &LogStore, stream: &str, metadata: StreamMetadata) {
    let stream = StreamName::new(stream).unwrap();
    let expected_metadata = ExpectedRevision::Any;
    let change = SetStreamMetadata::new(stream, expected_metadata, metadata);
    block_on(store.set_stream_metadata(change)).unwrap();
}

fn append(store: &LogStore, number: u64) {
    let event = |part: u64| {
        let event_type = EventType::new("happened").unwrap();
        let data = format!(r#"{{"number":{number},"part":{part}}}"#).repeat(1 + part as usize);
        NewEvent::json(EventId::random(), event_type, data).tagged([Tag::of(
            "number",
            &(number % 5).to_string(),
        )
        .unwrap()])
    };
    let stream = |number: u64| StreamName::new(format!("order-{}", number % 7)).unwrap();
    let events: Vec<_> = (0..1 + number % 3).map(event).collect();
    let append = Append::to(stream(number), ExpectedRevision::Any, events).and(
        stream(number + 1),
        ExpectedRevision::Any,
        [event(3)],
    );
    block_on(store.append(append)).unwrap();
}

fn whole(directory: &Path, events: &[RecordedEvent], ended: bool) -> IntactStore {
    let files = loop {
        if let Some(files) = files_of(directory) {
            break files;
        }
    };
    IntactStore { files, events: events.to_vec(), ended }
}

/// Returns `None` if a file disappeared during the copy: an open store replaces index files.
fn files_of(directory: &Path) -> Option<Files> {
    let mut files = Files::new();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        match fs::read(entry.path()) {
            Ok(_) if name == "LOCK" => {}
            Ok(bytes) => _ = files.insert(name, bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => panic!("{name} cannot be copied: {error}"),
        }
    }
    Some(files)
}
