//! Partitions that move to another schema, and payloads that move to a file and come back.

mod kept;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use gesta_postgres::{
    AppendPart, ArchiveError, ArchiveFile, KeptPayloads, OpenError, Partition, PartitionPlace,
    PostgresStore, PostgresUrl,
};
use gesta_services::{Fault, FaultProxy};
use gesta_store::{
    Append, AppendCondition, Conflict, Delivery, EventQuery, EventStore, EventType,
    ExpectedRevision, Filter, NewEvent, OrdinalIndex, Position, QueryItem, ReadAll, ReadOrdinals,
    ReadStream, RecordedEvent, Revision, StoreError, Subscribe, Tag, Visibility,
    conformance::{block_on, block_on_within},
};

use crate::server::{TestStore, event, name, with_client};

/// Events of an append. Appends reach over the ends of partitions of 1,000 positions.
const APPEND_EVENTS: usize = 70;
const APPENDS: usize = 36;
const STREAMS: usize = 4;
/// Far more than a change may wait for a server that stands still, with a limit of one second.
const BOUND: Duration = Duration::from_secs(25);

/// A store with two full partitions and one that takes appends, and a schema for the archive.
struct Archived {
    test: TestStore,
    store: PostgresStore,
    appends: Vec<Append>,
}

impl Archived {
    fn new_or_skip() -> Option<Self> {
        let server = gesta_services::url_or_skip("postgres")?;
        let test = TestStore::create(&server);
        let store = test.open();
        block_on(store.archive().set_partition_positions(1_000)).unwrap();
        let appends: Vec<Append> = (0..APPENDS).map(numbered_append).collect();
        for append in &appends {
            block_on(store.append(append.clone())).unwrap();
        }
        Some(Self { test, store, appends })
    }

    fn partitions(&self) -> Vec<Partition> {
        block_on(self.store.archive().partitions()).unwrap()
    }

    fn places(&self) -> Vec<PartitionPlace> {
        self.partitions().into_iter().map(|partition| partition.place).collect()
    }

    fn archive_schema(&self) -> String {
        format!("{}_archive", self.test.schema)
    }

    fn move_to_schema(&self, first: u64) {
        let (archive, schema) = (self.store.archive(), self.archive_schema());
        block_on(archive.move_to_schema(Position::new(first), &schema)).unwrap();
    }

    /// Removes the payloads of a partition, and returns what a file would have.
    fn move_to_file(&self, first: u64) -> Vec<AppendPart> {
        self.move_to_file_with_kept(first).0
    }

    /// The same, with the number of payloads that stay.
    fn move_to_file_with_kept(&self, first: u64) -> (Vec<AppendPart>, KeptPayloads) {
        let partitions = self.partitions();
        let first = Position::new(first);
        let partition = partitions.iter().find(|partition| partition.first == first).unwrap();
        let mut pages = self.store.archive().appends(partition);
        let mut parts = Vec::new();
        while let Some(page) = block_on(pages.next()) {
            parts.extend(page.unwrap());
        }
        let file = ArchiveFile::new("events.jsonl".to_owned(), "digest".to_owned());
        let kept = block_on(self.store.archive().remove_payloads(first, file)).unwrap();
        (parts, kept)
    }

    fn restore(&self, first: u64, parts: Vec<AppendPart>) -> Result<(), ArchiveError> {
        block_on(async {
            let mut restore = self.store.archive().restore_payloads(Position::new(first)).await?;
            for part in parts {
                restore.push(part.append.events).await?;
            }
            restore.finish().await
        })
    }

    fn read_all(&self, from: u64) -> Result<Vec<RecordedEvent>, StoreError> {
        let read = ReadAll::forwards().from(Position::new(from));
        block_on(self.store.read_all(read).collect_events())
    }
}

impl Drop for Archived {
    fn drop(&mut self) {
        self.test.execute(&format!("DROP SCHEMA IF EXISTS {} CASCADE", self.archive_schema()));
    }
}

fn stream_of(nth: usize) -> String {
    format!("order-{}", nth % STREAMS)
}

fn tag_of(nth: usize) -> Tag {
    Tag::of("append", &nth.to_string()).unwrap()
}

