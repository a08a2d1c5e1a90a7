//! Look-ups by id, ordinals and times, compared with all events ever recorded: in memory, in index
//! files, after merges, rebuilds, scavenging and damage.

use std::{fs, path::Path, sync::Arc, task::Poll, time::Duration};

use gesta_log::{
    Access, Engine, FileDisk, ImportWriter, IndexedIds, LogStore, Options, RecordedTime,
    ScavengeOptions, StoreExport, SystemRng, backup, restore, verify,
};
use gesta_store::{
    Append, Capability, Category, CausationId, CorrelationId, DeleteStream, Delivery, Direction,
    EventId, EventStore, EventType, ExpectedRevision, Filter, NewEvent, Ordinal, OrdinalEvent,
    OrdinalIndex, Position, ReadAll, ReadOrdinals, ReadStream, RecordedAt, RecordedEvent,
    StoreError, Subscribe, conformance::block_on,
};

use crate::harness::{ManualClock, TurnedStore, flip, name, read_all, run_files, segment_files};

/// Segments of a few kibibytes, so that there are many.
fn small(index: Option<IndexedIds>) -> Options {
    Options::default().segment_bytes_first(8 << 10).segment_bytes_max(16 << 10).index(index)
}

fn open(directory: &Path, index: Option<IndexedIds>) -> LogStore {
    LogStore::open(directory, small(index)).unwrap()
}

fn correlation(number: usize) -> CorrelationId {
    CorrelationId::new(format!("request-{number}")).unwrap()
}

fn causation(number: usize) -> CausationId {
    CausationId::new(format!("command-{number}")).unwrap()
}

/// Appends events of three categories, three types and a few conversations; some have no ids.
fn append_some(store: &LogStore, rounds: std::ops::Range<usize>) {
    for round in rounds {
        let category = ["order", "account", "session"][round % 3];
        let event_type = EventType::new(["placed", "paid", "sent"][round / 2 % 3]).unwrap();
        let events = (0..1 + round % 3).map(|nth| {
            let mut event = NewEvent::json(EventId::random(), event_type.clone(), vec![b'x'; 200]);
            event.correlation_id = (round % 5 != 0).then(|| correlation(round % 7));
            event.causation_id = (nth > 0).then(|| causation(round % 11));
            event
        });
        let stream = name(&format!("{category}-{}", round % 4));
        block_on(store.append(Append::to(stream, ExpectedRevision::Any, events))).unwrap();
    }
}

fn filtered(store: &LogStore, filter: Filter, direction: Direction) -> Vec<RecordedEvent> {
    let read = match direction {
        Direction::Forwards => ReadAll::forwards(),
        Direction::Backwards => ReadAll::backwards(),
    };
    block_on(store.read_all(read.filter(filter)).collect_events()).unwrap()
}

/// Compares the look-ups of ids with the events that a raw read returns.
fn check_ids(store: &LogStore) {
    let all = read_all(store).unwrap();
    let mut filters: Vec<_> =
        (0..8).map(|number| Filter::Correlation(correlation(number))).collect();
    filters.extend((0..12).map(|number| Filter::Causation(causation(number))));
    filters.extend(all.iter().step_by(3).map(|event| Filter::EventId(event.id)));
    filters.push(Filter::EventId(EventId::random()));
    for filter in filters {
        let meant = all.iter().filter(|event| filter.matches(event).unwrap());
        let mut expected: Vec<_> = meant.cloned().collect();
        assert_eq!(filtered(store, filter.clone(), Direction::Forwards), expected, "{filter:?}");
        expected.reverse();
        assert_eq!(filtered(store, filter.clone(), Direction::Backwards), expected, "{filter:?}");
    }
}

/// The events that are counted, and their positions in the order of ordinals.
type Counted = Vec<(OrdinalIndex, Vec<Position>)>;

