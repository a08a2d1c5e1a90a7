//! Damage to any block is detected, and no bytes on disk make a decoder panic.

use std::{ops::ControlFlow, sync::Arc};

use bytes::Bytes;
use gesta_store::{Direction, StreamName};

use super::{
    RecordingDisk, TestRng, cache, merge,
    model::{Model, SegmentShape, segments},
    origin, write,
};
use crate::{
    disk::Disk,
    format::Seed,
    index::run::{
        IndexManifest, LookupHint, ManifestEntry, PostingsCursor, Run, RunContents, RunError,
        RunName, StreamMetaDelta,
        block::{self, BLOCK_BYTES, Block, BlockKind},
        layout::Footer,
        merge_runs,
    },
    options::IndexedIds,
};

/// A run with blocks of every kind.
fn small() -> (RecordingDisk, Arc<Run>, Vec<RunContents>) {
    let disk = RecordingDisk::default();
    let mut segments =
        segments(SegmentShape { seed: 11, segments: 2, events_max: 400, streams: 40 });
    let large = StreamMetaDelta { metadata: Some(vec![b'x'; 9_000].into()), tombstoned: true };
    segments[0].stream_meta.push((StreamName::new("order-large").unwrap(), large));
    let runs: Vec<_> = segments.iter().map(|contents| write(&disk, contents)).collect();
    let merged = merge(&disk, &runs);
    let file = disk.file(&merged.name().file());
    let kinds: Vec<_> = file.chunks(BLOCK_BYTES).map(|block| block[0]).collect();
    for code in 1..=10 {
        assert!(kinds.contains(&code), "no block of kind {code} in {kinds:?}");
    }
    (disk, merged, segments)
}

fn is_damage<T>(result: Result<T, RunError>) -> bool {
    matches!(result, Err(RunError::Damaged { .. }))
}