fn numbered_append(nth: usize) -> Append {
    let numbered = |at: usize| {
        let event = event(&format!("{nth} {at}"));
        if at == 0 { event.tagged([tag_of(nth)]) } else { event }
    };
    let events: Vec<NewEvent> = (0..APPEND_EVENTS).map(numbered).collect();
    Append::to(name(&stream_of(nth)), ExpectedRevision::Any, events)
}

/// Every event, as each kind of read returns it.
fn everything(store: &PostgresStore) -> Vec<Vec<RecordedEvent>> {
    let all = |read: ReadAll| block_on(store.read_all(read).collect_events()).unwrap();
    let of_tag = |nth| Filter::Query(EventQuery::of(QueryItem::every().tagged([tag_of(nth)])));
    let happened = EventType::new("happened").unwrap();
    let mut read = vec![
        all(ReadAll::forwards()),
        all(ReadAll::backwards()),
        all(ReadAll::forwards().filter(Filter::EventTypes(vec![happened.clone()]))),
        all(ReadAll::backwards().filter(Filter::Streams(vec![name("order-1")]))),
        all(ReadAll::forwards().filter(of_tag(0))),
        all(ReadAll::forwards().filter(of_tag(APPENDS - 1))),
    ];
    for stream in 0..STREAMS {
        let stream = name(&stream_of(stream));
        for read_stream in
            [ReadStream::forwards(stream.clone()), ReadStream::backwards(stream.clone())]
        {
            read.push(block_on(store.read_stream(read_stream).collect_events()).unwrap());
        }
    }
    let mut pages = store.read_ordinals(ReadOrdinals::forwards(OrdinalIndex::EventType(happened)));
    let mut by_ordinal = Vec::new();
    while let Some(page) = block_on(pages.next()) {
        by_ordinal.extend(page.unwrap().into_iter().map(|of| of.event));
    }
    read.push(by_ordinal);
    read
}

/// Checks that a read was refused at a position.
#[track_caller]
fn is_archived<T: std::fmt::Debug>(read: Result<T, StoreError>, at: u64) {
    let error = read.unwrap_err();
    let StoreError::Archived { position, .. } = &error else { panic!("not archived: {error}") };
    assert_eq!(position.number(), at, "{error}");
    assert!(error.to_string().contains("gesta archive restore"), "{error}");
}

#[test]
fn events_in_an_archive_schema_are_read_as_before_and_move_back() {
    let Some(archived) = Archived::new_or_skip() else { return };
    let before = everything(&archived.store);
    archived.move_to_schema(1);
    archived.move_to_schema(1_001);
    let there = PartitionPlace::Schema(archived.archive_schema());
    assert_eq!(archived.places(), [there.clone(), there, PartitionPlace::Store]);
    assert_eq!(everything(&archived.store), before);
    assert_eq!(everything(&archived.test.open()), before);
    for first in [1, 1_001] {
        block_on(archived.store.archive().move_back(Position::new(first))).unwrap();
    }
    assert_eq!(archived.places(), vec![PartitionPlace::Store; 3]);
    assert_eq!(everything(&archived.store), before);
}

#[test]
fn payloads_in_a_file_come_back_as_they_were() {
    let Some(archived) = Archived::new_or_skip() else { return };
    let before = everything(&archived.store);
    archived.move_to_schema(1_001);
    let parts = [1, 1_001].map(|first| archived.move_to_file(first));
    let counts = parts
        .each_ref()
        .map(|parts| parts.iter().map(|part| part.append.events.len()).sum::<usize>());
    assert_eq!(counts, [1_000, 1_000]);
    // The append over the end of a partition has a part in each.
    let [first, second] = &parts;
    let of_append = |part: &AppendPart| part.part_of.unwrap();
    let (end, begin) = (first.last().unwrap(), second.first().unwrap());
    assert_eq!(of_append(end), of_append(begin));
    assert_eq!(of_append(end).events, APPEND_EVENTS as u64);
    assert!(first.iter().rev().skip(1).all(|part| part.part_of.is_none()));
    let [first, second] = parts;
    archived.restore(1_001, second).unwrap();
    is_archived(archived.read_all(1), 1);
    archived.restore(1, first).unwrap();
    assert_eq!(archived.places(), vec![PartitionPlace::Store; 3]);
    assert_eq!(everything(&archived.store), before);
}

