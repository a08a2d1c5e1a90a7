//! Events that scavenging removes and keeps, and correct answers during it.

use std::{
    collections::BTreeSet,
    fs,
    num::NonZeroU64,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Duration,
};

use gesta_log::{
    LogStore, Options, ScavengeError, ScavengeOptions, ScavengeReport, backup, restore, verify,
};
use gesta_store::{
    Append, AppendCondition, Conflict, DeleteStream, Delivery, Direction, EventId, EventQuery,
    EventStore, EventType, ExpectedRevision, Filter, ListStreams, NewEvent, Position, QueryItem,
    ReadAll, ReadStream, RecordedEvent, Revision, SetStreamMetadata, StoreError, StreamMetadata,
    StreamState, Subscribe, Tag, TombstoneStream, Visibility, conformance::block_on,
};
use tempfile::TempDir;

use crate::harness::{OpenStore, TurnedStore, append, name, open_with, read_all, segment_files};

/// Segments of a few kibibytes, so that there are many.
fn small() -> Options {
    Options::default().segment_bytes_first(8 << 10).segment_bytes_max(16 << 10)
}

fn open(directory: &Path) -> OpenStore {
    open_with(directory, small())
}

fn scavenge(store: &LogStore) -> ScavengeReport {
    let options = ScavengeOptions::default().threshold_percent(0);
    store.scavenge(options, &mut |_| {}).unwrap()
}

fn set(store: &LogStore, stream: &str, metadata: StreamMetadata) {
    let (stream, expected_metadata) = (name(stream), ExpectedRevision::Any);
    let change = SetStreamMetadata::new(stream, expected_metadata, metadata);
    block_on(store.set_stream_metadata(change)).unwrap();
}

fn delete(store: &LogStore, stream: &str) {
    let delete = DeleteStream::new(name(stream), ExpectedRevision::Any);
    block_on(store.delete_stream(delete)).unwrap();
}

fn tombstone(store: &LogStore, stream: &str) {
    let tombstone = TombstoneStream::new(name(stream), ExpectedRevision::Any);
    block_on(store.tombstone_stream(tombstone)).unwrap();
}

fn truncated(before: u64) -> StreamMetadata {
    StreamMetadata::default().truncate_before(Revision::new(before))
}

/// Creates an event with a large payload, a type and a tag.
fn sized(event_type: &str, tag: &str) -> NewEvent {
    let event_type = EventType::new(event_type).unwrap();
    let event = NewEvent::json(EventId::random(), event_type, vec![b'x'; 300]);
    event.tagged([Tag::new(tag).unwrap()])
}

fn head(store: &LogStore, stream: &str) -> Option<u64> {
    let described = block_on(store.describe_stream(&name(stream))).unwrap();
    described.head.map(Revision::number)
}

fn stream(store: &LogStore, stream: &str) -> Vec<RecordedEvent> {
    block_on(store.read_stream(ReadStream::forwards(name(stream))).collect_events()).unwrap()
}

/// Creates a store of twenty streams, with events of twenty sessions in between, which are deleted.
fn store_of_sessions(directory: &Path) -> OpenStore {
    let store = open(directory);
    for round in 0..6 {
        for number in 0..20 {
            append(&store, &format!("account-{number}"), &format!("{round}"));
            let session = name(&format!("session-{number}"));
            let events = [sized("opened", "day:1"), sized("closed", "day:1")];
            block_on(store.append(Append::to(session, ExpectedRevision::Any, events))).unwrap();
        }
    }
    for number in 0..20 {
        delete(&store, &format!("session-{number}"));
    }
    store
}

/// Creates the same store, closed, so that all segments are sealed.
fn closed_store_of_sessions() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    drop(store_of_sessions(directory.path()));
    directory
}

fn is_of_a_session(event: &RecordedEvent) -> bool {
    event.stream.as_str().starts_with("session-")
}

fn without_sessions(events: Vec<RecordedEvent>) -> Vec<RecordedEvent> {
    events.into_iter().filter(|event| !is_of_a_session(event)).collect()
}

fn bytes(directory: &Path) -> u64 {
    segment_files(directory).iter().map(|file| fs::metadata(file).unwrap().len()).sum()
}

/// Removes the index files, so that the log alone must be sufficient.
fn forget_index(directory: &Path) {
    for file in index_files(directory) {
        fs::remove_file(file).unwrap();
    }
}

