//! A store that is copied append by append is the same store.

use std::path::Path;

use gesta_log::{
    ImportError, ImportReport, ImportWriter, LogStore, OpenError, Options, ScavengeOptions,
    StoreExport, StoredAppend, verify,
};
use gesta_store::{
    Append, Conflict, DeleteStream, Delivery, EventId, EventStore as _, EventType,
    ExpectedRevision, Incarnation, Invalid, NewEvent, Position, Revision, SetStreamMetadata,
    StoreError, StreamMetadata, Subscribe, Tag, conformance::block_on,
};

use crate::harness::{OpenStore, name, open_with, read_all};

/// Opens a store with segments of a few kibibytes, so that there are many.
fn open(directory: &Path) -> OpenStore {
    let options = Options::default().segment_bytes_first(8 << 10).segment_bytes_max(16 << 10);
    open_with(directory, options)
}

fn event(id: &str, nth: u64) -> NewEvent {
    let data = format!("{{\"nth\":{nth},\"text\":\"{}\"}}", "x".repeat(300));
    let event =
        NewEvent::json(EventId::derived_from(id, nth), EventType::new("noted").unwrap(), data);
    event.tagged([Tag::of("nth", &nth.to_string()).unwrap()])
}

/// Creates the append with this number: one to three events in one or two streams.
fn append_of(n: u64) -> Append {
    let id = format!("append {n}");
    let events = (0..=n % 3).map(|nth| event(&id, nth));
    let append = Append::to(name(&format!("thing-{}", n % 7)), ExpectedRevision::Any, events);
    if n.is_multiple_of(5) {
        let other = name(&format!("other-{}", n % 4));
        return append.and(other, ExpectedRevision::Any, [event(&id, 10)]);
    }
    append
}

/// Creates a store with everything that a copy could lose, in several segments and two sessions.
/// Returns its appends.
fn source(directory: &Path) -> Vec<Append> {
    let appends: Vec<_> = (0..120).map(append_of).collect();
    let (early, late) = appends.split_at(80);
    let store = open(directory);
    for append in early {
        block_on(store.append(append.clone())).unwrap();
    }
    let delete = |stream: &str| {
        let delete = DeleteStream::new(name(stream), ExpectedRevision::Any);
        block_on(store.delete_stream(delete)).unwrap();
    };
    delete("thing-1");
    delete("other-0");
    let truncated = StreamMetadata::default().truncate_before(Revision::new(9));
    let (stream, expected_metadata) = (name("thing-2"), ExpectedRevision::Any);
    let set = SetStreamMetadata::new(stream, expected_metadata, truncated);
    block_on(store.set_stream_metadata(set)).unwrap();
    drop(store);
    let store = open(directory);
    let options = ScavengeOptions::default().threshold_percent(0);
    assert!(store.scavenge(options, &mut |_| {}).unwrap().events > 20);
    for append in late {
        block_on(store.append(append.clone())).unwrap();
    }
    appends
}

fn exported(directory: &Path) -> Vec<StoredAppend> {
    StoreExport::of(directory).unwrap().appends().collect::<Result<_, _>>().unwrap()
}

fn import(from: &Path, to: &Path) -> ImportReport {
    let export = StoreExport::of(from).unwrap();
    let mut import = ImportWriter::begin(to, export.incarnations()).unwrap();
    for append in export.appends() {
        import.push(append.unwrap()).unwrap();
    }
    import.finish(export.last_recorded_at().unwrap()).unwrap()
}

/// Creates two directories.
fn directories() -> [tempfile::TempDir; 2] {
    [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()]
}

#[test]
fn a_copy_has_positions_times_boundaries_and_what_was_scavenged() {
    let [there, copy] = directories();
    source(there.path());
    let report = import(there.path(), copy.path());
    assert_eq!(exported(copy.path()), exported(there.path()));
    let found = verify(copy.path(), &mut |_| {}).unwrap();
    assert!(found.damage.is_empty() && found.index_damage.is_empty(), "{found:?}");
    let [there, copy] = [open(there.path()), open(copy.path())];
    assert!(copy.report().damage.is_empty(), "{:?}", copy.report());
    assert_eq!(read_all(&copy).unwrap(), read_all(&there).unwrap());
    let head = block_on(copy.head()).unwrap();
    assert_eq!((head.position, head.incarnation), (report.end, report.incarnation));
    for stream in ["thing-0", "thing-1", "thing-2", "other-0", "$$thing-2"] {
        let describe = |store: &LogStore| block_on(store.describe_stream(&name(stream))).unwrap();
        assert_eq!(describe(&copy), describe(&there), "{stream}");
    }
}

#[test]
fn every_append_of_a_moved_store_is_known_when_it_is_repeated() {
    let [there, copy] = directories();
    let appends = source(there.path());
    import(there.path(), copy.path());
    let [there, copy] = [open(there.path()), open(copy.path())];
    let before = read_all(&copy).unwrap().len();
    for append in appends {
        let first = append.events().next().unwrap().id;
        let known = block_on(there.find_append(first)).unwrap();
        assert!(known.is_some());
        assert_eq!(block_on(copy.find_append(first)).unwrap(), known);
        assert_eq!(Some(block_on(copy.append(append)).unwrap()), known);
    }
    assert_eq!(read_all(&copy).unwrap().len(), before, "nothing twice");
}

