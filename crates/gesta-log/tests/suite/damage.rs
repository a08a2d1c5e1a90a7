//! Damage: found, reported, and never cut away.

use std::{fs, ops::ControlFlow, path::Path};

use gesta_log::{LogStore, OpenError, Options, verify};
use gesta_store::{
    Delivery, EventStore, Position, ReadAll, ReadStream, RecordedEvent, StoreError, Subscribe,
    conformance::block_on,
};

use crate::harness::{
    OpenStore, TurnedStore, append, append_to, as_killed, event_texts, flip, name, open, open_with,
    read_all, report, run_files, segment_files,
};

/// Creates a store of ten appends, one of them with several events, and closes it.
fn ended() -> (tempfile::TempDir, Vec<RecordedEvent>) {
    let directory = tempfile::tempdir().unwrap();
    let small = Options::default().segment_bytes_first(12 << 10);
    let store = open_with(directory.path(), small);
    for number in 0..9 {
        append(&store, &format!("order-{}", number % 3), &format!("{number}"));
    }
    let mut several = append_to("order-1", "several");
    several = several.and(
        name("order-7"),
        gesta_store::ExpectedRevision::Any,
        [crate::harness::event("of"), crate::harness::event("them")],
    );
    block_on(store.append(several)).unwrap();
    let events = read_all(&store).unwrap();
    drop(store);
    (directory, events)
}

#[test]
fn a_flipped_byte_in_the_middle_is_named_writes_stop_and_the_rest_reads() {
    let (directory, events) = ended();
    let place = open(directory.path()).locate(Position::new(5)).unwrap();
    flip(&directory.path().join(&place.file), place.offset + place.length - 1);

    let report = verify(directory.path(), &mut |_| {}).unwrap();
    let [damage] = &report.damage[..] else { panic!("{report:?}") };
    assert_eq!(damage.file, place.file);
    assert!(damage.offset <= place.offset, "the frame of the event begins before it");
    assert_eq!(damage.positions, Some(Position::new(5)..=Position::new(5)));

    let store = open(directory.path());
    let refused = block_on(store.append(append_to("order-1", "more"))).unwrap_err();
    assert!(matches!(&refused, StoreError::Corrupt(named) if named == damage), "{refused}");
    let after = ReadAll::forwards().from(Position::new(6));
    assert_eq!(block_on(store.read_all(after).collect_events()).unwrap(), events[5..]);
    let before = block_on(store.read_all(ReadAll::forwards().limit(4)).collect_events()).unwrap();
    assert_eq!(before, events[..4]);
    // The stream of the lost event is readable up to it, then reports damage.
    let mut pages = store.read_stream(ReadStream::forwards(name("order-1")));
    let page = block_on(pages.next()).unwrap().unwrap();
    assert_eq!(page.len(), 1);
    let lost = block_on(pages.next()).unwrap().unwrap_err();
    assert!(matches!(lost, StoreError::Corrupt(_)), "{lost}");
}

#[test]
fn a_read_of_everything_does_not_pass_over_damage_in_silence() {
    let (directory, _) = ended();
    let place = open(directory.path()).locate(Position::new(5)).unwrap();
    flip(&directory.path().join(&place.file), place.offset);
    let lost = read_all(&open(directory.path())).unwrap_err();
    assert!(matches!(lost, StoreError::Corrupt(_)), "{lost}");
}

#[test]
fn damage_to_the_last_append_is_known_after_a_second_of_idleness() {
    let directory = tempfile::tempdir().unwrap();
    let mut turned = TurnedStore::open(directory.path(), Options::default());
    turned.append_together(vec![append_to("order-1", "1")]);
    turned.append_together(vec![append_to("order-1", "2")]);
    turned.idle();
    let last = turned.store.locate(Position::new(2)).unwrap();
    let killed = as_killed(directory.path());
    flip(&killed.path().join(&last.file), last.offset + last.length - 1);
    let report = verify(killed.path(), &mut |_| {}).unwrap();
    let [damage] = &report.damage[..] else { panic!("{report:?}") };
    assert_eq!(damage.positions, Some(Position::new(2)..=Position::new(2)));
    assert_eq!(damage.file, last.file);
}

