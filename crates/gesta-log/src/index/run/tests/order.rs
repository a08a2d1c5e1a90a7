//! The order of operations on disk, and the files left after a failure.

use std::ops::ControlFlow;

use super::{
    RecordingDisk, cache, merge,
    model::{Model, SegmentShape, segments},
    open, origin, write,
};
use crate::{
    disk::Disk,
    index::run::{IndexManifest, Run, RunError, RunName, merge_runs, write_run},
};

fn shape(segments: u64) -> SegmentShape {
    SegmentShape { seed: 3, segments, events_max: 300, streams: 50 }
}

/// The kinds of operations on files of this name. Consecutive equal ones count once.
fn kinds(disk: &RecordingDisk) -> Vec<String> {
    let operations = disk.operations();
    let kind = |operation: &String| {
        let words: Vec<_> = operation.split(' ').collect();
        match words.as_slice() {
            ["write", .., file] => format!("write {file}"),
            _ => operation.clone(),
        }
    };
    let mut kinds: Vec<_> = operations.iter().map(kind).collect();
    kinds.dedup();
    kinds
}

#[test]
fn a_run_and_the_manifest_get_their_names_once_they_are_durable() {
    let disk = RecordingDisk::default();
    let run = write(&disk, &segments(shape(1))[0]);
    IndexManifest { store: run.store(), ids: run.ids(), runs: vec![run.manifest_entry()] }
        .write(&disk)
        .unwrap();
    let expected = [
        "create 0000000000000001-0000000000000001.run.new",
        "write 0000000000000001-0000000000000001.run.new",
        "sync 0000000000000001-0000000000000001.run.new",
        "rename 0000000000000001-0000000000000001.run.new to 0000000000000001-0000000000000001.run",
        "sync directory",
        "create INDEX.new",
        "write INDEX.new",
        "sync INDEX.new",
        "rename INDEX.new to INDEX",
        "sync directory",
    ];
    assert_eq!(kinds(&disk), expected);
}

#[test]
fn a_failed_operation_leaves_no_run_and_no_other_manifest() {
    let segments = segments(shape(3));
    for failing in 0..40 {
        let disk = RecordingDisk::default();
        let runs: Vec<_> = segments.iter().map(|contents| write(&disk, contents)).collect();
        let before = IndexManifest {
            store: runs[0].store(),
            ids: runs[0].ids(),
            runs: vec![runs[0].manifest_entry()],
        };
        before.write(&disk).unwrap();
        let mut disk = disk;
        let so_far = disk.operations().len();
        disk.failing = Some(so_far + failing);
        let mut on_bytes = |_| ControlFlow::Continue(());
        let merged =
            merge_runs(&disk, &origin(2), &super::plain(&runs), &mut on_bytes).and_then(|name| {
                let merged = Run::open(&disk, name, cache())?;
                let manifest = IndexManifest {
                    store: merged.store(),
                    ids: merged.ids(),
                    runs: vec![merged.manifest_entry()],
                };
                manifest.write(&disk).map(|()| manifest)
            });
        let now = IndexManifest::read(&disk).unwrap().unwrap();
        match merged {
            Ok(after) => {
                assert!(failing > 5, "an operation failed, and nobody was told");
                assert_eq!(now, after);
                return;
            }
            Err(RunError::Io { source, .. }) => {
                assert_eq!(source.to_string(), "the disk fails here");
                let named = now.runs.first().map(|run| open(&disk, run.name)).unwrap();
                assert!(now == before || named.covered().len() == 3);
            }
            Err(other) => panic!("{other}"),
        }
        let files = disk.list().unwrap();
        let new = files.iter().filter(|file| file.ends_with(".run.new")).count();
        assert_eq!(new, 0, "what was begun is removed");
    }
    panic!("more operations than thought");
}

#[test]
fn a_merge_that_is_told_to_stop_leaves_nothing() {
    let disk = RecordingDisk::default();
    let segments = segments(shape(3));
    let runs: Vec<_> = segments.iter().map(|contents| write(&disk, contents)).collect();
    let files = disk.list().unwrap();
    let mut stop = |_| ControlFlow::Break(());
    let merged = merge_runs(&disk, &origin(2), &super::plain(&runs), &mut stop);
    assert!(matches!(merged, Err(RunError::Stopped)));
    assert_eq!(disk.list().unwrap(), files);
    let mut written = 0;
    let mut on_bytes = |bytes| {
        written += bytes as u64;
        ControlFlow::Continue(())
    };
    let name = merge_runs(&disk, &origin(2), &super::plain(&runs), &mut on_bytes).unwrap();
    assert_eq!(written, open(&disk, name).bytes());
}

#[test]
fn only_what_the_manifest_names_counts() {
    let disk = RecordingDisk::default();
    let segments = segments(shape(4));
    let runs: Vec<_> = segments.iter().map(|contents| write(&disk, contents)).collect();
    let merged = merge(&disk, &runs[1..3]);
    let listed = vec![runs[0].manifest_entry(), merged.manifest_entry(), runs[3].manifest_entry()];
    let manifest = IndexManifest { store: merged.store(), ids: merged.ids(), runs: listed };
    for file in ["INDEX.new", "LOCK", "INDEX", "0000000000000001.seg", "0000000000000009.seg.new"] {
        disk.put(file, Vec::new());
    }
    disk.put(&RunName { first: 50, last: 51 }.new_file(), Vec::new());
    let files = disk.list().unwrap();
    let leftovers: Vec<_> = manifest.orphans(&files).map(String::as_str).collect();
    let (one, two) = (runs[1].name().file(), runs[2].name().file());
    let new = RunName { first: 50, last: 51 }.new_file();
    assert_eq!(leftovers, [one.as_str(), &two, &new, "INDEX.new"]);
}

#[test]
fn a_run_written_again_is_another_file_of_the_same_name() {
    let disk = RecordingDisk::default();
    let contents = segments(shape(1)).remove(0);
    let before = write(&disk, &contents);
    let name = write_run(&disk, &origin(9), contents.clone()).unwrap();
    let after = open(&disk, name);
    assert_eq!(before.manifest_entry().name, after.manifest_entry().name);
    assert_ne!(before.manifest_entry().salt, after.manifest_entry().salt);
    Model::of(&[contents]).check(&after, &disk).unwrap();
}