#[test]
fn any_flipped_bit_of_a_run_is_found() {
    let (disk, run, _) = small();
    let file = disk.file(&run.name().file());
    for (number, good) in file.chunks(BLOCK_BYTES).enumerate() {
        let footer = (number + 1) * BLOCK_BYTES == file.len();
        let seed = if footer { Footer::own_seed() } else { run.file().seed };
        let verify =
            |bytes: &[u8]| Block::verify(Bytes::copy_from_slice(bytes), number as u32, seed);
        assert!(verify(good).is_ok());
        let mut bad = good.to_vec();
        for bit in 0..good.len() * 8 {
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(verify(&bad).is_err(), "bit {bit} of block {number}");
            bad[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn a_run_with_a_flipped_bit_answers_rightly_or_says_that_it_is_damaged() {
    let (disk, run, segments) = small();
    let model = Model::of(&segments);
    let good = disk.file(&run.name().file());
    let mut rng = TestRng(5);
    for number in 0..good.len() / BLOCK_BYTES {
        let mut bad = good.clone();
        let bit = rng.below(BLOCK_BYTES as u64 * 8) as usize;
        bad[number * BLOCK_BYTES + bit / 8] ^= 1 << (bit % 8);
        disk.put(&run.name().file(), bad);
        let asked = Run::open(&disk, run.name(), cache()).map(Arc::new).and_then(|run| {
            let mut on_bytes = |_| ControlFlow::Continue(());
            assert!(is_damage(run.verify(&disk, &mut on_bytes)), "block {number}");
            assert!(is_damage(merge_runs(
                &disk,
                &origin(3),
                &super::plain(&[Arc::clone(&run)]),
                &mut on_bytes
            )));
            model.check(&run, &disk)
        });
        assert!(is_damage(asked), "block {number}: everything was asked");
    }
}

#[test]
fn a_run_that_was_cut_or_that_grew_is_not_a_run() {
    let (disk, run, _) = small();
    let good = disk.file(&run.name().file());
    let lengths = (0..good.len()).step_by(509).chain((0..good.len()).step_by(BLOCK_BYTES));
    for length in lengths {
        disk.put(&run.name().file(), good[..length].to_vec());
        assert!(is_damage(Run::open(&disk, run.name(), cache())), "{length} bytes");
    }
    for more in [1, BLOCK_BYTES] {
        let mut longer = good.clone();
        longer.resize(good.len() + more, 0);
        disk.put(&run.name().file(), longer);
        assert!(is_damage(Run::open(&disk, run.name(), cache())), "{more} more bytes");
    }
}

#[test]
fn a_run_under_another_name_and_blocks_in_other_places_are_found() {
    let (disk, run, _) = small();
    let good = disk.file(&run.name().file());
    let other = RunName { first: 77, last: 78 };
    disk.put(&other.file(), good.clone());
    assert!(is_damage(Run::open(&disk, other, cache())));
    let mut swapped = good.clone();
    let (one, two) = swapped.split_at_mut(BLOCK_BYTES);
    one.swap_with_slice(&mut two[..BLOCK_BYTES]);
    disk.put(&run.name().file(), swapped);
    let mut on_bytes = |_| ControlFlow::Continue(());
    assert!(is_damage(Run::open(&disk, run.name(), cache()).unwrap().verify(&disk, &mut on_bytes)));
}

#[test]
fn a_newer_run_is_left_alone() {
    let (disk, run, _) = small();
    let mut file = disk.file(&run.name().file());
    let last = file.len() / BLOCK_BYTES - 1;
    rewrite(&mut file, last, Footer::own_seed(), |block| block[13] = 1);
    disk.put(&run.name().file(), file);
    assert!(matches!(Run::open(&disk, run.name(), cache()), Err(RunError::Newer { .. })));
}

/// Mutates a block and makes its checksum valid again.
fn rewrite(file: &mut [u8], number: usize, seed: Seed, change: impl FnOnce(&mut [u8])) {
    let start = number * BLOCK_BYTES;
    let content = &mut file[start..start + BLOCK_BYTES - 4];
    change(content);
    let checksum = seed.of(block::offset(number as u32), content);
    file[start + BLOCK_BYTES - 4..start + BLOCK_BYTES].copy_from_slice(&checksum.to_le_bytes());
}

#[test]
fn whatever_a_block_says_nothing_panics() {
    let (disk, run, segments) = small();
    let good = disk.file(&run.name().file());
    let blocks = good.len() / BLOCK_BYTES;
    let mut rng = TestRng(99);
    for _ in 0..6_000 {
        let mut bad = good.clone();
        let number = rng.below(blocks as u64) as usize;
        let seed = if number + 1 == blocks { Footer::own_seed() } else { run.file().seed };
        rewrite(&mut bad, number, seed, |block| {
            for _ in 0..1 + rng.below(3) {
                // Counts and lengths are at the front.
                let reach = if rng.one_in(2) { 64 } else { block.len() as u64 - 1 };
                let at = 1 + rng.below(reach) as usize;
                block[at] = if rng.one_in(3) { 0xff } else { rng.next() as u8 };
            }
        });
        disk.put(&run.name().file(), bad);
        let Ok(run) = Run::open(&disk, run.name(), cache()) else { continue };
        ask(&run, &disk, &segments);
        let mut on_bytes = |_| ControlFlow::Continue(());
        drop(merge_runs(&disk, &origin(3), &super::plain(&[Arc::new(run)]), &mut on_bytes));
    }
}

/// Performs many lookups and ignores the answers.
fn ask(run: &Run, disk: &dyn Disk, segments: &[RunContents]) {
    for term in segments.iter().flat_map(|segment| &segment.terms).step_by(3) {
        if let Ok(Some(found)) = run.find(disk, term.hash) {
            drop(run.posting(disk, &found, 0));
            drop(run.posting(disk, &found, found.count() / 2));
            let mut cursor = PostingsCursor::new(found);
            drop(cursor.seek(run.file(), disk, run.end() / 2, Direction::Forwards));
            drop(cursor.seek(run.file(), disk, run.end() / 2, Direction::Backwards));
        }
    }
    let mut near = LookupHint::default();
    for covered in segments.iter().map(|segment| segment.covered) {
        for position in (covered.first..covered.end).step_by(7) {
            drop(run.locate(disk, position, &mut near));
        }
    }
    let mut names = run.names("order-", Some("order-2"));
    while let Ok(Some(_)) = names.next(run, disk) {}
    let mut categories = run.categories(Some("a"));
    while let Ok(Some(_)) = categories.next(run, disk) {}
    let mut stream_meta = run.stream_meta();
    while let Ok(Some(_)) = stream_meta.next(run, disk) {}
}

fn manifest() -> IndexManifest {
    let listed =
        |first| ManifestEntry { name: RunName { first, last: first + 4 }, salt: [first as u8; 16] };
    IndexManifest {
        store: [3; 16],
        ids: IndexedIds::CAUSATION,
        runs: vec![listed(1), listed(6), listed(20)],
    }
}

#[test]
fn any_flipped_bit_of_the_manifest_is_found_and_so_is_a_cut() {
    let disk = RecordingDisk::default();
    manifest().write(&disk).unwrap();
    let good = disk.file("INDEX");
    assert_eq!(IndexManifest::read(&disk).unwrap(), Some(manifest()));
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        disk.put("INDEX", bad);
        assert!(is_damage(IndexManifest::read(&disk)), "bit {bit}");
    }
    for length in 0..good.len() {
        disk.put("INDEX", good[..length].to_vec());
        assert!(is_damage(IndexManifest::read(&disk)), "{length} bytes");
    }
    disk.put("INDEX", [good.as_slice(), &[0]].concat());
    assert!(is_damage(IndexManifest::read(&disk)), "one byte more");
}

#[test]
fn a_newer_manifest_and_one_that_contradicts_itself_are_told_apart() {
    let disk = RecordingDisk::default();
    manifest().write(&disk).unwrap();
    let good = disk.file("INDEX");
    let changed = |at: usize, to: u8| {
        let mut bytes = good[..good.len() - 4].to_vec();
        bytes[at] = to;
        let checksum = crc32c::crc32c(&bytes);
        disk.put("INDEX", [bytes.as_slice(), &checksum.to_le_bytes()].concat());
        IndexManifest::read(&disk)
    };
    assert!(matches!(changed(8, 2), Err(RunError::Newer { .. })), "major version");
    assert!(matches!(changed(16, 1), Err(RunError::Newer { .. })), "incompatible feature");
    assert!(is_damage(changed(12, 4)), "number of runs");
    assert!(is_damage(changed(56, 30)), "runs overlap");
}

#[test]
fn a_block_is_of_one_kind() {
    let (disk, run, _) = small();
    let file = disk.file(&run.name().file());
    let bytes = Bytes::copy_from_slice(&file[..BLOCK_BYTES]);
    let block = Block::verify(bytes, 0, run.file().seed).unwrap();
    assert!(block.is(BlockKind::Offsets) && block.body(BlockKind::Offsets).is_ok());
    assert!(!block.is(BlockKind::Terms) && block.body(BlockKind::Terms).is_err());
}