#[test]
fn a_segment_that_lost_its_beginning_is_told_as_torn() {
    let directory = tempfile::tempdir().unwrap();
    let mut turned = TurnedStore::open(directory.path(), Options::default());
    turned.append_together(vec![append_to("order-1", "1")]);
    let killed = as_killed(directory.path());
    flip(&segment_files(killed.path())[0], 4_100);
    let report = report(killed.path());
    assert!(report.damage.is_empty(), "nothing says that it was durable: {report:?}");
    let torn = report.torn.expect("it is not passed over in silence");
    assert_eq!(torn.offset, 4_096);
    assert!(torn.bytes > 100);
}

#[test]
fn what_a_crash_cut_off_does_not_come_back_when_something_before_it_is_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let mut turned = TurnedStore::open(directory.path(), Options::default());
    turned.append_together(vec![append_to("order-1", "1")]);
    turned.append_together(vec![append_to("order-1", "2"), append_to("order-1", "3")]);
    let [first, second] = [1, 2].map(|n| turned.store.locate(Position::new(n)).unwrap());
    let killed = as_killed(directory.path());
    let file = killed.path().join(&first.file);
    flip(&file, second.offset + second.length - 1);
    assert_eq!(event_texts(&open(killed.path())), ["1"], "of the torn group nothing is adopted");
    flip(&file, first.offset + first.length - 1);
    let store = open(killed.path());
    assert_eq!(store.report().damage.len(), 1);
    let last = block_on(store.read_all(ReadAll::backwards().limit(1)).collect_events());
    assert!(matches!(last, Err(StoreError::Corrupt(_))), "{last:?}");
}

/// Only the missing segment could prove that they were not given up.
#[test]
fn events_that_no_mark_covers_are_missing_with_the_segment_after_them() {
    let directory = tempfile::tempdir().unwrap();
    let mut turned = TurnedStore::open(directory.path(), Options::default());
    turned.append_together(vec![append_to("order-1", "1")]);
    turned.append_together(vec![append_to("order-1", "2")]);
    let killed = as_killed(directory.path());
    append(&open(killed.path()), "order-1", "3");
    append(&open(killed.path()), "order-1", "4");
    let segments = segment_files(killed.path());
    let place = open(killed.path()).locate(Position::new(3)).unwrap();
    let lost = segments.iter().find(|file| file.ends_with(&place.file)).unwrap();
    fs::remove_file(lost).unwrap();
    let index = killed.path().join("INDEX");
    if index.exists() {
        fs::remove_file(index).unwrap();
    }
    let report = report(killed.path());
    assert_eq!(report.damage[0].positions, Some(Position::new(2)..=Position::new(3)), "{report:?}");
}

#[test]
fn a_missing_segment_in_the_middle_is_damage() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        append(&open(directory.path()), "order-1", "{}");
    }
    fs::remove_file(&segment_files(directory.path())[1]).unwrap();
    let report = report(directory.path());
    assert!(!report.damage.is_empty());
    assert!(report.damage[0].file.contains('2'), "{}", report.damage[0]);
}

#[test]
fn each_of_two_missing_segments_is_named_with_its_own_events() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..5 {
        append(&open(directory.path()), "order-1", "{}");
    }
    let segments = segment_files(directory.path());
    fs::remove_file(&segments[1]).unwrap();
    fs::remove_file(&segments[3]).unwrap();
    fs::remove_file(directory.path().join("INDEX")).unwrap();
    let by_reading_all = verify(directory.path(), &mut |_| {}).unwrap();
    for mut damage in [report(directory.path()).damage, by_reading_all.damage] {
        damage.sort_by(|one, other| one.file.cmp(&other.file));
        let places: Vec<_> =
            damage.iter().map(|damage| (damage.file.as_str(), damage.positions.clone())).collect();
        let lost = |position| Some(Position::new(position)..=Position::new(position));
        let expected = [("0000000000000002.seg", lost(2)), ("0000000000000004.seg", lost(4))];
        assert_eq!(places, expected);
    }
    let store = open(directory.path());
    let after = store.read_all(ReadAll::forwards().from(Position::new(3)));
    let read = block_on(after.collect_events());
    assert!(matches!(read, Err(StoreError::Corrupt(_))), "event 4 is passed over: {read:?}");
}

#[test]
fn a_stream_read_that_needs_a_missing_segment_says_that_it_is_damaged() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        append(&open(directory.path()), "order-1", "{}");
    }
    fs::remove_file(&segment_files(directory.path())[1]).unwrap();
    let store = open(directory.path());
    let read = block_on(store.read_stream(ReadStream::forwards(name("order-1"))).collect_events());
    assert!(
        matches!(&read, Err(StoreError::Corrupt(damage)) if damage.file.contains('2')),
        "{read:?}"
    );
}

