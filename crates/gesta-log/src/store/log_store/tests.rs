//! Stores whose names were made by earlier versions.

use std::{fs, path::Path, sync::Arc};

use futures_channel::oneshot;
use gesta_store::{
    Append, DeleteStream, EventId, EventStore, EventType, ExpectedRevision, ListStreams, NewEvent,
    ReadStream, StoreError, StreamName, StreamState, TombstoneStream, conformance::block_on,
};

use super::{LogStore, Options, PendingAppend, Precheck, Responder};
use crate::{Access, ScavengeOptions, verify};

fn event() -> NewEvent {
    NewEvent::json(EventId::random(), EventType::new("happened").unwrap(), "{}")
}

fn to(stream: &StreamName) -> Append {
    Append::to(stream.clone(), ExpectedRevision::Any, [event(), event()])
}

/// Appends as earlier versions did, which did not check that the stream can be deleted.
fn append_unchecked(store: &LogStore, stream: &StreamName) {
    let (sender, receiver) = oneshot::channel();
    let pending = Arc::new(PendingAppend::new(to(stream), Precheck::default()));
    store.enqueue(&pending, Responder::Future(sender), false).unwrap();
    block_on(receiver).unwrap().unwrap();
}

fn open(directory: &Path) -> LogStore {
    LogStore::open(directory, Options::default()).unwrap()
}

/// Opens again, with the index's files or from the log alone.
fn open_again(store: LogStore, directory: &Path, forget_index: bool) -> LogStore {
    drop(store);
    for file in fs::read_dir(directory).unwrap().map(|file| file.unwrap().path()) {
        let of_index = file.extension().is_some_and(|end| end == "run") || file.ends_with("INDEX");
        if forget_index && of_index {
            fs::remove_file(file).unwrap();
        }
    }
    let report = verify(directory, &mut |_| {}).unwrap();
    assert_eq!((report.damage, report.index_damage), (vec![], Vec::<String>::new()));
    open(directory)
}

fn count(store: &LogStore, stream: &StreamName) -> usize {
    let read = store.read_stream(ReadStream::forwards(stream.clone()));
    block_on(read.collect_events()).unwrap().len()
}

fn state(store: &LogStore, stream: &StreamName) -> StreamState {
    block_on(store.describe_stream(stream)).unwrap().state
}

#[test]
fn a_store_names_its_directory_in_full() {
    let directory = tempfile::tempdir_in(".").unwrap();
    let name = Path::new(directory.path().file_name().unwrap());
    let in_full = std::env::current_dir().unwrap().join(name).display().to_string();
    assert_eq!(open(name).place(), in_full);
    let to_read = Options { access: Access::ReadOnly, ..Options::default() };
    assert_eq!(LogStore::open(name, to_read).unwrap().place(), in_full);
}

#[test]
fn a_store_knows_the_space_that_its_files_take() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    block_on(store.append(to(&StreamName::new("order-1").unwrap()))).unwrap();
    let told = block_on(store.stored_bytes()).unwrap().unwrap();
    let files = fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap());
    let files = files.filter(|file| file.file_type().unwrap().is_file());
    let bytes: u64 = files.map(|file| file.metadata().unwrap().len()).sum();
    assert!(told > 0 && told == bytes, "{told} of {bytes}");
}

#[test]
fn streams_without_room_for_their_metadata_in_an_old_store_are_read_deleted_and_tombstoned() {
    let directory = tempfile::tempdir().unwrap();
    let streams = [1_023, 1_024].map(|bytes| StreamName::stored("n".repeat(bytes)).unwrap());
    let mut store = open(directory.path());
    for stream in &streams {
        append_unchecked(&store, stream);
    }
    for forget_index in [false, true] {
        store = open_again(store, directory.path(), forget_index);
        let list = ListStreams::all().prefix("n".to_owned()).limit(9);
        assert_eq!(block_on(store.list_streams(list)).unwrap(), streams);
        for stream in &streams {
            assert_eq!(count(&store, stream), 2);
            let refused = block_on(store.append(to(stream))).unwrap_err();
            assert!(matches!(refused, StoreError::Rejected(_)), "{refused}");
        }
    }
    for stream in streams.clone() {
        let expected = ExpectedRevision::StreamExists;
        block_on(store.delete_stream(DeleteStream::new(stream, expected))).unwrap();
    }
    for forget_index in [false, true] {
        store = open_again(store, directory.path(), forget_index);
        for stream in &streams {
            assert_eq!((count(&store, stream), state(&store, stream)), (0, StreamState::Deleted));
        }
    }
    let [first, last] = streams;
    let end = TombstoneStream::new(last.clone(), ExpectedRevision::Any);
    block_on(store.tombstone_stream(end)).unwrap();
    store = open_again(store, directory.path(), false);
    store.scavenge(ScavengeOptions { threshold_percent: 0 }, &mut |_| {}).unwrap();
    for forget_index in [false, true] {
        store = open_again(store, directory.path(), forget_index);
        assert_eq!(state(&store, &first), StreamState::Deleted);
        assert_eq!(state(&store, &last), StreamState::Tombstoned);
    }
}
