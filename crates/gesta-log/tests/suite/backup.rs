//! Contents of a backup, and stores restored from it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use gesta_log::{BackupError, BackupReport, LogStore, OpenError, Options, Progress, RestoreReport};
use gesta_store::{
    Checkpoint, Delivery, EventStore, Invalid, Position, StoreError, Subscribe,
    conformance::block_on,
};
use tempfile::TempDir;

use crate::harness::{
    TurnedStore, append, append_to, as_killed, event_texts, flip, open, read_all, report,
    segment_files,
};

/// Directories for a store, its backup and its restores.
struct BackupDirs(TempDir);

impl BackupDirs {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn backup(&self) -> Result<BackupReport, BackupError> {
        gesta_log::backup(&self.at("store"), &self.at("backup"), &mut |_| {})
    }

    fn restore(&self, to: &str) -> Result<RestoreReport, BackupError> {
        gesta_log::restore(&self.at("backup"), &self.at(to), &mut |_| {})
    }

    /// Returns the contents of the backup, by restoring it.
    fn backed_up(&self, to: &str) -> Vec<String> {
        self.restore(to).unwrap();
        event_texts(&open(&self.at(to)))
    }

    /// Names of the backup's files.
    fn files(&self) -> Vec<String> {
        let files = fs::read_dir(self.at("backup")).unwrap();
        let mut files: Vec<_> =
            files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        files
    }
}

/// Creates a store of three sealed segments with two events each.
fn store_of_three_segments(directory: &Path) {
    for n in 0..3 {
        let store = open(directory);
        append(&store, "order-1", &format!("{n}a"));
        append(&store, "order-2", &format!("{n}b"));
    }
}

const ALL: [&str; 6] = ["0a", "0b", "1a", "1b", "2a", "2b"];

#[test]
fn what_was_backed_up_is_restored_to_the_event() {
    let dirs = BackupDirs::new();
    store_of_three_segments(&dirs.at("store"));
    let report = dirs.backup().unwrap();
    assert_eq!((report.end, report.segments, report.copied_segments), (Position::new(6), 3, 3));
    assert_eq!((report.copied_bytes, report.unconfirmed), (report.bytes, None));
    assert!(report.bytes < 3 * 8_192, "what was never written is not copied: {}", report.bytes);

    let restored = dirs.restore("again").unwrap();
    assert_eq!((restored.end, restored.segments), (report.end, 3));
    let (store, again) = (open(&dirs.at("store")), open(&dirs.at("again")));
    assert_eq!(read_all(&again).unwrap(), read_all(&store).unwrap());
    assert_eq!(again.report().damage, []);
    append(&again, "order-1", "goes on");
    drop(again);
    assert_eq!(event_texts(&open(&dirs.at("again"))).len(), 7);
}

#[test]
fn what_is_whole_in_the_backup_is_not_copied_again() {
    let dirs = BackupDirs::new();
    store_of_three_segments(&dirs.at("store"));
    let first = dirs.backup().unwrap();
    let again = dirs.backup().unwrap();
    assert_eq!((again.bytes, again.copied_segments, again.copied_bytes), (first.bytes, 0, 0));

    let store = open(&dirs.at("store"));
    append(&store, "order-3", "new");
    let more = dirs.backup().unwrap();
    assert_eq!((more.segments, more.copied_segments), (4, 1));
    assert!(more.copied_bytes < more.bytes / 2);
    append(&store, "order-3", "newer");
    let longer = dirs.backup().unwrap();
    assert_eq!((longer.segments, longer.copied_segments), (4, 1), "the one that has grown");
    assert_eq!(dirs.backed_up("again"), [&ALL[..], &["new", "newer"]].concat());
}

#[test]
fn a_backup_of_a_store_in_use_has_all_that_was_acknowledged_before() {
    let dirs = BackupDirs::new();
    let store = open(&dirs.at("store"));
    let (acknowledged, enough) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1.. {
                append(&store, &format!("order-{}", n % 7), &n.to_string());
                acknowledged.store(n, Ordering::Release);
                if enough.load(Ordering::Acquire) {
                    break;
                }
            }
        });
        while acknowledged.load(Ordering::Acquire) < 20 {
            thread::yield_now();
        }
        for round in 0..10 {
            let before = acknowledged.load(Ordering::Acquire);
            let report = dirs.backup().unwrap();
            assert_eq!(report.unconfirmed, None);
            let there = dirs.backed_up(&format!("again-{round}"));
            let expected: Vec<_> = (1..=there.len()).map(|n| n.to_string()).collect();
            assert_eq!(there, expected);
            assert!(there.len() as u64 >= before, "{} of {before}", there.len());
            assert_eq!(report.end.number(), there.len() as u64);
        }
        enough.store(true, Ordering::Release);
    });
}

