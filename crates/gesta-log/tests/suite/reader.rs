//! A reader in Python, written from `docs/format.md` alone, reads the same events as the engine.

use std::{
    fmt::Write as _,
    path::Path,
    process::{Command, Output},
};

use gesta_log::{LogStore, Options, ScavengeOptions};
use gesta_store::{
    Append, CausationId, ContentType, CorrelationId, DeleteStream, EventId, EventStore as _,
    EventType, ExpectedRevision, NewEvent, Position, RecordedEvent, Revision, SetStreamMetadata,
    StreamMetadata, Tag, conformance::block_on,
};

use crate::harness::{TurnedStore, as_killed, flip, name, open, read_all, segment_files};

/// Runs the reader; returns `None` with a message if Python is missing.
#[expect(clippy::print_stderr, reason = "a test that checks nothing says so")]
fn reader(directory: &Path) -> Option<Output> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reader.py");
    match Command::new("python3").arg("-B").arg(script).arg(directory).output() {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("SKIPPED: docs/reader.py was not run, for python3 cannot be: {error}");
            None
        }
    }
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8(output.stdout.clone()).unwrap().lines().map(str::to_owned).collect()
}

/// Creates an event whose fields all depend on its number, with names and bytes of every kind.
fn varied(number: usize) -> NewEvent {
    let id = EventId::derived_from("reader", number as u64);
    let event_type = EventType::new(["placed", "größe-geändert", "\"quoted\\\""][number % 3]);
    let data: Vec<u8> = (0..number * 37 % 2_600).map(|byte| (byte * number) as u8).collect();
    let mut event = NewEvent::json(id, event_type.unwrap(), data);
    event.content_type = match number % 4 {
        0 => ContentType::JSON,
        1 => ContentType::OCTET_STREAM,
        2 => ContentType::new("text/plain; charset=utf-8").unwrap(),
        _ => ContentType::new("application/vnd.shop+json").unwrap(),
    };
    event.schema_version = (number * 991) as u16;
    event.metadata = vec![number as u8; number % 5 * 11].into();
    event.tags =
        (0..number % 4).map(|tag| Tag::of("customer", &format!("{tag}ß")).unwrap()).collect();
    if number.is_multiple_of(3) {
        event.correlation_id = CorrelationId::new(format!("conversation-{number}")).ok();
    }
    if number.is_multiple_of(5) {
        event.causation_id = CausationId::new("cause").ok();
    }
    event
}

/// Creates appends of one and of many events, to one and to several streams, over several segments.
fn varied_store(directory: &Path) -> TurnedStore {
    let small = Options::default().segment_bytes_first(8 << 10).segment_bytes_max(24 << 10);
    let mut turned = TurnedStore::open(directory, small);
    let mut number = 0;
    let mut some = |count: usize| {
        number += count;
        (number - count..number).map(varied).collect::<Vec<_>>()
    };
    for round in 0..24 {
        let to = |stream: &str, events| Append::to(name(stream), ExpectedRevision::Any, events);
        let alone = to("order-1", some(1));
        let several =
            to("order-1", some(2)).and(name("größe"), ExpectedRevision::Any, some(round % 4));
        turned.append_together(vec![alone, several, to(&format!("stock-{round}"), some(1))]);
        if round % 6 == 0 {
            turned.idle(); // a close frame, in a sector of its own
        }
    }
    turned.append_together(vec![Append::to(name("order-1"), ExpectedRevision::Any, some(40))]);
    turned
}

#[test]
fn a_reader_written_from_the_page_lists_every_event_of_a_killed_store_and_of_an_ended_one() {
    let directory = tempfile::tempdir().unwrap();
    let turned = varied_store(directory.path());
    let events = read_all(&turned.store).unwrap();
    assert!(events.len() > 100, "{} events", events.len());
    let killed = as_killed(directory.path());
    assert!(segment_files(killed.path()).len() > 3);
    drop(turned);
    // A second session, which records the end of the first one and is closed cleanly.
    drop(open(directory.path()));
    let mut again = TurnedStore::open(directory.path(), Options::default());
    again.append_together(vec![Append::to(
        name("order-1"),
        ExpectedRevision::Any,
        [varied(7_000)],
    )]);
    let all = read_all(&again.store).unwrap();
    let TurnedStore { mut engine, store, .. } = again;
    drop(store);
    while engine.poll() != gesta_log::EnginePoll::Closed {}
    drop(engine);

    for (directory, events) in [(killed.path(), &events), (directory.path(), &all)] {
        let Some(output) = reader(directory) else { return };
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.is_empty(), "{said}");
        assert_eq!(lines(&output), events.iter().map(line).collect::<Vec<_>>());
    }
}