#[test]
fn no_read_leaves_out_an_event_whose_payload_is_in_a_file() {
    let Some(archived) = Archived::new_or_skip() else { return };
    let store = &archived.store;
    let before = archived.read_all(1).unwrap();
    let parts = archived.move_to_file(1);
    is_archived(archived.read_all(1), 1);
    is_archived(archived.read_all(1_000), 1_000);
    assert_eq!(archived.read_all(1_001).unwrap(), before[1_000..]);
    // A read from the end returns what is there before it is refused.
    let mut backwards = store.read_all(ReadAll::backwards());
    let mut read = Vec::new();
    let refused = loop {
        match block_on(backwards.next()).unwrap() {
            Ok(page) => read.extend(page),
            Err(error) => break error,
        }
    };
    is_archived(Err::<(), _>(refused), 1_000);
    assert!(read.iter().eq(before[1_000..].iter().rev()));
    let stream = || ReadStream::forwards(name("order-0"));
    is_archived(block_on(store.read_stream(stream()).collect_events()), 1);
    let newest = ReadStream::backwards(name("order-0")).limit(3);
    assert_eq!(block_on(store.read_stream(newest).collect_events()).unwrap().len(), 3);
    let tagged = |nth| {
        let query = EventQuery::of(QueryItem::every().tagged([tag_of(nth)]));
        block_on(store.read_all(ReadAll::forwards().filter(Filter::Query(query))).collect_events())
    };
    is_archived(tagged(0), 1);
    assert_eq!(tagged(APPENDS - 1).unwrap().len(), 1);
    let mut subscription = store.subscribe(Subscribe::to_all().into());
    is_archived(block_on(subscription.next()).unwrap(), 1);
    let later = Subscribe::to_all().after(Position::new(1_000));
    let mut subscription = store.subscribe(later.into());
    let Some(Ok(Delivery::Events(page))) = block_on(subscription.next()) else {
        panic!("events were expected");
    };
    assert_eq!(page.first().unwrap().position.number(), 1_001);
    drop(parts);
}

#[test]
fn appends_to_archived_streams_are_judged_as_before() {
    let Some(archived) = Archived::new_or_skip() else { return };
    let store = &archived.store;
    // Its events are in both partitions.
    let across = &archived.appends[1_000 / APPEND_EVENTS];
    let early = &archived.appends[0];
    let first_id = |append: &Append| append.events().next().unwrap().id;
    let answers = [early, across].map(|append| {
        block_on(store.find_append(first_id(append))).unwrap().expect("it was recorded")
    });
    let head = block_on(store.head()).unwrap();
    archived.move_to_schema(1_001);
    archived.move_to_file(1);
    for store in [store, &archived.test.open()] {
        for (append, answer) in [early, across].into_iter().zip(&answers) {
            assert_eq!(&block_on(store.append(append.clone())).unwrap(), answer, "a repeat");
            assert_eq!(
                block_on(store.find_append(first_id(append))).unwrap().as_ref(),
                Some(answer)
            );
        }
        let mut partial = early.clone();
        partial.streams[0].events.truncate(3);
        let refused = block_on(store.append(partial)).unwrap_err();
        assert!(
            matches!(refused, StoreError::Conflict(Conflict::PartialRepeat { .. })),
            "{refused}"
        );
    }
    let one = |expected| Append::to(name("order-0"), expected, [event("more")]);
    let refused = block_on(store.append(one(ExpectedRevision::NoStream))).unwrap_err();
    assert!(matches!(refused, StoreError::Conflict(Conflict::Stream { .. })), "{refused}");
    let none_matching = EventQuery::of(QueryItem::every().tagged([tag_of(0)]));
    let condition = AppendCondition { none_matching, after: Position::START };
    let refused =
        block_on(store.append(one(ExpectedRevision::Any).with_condition(condition))).unwrap_err();
    assert!(matches!(refused, StoreError::Conflict(Conflict::Condition { .. })), "{refused}");
    assert_eq!(block_on(store.head()).unwrap(), head, "nothing was appended");
    let revisions = (APPENDS / STREAMS * APPEND_EVENTS) as u64;
    let exact = ExpectedRevision::Exact(Revision::new(revisions - 1));
    let appended = block_on(store.append(one(exact))).unwrap();
    assert_eq!(appended.revisions, [(name("order-0"), Revision::new(revisions))]);
}