fn index_files(directory: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
    let of_index = |file: &PathBuf| {
        file.file_name().unwrap() == "INDEX" || file.extension().is_some_and(|end| end == "run")
    };
    files.filter(of_index).collect()
}

fn copy_to(files: impl IntoIterator<Item = PathBuf>, directory: &Path) {
    for file in files {
        fs::copy(&file, directory.join(file.file_name().unwrap())).unwrap();
    }
}

/// Checks that all reads of a store agree on its events.
fn shows_exactly(store: &LogStore, events: &[RecordedEvent]) {
    assert_eq!(read_all(store).unwrap(), events);
    let mut reversed = block_on(store.read_all(ReadAll::backwards()).collect_events()).unwrap();
    reversed.reverse();
    assert_eq!(reversed, events);
    let mut scanned = Vec::new();
    let count = store.scan(Position::START, |event| {
        scanned.push(event.position);
        std::ops::ControlFlow::Continue(())
    });
    assert_eq!(count.unwrap(), events.len() as u64);
    assert!(scanned.iter().eq(events.iter().map(|event| &event.position)));
    let names: BTreeSet<_> = events.iter().map(|event| event.stream.clone()).collect();
    for name in names {
        let filter = Filter::Streams(vec![name.clone()]);
        let read = ReadAll::forwards().filter(filter);
        let of_stream = block_on(store.read_all(read).collect_events()).unwrap();
        assert!(of_stream.iter().eq(events.iter().filter(|event| event.stream == name)));
    }
    for at in 0..=store_head(store) + 1 {
        let read = ReadAll::forwards().from(Position::new(at)).limit(1);
        let next = block_on(store.read_all(read).collect_events()).unwrap();
        let expected = events.iter().find(|event| event.position.number() >= at);
        assert_eq!(next.first(), expected, "from {at}");
    }
}

fn store_head(store: &LogStore) -> u64 {
    block_on(store.head()).unwrap().position.number()
}

#[test]
fn deleted_streams_give_their_space_back_and_everything_else_stays_where_it_was() {
    let directory = closed_store_of_sessions();
    let store = open(directory.path());
    let (all, before) = (read_all(&store).unwrap(), bytes(directory.path()));
    let report = scavenge(&store);
    let kept = without_sessions(all.clone());
    assert_eq!(report.events, (all.len() - kept.len()) as u64);
    assert!(report.rewritten_segments > 3, "{report:?}");
    assert_eq!((report.bytes_before, report.bytes_after), (before, bytes(directory.path())));
    assert!(report.bytes_after < before * 6 / 10, "{report:?}");
    shows_exactly(&store, &kept);
    drop(store);
    for index in ["kept", "forgotten"] {
        if index == "forgotten" {
            forget_index(directory.path());
        }
        let store = open(directory.path());
        assert_eq!(store.report().damage, vec![], "{index}");
        assert_eq!(store.report().events, kept.len() as u64, "{index}");
        shows_exactly(&store, &kept);
        let report = verify(directory.path(), &mut |_| {}).unwrap();
        assert_eq!((report.damage, report.index_damage), (vec![], Vec::<String>::new()));
        assert_eq!(report.events, kept.len() as u64);
    }
}

#[test]
fn the_next_revision_of_an_emptied_stream_is_known_for_ever() {
    let directory = closed_store_of_sessions();
    for _ in 0..2 {
        let store = open(directory.path());
        scavenge(&store);
        assert_eq!(head(&store, "session-7"), Some(11));
        drop(store);
        forget_index(directory.path());
        let store = open(directory.path());
        assert_eq!(head(&store, "session-7"), Some(11));
        assert_eq!(stream(&store, "session-7"), vec![]);
    }
    let store = open(directory.path());
    let again = append(&store, "session-7", "again");
    assert_eq!(again.revisions, vec![(name("session-7"), Revision::new(12))]);
    let shown = stream(&store, "session-7");
    assert!(shown.iter().map(|event| event.revision.number()).eq([12]));
    let list = ListStreams::all().prefix("session-".to_owned()).limit(9);
    assert_eq!(block_on(store.list_streams(list)).unwrap(), vec![name("session-7")]);
    drop(store);
    let store = open(directory.path());
    scavenge(&store);
    forget_index(directory.path());
    assert_eq!(head(&store, "session-7"), Some(12));
}