fn counted(all: &[RecordedEvent]) -> Counted {
    let category = |name: &str| OrdinalIndex::Category(Category::new(name).unwrap());
    let event_type = |name: &str| OrdinalIndex::EventType(EventType::new(name).unwrap());
    let indexes = ["order", "account", "session", "nothing"].map(category).into_iter();
    let indexes = indexes.chain(["placed", "paid", "sent"].map(event_type));
    let indexes =
        indexes.chain((0..7).map(|number| OrdinalIndex::Correlation(correlation(number))));
    let streams_of = |name| OrdinalIndex::StreamsOf(Category::new(name).unwrap());
    let indexes = indexes.chain(["order", "account", "session", "nothing"].map(streams_of));
    let indexes = indexes.chain([OrdinalIndex::Streams]);
    let positions = |of: &OrdinalIndex| {
        all.iter().filter(|event| of.counts(event)).map(|event| event.position).collect()
    };
    indexes.map(|of| (of.clone(), positions(&of))).collect()
}

fn ordinals(store: &LogStore, read: ReadOrdinals) -> Vec<OrdinalEvent> {
    block_on(store.read_ordinals(read).collect_events()).unwrap()
}

fn places(events: &[OrdinalEvent]) -> Vec<(u64, Position)> {
    events.iter().map(|counted| (counted.ordinal.number(), counted.event.position)).collect()
}

/// Checks that every event that is still there has its ordinal, in both directions and from any
/// place.
fn check_ordinals(store: &LogStore, counted: &Counted) {
    let there: Vec<_> = read_all(store).unwrap().iter().map(|event| event.position).collect();
    for (of, positions) in counted {
        let expected = (0..).zip(positions.iter().copied());
        let expected: Vec<(u64, Position)> =
            expected.filter(|(_, position)| there.contains(position)).collect();
        let mut backwards = expected.clone();
        backwards.reverse();
        let read = ReadOrdinals::forwards(of.clone());
        assert_eq!(places(&ordinals(store, read)), expected, "{of:?}");
        let read = ReadOrdinals::backwards(of.clone());
        assert_eq!(places(&ordinals(store, read)), backwards, "{of:?}");
        for from in (0..positions.len() as u64 + 2).step_by(5) {
            let read = ReadOrdinals::forwards(of.clone()).from(Ordinal::new(from)).limit(2);
            let rest = expected.iter().filter(|(ordinal, _)| *ordinal >= from);
            let two: Vec<_> = rest.take(2).copied().collect();
            assert_eq!(places(&ordinals(store, read)), two, "{of:?} from {from}");
            let read = ReadOrdinals::backwards(of.clone()).from(Ordinal::new(from)).limit(2);
            let rest = backwards.iter().filter(|(ordinal, _)| *ordinal <= from);
            let two: Vec<_> = rest.take(2).copied().collect();
            assert_eq!(places(&ordinals(store, read)), two, "{of:?} back from {from}");
        }
    }
}

/// Compares starts at a time with the events that a raw read returns.
fn check_times(store: &LogStore) {
    let all = read_all(store).unwrap();
    let mut times: Vec<_> = all.iter().step_by(4).map(|event| event.recorded_at.micros()).collect();
    times.extend([0, times[0] - 1, times[times.len() - 1] + 1, u64::MAX]);
    let around = times.iter().flat_map(|time| [time.saturating_sub(1), *time]);
    let stream = name("order-0");
    for time in around.map(RecordedAt::from_micros).collect::<Vec<_>>() {
        let later: Vec<_> = all.iter().filter(|event| event.recorded_at >= time).cloned().collect();
        let mut earlier: Vec<_> =
            all.iter().filter(|event| event.recorded_at <= time).cloned().collect();
        earlier.reverse();
        let forwards = store.read_all(ReadAll::forwards().from_time(time)).collect_events();
        assert_eq!(block_on(forwards).unwrap(), later, "{time:?}");
        let backwards = store.read_all(ReadAll::backwards().from_time(time)).collect_events();
        assert_eq!(block_on(backwards).unwrap(), earlier, "{time:?}");
        let visible =
            block_on(store.read_stream(ReadStream::forwards(stream.clone())).collect_events());
        let visible = visible.unwrap();
        let of_stream = |events: &[RecordedEvent]| -> Vec<_> {
            events.iter().filter(|event| visible.contains(event)).cloned().collect()
        };
        let read = ReadStream::forwards(stream.clone()).from_time(time);
        assert_eq!(block_on(store.read_stream(read).collect_events()).unwrap(), of_stream(&later));
        let read = ReadStream::backwards(stream.clone()).from_time(time);
        assert_eq!(
            block_on(store.read_stream(read).collect_events()).unwrap(),
            of_stream(&earlier)
        );
        let of = OrdinalIndex::Category(Category::new("order").unwrap());
        let expected: Vec<_> = later.iter().filter(|event| of.counts(event)).cloned().collect();
        let read = ReadOrdinals::forwards(of.clone()).from_time(time);
        let found: Vec<_> =
            ordinals(store, read).into_iter().map(|counted| counted.event).collect();
        assert_eq!(found, expected, "{time:?}");
        let expected: Vec<_> = earlier.iter().filter(|event| of.counts(event)).cloned().collect();
        let read = ReadOrdinals::backwards(of).from_time(time);
        let found: Vec<_> =
            ordinals(store, read).into_iter().map(|counted| counted.event).collect();
        assert_eq!(found, expected, "{time:?}");
    }
}

