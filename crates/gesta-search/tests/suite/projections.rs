//! The framework on search stores: projections that fill an index, queries that wait for it,
//! rebuilds behind the index that answers, crashes of the server in between.

use std::{
    convert::Infallible,
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use gesta::{
    Answer, Apply, ApplyError, Gesta, Projection, ProjectionState, ProjectionStatus, Query,
    QueryError, Receipt, Severity, audit::Operator, prelude::*,
};
use gesta_search::{
    Document, IndexDefinition, Search, SearchReader, SearchStore, SearchTx, TextField,
};
use gesta_services::OwnServer;
use gesta_store::StreamName;
use tokio::runtime::Runtime;

use crate::engines;

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "note-written")]
struct NoteWritten {
    text: String,
}

#[derive(EventSet, Clone, Debug, PartialEq)]
enum NoteEvent {
    Written(NoteWritten),
}

#[derive(Default)]
struct Note;

impl Aggregate for Note {
    const CATEGORY: &'static str = "note";
    type Id = String;
    type Event = NoteEvent;

    fn evolve(&mut self, _: &NoteEvent) {}
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "write-note", on = Note, either)]
struct WriteNote {
    #[command(id)]
    note: String,
    text: String,
}

impl Decide for WriteNote {
    type Rejection = Infallible;

    fn decide(&self, _: &Note) -> Decision<Self> {
        Ok(NoteWritten { text: self.text.clone() }.into())
    }
}

/// The text that the projection fails on, until it is fixed.
const UNLUCKY: &str = "thirteen";

/// Adds each text to the document of its note. An event that is applied twice shows.
#[derive(Default)]
struct Notes {
    is_fixed: Arc<AtomicBool>,
}

impl Projection for Notes {
    const NAME: &'static str = "notes";
    type Event = NoteEvent;
}

impl Apply<SearchTx> for Notes {
    async fn prepare(&self, tx: &mut SearchTx) -> Result<(), ApplyError> {
        Ok(tx.define(IndexDefinition::new().text("texts", TextField::new()).number("count"))?)
    }

    async fn apply(
        &self,
        tx: &mut SearchTx,
        events: &[Recorded<NoteEvent>],
    ) -> Result<(), ApplyError> {
        tx.load(events.iter().map(|event| event.stream.as_str())).await?;
        for event in events {
            let NoteEvent::Written(NoteWritten { text }) = &event.event;
            if text == UNLUCKY && !self.is_fixed.load(Ordering::SeqCst) {
                return Err(ApplyError::because("thirteen is unlucky"));
            }
            let id = event.stream.as_str();
            let before = tx.get(id).await?.map(|note| note.body_value().clone());
            let mut texts: Vec<String> =
                before.map(serde_json::from_value).transpose()?.unwrap_or_default();
            texts.push(text.clone());
            let note = Document::new(id).texts("texts", &texts).number("count", texts.len() as f64);
            tx.put(note.body(texts.into()), event.position)?;
        }
        Ok(())
    }

    async fn forget(&self, tx: &mut SearchTx, stream: &StreamName) -> Result<(), ApplyError> {
        Ok(tx.forget(stream.as_str()).await?)
    }
}