#[test]
fn metadata_in_force_and_tombstones_stay_and_older_metadata_that_are_hidden_go() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for number in 0..4 {
        append(&store, "order-1", &format!("{number}"));
        set(&store, "order-1", truncated(number));
    }
    append(&store, "order-2", "forbidden");
    set(&store, "order-2", truncated(0));
    // The metadata streams are deleted too, so they are hidden as a whole.
    delete(&store, "$$order-1");
    delete(&store, "$$order-2");
    tombstone(&store, "order-2");
    drop(store);
    let store = open(directory.path());
    scavenge(&store);
    drop(store);
    for index in ["kept", "forgotten"] {
        if index == "forgotten" {
            forget_index(directory.path());
        }
        let store = open(directory.path());
        let of = |stream| block_on(store.describe_stream(&name(stream))).unwrap();
        assert_eq!(of("order-1").metadata, truncated(3), "{index}");
        assert_eq!(of("order-1").metadata_revision, Some(Revision::new(3)));
        assert_eq!(of("order-2").state, StreamState::Tombstoned);
        let left = read_all(&store).unwrap();
        let left: Vec<_> =
            left.iter().map(|event| (event.stream.as_str(), event.revision.number())).collect();
        let expected = [
            ("order-1", 3),
            ("$$order-1", 3),
            ("$$order-2", 0),
            ("$$$$order-1", 0),
            ("$$$$order-2", 0),
            ("$$order-2", 1),
        ];
        assert_eq!(left, expected, "{index}");
    }
}

#[test]
fn what_is_too_many_or_too_old_goes_and_what_is_not_stays() {
    let directory = tempfile::tempdir().unwrap();
    let mut turned = TurnedStore::open(directory.path(), small());
    let of = |stream: &str| Append::to(name(stream), ExpectedRevision::Any, [sized("noted", "a")]);
    let metadata = |stream: &str, metadata: StreamMetadata| {
        let event_type = EventType::new(StreamMetadata::EVENT_TYPE).unwrap();
        let event = NewEvent::json(EventId::random(), event_type, metadata.to_json());
        Append::to(name(stream).metadata_stream().unwrap(), ExpectedRevision::Any, [event])
    };
    let three = StreamMetadata::default().max_count(NonZeroU64::new(3));
    let day = Duration::from_secs(86_400);
    let fresh = StreamMetadata::default().max_age(day);
    turned.append_together(vec![metadata("few-1", three), metadata("fresh-1", fresh)]);
    for _ in 0..20 {
        turned.append_together(vec![of("few-1"), of("fresh-1"), of("kept-1")]);
    }
    turned.clock.pass(day + Duration::from_secs(1));
    for _ in 0..2 {
        turned.append_together(vec![of("few-1"), of("fresh-1"), of("kept-1")]);
    }
    // Past the segments that are scavenged.
    while segment_files(directory.path()).len() < 6 {
        turned.append_together(vec![of("filler-1")]);
    }
    while turned.engine.compact_some() {}
    let before = read_all(&turned.store).unwrap();
    scavenge(&turned.store);
    let left = |stream: &str| {
        let events = read_all(&turned.store).unwrap();
        let of_stream = events.into_iter().filter(|event| event.stream == name(stream));
        of_stream.map(|event| event.revision.number()).collect::<Vec<_>>()
    };
    assert_eq!(left("few-1"), [19, 20, 21]);
    assert_eq!(left("fresh-1"), [20, 21]);
    assert_eq!(left("kept-1"), (0..22).collect::<Vec<_>>());
    let all: Vec<_> = read_all(&turned.store).unwrap();
    assert!(all.iter().all(|event| before.contains(event)), "as they were");
}