fn check(store: &LogStore, counted: &Counted) {
    check_ids(store);
    check_ordinals(store, counted);
    check_times(store);
}

fn delete(store: &LogStore, stream: &str) {
    let delete = DeleteStream::new(name(stream), ExpectedRevision::Any);
    block_on(store.delete_stream(delete)).unwrap();
}

fn scavenge(store: &LogStore) -> u64 {
    let options = ScavengeOptions::default().threshold_percent(0);
    store.scavenge(options, &mut |_| {}).unwrap().events
}

fn forget_index(directory: &Path) {
    for file in run_files(directory) {
        fs::remove_file(file).unwrap();
    }
    fs::remove_file(directory.join("INDEX")).unwrap();
}

#[test]
fn every_look_up_is_answered_from_memory_from_files_and_from_merged_files() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), Some(IndexedIds::ALL));
    append_some(&store, 0..80);
    check(&store, &counted(&read_all(&store).unwrap()));
    drop(store);
    for session in 1..=12 {
        append_some(&open_again(directory.path()), session * 80..session * 80 + 20);
    }
    let store = open_again(directory.path());
    append_some(&store, 2_000..2_030);
    assert!(run_files(directory.path()).len() < 13, "runs were merged");
    check(&store, &counted(&read_all(&store).unwrap()));
}

fn open_again(directory: &Path) -> LogStore {
    open(directory, None)
}

#[test]
fn a_store_without_ids_refuses_look_ups_by_id_and_still_counts_categories_and_types() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), None);
    append_some(&store, 0..30);
    let refused = [
        (Filter::Correlation(correlation(1)), Capability::CorrelationFilter),
        (Filter::Causation(causation(1)), Capability::CausationFilter),
        (Filter::EventId(EventId::random()), Capability::EventIdFilter),
    ];
    for (filter, missing) in refused {
        assert!(!store.capabilities().has(missing));
        let read = store.read_all(ReadAll::forwards().filter(filter.clone())).collect_events();
        let error = block_on(read).unwrap_err();
        assert!(
            matches!(&error, StoreError::Unsupported { capability } if *capability == missing),
            "{error:?}"
        );
        let mut subscription = store.subscribe(Subscribe::to_all().filter(filter).into());
        let error = block_on(subscription.next()).unwrap().unwrap_err();
        assert!(matches!(error, StoreError::Unsupported { .. }), "{error:?}");
    }
    let counted = counted(&read_all(&store).unwrap());
    let has = |(of, _): &(OrdinalIndex, Vec<Position>)| store.capabilities().has(of.capability());
    let (there, missing): (Counted, Counted) = counted.into_iter().partition(has);
    check_ordinals(&store, &there);
    for (of, _) in missing {
        let index = of.capability();
        let read = store.read_ordinals(ReadOrdinals::forwards(of));
        let refused = block_on(read.collect_events()).unwrap_err();
        assert!(
            matches!(&refused, StoreError::Unsupported { capability } if *capability == index),
            "{refused:?}"
        );
        assert!([Capability::CorrelationOrdinals, Capability::StreamOrdinals].contains(&index));
    }
}