#[test]
fn a_file_with_other_events_is_refused_and_changes_nothing() {
    let Some(archived) = Archived::new_or_skip() else { return };
    let before = everything(&archived.store);
    let parts = archived.move_to_file(1);
    let places = archived.places();
    let mut changed = parts.clone();
    changed[3].append.events[5].event_type = EventType::new("invented").unwrap();
    let mut shorter = parts.clone();
    shorter.pop();
    let mut gap = parts.clone();
    gap.remove(7);
    for (file, at) in [(changed, 216), (shorter, 981), (gap, 491)] {
        let refused = archived.restore(1, file).unwrap_err();
        let ArchiveError::Differs { position, .. } = refused else { panic!("{refused}") };
        assert_eq!(position.number(), at);
    }
    assert_eq!(archived.places(), places);
    archived.restore(1, parts).unwrap();
    assert_eq!(everything(&archived.store), before);
}

#[test]
fn a_change_that_is_not_possible_is_refused_by_its_reason() {
    let Some(archived) = Archived::new_or_skip() else { return };
    let archive = archived.store.archive();
    let to = |first, schema: &str| block_on(archive.move_to_schema(Position::new(first), schema));
    let elsewhere = archived.archive_schema();
    let refused = to(2_001, &elsewhere).unwrap_err();
    assert!(matches!(refused, ArchiveError::NotFull { .. }), "{refused}");
    let refused = to(500, &elsewhere).unwrap_err();
    assert!(matches!(refused, ArchiveError::NoPartition { .. }), "{refused}");
    archived.test.execute(&format!(
        "CREATE SCHEMA {elsewhere}; CREATE TABLE {elsewhere}.events_1 (mine text)"
    ));
    let refused = to(1, &elsewhere).unwrap_err();
    assert!(matches!(refused, ArchiveError::Occupied { .. }), "{refused}");
    let refused = archived.restore(1, Vec::new()).unwrap_err();
    assert!(matches!(refused, ArchiveError::NotInFile { .. }), "{refused}");
    archived.move_to_file(1);
    let refused = to(1, &elsewhere).unwrap_err();
    assert!(matches!(refused, ArchiveError::InFile { .. }), "{refused}");
    for wrong in [999, 1_000_000_001, u64::MAX] {
        let refused = block_on(archive.set_partition_positions(wrong)).unwrap_err();
        assert!(matches!(refused, ArchiveError::Size { positions } if positions == wrong));
        assert!(refused.to_string().contains("1000 to 1000000000 positions"), "{refused}");
    }
}

#[test]
fn a_schema_that_cannot_keep_a_partition_is_refused_before_anything_changes() {
    let Some(archived) = Archived::new_or_skip() else { return };
    let archive = archived.store.archive();
    let to = |schema: &str| block_on(archive.move_to_schema(Position::START.next(), schema));
    let places = archived.places();
    let own = archived.test.schema.clone();
    for name in ["", "pg_archive", "information_schema", "it's", "a{lock}b", &"a".repeat(64)] {
        let refused = to(name).unwrap_err();
        assert!(matches!(refused, ArchiveError::SchemaName(_)), "{name}: {refused}");
        let url = format!("postgres://ann@db/shop?schema={name}");
        let of_url = url.parse::<PostgresUrl>().unwrap_err();
        assert_eq!(refused.to_string(), of_url.to_string());
    }
    // The schemas of another store, and of other read models.
    let other = format!("{own}_archive");
    let taken = [own.clone(), format!("{own}_read_models"), format!("{own}_7_orders")];
    for name in taken {
        let refused = to(&name).unwrap_err();
        assert!(matches!(refused, ArchiveError::TakenSchema { .. }), "{name}: {refused}");
    }
    for tables in [&["store", "partitions"][..], &["catalogue", "read_models"], &["gesta_build"]] {
        archived.test.execute(&format!("CREATE SCHEMA {other}"));
        for table in tables {
            archived.test.execute(&format!("CREATE TABLE {other}.{table} ()"));
        }
        let refused = to(&other).unwrap_err();
        assert!(matches!(refused, ArchiveError::TakenSchema { .. }), "{tables:?}: {refused}");
        archived.test.execute(&format!("DROP SCHEMA {other} CASCADE"));
    }
    assert_eq!(archived.places(), places);
}