#[test]
fn the_reader_lists_exactly_what_scavenging_has_left() {
    let directory = tempfile::tempdir().unwrap();
    let turned = varied_store(directory.path());
    drop(turned);
    let hide = |store: &LogStore, before| {
        let metadata = StreamMetadata::default().truncate_before(Revision::new(before));
        let (stream, expected_metadata) = (name("order-1"), ExpectedRevision::Any);
        let change = SetStreamMetadata::new(stream, expected_metadata, metadata);
        block_on(store.set_stream_metadata(change)).unwrap();
    };
    for before in [20, 70] {
        hide(&open(directory.path()), before);
        let store = open(directory.path());
        let delete =
            DeleteStream::new(name(&format!("stock-{}", before / 10)), ExpectedRevision::Any);
        block_on(store.delete_stream(delete)).unwrap();
        let all = read_all(&store).unwrap().len();
        let options = ScavengeOptions::default().threshold_percent(0);
        let report = store.scavenge(options, &mut |_| {}).unwrap();
        assert!(report.rewritten_segments > 1, "{report:?}");
        let events = read_all(&store).unwrap();
        assert_eq!(events.len() as u64, all as u64 - report.events);
        drop(store);
        let Some(output) = reader(directory.path()) else { return };
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.is_empty(), "{said}");
        assert_eq!(lines(&output), events.iter().map(line).collect::<Vec<_>>());
    }
}

#[test]
fn the_reader_names_damage_and_goes_on_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let turned = varied_store(directory.path());
    let events = read_all(&turned.store).unwrap();
    let lost = turned.store.locate(Position::new(21)).unwrap();
    let killed = as_killed(directory.path());
    flip(&killed.path().join(&lost.file), lost.offset + lost.length - 1);
    let Some(output) = reader(killed.path()) else { return };
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    let report = open(killed.path()).report().clone();
    let [damage] = &report.damage[..] else { panic!("{report:?}") };
    assert!(said.starts_with(&format!("{} at offset {}: ", damage.file, damage.offset)), "{said}");
    let missing = damage.positions.clone().unwrap();
    let rest = events.iter().filter(|event| !missing.contains(&event.position));
    assert_eq!(lines(&output), rest.map(line).collect::<Vec<_>>());
}

/// Formats an event as the reader does.
fn line(event: &RecordedEvent) -> String {
    let optional = |text: Option<&str>| text.map_or("null".to_owned(), quoted);
    let tags: Vec<_> = event.tags.iter().map(|tag| quoted(tag.as_str())).collect();
    format!(
        "{{\"position\":{},\"stream\":{},\"revision\":{},\"recordedAtMicros\":{},\"id\":\"{}\",\
         \"type\":{},\"schemaVersion\":{},\"tags\":[{}],\"correlationId\":{},\"causationId\":{},\
         \"contentType\":{},\"metadataBase64\":\"{}\",\"dataBase64\":\"{}\"}}",
        event.position.number(),
        quoted(event.stream.as_str()),
        event.revision.number(),
        event.recorded_at.micros(),
        event.id,
        quoted(event.event_type.as_str()),
        event.schema_version,
        tags.join(","),
        optional(event.correlation_id.as_ref().map(CorrelationId::as_str)),
        optional(event.causation_id.as_ref().map(CausationId::as_str)),
        quoted(event.content_type.as_str()),
        base64(&event.metadata),
        base64(&event.data),
    )
}

/// Formats a text without control characters as JSON.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let number = three.iter().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
        let number = number << (8 * (3 - three.len()));
        for digit in 0..4 {
            let place = (number >> (18 - 6 * digit) & 63) as usize;
            let shown = if digit <= three.len() { char::from(DIGITS[place]) } else { '=' };
            write!(text, "{shown}").unwrap();
        }
    }
    text
}
