//! Tests of each fault of the simulated disk.

#![expect(clippy::unwrap_used, reason = "a test whose setup fails has failed")]

use std::{
    io,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use gesta_log::{Cache, Disk, Lane, Operation};
use gesta_sim::{Crash, DamageKind, Fault, FaultConfig, SimDisk, SimRng, SyncFault};

const FILE: &str = "a";
/// Two sectors.
const LENGTH: usize = 1_024;
const SEEDS: u64 = 200;

fn disk(seed: u64) -> SimDisk {
    SimDisk::new(SimRng::from_seed(seed))
}

fn create(disk: &SimDisk, file: &str) {
    disk.run(Operation::Create { file: file.to_owned() }).unwrap();
}

fn write(disk: &SimDisk, offset: u64, fill: u8, length: usize) -> io::Result<()> {
    let bytes = Bytes::from(vec![fill; length]);
    disk.run(Operation::Write { file: FILE.to_owned(), offset, bytes })
}

fn sync(disk: &SimDisk) -> io::Result<()> {
    disk.run(Operation::Sync { file: FILE.to_owned() })
}

fn read(disk: &SimDisk, cache: Cache) -> Vec<u8> {
    disk.read(FILE, 0, usize::MAX, cache).unwrap().to_vec()
}

/// Creates a file with a durable name and no bytes.
fn with_file(seed: u64) -> SimDisk {
    let disk = disk(seed);
    create(&disk, FILE);
    disk.run(Operation::SyncDirectory).unwrap();
    disk
}

/// Submits an operation; its result is added to the returned list.
fn submit(disk: &SimDisk, operation: Operation) -> Arc<Mutex<Vec<io::Result<()>>>> {
    let answers = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&answers);
    let done = Box::new(move |result| list.lock().unwrap().push(result));
    disk.submit(operation, Lane::Foreground, done);
    answers
}

fn write_of(fill: u8) -> Operation {
    Operation::Write { file: FILE.to_owned(), offset: 0, bytes: vec![fill; LENGTH].into() }
}

/// Returns whether `happens` is true for some seeds and false for others.
fn may_happen(happens: impl Fn(u64) -> bool) -> bool {
    let times = (0..SEEDS).filter(|seed| happens(*seed)).count() as u64;
    times > 0 && times < SEEDS
}

#[test]
fn synced_bytes_under_a_synced_name_survive_a_power_cut() {
    for seed in 0..SEEDS {
        let disk = with_file(seed);
        write(&disk, 0, 1, LENGTH).unwrap();
        sync(&disk).unwrap();
        disk.crash(Crash::PowerCut);
        assert_eq!(read(&disk, Cache::Use), [1; LENGTH]);
    }
}

#[test]
fn a_power_cut_keeps_any_sectors_of_what_was_not_synced() {
    let left = |seed| {
        let disk = with_file(seed);
        write(&disk, 0, 1, LENGTH).unwrap();
        sync(&disk).unwrap();
        write(&disk, 0, 2, LENGTH).unwrap();
        disk.crash(Crash::PowerCut);
        let left = read(&disk, Cache::Use);
        (left[0], left[LENGTH - 1], disk.faults().of(Fault::TornWrite).fired)
    };
    for outcome in [(1, 1, 0), (2, 2, 0), (1, 2, 1), (2, 1, 1)] {
        assert!(may_happen(|seed| left(seed) == outcome), "{outcome:?}");
    }
}

#[test]
fn a_power_cut_may_keep_an_older_version_of_a_sector() {
    assert!(may_happen(|seed| {
        let disk = with_file(seed);
        write(&disk, 0, 1, LENGTH).unwrap();
        write(&disk, 0, 2, LENGTH).unwrap();
        disk.crash(Crash::PowerCut);
        read(&disk, Cache::Use).first() == Some(&1)
    }));
}

#[test]
fn a_lost_sector_of_a_grown_file_may_show_strange_bytes() {
    assert!(may_happen(|seed| {
        let disk = with_file(seed);
        write(&disk, 0, 7, LENGTH).unwrap();
        sync(&disk).unwrap();
        write(&disk, LENGTH as u64, 1, LENGTH).unwrap();
        disk.crash(Crash::PowerCut);
        let strange = read(&disk, Cache::Use).get(LENGTH) == Some(&7);
        strange && disk.faults().of(Fault::StaleSector).fired > 0
    }));
}

#[test]
fn a_later_write_may_survive_an_earlier_one() {
    assert!(may_happen(|seed| {
        let disk = with_file(seed);
        write(&disk, 0, 1, 512).unwrap();
        write(&disk, 512, 2, 512).unwrap();
        disk.crash(Crash::PowerCut);
        let left = read(&disk, Cache::Use);
        let reordered = left.first() != Some(&1) && left.get(512) == Some(&2);
        reordered && disk.faults().of(Fault::ReorderedSectors).fired > 0
    }));
}