#[test]
fn a_moved_store_goes_on_where_it_was_and_a_checkpoint_past_it_is_told_so() {
    let [there, copy] = directories();
    source(there.path());
    let head = block_on(open(there.path()).head()).unwrap();
    import(there.path(), copy.path());
    let copy = open(copy.path());
    let next = block_on(copy.append(append_of(999))).unwrap();
    assert_eq!(next.position.number(), head.position.number() + 1);
    let from = |after: Position, incarnation: Incarnation| {
        let resumed = Subscribe::to_all().after(after);
        let mut subscription = copy.subscribe(resumed.incarnation(incarnation).into());
        block_on(subscription.next()).unwrap()
    };
    let Ok(Delivery::Events(page)) = from(head.position, head.incarnation) else {
        panic!("a checkpoint of the store that was moved goes on")
    };
    assert_eq!(page.first().unwrap().position, next.position);
    let past = from(head.position.next(), head.incarnation).unwrap_err();
    assert!(
        matches!(past, StoreError::Rejected(Invalid::OtherIncarnation { .. })),
        "what the other store had after it was moved is not here: {past}"
    );
}

#[test]
fn a_store_that_is_moved_twice_keeps_all_its_lives() {
    let [there, copy] = directories();
    let again = tempfile::tempdir().unwrap();
    source(there.path());
    let first = StoreExport::of(there.path()).unwrap().incarnations().to_vec();
    import(there.path(), copy.path());
    // The second session appended nothing.
    import(copy.path(), again.path());
    let lives = StoreExport::of(again.path()).unwrap().incarnations().to_vec();
    assert_eq!(lives.get(..first.len()), Some(&first[..]));
    assert_eq!(lives.len(), first.len() + 2);
    assert_eq!(exported(again.path()), exported(there.path()));
    let second = StoreExport::of(copy.path()).unwrap().incarnations().last().unwrap().0;
    let again = open(again.path());
    assert!(again.report().damage.is_empty(), "{:?}", again.report());
    let end = block_on(again.head()).unwrap().position;
    block_on(again.append(append_of(999))).unwrap();
    let resumed = Subscribe::to_all().after(end);
    let mut goes_on = again.subscribe(resumed.incarnation(second).into());
    assert!(block_on(goes_on.next()).unwrap().is_ok());
}

#[test]
fn a_store_that_never_had_an_event_takes_an_import() {
    let [there, copy] = directories();
    source(there.path());
    drop(open(copy.path()));
    std::fs::write(copy.path().join("read-models"), "rows").unwrap();
    import(there.path(), copy.path());
    assert_eq!(exported(copy.path()), exported(there.path()));
    assert!(open(copy.path()).report().damage.is_empty());
    let strange = tempfile::tempdir().unwrap();
    std::fs::write(strange.path().join("letter.txt"), "dear ann").unwrap();
    let lives = StoreExport::of(there.path()).unwrap().incarnations().to_vec();
    let refused = ImportWriter::begin(strange.path(), &lives).unwrap_err();
    assert!(matches!(refused, ImportError::Occupied { .. }), "{refused}");
}

#[test]
fn a_store_without_events_is_moved_too() {
    let [there, copy] = directories();
    drop(open(there.path()));
    import(there.path(), copy.path());
    block_on(open(copy.path()).append(append_of(1))).unwrap();
    assert_eq!(exported(copy.path()).len(), 1);
}

#[test]
fn an_import_that_was_cut_off_goes_on_and_is_no_store_until_it_ends() {
    let [there, copy] = directories();
    source(there.path());
    let export = StoreExport::of(there.path()).unwrap();
    let appends = exported(there.path());
    for end in [0, 3, 40, appends.len()] {
        let mut import = ImportWriter::begin(copy.path(), export.incarnations()).unwrap();
        let known =
            appends.iter().take(end).filter(|append| import.push((*append).clone()).unwrap());
        let known = known.count();
        if end > 40 {
            assert_eq!(known, 40, "what was kept is not written again");
        }
        import.keep().unwrap();
        for options in [Options::default(), Options::read_only()] {
            let refused = LogStore::open(copy.path(), options);
            assert!(matches!(refused, Err(OpenError::Importing)), "{refused:?}");
        }
        // A segment left by a kill under construction is ignored.
        std::fs::write(copy.path().join("0000000000000099.seg.new"), "half").unwrap();
    }
    import(there.path(), copy.path());
    assert_eq!(exported(copy.path()), appends);
    assert_eq!(read_all(&open(copy.path())).unwrap(), read_all(&open(there.path())).unwrap());
}