#[test]
fn a_backup_of_a_killed_store_has_what_the_store_would_open_with() {
    let dirs = BackupDirs::new();
    let never_idle = Options::default().close_after(Duration::from_secs(3_600));
    let mut turned = TurnedStore::open(&dirs.at("alive"), never_idle);
    turned.append_together(vec![append_to("order-1", "1")]);
    turned.append_together(vec![append_to("order-1", "2")]);
    let killed = as_killed(&dirs.at("alive"));
    fs::rename(killed.path(), dirs.at("store")).unwrap();
    assert!(report(&dirs.at("store")).unmarked.is_some());
    assert_eq!(dirs.backup().unwrap().end, Position::new(2));
    assert_eq!(dirs.backed_up("again"), ["1", "2"]);
    let again = LogStore::open(dirs.at("again"), Options::read_only()).unwrap();
    assert_eq!(again.report().unmarked, None, "a restored store is durable to its end");
}

#[test]
fn what_the_writer_does_not_confirm_is_told_and_left_out() {
    let dirs = BackupDirs::new();
    let never_idle = Options::default().close_after(Duration::from_secs(3_600));
    let mut turned = TurnedStore::open(&dirs.at("store"), never_idle);
    turned.append_together(vec![append_to("order-1", "1")]);
    turned.append_together(vec![append_to("order-1", "2")]);
    let report = dirs.backup().unwrap();
    assert_eq!(report.end, Position::new(1));
    assert_eq!(report.unconfirmed, Some(Position::new(2)..=Position::new(2)));
    assert_eq!(dirs.backed_up("again"), ["1"]);
}

#[test]
fn a_consumer_that_has_seen_more_than_was_restored_is_told() {
    let dirs = BackupDirs::new();
    store_of_three_segments(&dirs.at("store"));
    dirs.backup().unwrap();
    let store = open(&dirs.at("store"));
    let shared = block_on(store.head()).unwrap();
    append(&store, "order-1", "lost");
    let seen = block_on(store.head()).unwrap();
    assert_eq!(shared.incarnation, seen.incarnation);
    let restored = dirs.restore("again").unwrap();
    assert_ne!(restored.incarnation, seen.incarnation);

    let checkpoint = |position| Checkpoint { position, incarnation: seen.incarnation };
    let subscribe = |store: &LogStore, position| {
        let subscribe = Subscribe::to_all().resume(checkpoint(position));
        block_on(store.subscribe(subscribe.into()).next()).unwrap()
    };
    // Before the first append, after it, and in later sessions; also for a read-only store.
    for round in 0..3 {
        let again = open(&dirs.at("again"));
        let reader = LogStore::open(dirs.at("again"), Options::read_only()).unwrap();
        for store in [&again, &reader] {
            assert_eq!(block_on(store.head()).unwrap().incarnation, restored.incarnation);
            let refused = subscribe(store, seen.position).unwrap_err();
            let StoreError::Rejected(Invalid::OtherIncarnation { position, incarnation }) = refused
            else {
                panic!("{refused}");
            };
            assert_eq!((position, incarnation), (seen.position, seen.incarnation));
            let goes_on = subscribe(store, shared.position);
            assert!(matches!(goes_on, Ok(Delivery::CaughtUp(_) | Delivery::Events(_))));
        }
        if round > 0 {
            append(&again, "order-1", "another");
        }
    }
    assert!(!dirs.at("again").join("RESTORED").exists(), "it has nothing left to say");
}

#[test]
fn a_damaged_backup_is_refused_by_name_and_nothing_is_restored() {
    let dirs = BackupDirs::new();
    store_of_three_segments(&dirs.at("store"));
    dirs.backup().unwrap();
    let files = dirs.files();
    assert_eq!(files.len(), 5, "{files:?}");
    for file in files.iter().filter(|file| *file != "LOCK") {
        let path = dirs.at("backup").join(file);
        let good = fs::read(&path).unwrap();
        let cut = good[..good.len() - 1].to_vec();
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 1;
        for bad in [cut, flipped] {
            fs::write(&path, bad).unwrap();
            let refused = dirs.restore("again").unwrap_err();
            let BackupError::DamagedBackup(damage) = &refused else { panic!("{refused}") };
            assert_eq!(damage.file, *file);
            assert!(!dirs.at("again").exists());
        }
        fs::remove_file(&path).unwrap();
        dirs.restore("again").unwrap_err();
        assert!(!dirs.at("again").exists());
        fs::write(&path, good).unwrap();
    }
    assert_eq!(dirs.backed_up("again"), ALL);
}