#[test]
fn a_kill_keeps_what_was_written_but_does_not_make_it_durable() {
    let disk = with_file(1);
    write(&disk, 0, 1, LENGTH).unwrap();
    disk.crash(Crash::Kill);
    assert_eq!(read(&disk, Cache::Use), [1; LENGTH]);
    assert!(may_happen(|seed| {
        let disk = with_file(seed);
        write(&disk, 0, 1, LENGTH).unwrap();
        disk.crash(Crash::Kill);
        disk.crash(Crash::PowerCut);
        read(&disk, Cache::Use) != [1; LENGTH]
    }));
}

#[test]
fn a_write_under_way_is_done_in_part_when_the_process_ends() {
    assert!(may_happen(|seed| {
        let disk = with_file(seed);
        let answers = submit(&disk, write_of(1));
        disk.crash(Crash::Kill);
        assert!(answers.lock().unwrap().is_empty(), "no answer after the crash");
        let length = read(&disk, Cache::Use).len();
        length > 0 && length < LENGTH
    }));
}

#[test]
fn a_sync_covers_only_what_had_completed_when_it_was_submitted() {
    assert!(may_happen(|seed| {
        let disk = with_file(seed);
        submit(&disk, write_of(1));
        submit(&disk, Operation::Sync { file: FILE.to_owned() });
        while disk.step() {}
        disk.crash(Crash::PowerCut);
        read(&disk, Cache::Use) != [1; LENGTH]
    }));
}

#[test]
fn operations_complete_in_any_order() {
    assert!(may_happen(|seed| {
        let disk = with_file(seed);
        submit(&disk, write_of(1));
        submit(&disk, write_of(2));
        while disk.step() {}
        read(&disk, Cache::Use) == [1; LENGTH]
    }));
}

#[test]
fn a_failed_sync_leaves_a_cache_that_lies_and_a_next_sync_that_agrees() {
    assert!(may_happen(|seed| {
        let disk = with_file(seed);
        write(&disk, 0, 1, LENGTH).unwrap();
        disk.set_faults(FaultConfig { sync_errors_per_mille: 1_000, ..FaultConfig::default() });
        sync(&disk).unwrap_err();
        disk.set_faults(FaultConfig::default());
        sync(&disk).unwrap();
        assert_eq!(read(&disk, Cache::Use), [1; LENGTH], "the cache looks good");
        let truth = read(&disk, Cache::Bypass);
        disk.crash(Crash::PowerCut);
        let left = read(&disk, Cache::Use);
        assert!(truth.starts_with(&left), "what bypasses the cache is what a power cut shows");
        left != [1; LENGTH]
    }));
}

#[test]
fn a_poisoned_range_swallows_what_is_written_again() {
    let lost_after_writing_again = |seed, poisons_new_ranges| {
        let disk = with_file(seed);
        write(&disk, 0, 1, LENGTH).unwrap();
        let failing = FaultConfig { sync_errors_per_mille: 1_000, ..FaultConfig::default() };
        disk.set_faults(FaultConfig { poisons_new_ranges, ..failing });
        sync(&disk).unwrap_err();
        disk.set_faults(FaultConfig::default());
        write(&disk, 0, 2, LENGTH).unwrap();
        sync(&disk).unwrap();
        disk.crash(Crash::PowerCut);
        read(&disk, Cache::Use) != [2; LENGTH]
    };
    assert!(may_happen(|seed| lost_after_writing_again(seed, true)));
    assert!((0..SEEDS).all(|seed| !lost_after_writing_again(seed, false)));
}

#[test]
fn ranges_that_were_durable_before_are_not_poisoned() {
    for seed in 0..SEEDS {
        let disk = with_file(seed);
        write(&disk, 0, 0, LENGTH).unwrap();
        sync(&disk).unwrap();
        write(&disk, 0, 1, LENGTH).unwrap();
        let failing = FaultConfig { sync_errors_per_mille: 1_000, ..FaultConfig::default() };
        disk.set_faults(FaultConfig { poisons_new_ranges: true, ..failing });
        sync(&disk).unwrap_err();
        disk.set_faults(FaultConfig::default());
        write(&disk, 0, 2, LENGTH).unwrap();
        sync(&disk).unwrap();
        disk.crash(Crash::PowerCut);
        assert_eq!(read(&disk, Cache::Use), [2; LENGTH]);
    }
}

#[test]
fn a_name_may_be_lost_until_the_directory_is_synced() {
    assert!(may_happen(|seed| {
        let disk = disk(seed);
        create(&disk, FILE);
        write(&disk, 0, 1, LENGTH).unwrap();
        sync(&disk).unwrap();
        disk.crash(Crash::PowerCut);
        let lost = disk.list().unwrap().is_empty();
        assert_eq!(lost, disk.faults().of(Fault::LostName).mattered > 0);
        lost
    }));
}

#[test]
fn a_rename_is_atomic() {
    let names = |seed| {
        let disk = with_file(seed);
        disk.run(Operation::Rename { from: FILE.to_owned(), to: "b".to_owned() }).unwrap();
        disk.crash(Crash::PowerCut);
        disk.list().unwrap()
    };
    assert!((0..SEEDS).all(|seed| names(seed) == ["a"] || names(seed) == ["b"]));
    assert!(may_happen(|seed| names(seed) == ["a"]));
}