#[test]
fn a_size_of_partitions_that_is_too_large_fails_no_append() {
    let Some(archived) = Archived::new_or_skip() else { return };
    // As an earlier version accepted it.
    archived.test.execute("UPDATE {schema}.store SET partition_positions = 9223372036854775807");
    for nth in 0..APPENDS {
        block_on(archived.store.append(numbered_append(nth + APPENDS))).unwrap();
    }
    let last = archived.partitions().pop().unwrap();
    assert_eq!((last.first.number(), last.last.number()), (3_001, 1_000_003_000));
}

/// The server takes a statement of the change, and then gives no answers.
#[test]
fn a_change_ends_when_the_server_stands_still() {
    let Some(archived) = Archived::new_or_skip() else { return };
    let proxy = FaultProxy::start(&archived.test.server).unwrap();
    let url = format!("{}?statement_timeout=1", proxy.url());
    let store = archived.test.open_on(&url);
    let places = archived.places();
    let file = ArchiveFile::new("events.jsonl".to_owned(), "digest".to_owned());
    let first = Position::START.next();
    let schema = archived.archive_schema();
    for to_file in [false, true] {
        let statement = if to_file { "TO STDOUT" } else { "CREATE SCHEMA" };
        proxy.inject(Fault::stall_before(move |message| {
            message.from_client() && message.contains(statement)
        }));
        let ended = std::thread::scope(|scope| {
            let archive = store.archive();
            let (file, schema) = (file.clone(), schema.clone());
            let changing = scope.spawn(move || {
                if to_file {
                    block_on_within(BOUND, archive.remove_payloads(first, file)).map(drop)
                } else {
                    block_on_within(BOUND, archive.move_to_schema(first, &schema))
                }
            });
            proxy.wait_until_injected();
            // Others are not answered either.
            proxy.stall();
            changing.join().unwrap()
        });
        let refused = ended.unwrap_err();
        assert!(matches!(refused, ArchiveError::Store(StoreError::Unreachable { .. })));
        assert!(refused.to_string().contains("did not answer in time"), "{refused}");
        proxy.cut_all();
        proxy.resume();
    }
    assert_eq!(archived.places(), places);
}

/// The exchange of tables waits for a reader, and the server ends the session in that moment.
#[test]
fn a_change_that_is_cut_off_leaves_the_partition_as_it_was() {
    let Some(archived) = Archived::new_or_skip() else { return };
    let before = everything(&archived.store);
    let places = archived.places();
    let archive = archived.store.archive();
    let file = || ArchiveFile::new("events.jsonl".to_owned(), "digest".to_owned());
    let first = Position::START.next();
    for to_file in [false, true] {
        let cut = with_client(&archived.test.server, async |client| {
            let schema = &archived.test.schema;
            let hold = format!("BEGIN; SELECT count(*) FROM {schema}.events");
            client.batch_execute(&hold).await.unwrap();
            std::thread::scope(|scope| {
                let changing = scope.spawn(|| {
                    if to_file {
                        block_on(archive.remove_payloads(first, file())).map(drop)
                    } else {
                        block_on(archive.move_to_schema(first, &archived.archive_schema()))
                    }
                });
                // A thread of its own, because this one drives the connection.
                let ending = scope.spawn(|| {
                    while end_waiting_sessions(&archived.test) == 0 {
                        std::thread::yield_now();
                    }
                });
                ending.join().unwrap();
                changing.join().unwrap()
            })
        });
        assert!(matches!(cut, Err(ArchiveError::Store(_))), "{cut:?}");
        assert_eq!(archived.places(), places);
        assert_eq!(everything(&archived.store), before);
    }
    archived.move_to_file(1);
    is_archived(archived.read_all(1), 1);
}

/// Ends the sessions that wait for a lock on a table of the store. Returns their number.
fn end_waiting_sessions(test: &TestStore) -> i64 {
    let text = "SELECT count(pg_terminate_backend(l.pid, 5000)) FROM pg_locks l \
                  JOIN pg_class c ON c.oid = l.relation \
                  JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE NOT l.granted AND n.nspname = $1";
    with_client(&test.server, async |client| {
        client.query_one(text, &[&test.schema]).await.expect("the statement is right").get(0)
    })
}