#[test]
fn a_repeat_of_a_scavenged_append_is_recognized_and_another_append_with_its_id_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let events = [sized("opened", "a"), sized("closed", "a")];
    let lone = Append::to(name("session-1"), ExpectedRevision::NoStream, events.clone());
    let both = Append::to(name("session-2"), ExpectedRevision::Any, [sized("opened", "a")]).and(
        name("account-2"),
        ExpectedRevision::Any,
        [sized("charged", "a")],
    );
    let first = block_on(store.append(lone.clone())).unwrap().earlier();
    let second = block_on(store.append(both.clone())).unwrap().earlier();
    delete(&store, "session-1");
    delete(&store, "session-2");
    drop(store);
    let store = open(directory.path());
    assert_eq!(scavenge(&store).events, 3);
    drop(store);
    for index in ["kept", "forgotten"] {
        if index == "forgotten" {
            forget_index(directory.path());
        }
        let store = open(directory.path());
        let head_before = store_head(&store);
        assert_eq!(block_on(store.append(lone.clone())).unwrap(), first, "{index}");
        assert_eq!(block_on(store.append(both.clone())).unwrap(), second, "{index}");
        let found = |append: &Append| {
            let id = append.events().next().unwrap().id;
            block_on(store.find_append(id)).unwrap()
        };
        assert_eq!((found(&lone), found(&both)), (Some(first.clone()), Some(second.clone())));
        let forged = [events[0].clone(), sized("closed", "a")];
        let forged = Append::to(name("session-1"), ExpectedRevision::Any, forged);
        let shorter = Append::to(name("session-1"), ExpectedRevision::Any, [events[0].clone()]);
        for other in [forged, shorter] {
            let refused = block_on(store.append(other)).unwrap_err();
            let repeat =
                StoreError::Conflict(Conflict::PartialRepeat { first_event: events[0].id });
            assert_eq!(refused.to_string(), repeat.to_string(), "{index}");
        }
        assert_eq!(store_head(&store), head_before, "nothing was appended");
    }
}

#[test]
fn appends_of_one_frame_are_recognized_whether_scavenging_took_from_them_or_not() {
    let directory = tempfile::tempdir().unwrap();
    let mut turned = TurnedStore::open(directory.path(), small());
    let pair = || [sized("opened", "a"), sized("closed", "a")];
    let to = |stream: &str, events: [NewEvent; 2]| {
        Append::to(name(stream), ExpectedRevision::Any, events)
    };
    let [opened, charged] = pair();
    let appends = vec![
        to("account-1", pair()),
        to("session-1", pair()),
        Append::to(name("session-2"), ExpectedRevision::Any, [opened]).and(
            name("account-1"),
            ExpectedRevision::Any,
            [charged],
        ),
        to("session-3", pair()),
        to("account-2", pair()),
    ];
    let appended = turned.append_together(appends.clone());
    let known = |store: &LogStore, what: &str| {
        let head = store_head(store);
        for (append, appended) in appends.iter().zip(&appended) {
            let again = block_on(store.append(append.clone())).unwrap();
            assert_eq!(again, appended.clone().earlier(), "{what}");
        }
        assert_eq!(store_head(store), head, "{what}: nothing was appended");
    };
    drop(turned);
    // The second scavenge removes a whole append, which the gap frame contains.
    for (round, sessions) in
        [["session-1", "session-2"].as_slice(), &["session-3"]].into_iter().enumerate()
    {
        let store = open(directory.path());
        sessions.iter().for_each(|session| delete(&store, session));
        drop(store);
        let store = open(directory.path());
        let gone = scavenge(&store).events;
        assert_eq!(gone, if round == 0 { 3 } else { 2 });
        known(&store, &format!("round {round}, under way"));
        drop(store);
        known(&open(directory.path()), &format!("round {round}, opened"));
        forget_index(directory.path());
        known(&open(directory.path()), &format!("round {round}, from the log alone"));
        let report = verify(directory.path(), &mut |_| {}).unwrap();
        assert_eq!((report.damage, report.index_damage), (vec![], vec![]), "round {round}");
    }
}

#[test]
fn hidden_events_match_no_query_and_no_condition_before_scavenging_and_after() {
    let directory = closed_store_of_sessions();
    let query = EventQuery::of(QueryItem::every().tagged([Tag::new("day:1").unwrap()]));
    let if_none = |stream: &str| {
        let condition = AppendCondition { none_matching: query.clone(), after: Position::START };
        Append::to(name(stream), ExpectedRevision::Any, [sized("noted", "other")])
            .with_condition(condition)
    };
    for index in ["not scavenged", "not scavenged, forgotten", "scavenged", "forgotten"] {
        if index.ends_with("forgotten") {
            forget_index(directory.path());
        }
        let store = open(directory.path());
        if index == "scavenged" {
            scavenge(&store);
        }
        for filter in [
            Filter::Query(query.clone()),
            Filter::EventTypes(vec![EventType::new("opened").unwrap()]),
            Filter::Streams(vec![name("session-3")]),
            Filter::Categories(vec![name("session-3").category().unwrap()]),
            Filter::StreamPrefixes(vec!["session-".to_owned()]),
        ] {
            let read = ReadAll::forwards().filter(filter.clone()).visibility(Visibility::Visible);
            let found = block_on(store.read_all(read).collect_events()).unwrap();
            assert_eq!(found, vec![], "{index}: {filter:?}");
        }
        block_on(store.append(if_none(&format!("order-{index}")))).unwrap();
    }
}