#[test]
fn a_store_that_is_opened_with_more_ids_finds_all_earlier_events_by_them() {
    let directory = tempfile::tempdir().unwrap();
    let options = [None, Some(IndexedIds::CORRELATION), Some(IndexedIds::NONE), None];
    for (session, index) in options.into_iter().enumerate() {
        append_some(&open(directory.path(), index), session * 30..session * 30 + 30);
    }
    let store = open(directory.path(), None);
    assert!(!store.capabilities().has(Capability::CorrelationFilter), "it was switched off");
    drop(store);
    // A reader cannot write, so it indexes in memory what the files lack.
    let read_only = small(Some(IndexedIds::ALL)).access(Access::ReadOnly);
    let reader = LogStore::open(directory.path(), read_only).unwrap();
    let expected = counted(&read_all(&reader).unwrap());
    check(&reader, &expected);
    let store = open(directory.path(), Some(IndexedIds::ALL));
    check(&store, &expected);
    drop(store);
    let report = verify(directory.path(), &mut |_| {}).unwrap();
    assert_eq!((report.damage, report.index_damage), (vec![], vec![]));
    // An open that names no ids keeps those that are indexed.
    let store = open(directory.path(), None);
    assert!(store.capabilities().has(Capability::EventIdFilter));
    check(&store, &expected);
}

#[test]
fn scavenging_moves_no_ordinal_before_and_after_the_index_is_rebuilt() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), Some(IndexedIds::ALL));
    append_some(&store, 0..150);
    let mut expected = counted(&read_all(&store).unwrap());
    for stream in ["session-0", "order-1"] {
        delete(&store, stream);
    }
    drop(store); // seals the segment
    let store = open(directory.path(), None);
    let removed = scavenge(&store);
    assert!(removed > 20, "{removed} events");
    check(&store, &expected);
    append_some(&store, 150..180);
    extend(&mut expected, &read_all(&store).unwrap());
    check(&store, &expected);
    // A second scavenge rewrites gaps that are there.
    delete(&store, "session-3");
    drop(store);
    let store = open(directory.path(), None);
    assert!(scavenge(&store) > 0);
    check(&store, &expected);
    drop(store);
    forget_index(directory.path());
    let store = open(directory.path(), Some(IndexedIds::ALL));
    check(&store, &expected);
    drop(store);
    check(&open(directory.path(), None), &expected);
}

/// Adds the events that were appended later.
fn extend(known: &mut Counted, all: &[RecordedEvent]) {
    let now = counted(all);
    for ((_, known), (_, now)) in known.iter_mut().zip(now) {
        let last = known.last().copied().unwrap_or(Position::START);
        known.extend(now.into_iter().filter(|position| *position > last));
    }
}

#[test]
fn a_long_run_of_scavenged_events_is_passed_with_progress() {
    let directory = tempfile::tempdir().unwrap();
    let store = LogStore::open(directory.path(), Options::default()).unwrap();
    let event = || NewEvent::json(EventId::random(), EventType::new("opened").unwrap(), "{}");
    for _ in 0..60 {
        let sessions =
            Append::to(name("session-1"), ExpectedRevision::Any, (0..100).map(|_| event()));
        let order = sessions.and(name("order-1"), ExpectedRevision::Any, [event()]);
        block_on(store.append(order)).unwrap();
    }
    delete(&store, "session-1");
    let last = Append::to(name("session-2"), ExpectedRevision::Any, [event()]);
    let last = block_on(store.append(last)).unwrap().position;
    drop(store);
    let store = LogStore::open(directory.path(), Options::default()).unwrap();
    assert_eq!(scavenge(&store), 6_000);
    let sessions = Filter::Categories(vec![Category::new("session").unwrap()]);
    for direction in [Direction::Forwards, Direction::Backwards] {
        let found = filtered(&store, sessions.clone(), direction);
        assert_eq!(found.iter().map(|event| event.position).collect::<Vec<_>>(), [last]);
    }
    let of = OrdinalIndex::Category(Category::new("session").unwrap());
    assert_eq!(places(&ordinals(&store, ReadOrdinals::forwards(of))), [(6_000, last)]);
}