#[test]
fn a_newer_format_is_refused_untouched() {
    let (directory, _) = ended();
    let file = &segment_files(directory.path())[0];
    let mut bytes = fs::read(file).unwrap();
    bytes[16] = 2; // an incompatible feature that this version does not know
    let checksum = crc32c::crc32c(&bytes[..4_092]);
    bytes[4_092..4_096].copy_from_slice(&checksum.to_le_bytes());
    fs::write(file, &bytes).unwrap();
    let refused = LogStore::open(directory.path(), Options::default()).unwrap_err();
    assert!(matches!(refused, OpenError::OtherVersion { .. }), "{refused}");
    assert_eq!(fs::read(file).unwrap(), bytes);
}

#[test]
fn the_format_before_the_first_release_is_refused_untouched() {
    let (directory, _) = ended();
    let file = &segment_files(directory.path())[0];
    let mut bytes = fs::read(file).unwrap();
    bytes[8] = 1; // the major version
    let checksum = crc32c::crc32c(&bytes[..4_092]);
    bytes[4_092..4_096].copy_from_slice(&checksum.to_le_bytes());
    fs::write(file, &bytes).unwrap();
    let refused = LogStore::open(directory.path(), Options::default()).unwrap_err();
    assert!(
        refused.to_string().contains("open the store with that version, or export it"),
        "{refused}"
    );
    assert_eq!(fs::read(file).unwrap(), bytes);
}

/// Checks that reads are unchanged or refused with a specific error, and that nothing is missing
/// without an error.
fn same_or_refused(directory: &Path, events: &[RecordedEvent], what: &str) {
    let store = match LogStore::open(directory, Options::default()) {
        Ok(store) => OpenStore(store),
        Err(OpenError::OtherVersion { .. } | OpenError::AnotherStore { .. }) => return,
        Err(other) => panic!("{what}: {other}"),
    };
    match read_all(&store) {
        Ok(read) if read == events => {}
        Ok(read) => {
            let damaged = !store.report().damage.is_empty();
            assert!(damaged, "{what}: {} of {} events in silence", read.len(), events.len());
            assert!(read.iter().all(|event| events.contains(event)), "{what}: other events");
        }
        Err(StoreError::Corrupt(_)) => {}
        Err(other) => panic!("{what}: {other}"),
    }
}

#[test]
fn no_flipped_byte_of_an_ended_store_changes_what_is_read() {
    let (directory, events) = ended();
    let file = segment_files(directory.path())[0].clone();
    let length = fs::metadata(&file).unwrap().len();
    for offset in (0..100).step_by(7).chain((4_090..length).step_by(3)) {
        flip(&file, offset);
        same_or_refused(directory.path(), &events, &format!("byte {offset} flipped"));
        flip(&file, offset);
    }
}

#[test]
fn no_zeroed_sector_of_an_ended_store_changes_what_is_read() {
    let (directory, events) = ended();
    let file = segment_files(directory.path())[0].clone();
    let whole = fs::read(&file).unwrap();
    for sector in (0..whole.len()).step_by(512) {
        let mut holed = whole.clone();
        holed[sector..sector + 512].fill(0);
        fs::write(&file, holed).unwrap();
        same_or_refused(directory.path(), &events, &format!("sector at {sector} zeroed"));
    }
    fs::write(&file, &whole).unwrap();
    assert_eq!(event_texts(&open(directory.path())).len(), events.len());
}

#[test]
fn no_cut_of_an_ended_store_changes_what_is_read() {
    let (directory, events) = ended();
    let file = segment_files(directory.path())[0].clone();
    let whole = fs::read(&file).unwrap();
    for length in (0..whole.len()).step_by(61) {
        fs::write(&file, &whole[..length]).unwrap();
        same_or_refused(directory.path(), &events, &format!("cut to {length} bytes"));
    }
}

/// Creates a killed store of two events, one of them damaged.
fn two_with_damage_at(position: u64) -> (tempfile::TempDir, OpenStore) {
    let directory = tempfile::tempdir().unwrap();
    let mut turned = TurnedStore::open(directory.path(), Options::default());
    turned.append_together(vec![append_to("order-1", "1")]);
    turned.append_together(vec![append_to("order-1", "2")]);
    turned.idle();
    let place = turned.store.locate(Position::new(position)).unwrap();
    let killed = as_killed(directory.path());
    flip(&killed.path().join(&place.file), place.offset + 20);
    let store = open(killed.path());
    (killed, store)
}