#[test]
fn segments_of_which_little_would_be_won_stay_as_they_are() {
    let directory = closed_store_of_sessions();
    let store = open(directory.path());
    let everything = ScavengeOptions::default().threshold_percent(100);
    let nothing = store.scavenge(everything, &mut |_| {}).unwrap();
    assert_eq!((nothing.rewritten_segments, nothing.events), (0, 0));
    assert_eq!(nothing.bytes_before, nothing.bytes_after);
    assert!(nothing.segments > 3);
    let mut told = Vec::new();
    let half = ScavengeOptions::default().threshold_percent(50);
    let report = store.scavenge(half, &mut |progress| told.push(progress)).unwrap();
    assert!(report.rewritten_segments > 0 && report.rewritten_segments < report.segments);
    assert!(told.windows(2).all(|two| two[0].bytes_done <= two[1].bytes_done));
    assert_eq!(told.last().map(|last| last.bytes_done), Some(report.bytes_before));
    assert_eq!(told.last().map(|last| last.bytes_total), Some(report.bytes_before));
    assert!(scavenge(&store).rewritten_segments > 0, "those of which less was won");
    assert_eq!(scavenge(&store).rewritten_segments, 0, "nothing is left to win");
}

#[test]
fn a_scavenge_that_is_ended_keeps_what_it_has_done_and_the_next_one_goes_on() {
    let directory = closed_store_of_sessions();
    let store = open(directory.path());
    let everything = ScavengeOptions::default().threshold_percent(0);
    let (mut asked, kept) = (0, without_sessions(read_all(&store).unwrap()));
    let ended = store.scavenge_while(everything, &mut |_| {
        asked += 1;
        if asked > 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let ended = ended.unwrap();
    assert_eq!((ended.segments, ended.ended_early), (2, true));
    let rest = scavenge(&store);
    assert!(ended.rewritten_segments > 0 && rest.rewritten_segments > 0);
    assert!(!rest.ended_early);
    assert_eq!(without_sessions(read_all(&store).unwrap()), kept);
}

#[test]
fn a_crash_before_the_index_is_made_anew_is_healed_at_the_next_opening() {
    let directory = closed_store_of_sessions();
    let before = tempfile::tempdir().unwrap();
    copy_to(index_files(directory.path()), before.path());
    copy_to(segment_files(directory.path()), before.path());
    let store = open(directory.path());
    let kept = without_sessions(read_all(&store).unwrap());
    scavenge(&store);
    drop(store);
    // New segments with the old index files.
    forget_index(directory.path());
    copy_to(index_files(before.path()), directory.path());
    for _ in 0..2 {
        let store = open(directory.path());
        assert_eq!(store.report().damage, vec![]);
        shows_exactly(&store, &kept);
        assert_eq!(head(&store, "session-7"), Some(11));
    }
    assert_eq!(verify(directory.path(), &mut |_| {}).unwrap().index_damage, Vec::<String>::new());
    let readable = LogStore::open(directory.path(), Options::read_only()).unwrap();
    shows_exactly(&readable, &kept);
}

#[test]
fn what_a_killed_scavenge_has_left_is_removed_and_the_next_one_goes_on() {
    let directory = closed_store_of_sessions();
    let last = segment_files(directory.path()).pop().unwrap();
    let left = last.with_extension("seg.new");
    fs::write(&left, b"half a segment").unwrap();
    let store = open(directory.path());
    let kept = without_sessions(read_all(&store).unwrap());
    assert!(scavenge(&store).rewritten_segments > 3);
    shows_exactly(&store, &kept);
    drop(store);
    assert!(!left.exists());
}

#[test]
fn reads_and_subscriptions_that_are_under_way_go_on() {
    let directory = closed_store_of_sessions();
    let store = open(directory.path());
    let readable = LogStore::open(directory.path(), Options::read_only()).unwrap();
    let all = read_all(&store).unwrap();
    let kept = without_sessions(all.clone());
    let mut pages = store.read_all(ReadAll::forwards());
    let mut follower_pages = readable.read_all(ReadAll::forwards());
    let mut subscription = store.subscribe(Subscribe::to_all().into());
    let mut stream_pages = store.read_stream(ReadStream::forwards(name("account-3")));
    let first = block_on(pages.next()).unwrap().unwrap();
    let follower_first = block_on(follower_pages.next()).unwrap().unwrap();
    let Ok(Delivery::Events(told)) = block_on(subscription.next()).unwrap() else { panic!() };
    assert!(first.len() < all.len() && told.len() < all.len());
    scavenge(&store);
    let rest = |seen: Vec<RecordedEvent>| {
        let (at, mut events) = (seen.last().unwrap().position, seen);
        events.extend(kept.iter().filter(|event| event.position > at).cloned());
        events
    };
    let mut events = first.clone();
    while let Some(page) = block_on(pages.next()) {
        events.extend(page.unwrap());
    }
    assert_eq!(events, rest(first));
    let mut events = follower_first.clone();
    while let Some(page) = block_on(follower_pages.next()) {
        events.extend(page.unwrap());
    }
    // It may read its open files, in which nothing is missing.
    let gone: Vec<_> = events.iter().filter(|event| !kept.contains(event)).collect();
    assert!(gone.iter().all(|event| is_of_a_session(event)));
    assert!(kept.iter().all(|event| events.contains(event)));
    let mut events = told.clone();
    loop {
        match block_on(subscription.next()).unwrap().unwrap() {
            Delivery::Events(page) => events.extend(page),
            Delivery::CaughtUp(_) => break,
            _ => {}
        }
    }
    assert_eq!(events, rest(told));
    let of_stream = block_on(stream_pages.next()).unwrap().unwrap();
    assert!(of_stream.iter().eq(kept.iter().filter(|event| event.stream == name("account-3"))));
}

#[test]
fn a_follower_in_another_process_goes_on_through_rewritten_segments() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    append(&store, "account-0", "first");
    drop(store);
    let readable = LogStore::open(directory.path(), Options::read_only()).unwrap();
    assert_eq!(read_all(&readable).unwrap().len(), 1);
    drop(store_of_sessions(directory.path()));
    let store = open(directory.path());
    scavenge(&store);
    append(&store, "account-0", "last");
    drop(store);
    readable.refresh().unwrap();
    let store = open(directory.path());
    shows_exactly(&readable, &read_all(&store).unwrap());
    assert_eq!(head(&readable, "session-7"), Some(11));
    // Again, after it has seen everything.
    for number in 0..20 {
        delete(&store, &format!("account-{number}"));
    }
    drop(store);
    let store = open(directory.path());
    scavenge(&store);
    append(&store, "account-0", "very last");
    drop(store);
    readable.refresh().unwrap();
    let events = read_all(&readable).unwrap();
    assert_eq!(events.last().map(|event| &event.data[..]), Some(&b"very last"[..]));
}

#[test]
fn a_backup_copies_rewritten_segments_again_and_can_be_restored() {
    let directory = closed_store_of_sessions();
    let (copy, again) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let back_up = || backup(directory.path(), copy.path(), &mut |_| {}).unwrap();
    let first = back_up();
    let store = open(directory.path());
    let report = scavenge(&store);
    let kept = without_sessions(read_all(&store).unwrap());
    drop(store);
    let second = back_up();
    assert_eq!(second.copied_segments, report.rewritten_segments);
    assert!(second.bytes < first.bytes);
    assert_eq!(back_up().copied_segments, 0);
    let restored = again.path().join("restored");
    restore(copy.path(), &restored, &mut |_| {}).unwrap();
    assert_eq!(verify(&restored, &mut |_| {}).unwrap().damage, vec![]);
    let store = open(&restored);
    shows_exactly(&store, &kept);
    assert_eq!(head(&store, "session-7"), Some(11));
    let more = append(&store, "session-7", "again");
    assert_eq!(more.revisions, vec![(name("session-7"), Revision::new(12))]);
}

#[test]
fn a_change_to_any_part_of_a_rewritten_segment_is_found() {
    let directory = closed_store_of_sessions();
    let store = open(directory.path());
    scavenge(&store);
    drop(store);
    let file = segment_files(directory.path()).remove(1);
    let good = fs::read(&file).unwrap();
    for at in (0..good.len()).step_by(97).filter(|at| good[*at] != 0 || *at < 4_096) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        fs::write(&file, bad).unwrap();
        let report = verify(directory.path(), &mut |_| {});
        assert!(report.is_err() || !report.unwrap().damage.is_empty(), "at {at}");
    }
    fs::write(&file, &good[..good.len() - 1]).unwrap();
    assert!(!verify(directory.path(), &mut |_| {}).unwrap().damage.is_empty());
}