#[test]
fn a_removed_file_may_come_back_with_what_was_durable() {
    assert!(may_happen(|seed| {
        let disk = with_file(seed);
        write(&disk, 0, 1, LENGTH).unwrap();
        sync(&disk).unwrap();
        disk.run(Operation::Remove { file: FILE.to_owned() }).unwrap();
        disk.crash(Crash::PowerCut);
        let back = disk.list().unwrap() == [FILE];
        back && read(&disk, Cache::Use) == [1; LENGTH]
    }));
}

#[test]
fn a_full_disk_takes_a_part_and_later_all() {
    let disk = with_file(1);
    disk.set_free_bytes(Some(600));
    let error = write(&disk, 0, 1, LENGTH).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(read(&disk, Cache::Use), [1; 600]);
    write(&disk, 0, 2, 600).expect("what is there can be overwritten");
    disk.set_free_bytes(None);
    write(&disk, 0, 1, LENGTH).unwrap();
    assert_eq!(read(&disk, Cache::Use), [1; LENGTH]);
}

#[test]
fn after_a_strike_nothing_answers_until_the_crash() {
    let disk = with_file(1);
    disk.crash_after(1);
    disk.list().expect("one call is let through");
    disk.list().unwrap_err();
    write(&disk, 0, 1, LENGTH).unwrap_err();
    assert!(disk.cancel_crash());
    disk.crash(Crash::PowerCut);
    disk.list().unwrap();
}

#[test]
fn a_cache_may_let_go_of_what_it_lied_about() {
    assert!(may_happen(|seed| {
        let disk = with_file(seed);
        write(&disk, 0, 1, LENGTH).unwrap();
        disk.set_faults(FaultConfig { sync_errors_per_mille: 1_000, ..FaultConfig::default() });
        sync(&disk).unwrap_err();
        disk.crash(Crash::Kill);
        read(&disk, Cache::Use) != [1; LENGTH]
    }));
}

#[test]
fn damage_changes_one_bit_or_one_sector() {
    let damaged = |kind| {
        let disk = with_file(1);
        write(&disk, 0, 1, LENGTH).unwrap();
        sync(&disk).unwrap();
        assert!(!disk.damage(&[9], kind), "it is not there");
        assert!(disk.damage(&[1], kind));
        read(&disk, Cache::Bypass)
    };
    let flipped = damaged(DamageKind::FlippedBit);
    assert_eq!(flipped.iter().map(|byte| (byte ^ 1).count_ones()).sum::<u32>(), 1);
    let zeroed = damaged(DamageKind::ZeroedSector);
    assert_eq!(zeroed.iter().filter(|byte| **byte == 0).count(), 512);
}

#[test]
fn a_sector_may_become_what_it_was_or_what_another_one_is() {
    let damaged = |seed, kind| {
        let disk = with_file(seed);
        write(&disk, 0, 1, LENGTH).unwrap();
        sync(&disk).unwrap();
        write(&disk, 0, 2, 512).unwrap();
        sync(&disk).unwrap();
        disk.damage(&[2], kind);
        read(&disk, Cache::Bypass)
    };
    assert_eq!(damaged(1, DamageKind::OldSector), [1; LENGTH]);
    assert!(may_happen(|seed| damaged(seed, DamageKind::ForeignSector) == [1; LENGTH]));
}

#[test]
fn a_lost_write_looks_good_until_power_is_cut() {
    let disk = with_file(1);
    write(&disk, 0, 1, LENGTH).unwrap();
    sync(&disk).unwrap();
    disk.fault_sync_after(0, SyncFault::Lost);
    write(&disk, 0, 2, LENGTH).unwrap();
    sync(&disk).unwrap();
    assert_eq!(read(&disk, Cache::Use), [2; LENGTH]);
    disk.crash(Crash::PowerCut);
    assert_eq!(read(&disk, Cache::Use), [1; LENGTH]);
    assert_eq!(disk.faults().of(Fault::LostWrite).fired, 1);
}

#[test]
fn a_misdirected_write_lands_elsewhere_in_its_file() {
    for seed in 0..SEEDS {
        let disk = with_file(seed);
        write(&disk, 0, 1, 8 * LENGTH).unwrap();
        sync(&disk).unwrap();
        disk.fault_sync_after(0, SyncFault::Misdirected);
        write(&disk, 0, 2, LENGTH).unwrap();
        sync(&disk).unwrap();
        assert_eq!(read(&disk, Cache::Use)[..LENGTH], [2; LENGTH], "the cache looks good");
        disk.crash(Crash::PowerCut);
        let left = read(&disk, Cache::Use);
        assert_eq!(left[..512], [1; 512]);
        assert_eq!(left.iter().filter(|byte| **byte == 2).count(), LENGTH);
    }
}