#[test]
fn a_copy_of_more_than_one_segment_holds_goes_on_at_any_of_them() {
    let [there, copy] = directories();
    let store = open_with(there.path(), Options::default());
    for nth in 0..40 {
        let data = format!("\"{}\"", "x".repeat(1 << 20));
        let id = EventId::derived_from("large", nth);
        let large = NewEvent::json(id, EventType::new("noted").unwrap(), data);
        let append = Append::to(name("thing-1"), ExpectedRevision::Any, [large]);
        block_on(store.append(append)).unwrap();
    }
    drop(store);
    let export = StoreExport::of(there.path()).unwrap();
    let mut cut = ImportWriter::begin(copy.path(), export.incarnations()).unwrap();
    for append in export.appends().take(20) {
        cut.push(append.unwrap()).unwrap();
    }
    // Killed: buffered appends are lost.
    drop(cut);
    let mut import = ImportWriter::begin(copy.path(), export.incarnations()).unwrap();
    let known =
        export.appends().filter(|append| import.push(append.as_ref().unwrap().clone()).unwrap());
    assert!((10..20).contains(&known.count()), "a segment was full, and kept");
    let report = import.finish(export.last_recorded_at().unwrap()).unwrap();
    assert_eq!((report.end.number(), report.segments), (40, 2));
    assert_eq!(exported(copy.path()), exported(there.path()));
    assert!(verify(copy.path(), &mut |_| {}).unwrap().damage.is_empty());
}

#[test]
fn another_import_is_not_gone_on_with() {
    let [there, copy] = directories();
    source(there.path());
    let export = StoreExport::of(there.path()).unwrap();
    let appends = exported(there.path());
    let mut begun = ImportWriter::begin(copy.path(), export.incarnations()).unwrap();
    for append in appends.iter().take(5) {
        begun.push(append.clone()).unwrap();
    }
    begun.keep().unwrap();
    let mut other = ImportWriter::begin(copy.path(), export.incarnations()).unwrap();
    let mut changed = appends[0].clone();
    changed.events[0].data = "{}".into();
    let refused = other.push(changed).unwrap_err();
    assert!(matches!(refused, ImportError::AnotherImport { position } if position.number() == 1));
    drop(other);
    let other_life = [(Incarnation::new(uuid_of(7)), Position::new(1))];
    let refused = ImportWriter::begin(copy.path(), &other_life).unwrap_err();
    assert!(matches!(refused, ImportError::AnotherImport { .. }), "{refused}");
    let mut shorter = ImportWriter::begin(copy.path(), export.incarnations()).unwrap();
    shorter.push(appends[0].clone()).unwrap();
    assert!(matches!(shorter.finish(None), Err(ImportError::AnotherImport { .. })));
    // An import needs an empty directory.
    let refused = ImportWriter::begin(there.path(), export.incarnations()).unwrap_err();
    assert!(matches!(refused, ImportError::Occupied { .. }), "{refused}");
}

fn uuid_of(number: u128) -> uuid::Uuid {
    uuid::Uuid::from_u128(number)
}

#[test]
fn an_append_that_no_store_can_have_is_refused() {
    let [there, copy] = directories();
    source(there.path());
    let export = StoreExport::of(there.path()).unwrap();
    let appends = exported(there.path());
    let spoiled = |spoil: fn(&mut StoredAppend)| {
        let mut append = appends.iter().find(|append| append.events.len() > 1).unwrap().clone();
        append.first = Position::new(1);
        for (nth, event) in (1..).zip(&mut append.events) {
            event.position = Position::new(nth);
            event.revision = Revision::new(nth - 1);
            event.stream = name("thing-0");
        }
        append.scavenged = None;
        spoil(&mut append);
        append
    };
    let try_it = |append| {
        let empty = tempfile::tempdir().unwrap();
        ImportWriter::begin(empty.path(), export.incarnations()).unwrap().push(append)
    };
    assert!(!try_it(spoiled(|_| {})).unwrap());
    for (spoil, why) in [
        (
            (|append| append.first = Position::new(2)) as fn(&mut StoredAppend),
            "position 1 was expected",
        ),
        (|append| append.events.clear(), "it has no events"),
        (|append| append.events[1].position = Position::new(9), "no event has position 2"),
        (
            |append| append.events[0].revision = Revision::new(4),
            "revision 0 of thing-0 was expected",
        ),
        (
            |append| append.events[1].recorded_at = gesta_store::RecordedAt::from_micros(0),
            "recorded",
        ),
        (
            |append| append.events[0].tags = vec![Tag::new("x").unwrap(); 300],
            "exceeds the limits of an event",
        ),
    ] {
        let refused = try_it(spoiled(spoil)).unwrap_err();
        assert!(refused.to_string().contains(why), "{refused}");
    }
    drop(copy);
}

#[test]
fn an_append_of_which_events_were_scavenged_is_told_from_another_with_its_first_id() {
    let [there, copy] = directories();
    source(there.path());
    import(there.path(), copy.path());
    let copy = open(copy.path());
    // The third append, of three events, went to thing-2, which was truncated.
    let other = Append::to(name("thing-2"), ExpectedRevision::Any, [event("append 2", 0)]);
    let refused = block_on(copy.append(other)).unwrap_err();
    assert!(matches!(refused, StoreError::Conflict(Conflict::PartialRepeat { .. })), "{refused}");
}