#[test]
fn the_next_backup_mends_what_was_damaged_in_the_last_one() {
    let dirs = BackupDirs::new();
    store_of_three_segments(&dirs.at("store"));
    dirs.backup().unwrap();
    let damaged = dirs.files().into_iter().find(|file| file.ends_with(".segment")).unwrap();
    flip(&dirs.at("backup").join(damaged), 4_200);
    assert_eq!(dirs.backup().unwrap().copied_segments, 1);
    assert_eq!(dirs.backed_up("again"), ALL);
}

#[test]
fn a_damaged_store_is_refused_by_name_and_its_backup_stays() {
    let dirs = BackupDirs::new();
    store_of_three_segments(&dirs.at("store"));
    dirs.backup().unwrap();
    let store = open(&dirs.at("store"));
    append(&store, "order-1", "new");
    let place = store.locate(Position::new(7)).unwrap();
    drop(store);
    flip(&dirs.at("store").join(&place.file), place.offset + place.length - 1);
    let refused = dirs.backup().unwrap_err();
    let BackupError::Damaged(damage) = &refused else { panic!("{refused}") };
    assert_eq!(damage.file, place.file);
    assert_eq!(dirs.backed_up("again"), ALL);

    let missing = &segment_files(&dirs.at("store"))[1];
    fs::remove_file(missing).unwrap();
    let refused = dirs.backup().unwrap_err().to_string();
    assert!(refused.contains(missing.file_name().unwrap().to_str().unwrap()), "{refused}");
    assert_eq!(dirs.backed_up("once-more"), ALL);
}

#[test]
fn a_backup_that_was_cut_off_goes_on_and_its_leftovers_go_away() {
    let dirs = BackupDirs::new();
    store_of_three_segments(&dirs.at("store"));
    dirs.backup().unwrap();
    let files = dirs.files();
    // The state before the first backup's manifest, with a half-written segment.
    fs::remove_file(dirs.at("backup").join("MANIFEST")).unwrap();
    let last = dirs.at("backup").join(&files[2]);
    let half = last.with_extension("segment.new");
    fs::rename(&last, &half).unwrap();
    assert!(matches!(dirs.restore("again"), Err(BackupError::NoBackup { .. })));
    assert_eq!(dirs.backup().unwrap().copied_segments, 1);
    assert_eq!(dirs.files(), files);
    assert_eq!(dirs.backed_up("again"), ALL);
}

#[test]
fn a_backup_is_not_written_over_by_a_store_that_has_less_of_it() {
    let dirs = BackupDirs::new();
    store_of_three_segments(&dirs.at("store"));
    dirs.backup().unwrap();
    dirs.restore("older").unwrap();
    append(&open(&dirs.at("store")), "order-1", "since");
    dirs.backup().unwrap();
    let older = |dirs: &BackupDirs| {
        gesta_log::backup(&dirs.at("older"), &dirs.at("backup"), &mut |_| {}).unwrap_err()
    };
    for _ in 0..2 {
        let refused = older(&dirs);
        let BackupError::Ahead { backup, shared } = refused else { panic!("{refused}") };
        assert_eq!((backup, shared), (Position::new(7), Position::new(6)));
        append(&open(&dirs.at("older")), "order-1", "other than since");
    }
    store_of_three_segments(&dirs.at("stranger"));
    let stranger = gesta_log::backup(&dirs.at("stranger"), &dirs.at("backup"), &mut |_| {});
    assert!(matches!(stranger, Err(BackupError::AnotherStore)));
    assert_eq!(dirs.backed_up("again"), [&ALL[..], &["since"]].concat());
}

