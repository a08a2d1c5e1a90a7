//! Damage is reported alike by opening, verifying, reading and listing.

use std::{collections::BTreeSet, fs, path::Path};

use gesta_log::{LogStore, Options, verify};
use gesta_store::{
    EventStore, ListCategories, ListStreams, RecordedEvent, StoreError, conformance::block_on,
};
use tempfile::TempDir;

use crate::harness::{OpenStore, append, flip, open_with, read_all, run_files, segment_files};

fn small() -> Options {
    Options::default()
        .segment_bytes_first(12 << 10)
        .segment_bytes_max(12 << 10)
        .checked_bytes_max(0)
}

fn open(directory: &Path) -> OpenStore {
    open_with(directory, small())
}

/// Appends to a separate stream and category each, over several segments.
fn write(store: &LogStore, numbers: std::ops::Range<u32>) {
    for number in numbers {
        append(store, &format!("kind{}-{number}", number / 3), &"x".repeat(1_500));
    }
}

fn copy(from: &Path, to: &Path, which: impl Fn(&str) -> bool) {
    for file in fs::read_dir(from).unwrap().map(|file| file.unwrap()) {
        if which(file.file_name().to_str().unwrap()) {
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
}

fn is_segment(file: &str) -> bool {
    file.ends_with(".seg")
}

fn is_of_index(file: &str) -> bool {
    file == "INDEX" || file.ends_with(".run")
}

/// A store at three times.
struct StoreStages {
    /// After its first session.
    early: TempDir,
    /// During its second session: segments only, as a copy of the files contains them.
    middle: TempDir,
    late: TempDir,
    events: Vec<RecordedEvent>,
}

impl StoreStages {
    fn new() -> Self {
        let [early, middle, late] = [(); 3].map(|()| tempfile::tempdir().unwrap());
        write(&open(late.path()), 0..20);
        copy(late.path(), early.path(), |_| true);
        let store = open(late.path());
        write(&store, 20..22);
        copy(late.path(), middle.path(), is_segment);
        write(&store, 22..40);
        let events = read_all(&store).unwrap();
        drop(store);
        Self { early, middle, late, events }
    }

    /// Copies the final segments, or those of another time, with the given index.
    fn copied(&self, segments: &TempDir, index: Option<&TempDir>) -> TempDir {
        let copied = tempfile::tempdir().unwrap();
        copy(segments.path(), copied.path(), is_segment);
        if let Some(index) = index {
            copy(index.path(), copied.path(), is_of_index);
        }
        copied
    }

    fn damaged(&self, damage: impl Fn(&Path)) -> TempDir {
        let copied = self.copied(&self.late, Some(&self.late));
        damage(copied.path());
        copied
    }

    fn names(&self) -> BTreeSet<String> {
        self.events.iter().map(|event| event.stream.as_str().to_owned()).collect()
    }

    fn categories(&self) -> BTreeSet<String> {
        let category = |event: &RecordedEvent| event.stream.category().unwrap().as_str().to_owned();
        self.events.iter().map(category).collect()
    }
}

fn remove(directory: &Path, segment: usize) {
    fs::remove_file(&segment_files(directory)[segment]).unwrap();
}

fn cut(directory: &Path, segment: usize) {
    let file = fs::File::options().write(true).open(&segment_files(directory)[segment]).unwrap();
    file.set_len(6_000).unwrap();
}

/// Number of the last segment with events; another one may be prepared.
fn last(directory: &Path) -> usize {
    let store = LogStore::open(directory, Options::read_only()).unwrap();
    let head = block_on(store.head()).unwrap().position;
    let place = store.locate(head).unwrap();
    segment_files(directory).iter().position(|file| file.ends_with(&place.file)).unwrap()
}

/// Creates each kind of corruption; the flag says that it is in the log.
fn corruptions(stages: &StoreStages) -> Vec<(&'static str, bool, TempDir)> {
    let StoreStages { early, middle, late, .. } = stages;
    let damaged = |damage: fn(&Path)| stages.damaged(damage);
    let without_index = |damage: fn(&Path)| {
        let copied = stages.copied(late, None);
        damage(copied.path());
        copied
    };
    vec![
        ("nothing", false, damaged(|_| {})),
        ("no files of the index", false, without_index(|_| {})),
        (
            "a byte of the last segment",
            true,
            damaged(|at| flip(&segment_files(at)[last(at)], 5_000)),
        ),
        ("a byte of an old segment", true, damaged(|at| flip(&segment_files(at)[1], 5_000))),
        (
            "the same without the index",
            true,
            without_index(|at| flip(&segment_files(at)[1], 5_000)),
        ),
        ("an old segment's header", true, damaged(|at| flip(&segment_files(at)[1], 100))),
        ("the last segment's header", true, damaged(|at| flip(&segment_files(at)[last(at)], 100))),
        ("an old segment is missing", true, damaged(|at| remove(at, 1))),
        ("the same without the index", true, without_index(|at| remove(at, 1))),
        ("the last segment is missing", true, damaged(|at| remove(at, last(at)))),
        ("the first segment is missing", true, damaged(|at| remove(at, 0))),
        ("the same without the index", true, without_index(|at| remove(at, 0))),
        ("an old segment is truncated", true, damaged(|at| cut(at, 1))),
        ("the last segment is truncated", true, damaged(|at| cut(at, last(at)))),
        ("segments copied before the index", true, stages.copied(early, Some(late))),
        ("segments copied while they were written", true, stages.copied(middle, Some(late))),
        ("an index copied before the segments", false, stages.copied(late, Some(early))),
        ("a byte of a file of the index", false, damaged(|at| flip(&run_files(at)[0], 50))),
        (
            "a file of the index is missing",
            false,
            damaged(|at| fs::remove_file(&run_files(at)[0]).unwrap()),
        ),
        ("a byte of the list of these files", false, damaged(|at| flip(&at.join("INDEX"), 50))),
    ]
}

#[test]
fn opening_verifying_reading_and_listing_tell_the_same_of_each_damage() {
    let stages = StoreStages::new();
    for (what, lost, directory) in corruptions(&stages) {
        let verified = verify(directory.path(), &mut |_| {}).unwrap();
        assert_eq!(!verified.damage.is_empty(), lost, "{what}: {verified:#?}");
        let store = open(directory.path());
        let opened = &store.report().damage;
        assert!(opened.is_empty() || lost, "{what}: {opened:?}");
        for damage in opened {
            let same = verified.damage.iter().any(|known| known.file == damage.file);
            assert!(
                same,
                "{what}: an opening names {damage}, verifying only {:?}",
                verified.damage
            );
        }
        let index_is_sound = verified.index_damage.is_empty();
        match read_all(&store) {
            Ok(events) => assert!(events == stages.events, "{what}: {} events", events.len()),
            Err(StoreError::Corrupt(_)) => assert!(lost || !index_is_sound, "{what}"),
            Err(other) => panic!("{what}: {other}"),
        }
        let complete =
            |listed: Result<BTreeSet<String>, StoreError>, all: BTreeSet<String>| match listed {
                Ok(listed) => assert_eq!(listed, all, "{what}: names are missing in silence"),
                Err(StoreError::Corrupt(_)) => assert!(lost || !index_is_sound, "{what}"),
                Err(other) => panic!("{what}: {other}"),
            };
        let list = ListStreams::all();
        let names = block_on(store.list_streams(list));
        let text = |name: gesta_store::StreamName| name.as_str().to_owned();
        complete(names.map(|names| names.into_iter().map(text).collect()), stages.names());
        let list = ListCategories::all();
        let categories = block_on(store.list_categories(list));
        let text = |category: gesta_store::Category| category.as_str().to_owned();
        complete(
            categories.map(|categories| categories.into_iter().map(text).collect()),
            stages.categories(),
        );
    }
}

/// Names in a lost segment are still known if an index file contains them.
#[test]
fn names_are_listed_though_their_events_are_lost_where_the_index_has_them() {
    let stages = StoreStages::new();
    let directory = stages.damaged(|at| remove(at, 1));
    let store = open(directory.path());
    assert!(!store.report().damage.is_empty());
    let list = ListStreams::all();
    assert_eq!(block_on(store.list_streams(list)).unwrap().len(), stages.names().len());
}

#[test]
fn a_stream_whose_metadata_may_be_lost_is_not_described_as_if_it_had_none() {
    let stages = StoreStages::new();
    let directory = stages.copied(&stages.late, None);
    remove(directory.path(), 1);
    let store = open(directory.path());
    let described = block_on(store.describe_stream(&crate::harness::name("kind0-0")));
    assert!(matches!(described, Err(StoreError::Corrupt(_))), "{described:?}");
}

#[test]
fn what_the_index_alone_knows_is_not_called_damage_of_the_index() {
    let stages = StoreStages::new();
    let directory = stages.copied(&stages.early, Some(&stages.late));
    let report = verify(directory.path(), &mut |_| {}).unwrap();
    assert!(!report.damage.is_empty());
    assert_eq!(report.index_damage, Vec::<String>::new(), "to remove it would remove the evidence");
}
