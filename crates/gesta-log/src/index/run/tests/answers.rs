//! Written and merged runs answer as the model does.

use gesta_store::Direction;

use super::{
    RecordingDisk, TestRng, merge,
    model::{Model, SegmentShape, segments},
    write,
};
use crate::{
    disk::{Access, Disk, FileDisk},
    index::run::{IndexManifest, PostingsCursor, Run, plan_merge},
};

#[test]
fn a_run_answers_as_its_segment_would() {
    for seed in 0..12 {
        let shape = SegmentShape { seed, segments: 1, events_max: 3_000, streams: 1_000 };
        for contents in segments(shape) {
            let disk = RecordingDisk::default();
            let run = write(&disk, &contents);
            Model::of(&[contents]).check(&run, &disk).unwrap();
        }
    }
}

#[test]
fn merged_runs_answer_as_all_their_segments_would() {
    for seed in 100..112 {
        let mut rng = TestRng(seed);
        let shape = SegmentShape { seed, segments: 2 + seed % 9, events_max: 900, streams: 400 };
        let segments = segments(shape);
        let disk = RecordingDisk::default();
        let mut runs: Vec<_> = segments.iter().map(|contents| write(&disk, contents)).collect();
        while runs.len() > 1 {
            let first = rng.below(runs.len() as u64 - 1) as usize;
            let last = first + 1 + rng.below((runs.len() - first - 1) as u64) as usize;
            let merged = merge(&disk, &runs[first..=last]);
            runs.splice(first..=last, [merged]);
        }
        Model::of(&segments).check(&runs[0], &disk).unwrap();
    }
}

#[test]
fn runs_that_are_merged_as_planned_stay_few_and_answer_as_before() {
    let segments = segments(SegmentShape { seed: 77, segments: 70, events_max: 60, streams: 90 });
    let disk = RecordingDisk::default();
    let mut runs = Vec::new();
    for contents in &segments {
        runs.push(write(&disk, contents));
        while let Some(range) = plan_merge(&runs.iter().map(|run| run.bytes()).collect::<Vec<_>>())
        {
            let merged = merge(&disk, &runs[range.clone()]);
            runs.splice(range, [merged]);
        }
    }
    assert!(runs.len() <= 7 * 3, "{}", runs.len());
    let merged = merge(&disk, &runs);
    Model::of(&segments).check(&merged, &disk).unwrap();
}

#[test]
fn long_lists_and_many_names_are_found_through_several_levels() {
    let shape = SegmentShape { seed: 42, segments: 3, events_max: 30_000, streams: 20_000 };
    let segments = segments(shape);
    let most = segments.iter().map(|segment| segment.offsets.len()).max().unwrap();
    assert!(most > 128 * 128, "{most} events need more than one level of branches");
    let disk = RecordingDisk::default();
    let runs: Vec<_> = segments.iter().map(|contents| write(&disk, contents)).collect();
    let merged = merge(&disk, &runs);
    Model::of(&segments).check(&merged, &disk).unwrap();
    assert!(merged.bytes() < runs.iter().map(|run| run.bytes()).sum(), "merging saves space");
}

#[test]
fn a_run_on_real_files_answers_as_in_memory() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FileDisk::open(directory.path(), Access::ReadWrite).unwrap();
    assert_eq!(IndexManifest::read(&disk).unwrap(), None);
    let shape = SegmentShape { seed: 7, segments: 2, events_max: 500, streams: 100 };
    let segments = segments(shape);
    let runs: Vec<_> = segments.iter().map(|contents| write(&disk, contents)).collect();
    let merged = merge(&disk, &runs);
    let manifest = IndexManifest {
        store: merged.store(),
        ids: merged.ids(),
        runs: vec![merged.manifest_entry()],
    };
    manifest.write(&disk).unwrap();
    assert_eq!(IndexManifest::read(&disk).unwrap().as_ref(), Some(&manifest));
    let files = disk.list().unwrap();
    let leftovers: Vec<_> = manifest.orphans(&files).collect();
    assert_eq!(leftovers.len(), 2, "the inputs: {leftovers:?}");
    assert!(runs.iter().all(|run| leftovers.contains(&&run.name().file())));
    Model::of(&segments).check(&merged, &disk).unwrap();
}

#[test]
fn a_cursor_on_a_cold_cache_reads_each_block_of_a_list_once() {
    let shape = SegmentShape { seed: 42, segments: 1, events_max: 30_000, streams: 2_000 };
    let contents = segments(shape).remove(0);
    let disk = RecordingDisk::default();
    let run = write(&disk, &contents);
    let longest = contents.terms.iter().max_by_key(|term| term.postings.as_slice().len()).unwrap();
    let found = run.find(&disk, longest.hash).unwrap().unwrap();
    let cold = Run::open(&disk, run.name(), super::cache()).unwrap();
    let mut cursor = PostingsCursor::new(found);
    for posting in longest.postings.as_slice() {
        let next = cursor.seek(cold.file(), &disk, *posting, Direction::Forwards);
        assert_eq!(next.unwrap(), Some(*posting));
    }
}