#[test]
fn a_restored_store_goes_on_with_its_backup() {
    let dirs = BackupDirs::new();
    store_of_three_segments(&dirs.at("store"));
    dirs.backup().unwrap();
    fs::remove_dir_all(dirs.at("store")).unwrap();
    dirs.restore("store").unwrap();
    assert_eq!(dirs.backup().unwrap().copied_segments, 0, "before anything was appended");
    append(&open(&dirs.at("store")), "order-1", "since");
    assert_eq!(dirs.backup().unwrap().copied_segments, 1);
    assert_eq!(dirs.backed_up("again"), [&ALL[..], &["since"]].concat());
}

#[test]
fn nothing_is_restored_or_backed_up_over_other_files() {
    let dirs = BackupDirs::new();
    store_of_three_segments(&dirs.at("store"));
    let occupied = gesta_log::backup(&dirs.at("store"), &dirs.at("store"), &mut |_| {});
    assert!(matches!(occupied, Err(BackupError::Occupied { .. })));
    dirs.backup().unwrap();
    let before = event_texts(&open(&dirs.at("store")));
    assert!(matches!(dirs.restore("store"), Err(BackupError::Occupied { .. })));
    assert_eq!(event_texts(&open(&dirs.at("store"))), before);
    let nowhere = gesta_log::restore(&dirs.at("store"), &dirs.at("again"), &mut |_| {});
    assert!(matches!(nowhere, Err(BackupError::NoBackup { .. })));
}

#[test]
fn nothing_is_backed_up_or_restored_into_the_directory_that_is_read() {
    let dirs = BackupDirs::new();
    store_of_three_segments(&dirs.at("store"));
    let backup = |to: &Path| gesta_log::backup(&dirs.at("store"), to, &mut |_| {});
    std::os::unix::fs::symlink(dirs.at("store"), dirs.at("link")).unwrap();
    for to in ["store/backup", "store/a/b", "link/backup", "backup/../store/backup"] {
        fs::create_dir_all(dirs.at("backup")).unwrap();
        let refused = backup(&dirs.at(to));
        assert!(matches!(refused, Err(BackupError::Inside { .. })), "{to}: {refused:?}");
    }
    assert!(!dirs.at("store/backup").exists() && !dirs.at("store/a").exists());
    backup(&dirs.at("store-backup")).expect("a directory beside it, with a name that begins alike");
    dirs.backup().unwrap();
    let refused = dirs.restore("backup/again");
    assert!(matches!(refused, Err(BackupError::Inside { .. })), "{refused:?}");
    dirs.restore("again").unwrap();
}

#[test]
fn a_restore_that_did_not_end_is_not_taken_for_a_store() {
    let dirs = BackupDirs::new();
    store_of_three_segments(&dirs.at("store"));
    dirs.backup().unwrap();
    dirs.restore("again").unwrap();
    let again = dirs.at("again");
    fs::rename(again.join("RESTORED"), again.join("RESTORING")).unwrap();
    for options in [Options::default(), Options::read_only()] {
        assert!(matches!(LogStore::open(&again, options), Err(OpenError::Restoring)));
    }
    fs::rename(again.join("RESTORING"), again.join("RESTORED")).unwrap();
    flip(&again.join("RESTORED"), 3);
    assert!(matches!(LogStore::open(&again, Options::default()), Err(OpenError::Io { .. })));
}

#[test]
fn a_store_without_events_is_backed_up_too() {
    let dirs = BackupDirs::new();
    drop(open(&dirs.at("store")));
    assert_eq!(dirs.backup().unwrap().end, Position::START);
    assert!(dirs.backed_up("again").is_empty());
    append(&open(&dirs.at("store")), "order-1", "first");
    dirs.backup().unwrap();
    assert_eq!(dirs.backed_up("once-more"), ["first"]);
}

#[test]
fn progress_ends_with_everything() {
    let dirs = BackupDirs::new();
    store_of_three_segments(&dirs.at("store"));
    let mut told: Vec<Progress> = Vec::new();
    let report = gesta_log::backup(&dirs.at("store"), &dirs.at("backup"), &mut |progress| {
        told.push(progress);
    });
    let bytes = report.unwrap().bytes;
    assert!(told.is_sorted_by_key(|progress| progress.bytes_done) && told.len() == 4);
    assert_eq!((told[3].bytes_done, told[3].bytes_total), (bytes, bytes));
    told.clear();
    gesta_log::restore(&dirs.at("backup"), &dirs.at("again"), &mut |progress| {
        told.push(progress);
    })
    .unwrap();
    assert_eq!((told[5].bytes_done, told[5].bytes_total), (2 * bytes, 2 * bytes));
}