/// The texts of the notes with these words.
struct FindNotes(&'static str);

impl Query for FindNotes {
    type Reads = Notes;
    type Answer = Vec<Vec<String>>;
}

impl Answer<SearchReader> for FindNotes {
    async fn answer(&self, reader: &mut SearchReader) -> Result<Self::Answer, QueryError> {
        let found = reader.search(&Search::new().text(self.0).limit(1_000)).await?;
        let texts = found.hits.into_iter().map(|hit| hit.document.body_value().clone());
        texts.map(|it| serde_json::from_value(it).map_err(QueryError::because)).collect()
    }
}

async fn open(store: &SearchStore, notes: Notes) -> Gesta {
    let builder = Gesta::at("memory:").project(notes, store).without_log_hint();
    builder.open().await.unwrap()
}

async fn note(gesta: &Gesta, note: usize, text: &str) -> Receipt {
    let (note, text) = (note.to_string(), text.to_owned());
    gesta.execute(WriteNote { note, text }).await.unwrap()
}

async fn caught_up(gesta: &Gesta) {
    let head = gesta.store().head().await.unwrap().position;
    gesta.wait_for_position::<Notes>(head).within(engines::WITHIN).await.unwrap();
}

async fn status(gesta: &Gesta) -> ProjectionStatus {
    gesta.projections().await.unwrap().remove(0)
}

async fn until(gesta: &Gesta, is_wanted: impl Fn(&ProjectionStatus) -> bool) {
    let look = async {
        while !is_wanted(&status(gesta).await) {
            tokio::task::yield_now().await;
        }
    };
    let looked = tokio::time::timeout(engines::WITHIN, look).await;
    assert!(looked.is_ok(), "the projection is {:?}", status(gesta).await);
}

fn operator() -> Operator {
    Operator::new("ann").because("a test")
}

/// One test for each engine.
macro_rules! on_each_engine {
    ($($test:ident;)*) => {
        mod tantivy {
            $(#[test]
            fn $test() {
                let engine = super::engines::tantivy().unwrap();
                super::Runtime::new().unwrap().block_on(super::$test(&engine.store));
            })*
        }

        mod opensearch {
            $(#[test]
            fn $test() {
                let Some(engine) = super::engines::opensearch() else { return };
                super::Runtime::new().unwrap().block_on(super::$test(&engine.store));
            })*
        }
    };
}

on_each_engine! {
    a_query_finds_what_a_command_has_written;
    a_rebuild_fills_another_index_while_the_live_one_answers;
    a_failing_event_is_set_aside_and_retried;
    a_deleted_stream_is_found_again_once_it_is_written_again;
}

async fn a_query_finds_what_a_command_has_written(store: &SearchStore) {
    let gesta = open(store, Notes::default()).await;
    for number in 0..20 {
        let receipt = note(&gesta, number % 2, &format!("lantern {number}")).await;
        let asked = gesta.ask::<_, SearchReader>(FindNotes("lantren")).at_least(&receipt);
        let found = asked.within(engines::WITHIN).await;
        let count: usize = found.unwrap().iter().map(Vec::len).sum();
        assert_eq!(count, number + 1);
    }
    let found = gesta.ask::<_, SearchReader>(FindNotes("lantern 17")).await.unwrap();
    assert_eq!(found.len(), 1);
    gesta.close().await;
}

async fn a_rebuild_fills_another_index_while_the_live_one_answers(store: &SearchStore) {
    let gesta = open(store, Notes::default()).await;
    for number in 0..200 {
        note(&gesta, number % 50, "lantern").await;
    }
    caught_up(&gesta).await;
    let before = gesta.ask::<_, SearchReader>(FindNotes("lantern")).await.unwrap();
    gesta.rebuild("notes", &operator()).await.unwrap();
    let (mut number, mut answers) = (200, 0);
    while status(&gesta).await.old_rows.is_none() {
        let receipt = note(&gesta, number % 50, "lantern").await;
        number += 1;
        let asked = gesta.ask::<_, SearchReader>(FindNotes("lantern")).at_least(&receipt);
        let found = asked.within(engines::WITHIN).await;
        assert_eq!(found.unwrap().iter().map(Vec::len).sum::<usize>(), number);
        answers += 1;
    }
    assert!(answers > 0 && before.len() == 50);
    // The rows before are still there, and are switched back to.
    gesta.roll_back("notes", &operator()).await.unwrap();
    until(&gesta, |status| status.state == ProjectionState::Running).await;
    caught_up(&gesta).await;
    let found = gesta.ask::<_, SearchReader>(FindNotes("lantern")).await.unwrap();
    assert_eq!(found.iter().map(Vec::len).sum::<usize>(), number);
    gesta.close().await;
}

async fn a_failing_event_is_set_aside_and_retried(store: &SearchStore) {
    let notes = Notes::default();
    let is_fixed = Arc::clone(&notes.is_fixed);
    let gesta = open(store, notes).await;
    for text in ["one", UNLUCKY, "two"] {
        note(&gesta, 1, text).await;
        note(&gesta, 2, "other").await;
    }
    caught_up(&gesta).await;
    let letters = gesta.dead_letters().await.unwrap();
    let [(failed, _), _] = letters.as_slice() else {
        panic!("expected the event, and a later one of its stream; got {letters:?}");
    };
    is_fixed.store(true, Ordering::SeqCst);
    gesta.retry_dead_letter(failed, &operator()).await.unwrap();
    assert!(gesta.dead_letters().await.unwrap().is_empty());
    let found = gesta.ask::<_, SearchReader>(FindNotes("thirteen")).await.unwrap();
    assert_eq!(found, [["one", UNLUCKY, "two"]]);
    gesta.close().await;
}

async fn a_deleted_stream_is_found_again_once_it_is_written_again(store: &SearchStore) {
    let gesta = open(store, Notes::default()).await;
    note(&gesta, 1, "one").await;
    let stream = StreamName::new("note-1").unwrap();
    let found = async || gesta.ask::<_, SearchReader>(FindNotes("one")).await.unwrap();
    for again in [true, false] {
        caught_up(&gesta).await;
        assert_eq!(found().await.len(), 1);
        let delete =
            gesta_store::DeleteStream::new(stream.clone(), gesta_store::ExpectedRevision::Any);
        gesta.store().delete_stream(delete).await.unwrap();
        caught_up(&gesta).await;
        assert!(found().await.is_empty());
        if again {
            note(&gesta, 1, "one").await;
        }
    }
    gesta.close().await;
}

/// Documents are written before the checkpoint, so a crash in between repeats events.
#[test]
fn every_event_counts_once_when_the_server_crashes_again_and_again() {
    let Some(mut server) = OwnServer::start_or_skip("opensearch") else { return };
    let runtime = Runtime::new().unwrap();
    let url = server.url();
    let (store, gesta) = runtime.block_on(async {
        let store = SearchStore::open(&url).await.unwrap();
        let gesta = open(&store, Notes::default()).await;
        (store, gesta)
    });
    let mut written = 0;
    for _ in 0..3 {
        runtime.block_on(async {
            for _ in 0..300 {
                note(&gesta, written % 40, "lantern").await;
                written += 1;
            }
        });
        // The projection writes its batches at this time.
        server.crash().unwrap();
        server.start().unwrap();
    }
    runtime.block_on(async {
        caught_up(&gesta).await;
        let found = gesta.ask::<_, SearchReader>(FindNotes("lantern")).await.unwrap();
        let counts: Vec<_> = found.iter().map(Vec::len).collect();
        assert_eq!(counts.iter().sum::<usize>(), written, "{counts:?}");
        assert_eq!(counts.len(), 40);
        gesta.close().await;
        store.close().await;
    });
}

/// Deletes an index, as another program does it.
fn delete_index(url: &str, name: &str) {
    let server = url.strip_prefix("opensearch://").unwrap().split('/').next().unwrap();
    let mut connection = TcpStream::connect(server).unwrap();
    let request = format!("DELETE /{name} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn an_index_that_was_deleted_is_named_in_health_and_a_rebuild_mends_it() {
    let Some(url) = engines::server_url("opensearch") else { return };
    let prefix = url.rsplit('/').next().unwrap();
    Runtime::new().unwrap().block_on(async {
        let store = SearchStore::open(&url).await.unwrap();
        let gesta = open(&store, Notes::default()).await;
        let receipt = note(&gesta, 1, "lantern").await;
        let asked = gesta.ask::<_, SearchReader>(FindNotes("lantern")).at_least(&receipt);
        assert_eq!(asked.within(engines::WITHIN).await.unwrap().len(), 1);

        let index = format!("{prefix}.notes.1");
        tokio::task::block_in_place(|| delete_index(&url, &index));
        let is_named =
            |text: &str| text.contains(&index) && text.contains("rebuild the projection");
        // The first report notices it, the next one has it as damage.
        let health = gesta.health().await;
        assert!(health.causes.iter().any(|cause| is_named(&cause.detail)), "{health:?}");
        let health = gesta.health().await;
        assert_eq!(health.worst(), Some(Severity::Unready), "{health:?}");
        assert!(health.causes.iter().any(|cause| is_named(&cause.detail)), "{health:?}");
        let error = gesta.ask::<_, SearchReader>(FindNotes("lantern")).await.unwrap_err();
        assert!(is_named(&with_causes(&error)), "{error}");

        gesta.rebuild("notes", &operator()).await.unwrap();
        until(&gesta, |status| status.state == ProjectionState::Running).await;
        caught_up(&gesta).await;
        let found = gesta.ask::<_, SearchReader>(FindNotes("lantern")).await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(gesta.health().await.worst(), None);
        gesta.close().await;
    });
}

/// The text of an error with its causes.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