#[test]
fn a_read_to_the_end_meets_damage_at_the_end() {
    let (_killed, store) = two_with_damage_at(2);
    assert!(matches!(read_all(&store), Err(StoreError::Corrupt(_))));
    let mut subscription = store.subscribe(Subscribe::to_all().into());
    let first = block_on(subscription.next()).unwrap().unwrap();
    assert!(matches!(first, Delivery::Events(page) if page.len() == 1));
    let second = block_on(subscription.next()).unwrap();
    assert!(matches!(second, Err(StoreError::Corrupt(_))), "not caught up, for events are missing");
}

#[test]
fn a_scan_does_not_pass_over_what_is_missing_at_the_beginning_of_a_segment() {
    let (_killed, store) = two_with_damage_at(1);
    let mut seen = Vec::new();
    let scanned = store.scan(Position::START, |event| {
        seen.push(event.position);
        ControlFlow::Continue(())
    });
    assert!(matches!(scanned, Err(StoreError::Corrupt(_))), "{scanned:?}");
    assert_eq!(seen, []);
    let after = store.scan(Position::new(1), |_| ControlFlow::Continue(()));
    assert_eq!(after.unwrap(), 1);
}

/// Changes one byte in a block of the index's first run and corrects the block's checksum.
fn forge_run(directory: &Path, offset: usize) -> String {
    let run = run_files(directory).remove(0);
    let mut bytes = fs::read(&run).unwrap();
    bytes[offset] ^= 0x08;
    let (block, footer) = (offset - offset % 4_096, bytes.len() - 4_096);
    let salt_and_number = bytes[footer + 45..footer + 69].to_vec();
    let seed = [&salt_and_number[..], &(block as u64).to_le_bytes()].concat();
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&seed), &bytes[block..block + 4_092]);
    bytes[block + 4_092..block + 4_096].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&run, bytes).unwrap();
    run.file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn a_file_of_the_index_that_says_other_things_than_the_log_is_named_and_damages_no_event() {
    let (directory, events) = ended();
    let sound = verify(directory.path(), &mut |_| {}).unwrap();
    assert_eq!((sound.events, sound.index_damage), (events.len() as u64, vec![]));
    // The offset of the first record follows kind, count, next offset, first position and the
    // beginning of the first group; its base follows.
    let run = forge_run(directory.path(), 1 + 2 + 4 + 8 + 2);
    let report = verify(directory.path(), &mut |_| {}).unwrap();
    assert_eq!(report.damage, []);
    let [wrong] = &report.index_damage[..] else { panic!("{report:?}") };
    assert!(
        wrong.starts_with(&format!("{run} disagrees with the log about position 1")),
        "{wrong}"
    );
}

#[test]
fn verifying_names_each_damaged_range_of_a_store_of_several_segments() {
    let directory = tempfile::tempdir().unwrap();
    let small = Options::default().segment_bytes_first(8 << 10).segment_bytes_max(8 << 10);
    let store = open_with(directory.path(), small);
    for number in 0..60 {
        append(&store, &format!("order-{}", number % 3), &"x".repeat(400));
    }
    let places = [7, 30, 55].map(|position| store.locate(Position::new(position)).unwrap());
    drop(store);
    assert_eq!(verify(directory.path(), &mut |_| {}).unwrap().damage, []);
    for place in &places {
        flip(&directory.path().join(&place.file), place.offset + place.length - 1);
    }
    let (mut told, mut total) = (0, 0);
    let report = verify(directory.path(), &mut |progress| {
        assert!(progress.bytes_done > told && progress.bytes_done <= progress.bytes_total);
        told = progress.bytes_done;
        total = progress.bytes_total;
    });
    assert_eq!(told, total, "all is told as read, without what is prepared for later");
    let report = report.unwrap();
    let named: Vec<_> = report
        .damage
        .iter()
        .map(|damage| (damage.file.clone(), damage.positions.clone().unwrap()))
        .collect();
    let expected: Vec<_> = [7, 30, 55]
        .map(Position::new)
        .into_iter()
        .zip(&places)
        .map(|(position, place)| (place.file.clone(), position..=position))
        .collect();
    assert_eq!(named, expected);
    assert_eq!(report.events, 57);
}