#[test]
fn ordinals_survive_export_and_import_and_backup_and_restore() {
    let directory = tempfile::tempdir().unwrap();
    let at = |file: &str| directory.path().join(file);
    let store = open(&at("first"), Some(IndexedIds::ALL));
    append_some(&store, 0..100);
    let expected = counted(&read_all(&store).unwrap());
    delete(&store, "session-2");
    drop(store);
    let store = open(&at("first"), None);
    assert!(scavenge(&store) > 5);
    drop(store);
    let export = StoreExport::of(&at("first")).unwrap();
    let mut import = ImportWriter::begin(&at("copy"), export.incarnations()).unwrap();
    for append in export.appends() {
        import.push(append.unwrap()).unwrap();
    }
    import.finish(export.last_recorded_at().unwrap()).unwrap();
    check(&open(&at("copy"), Some(IndexedIds::ALL)), &expected);
    backup(&at("first"), &at("backup"), &mut |_| {}).unwrap();
    restore(&at("backup"), &at("restored"), &mut |_| {}).unwrap();
    check(&open(&at("restored"), Some(IndexedIds::ALL)), &expected);
}

#[test]
fn a_damaged_index_is_rebuilt_with_its_ids_and_a_damaged_log_does_not_count() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), Some(IndexedIds::ALL));
    append_some(&store, 0..200);
    let expected = counted(&read_all(&store).unwrap());
    drop(store);
    for run in run_files(directory.path()) {
        // The directory is near the end of a run.
        flip(&run, fs::metadata(&run).unwrap().len() - 5_000);
    }
    check(&open(directory.path(), None), &expected);
    // Damage that destroys events: what was counted before is not counted without them.
    forget_index(directory.path());
    flip(&segment_files(directory.path())[1], 6_000);
    let store = open(directory.path(), Some(IndexedIds::ALL));
    assert!(!store.report().damage.is_empty());
    for (of, _) in expected {
        let read = block_on(store.read_ordinals(ReadOrdinals::forwards(of)).collect_events());
        assert!(matches!(read, Err(StoreError::Corrupt(_))), "{read:?}");
    }
}

#[test]
fn subscriptions_by_id_deliver_what_comes_and_checkpoints_for_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), Some(IndexedIds::CORRELATION));
    append_some(&store, 0..20);
    let filter = Filter::Correlation(correlation(3));
    let expected = filtered(&store, filter.clone(), Direction::Forwards);
    let mut subscription = store.subscribe(Subscribe::to_all().filter(filter).into());
    assert_eq!(next(&mut subscription), Delivery::Events(expected));
    assert!(matches!(next(&mut subscription), Delivery::CaughtUp(_)));
    append_some(&store, 21..22);
    let head = block_on(store.head()).unwrap().position;
    assert_eq!(next(&mut subscription), Delivery::Checkpoint(head));
    append_some(&store, 24..25);
    let Delivery::Events(events) = next(&mut subscription) else { panic!("no events") };
    assert!(events.iter().all(|event| event.correlation_id == Some(correlation(3))));
}

fn next(subscription: &mut gesta_store::Subscription) -> Delivery {
    block_on(subscription.next()).unwrap().unwrap()
}

#[test]
fn filters_by_prefix_of_the_type_scan_with_checkpoints() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), None);
    append_some(&store, 0..100);
    for prefixes in [vec!["p"], vec!["pa", "sent"], vec!["x"], vec![""]] {
        let prefixes: Vec<_> = prefixes.into_iter().map(str::to_owned).collect();
        let filter = Filter::EventTypePrefixes(prefixes);
        let all = read_all(&store).unwrap();
        let expected = all.iter().filter(|event| filter.matches(event).unwrap());
        let mut expected: Vec<_> = expected.cloned().collect();
        assert_eq!(filtered(&store, filter.clone(), Direction::Forwards), expected);
        expected.reverse();
        assert_eq!(filtered(&store, filter, Direction::Backwards), expected);
    }
    let filter = Filter::EventTypePrefixes(vec!["x".to_owned()]);
    let mut subscription = store.subscribe(Subscribe::to_all().filter(filter).into());
    let head = block_on(store.head()).unwrap().position;
    assert_eq!(next(&mut subscription), Delivery::CaughtUp(head), "nothing matches");
    append_some(&store, 100..101);
    let head = block_on(store.head()).unwrap().position;
    assert_eq!(next(&mut subscription), Delivery::Checkpoint(head));
}

/// Appends one event to a stream at each of these times, in microseconds, which ascend.
fn append_at(turned: &mut TurnedStore, stream: &str, times: &[u64]) {
    for time in times {
        turned.clock.pass(Duration::from_micros(time.saturating_sub(turned.clock_micros())));
        turned.append_together(vec![Append::to(
            name(stream),
            ExpectedRevision::Any,
            [NewEvent::json(EventId::random(), EventType::new("ticked").unwrap(), "{}")],
        )]);
    }
}