#[test]
fn events_that_are_shown_again_by_other_metadata_are_gone_and_the_stream_reads_on() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for number in 0..30 {
        append(&store, "order-1", &format!("{number}"));
    }
    set(&store, "order-1", truncated(20));
    drop(store);
    let store = open(directory.path());
    assert_eq!(scavenge(&store).events, 20);
    set(&store, "order-1", StreamMetadata::default());
    let revisions = |direction| {
        let read = ReadStream::towards(direction, name("order-1"));
        let events = block_on(store.read_stream(read).collect_events());
        events.unwrap().iter().map(|event| event.revision.number()).collect::<Vec<_>>()
    };
    assert_eq!(revisions(Direction::Forwards), (20..30).collect::<Vec<_>>());
    assert_eq!(revisions(Direction::Backwards), (20..30).rev().collect::<Vec<_>>());
    let mut subscription = store.subscribe(Subscribe::to_stream(name("order-1")).into());
    let Ok(Delivery::Events(page)) = block_on(subscription.next()).unwrap() else { panic!() };
    assert_eq!(page.first().map(|event| event.revision.number()), Some(20));
}

#[test]
fn appends_go_on_while_a_store_is_scavenged() {
    let directory = closed_store_of_sessions();
    let store = open(directory.path());
    let before = read_all(&store).unwrap();
    let reports = std::thread::scope(|scope| {
        let scavenged = scope.spawn(|| (0..4).map(|_| scavenge(&store)).collect::<Vec<_>>());
        for number in 0..120 {
            append(&store, "busy-1", &format!("{number}"));
            assert!(read_all(&store).is_ok());
        }
        scavenged.join().unwrap()
    });
    assert!(reports[0].events > 0);
    let left = without_sessions(before);
    let events = read_all(&store).unwrap();
    assert!(events.starts_with(&left));
    assert_eq!(events.len(), left.len() + 120);
}