#[test]
fn appends_and_reads_go_on_while_partitions_move() {
    let Some(archived) = Archived::new_or_skip() else { return };
    let stop = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        let store = &archived.store;
        let writer = scope.spawn(move || {
            let mut appended = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                let append = Append::to(name("order-9"), ExpectedRevision::Any, [event("more")]);
                block_on(store.append(append)).unwrap();
                appended += 1;
            }
            appended
        });
        let reader = scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let read = store.read_all(ReadAll::forwards().visibility(Visibility::Raw));
                let events = match block_on(read.collect_events()) {
                    Ok(events) => events,
                    Err(StoreError::Archived { .. }) => continue,
                    Err(error) => panic!("{error}"),
                };
                let positions = events.iter().map(|event| event.position.number());
                assert!(positions.eq(1..=events.len() as u64), "no event is left out");
                assert!(events.len() >= APPENDS * APPEND_EVENTS);
            }
        });
        for _ in 0..3 {
            archived.move_to_schema(1);
            let parts = archived.move_to_file(1_001);
            archived.restore(1_001, parts).unwrap();
            block_on(archived.store.archive().move_back(Position::START.next())).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        let appended = writer.join().unwrap();
        reader.join().unwrap();
        let stream = archived.store.read_stream(ReadStream::forwards(name("order-9")));
        assert_eq!(block_on(stream.collect_events()).unwrap().len() as u64, appended);
    });
}

#[test]
fn a_store_without_a_part_of_its_events_is_not_opened() {
    let Some(archived) = Archived::new_or_skip() else { return };
    archived.move_to_schema(1);
    // As a restore without the schema of the archive leaves it.
    let schema = archived.archive_schema();
    archived.test.execute(&format!("DROP SCHEMA {schema} CASCADE"));
    let url = archived.test.url_on(&archived.test.server);
    let refused = block_on(PostgresStore::connect(&url)).unwrap_err();
    assert!(matches!(refused, OpenError::MissingPartition { .. }), "{refused}");
    let text = refused.to_string();
    assert!(text.contains("position 1 to 1000") && text.contains(&schema), "{text}");
}

#[test]
fn a_user_who_may_only_append_gets_the_next_partition() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestStore::create(&server);
    let owner = test.open();
    block_on(owner.archive().set_partition_positions(1_000)).unwrap();
    let role = test.schema.replace("test", "role");
    let grant = format!(
        "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {{schema}} TO {role}; \
         GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA {{schema}} TO {role}; \
         GRANT USAGE ON ALL SEQUENCES IN SCHEMA {{schema}} TO {role}; \
         GRANT EXECUTE ON FUNCTION pg_control_system() TO {role}"
    );
    test.execute(&grant);
    let limited = server.replace("postgres@", &format!("{role}@"));
    let opened = block_on(PostgresStore::connect(&test.url_on(&limited)));
    let appended = opened.map(|store| {
        (0..APPENDS).try_for_each(|nth| block_on(store.append(numbered_append(nth))).map(drop))
    });
    let partitions = block_on(owner.archive().partitions()).unwrap().len();
    test.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
    appended.unwrap().unwrap();
    assert_eq!(partitions, 3);
}

#[test]
fn the_partition_that_takes_appends_ends_earlier_when_partitions_become_smaller() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let test = TestStore::create(&server);
    let store = test.open();
    for nth in 0..APPENDS {
        block_on(store.append(numbered_append(nth))).unwrap();
    }
    let before = everything(&store);
    let ends = || {
        let partitions = block_on(store.archive().partitions()).unwrap();
        partitions.iter().map(|one| (one.last.number(), one.is_full)).collect::<Vec<_>>()
    };
    assert_eq!(ends(), [(10_000_000, false)]);
    block_on(store.archive().set_partition_positions(1_500)).unwrap();
    assert_eq!(ends(), [(3_000, false)]);
    for nth in 0..APPENDS / 2 {
        block_on(store.append(numbered_append(nth))).unwrap();
    }
    assert_eq!(ends(), [(3_000, true), (4_500, false)]);
    assert_eq!(everything(&store)[0][..before[0].len()], before[0]);
}