fn poll_times(subscription: &mut gesta_store::Subscription) -> Option<Vec<u64>> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        let next = std::pin::pin!(subscription.next()).poll(&mut context);
        match next {
            Poll::Pending => return None,
            Poll::Ready(next) => {
                if let Delivery::Events(events) = next.unwrap().unwrap() {
                    return Some(events.iter().map(|event| event.recorded_at.micros()).collect());
                }
            }
        }
    }
}

#[test]
fn a_subscription_that_starts_at_a_time_waits_for_it_where_it_is_not_there_yet() {
    let directory = tempfile::tempdir().unwrap();
    let mut turned = TurnedStore::open(directory.path(), Options::default());
    append_at(&mut turned, "clock-1", &[1_000, 2_000]);
    append_at(&mut turned, "clock-2", &[3_000]);
    let first = RecordedAt::from_micros(1_500);
    let later = RecordedAt::from_micros(1_000_000);
    let to_all = |time| Subscribe::to_all().from_time(time).into();
    let to_stream = |time| Subscribe::to_stream(name("clock-1")).from_time(time).into();
    let subscribe = |subscribe| turned.store.subscribe(subscribe);
    let mut from_first = [subscribe(to_all(first)), subscribe(to_stream(first))];
    let mut from_later = [subscribe(to_all(later)), subscribe(to_stream(later))];
    let [all, stream] = &mut from_first;
    let mut seen = poll_times(all).unwrap();
    assert_eq!(seen.remove(0), seen_times(&turned.store)[1]);
    assert_eq!(poll_times(stream).unwrap().len(), 1);
    assert!(from_later.iter_mut().all(|subscription| poll_times(subscription).is_none()));
    append_at(&mut turned, "clock-1", &[500_000]);
    assert_eq!(poll_times(&mut from_first[1]).unwrap().len(), 1);
    assert!(from_later.iter_mut().all(|subscription| poll_times(subscription).is_none()));
    append_at(&mut turned, "clock-1", &[1_000_000, 1_100_000]);
    for subscription in &mut from_later {
        let times = poll_times(subscription).unwrap();
        assert!(times.iter().all(|time| *time >= 1_000_000), "{times:?}");
        assert_eq!(times.len(), 2);
    }
}

fn seen_times(store: &LogStore) -> Vec<u64> {
    read_all(store).unwrap().iter().map(|event| event.recorded_at.micros()).collect()
}

#[test]
fn after_recorded_time_was_restarted_a_time_is_still_found() {
    let directory = tempfile::tempdir().unwrap();
    let at = |from: u64, recorded_time| {
        let disk = Arc::new(FileDisk::open(directory.path(), Access::ReadWrite).unwrap());
        let clock = Arc::new(ManualClock::default());
        clock.pass(Duration::from_micros(from));
        let options = Options::default().recorded_time(recorded_time);
        let (engine, store) =
            Engine::open(disk, clock.clone(), Box::new(SystemRng), options).unwrap();
        TurnedStore { engine, store, clock }
    };
    append_at(&mut at(1_000_000, RecordedTime::Continues), "clock-1", &[2_000_000, 9_000_000]);
    append_at(&mut at(3_000_000, RecordedTime::Restarts), "clock-1", &[4_000_000, 5_000_000]);
    let turned = at(6_000_000, RecordedTime::Continues);
    let times = seen_times(&turned.store);
    assert!(times[2] < times[1], "{times:?}");
    for time in [1, 4_500_000, 6_000_000, 10_000_000].map(RecordedAt::from_micros) {
        let all = read_all(&turned.store).unwrap();
        let first = all.iter().find(|event| event.recorded_at >= time);
        let read = ReadAll::forwards().from_time(time).limit(1);
        let found = block_on(turned.store.read_all(read).collect_events()).unwrap();
        assert_eq!(found.first(), first, "{time:?}");
        let last = all.iter().rev().find(|event| event.recorded_at <= time);
        let read = ReadAll::backwards().from_time(time).limit(1);
        let found = block_on(turned.store.read_all(read).collect_events()).unwrap();
        assert_eq!(found.first(), last, "{time:?}");
    }
}