#[test]
fn a_store_that_is_read_only_or_damaged_is_not_scavenged() {
    let directory = closed_store_of_sessions();
    let readable = LogStore::open(directory.path(), Options::read_only()).unwrap();
    let refused = readable.scavenge(ScavengeOptions::default(), &mut |_| {});
    assert!(matches!(refused, Err(ScavengeError::ReadOnly)));
    let file = segment_files(directory.path()).pop().unwrap();
    crate::harness::flip(&file, 4_200);
    let before = bytes(directory.path());
    let damaged = open(directory.path());
    let refused = damaged.scavenge(ScavengeOptions::default(), &mut |_| {});
    assert!(matches!(refused, Err(ScavengeError::Damaged(_))), "{refused:?}");
    assert_eq!(bytes(directory.path()), before);
}

#[test]
fn space_that_was_given_to_a_segment_and_is_not_used_is_won_though_nothing_is_hidden() {
    let directory = tempfile::tempdir().unwrap();
    let lives = |numbers: std::ops::Range<u32>| {
        for number in numbers {
            let store = open_with(directory.path(), Options::default());
            append(&store, "order-1", &number.to_string());
        }
    };
    lives(0..5);
    let before = bytes(directory.path());
    let store = open_with(directory.path(), Options::default());
    let events = read_all(&store).unwrap();
    let report = store.scavenge(ScavengeOptions::default(), &mut |_| {}).unwrap();
    assert_eq!((report.rewritten_segments, report.events), (5, 0));
    assert_eq!((report.bytes_before, report.bytes_after), (before, bytes(directory.path())));
    assert!(report.bytes_after <= 5 * (8 << 10), "{report:?}");
    let again = store.scavenge(ScavengeOptions::default(), &mut |_| {}).unwrap();
    assert_eq!(again.rewritten_segments, 0, "there is nothing left to win");
    assert_eq!(read_all(&store).unwrap(), events);
    drop(store);
    lives(5..6);
    forget_index(directory.path());
    let store = open_with(directory.path(), Options::default());
    assert!(store.report().damage.is_empty(), "{:?}", store.report().damage);
    assert!(read_all(&store).unwrap().starts_with(&events));
    drop(store);
    let report = verify(directory.path(), &mut |_| {}).unwrap();
    assert!(report.damage.is_empty(), "{:?}", report.damage);
}
