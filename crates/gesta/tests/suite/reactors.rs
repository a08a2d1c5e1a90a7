//! Reactors: each event has its effect at least once, with one key, in the order of its stream.

use std::{sync::Arc, time::Duration};

use gesta::{
    Begin, EffectContext, EffectError, EffectKey, Gesta, OpenError, Reactor, ReactorSetup,
    ReactorState, Recorded,
    store::{
        Append, EventStore, ExpectedRevision, NewEvent, ReadAll, ReadStream, StreamName,
        memory::MemoryStore,
    },
    testing::{VirtualClock, drain},
};
use gesta_sqlite::Sqlite;

use crate::{
    bank::{Balances, Controls, deposit, operator},
    library::{BookEvent, LendBook},
    post_office::{Branch, Failing, Notices, PostOffice, olga},
};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn each_event_has_its_effect_once_in_the_order_of_its_stream() {
    let branch = Branch::open().await;
    for _ in 0..20 {
        branch.lend_all(&["emma", "lolita", "momo"]).await;
    }
    branch.drain().await;
    for book in ["book-emma", "book-lolita", "book-momo"] {
        assert_eq!(branch.office.of(book), (0..20).collect::<Vec<_>>());
    }
    let status = branch.status().await;
    assert_eq!(
        (status.state, status.dead_letters, status.trouble),
        (ReactorState::Running, 0, None)
    );
    assert_eq!(status.lag.time, Duration::ZERO);
}

#[tokio::test]
async fn the_key_of_an_effect_derives_from_the_reactor_and_the_event() {
    let branch = Branch::open().await;
    branch.lend("emma").await;
    branch.drain().await;
    let stream = StreamName::new("book-emma").unwrap();
    let events = branch.store.read_stream(ReadStream::forwards(stream)).collect_events().await;
    let key = EffectKey::new("notices", events.unwrap()[0].id);
    assert_eq!(branch.office.sent()[0].key, key);
}

#[tokio::test]
async fn a_new_reactor_begins_where_it_is_told_and_a_known_one_goes_on() {
    for (begin, expected) in [(Begin::Now, vec![1]), (Begin::AtTheStart, vec![0, 1])] {
        let (store, office) = (Arc::new(MemoryStore::new()), PostOffice::default());
        let gesta = Gesta::on(store.clone()).open().await.unwrap();
        gesta.execute(LendBook::new("emma", "ann")).await.unwrap();
        let open = || Gesta::on(store.clone()).react(Notices(office.clone()), begin).open();
        let gesta = open().await.unwrap();
        gesta.execute(LendBook::new("emma", "bob")).await.unwrap();
        drain(&gesta).await;
        assert_eq!(office.of("book-emma"), expected, "{begin:?}");
        gesta.close().await;
        let gesta = open().await.unwrap();
        drain(&gesta).await;
        assert_eq!(office.of("book-emma"), expected, "{begin:?} concerns the first run alone");
    }
}

#[tokio::test]
async fn a_new_reactor_begins_at_a_time() {
    let (store, office) = (Arc::new(MemoryStore::new()), PostOffice::default());
    let gesta = Gesta::on(store.clone()).open().await.unwrap();
    for reader in ["ann", "bob"] {
        gesta.execute(LendBook::new("emma", reader)).await.unwrap();
    }
    let events = store.read_all(ReadAll::forwards()).collect_events().await.unwrap();
    let begin = Begin::At(events[1].recorded_at);
    let notices = Notices(office.clone());
    let gesta = Gesta::on(store.clone()).react(notices, begin).open().await.unwrap();
    drain(&gesta).await;
    assert_eq!(office.of("book-emma").last(), Some(&1));
    let is_later = events[0].recorded_at < events[1].recorded_at;
    assert_eq!(office.of("book-emma").len(), if is_later { 1 } else { 2 });
}

#[tokio::test]
async fn an_effect_that_fails_is_attempted_again_after_a_pause_with_the_same_key() {
    let branch = Branch::open().await;
    branch.office.fail("book-emma", Failing::Fails);
    branch.lend_all(&["emma", "emma", "lolita"]).await;
    branch.pass(Duration::from_millis(50)).await;
    assert_eq!(branch.office.of("book-lolita"), [0], "other streams go on");
    assert_eq!(branch.status().await.retrying, 1);
    let trouble = branch.status().await.trouble.unwrap();
    assert!(trouble.contains("stream book-emma: the post is on strike"), "{trouble}");
    branch.office.mend("book-emma");
    branch.drain().await;
    assert_eq!(branch.office.of("book-emma"), [0; 0], "the second pause is not over");
    branch.pass(Duration::from_millis(100)).await;
    let sent = branch.office.sent();
    let emma: Vec<_> = sent.iter().filter(|sent| sent.stream == "book-emma").collect();
    assert_eq!((emma[0].revision, emma[0].attempt), (0, 3));
    assert_eq!((emma[1].revision, emma[1].attempt), (1, 1));
    assert_ne!(emma[0].key, emma[1].key);
    assert_eq!(branch.status().await.trouble, None);
}

#[tokio::test]
async fn a_receiver_that_asks_for_a_pause_gets_it() {
    let branch = Branch::open().await;
    branch.office.fail("book-emma", Failing::AfterAMinute);
    branch.lend("emma").await;
    branch.drain().await;
    branch.office.mend("book-emma");
    branch.pass(MINUTE - Duration::from_millis(1)).await;
    assert_eq!(branch.office.of("book-emma"), [0; 0]);
    branch.pass(Duration::from_millis(1)).await;
    assert_eq!(branch.office.of("book-emma"), [0]);
}

#[tokio::test]
async fn a_receiver_that_asks_for_ever_is_asked_again_after_a_day() {
    let branch = Branch::open().await;
    branch.office.fail("book-emma", Failing::AfterAMillennium);
    branch.lend("emma").await;
    branch.drain().await;
    branch.office.mend("book-emma");
    branch.pass(EffectError::RETRY_AFTER_MAX).await;
    assert_eq!(branch.office.of("book-emma"), [0]);
}

/// An event becomes a dead letter; the stream behind it waits, and is handled after a retry.
async fn becomes_a_dead_letter(how: Failing, attempts: u32, error: &str) {
    let branch = Branch::with(|setup| setup.attempts(3)).await;
    branch.office.fail("book-emma", how);
    branch.lend_all(&["emma", "emma", "lolita"]).await;
    for _ in 0..4 {
        branch.pass(MINUTE).await;
    }
    branch.lend_all(&["emma", "lolita"]).await;
    let letter = branch.letter().await;
    assert_eq!((letter.stream.as_str(), letter.revision.number()), ("book-emma", 0));
    assert_eq!(letter.attempts, attempts);
    assert!(letter.error.contains(error), "{letter:?}");
    assert_eq!(branch.office.of("book-lolita"), [0, 1], "other streams go on");

    let branch = branch.reopen().await;
    assert_eq!(branch.letter().await, letter, "it survives the end of the program");
    assert_eq!(branch.office.of("book-emma"), [0; 0], "later events of its stream wait");
    let again = branch.gesta.retry_effect("notices", letter.id, &olga()).await;
    assert!(matches!(again, Err(gesta::ReactorError::StillFails { .. })), "{again:?}");
    branch.office.mend("book-emma");
    branch.gesta.retry_effect("notices", letter.id, &olga()).await.unwrap();
    branch.drain().await;
    assert_eq!(branch.office.of("book-emma"), [0, 1, 2]);
    assert_eq!(branch.office.of("book-lolita"), [0, 1]);
    assert_eq!(branch.letters().await, []);
    let retried = format!("retry-effect notices {}", letter.id);
    let failed = format!("{retried}: still-fails");
    assert_eq!(branch.audited().await, [retried.clone(), failed, retried]);
    branch.lend("emma").await;
    branch.drain().await;
    let branch = branch.crash().await;
    branch.drain().await;
    assert_eq!(branch.office.of("book-emma"), [0, 1, 2, 3], "nothing is repeated");
}

#[tokio::test]
async fn an_effect_that_fails_at_every_attempt_is_a_dead_letter() {
    becomes_a_dead_letter(Failing::Fails, 3, "the post is on strike").await;
}

#[tokio::test]
async fn an_effect_that_fails_permanently_is_a_dead_letter_at_once() {
    becomes_a_dead_letter(Failing::Permanently, 1, "no such street").await;
}

#[tokio::test]
async fn an_effect_that_panics_is_a_dead_letter_after_its_attempts() {
    becomes_a_dead_letter(Failing::Panics, 3, "reactor notices panicked: the clerk fell").await;
}

#[tokio::test]
async fn an_effect_whose_error_panics_is_a_dead_letter_after_its_attempts() {
    becomes_a_dead_letter(Failing::PanicsInText, 3, "reactor notices panicked: the ink").await;
}

#[tokio::test]
async fn an_effect_without_a_result_is_a_dead_letter_after_its_attempts() {
    let branch = Branch::with(|setup| setup.attempts(2).time_limit(MINUTE)).await;
    branch.office.fail("book-emma", Failing::NeverEnds);
    branch.lend("emma").await;
    branch.office.until_inside(&["book-emma"]).await;
    branch.clock.until_asleep(MINUTE).await;
    branch.clock.advance(MINUTE);
    branch.drain().await;
    branch.clock.advance(Duration::from_millis(50));
    branch.office.until_inside(&["book-emma"]).await;
    branch.clock.until_asleep(MINUTE).await;
    branch.clock.advance(MINUTE);
    let letter = branch.letter().await;
    assert_eq!((letter.error.as_str(), letter.attempts), ("no result within 60 seconds", 2));
}

#[tokio::test]
async fn an_event_that_does_not_decode_is_a_dead_letter_until_it_is_discarded() {
    let branch = Branch::open().await;
    branch.append("book-poison", "book-lent", r#"{"nope":1}"#).await;
    branch.append("book-poison", "book-lent", r#"{"book":"poison","reader":"ann"}"#).await;
    branch.lend("emma").await;
    let letter = branch.letter().await;
    assert!(letter.error.contains("missing field"), "{letter:?}");
    assert_eq!(branch.office.of("book-emma"), [0]);
    branch.gesta.discard_effect("notices", letter.id, &olga()).await.unwrap();
    branch.drain().await;
    assert_eq!(branch.office.of("book-poison"), [1], "what waited is handled");
    let branch = branch.crash().await;
    branch.drain().await;
    assert_eq!(branch.office.of("book-poison"), [1]);
    assert_eq!(branch.letters().await, []);
    assert_eq!(branch.audited().await, [format!("discard-effect notices {}", letter.id)]);
    let again = branch.gesta.discard_effect("notices", letter.id, &olga()).await.unwrap_err();
    let expected = format!("reactor notices has no dead letter {}", letter.id);
    assert_eq!(again.to_string(), expected);
}

#[tokio::test]
async fn a_retry_that_fails_again_says_why_and_leaves_the_dead_letter() {
    let branch = Branch::open().await;
    branch.office.fail("book-emma", Failing::Permanently);
    branch.lend_all(&["emma", "emma"]).await;
    let letter = branch.letter().await;
    let error = branch.gesta.retry_effect("notices", letter.id, &olga()).await.unwrap_err();
    let expected = format!("the effect of event {} still fails: no such street", letter.id);
    assert_eq!(error.to_string(), expected);
    let after = branch.reopen().await.letter().await;
    assert_eq!((after.id, after.attempts), (letter.id, 2));
}

#[tokio::test]
async fn a_stream_that_catches_up_after_a_retry_may_fail_again_at_a_later_event() {
    let branch = Branch::open().await;
    branch.office.fail("book-emma", Failing::Permanently);
    branch.lend_all(&["emma", "emma", "emma"]).await;
    let first = branch.letter().await;
    branch.gesta.discard_effect("notices", first.id, &olga()).await.unwrap();
    let second = branch.letter().await;
    assert_eq!((second.revision.number(), second.stream.as_str()), (1, "book-emma"));
    branch.office.mend("book-emma");
    branch.gesta.retry_effect("notices", second.id, &olga()).await.unwrap();
    branch.drain().await;
    assert_eq!(branch.office.of("book-emma"), [1, 2]);
}

#[tokio::test]
async fn effects_of_several_streams_happen_at_once_up_to_the_maximum() {
    let branch = Branch::with(|setup| setup.concurrency(2)).await;
    let books = ["book-emma", "book-lolita", "book-momo"];
    books.iter().for_each(|book| branch.office.close(book));
    for _ in 0..5 {
        branch.lend_all(&["emma", "lolita", "momo"]).await;
    }
    branch.office.until_inside(&["book-emma", "book-lolita"]).await;
    books.iter().for_each(|book| branch.office.open(book));
    branch.drain().await;
    assert_eq!(branch.office.most_inside(), 2);
    for book in books {
        assert_eq!(branch.office.of(book), [0, 1, 2, 3, 4]);
    }
}

#[tokio::test]
async fn effects_that_overtook_a_slow_one_are_not_repeated_after_a_crash() {
    let branch = Branch::open().await;
    branch.office.close("book-slow");
    branch.lend("slow").await;
    for _ in 0..3 {
        branch.lend_all(&["emma", "momo"]).await;
    }
    branch.office.until_inside(&["book-slow"]).await;
    let mut progress = branch.office.sent().len();
    while progress < 6 {
        tokio::task::yield_now().await;
        progress = branch.office.sent().len();
    }
    // Ends the wait for the record of the last effect: a pause is answered after it.
    branch.office.open("book-slow");
    branch.gesta.pause_reactor("notices", &gesta::audit::Operator::new("ann")).await.unwrap();
    let branch = branch.crash().await;
    branch.drain().await;
    assert_eq!(branch.office.of("book-emma"), [0, 1, 2]);
    assert_eq!(branch.office.of("book-momo"), [0, 1, 2]);
    assert_eq!(branch.office.of("book-slow"), [0]);
}

#[tokio::test]
async fn an_effect_that_a_crash_interrupts_is_repeated_with_the_same_key() {
    let branch = Branch::open().await;
    branch.office.close("book-emma");
    branch.lend_all(&["emma", "emma"]).await;
    branch.office.until_inside(&["book-emma"]).await;
    let branch = branch.crash().await;
    branch.office.open("book-emma");
    branch.drain().await;
    assert_eq!(branch.office.of("book-emma"), [0, 1]);
}

#[tokio::test]
async fn a_close_waits_for_effects_in_progress_and_records_them() {
    let branch = Branch::open().await;
    branch.office.close("book-emma");
    branch.lend_all(&["emma", "emma"]).await;
    branch.office.until_inside(&["book-emma"]).await;
    let Branch { store, clock, office, gesta } = branch;
    let closing = tokio::spawn(gesta.close());
    tokio::task::yield_now().await;
    office.open("book-emma");
    closing.await.unwrap();
    assert_eq!(office.of("book-emma"), [0], "no further effect starts");
    let branch = Branch::on(store, clock, office, |setup| setup).await;
    branch.drain().await;
    assert_eq!(branch.office.of("book-emma"), [0, 1]);
}

#[tokio::test]
async fn a_paused_reactor_starts_no_effect_until_it_is_resumed() {
    let branch = Branch::open().await;
    branch.gesta.pause_reactor("notices", &gesta::audit::Operator::new("ann")).await.unwrap();
    branch.lend("emma").await;
    branch.drain().await;
    assert_eq!(branch.status().await.state, ReactorState::Paused);
    assert_eq!(branch.office.sent(), []);
    assert_eq!(branch.causes().await, ["reactor-paused"]);
    branch.gesta.resume_reactor("notices", &gesta::audit::Operator::new("ann")).await.unwrap();
    branch.drain().await;
    assert_eq!(branch.office.of("book-emma"), [0]);
    let audited = branch.audited().await;
    assert_eq!(audited, ["pause-reactor notices", "resume-reactor notices"]);
    let unknown = branch
        .gesta
        .pause_reactor("letters", &gesta::audit::Operator::new("ann"))
        .await
        .unwrap_err();
    assert_eq!(unknown.to_string(), "reactor letters is not registered");
}

#[tokio::test]
async fn a_receiver_that_refuses_everything_halts_the_reactor_and_loses_nothing() {
    let branch = Branch::with(|setup| setup.dead_letters_at_most(2)).await;
    let books = ["emma", "lolita", "momo", "ulysses"];
    let streams = books.map(|book| format!("book-{book}"));
    streams.iter().for_each(|stream| branch.office.fail(stream, Failing::Permanently));
    branch.lend_all(&books).await;
    assert_eq!(branch.letters().await.len(), 2);
    assert_eq!(branch.status().await.state, ReactorState::Halted);
    assert_eq!(branch.causes().await, ["reactor-halted", "reactor-dead-letters"]);
    streams.iter().for_each(|stream| branch.office.mend(stream));
    for letter in branch.letters().await {
        branch.gesta.retry_effect("notices", letter.id, &olga()).await.unwrap();
    }
    branch.drain().await;
    assert_eq!(branch.status().await.state, ReactorState::Running);
    for stream in &streams {
        assert_eq!(branch.office.of(stream), [0], "{stream}");
    }
}

#[tokio::test]
async fn a_rebuild_of_a_projection_repeats_no_effect() {
    let (models, office) = (Sqlite::temporary().await.unwrap(), PostOffice::default());
    let gesta = Gesta::at("memory:")
        .project(Balances(Controls::free()), &models)
        .react(Notices(office.clone()), Begin::AtTheStart)
        .open()
        .await
        .unwrap();
    deposit(&gesta, "ann", 1).await;
    gesta.execute(LendBook::new("emma", "ann")).await.unwrap();
    drain(&gesta).await;
    gesta.rebuild("balances", &operator()).await.unwrap();
    drain(&gesta).await;
    assert_eq!(office.of("book-emma"), [0]);
}

#[tokio::test]
async fn a_store_with_other_positions_repeats_no_effect() {
    let branch = Branch::open().await;
    branch.office.fail("book-poison", Failing::Permanently);
    branch.lend_all(&["emma", "poison", "poison", "momo"]).await;
    let letter = branch.letter().await;
    let Branch { store, clock, office, gesta } = branch;
    gesta.close().await;
    let copy = Arc::new(MemoryStore::new());
    let filler = new_event("filler");
    let filler_stream = StreamName::new("filler-1").unwrap();
    copy.append(Append::to(filler_stream, ExpectedRevision::Any, [filler])).await.unwrap();
    for event in store.read_all(ReadAll::forwards()).collect_events().await.unwrap() {
        let new = NewEvent::from(&event);
        copy.append(Append::to(event.stream, ExpectedRevision::Any, [new])).await.unwrap();
    }
    office.mend("book-poison");
    let branch = Branch::on(copy, clock, office, |setup| setup).await;
    branch.lend("emma").await;
    branch.drain().await;
    assert_eq!(branch.office.of("book-emma"), [0, 1]);
    assert_eq!(branch.office.of("book-momo"), [0]);
    branch.gesta.retry_effect("notices", letter.id, &olga()).await.unwrap();
    branch.drain().await;
    assert_eq!(branch.office.of("book-poison"), [0, 1]);
}

fn new_event(name: &str) -> NewEvent {
    let event_type = gesta::EventType::new(name).unwrap();
    NewEvent::json(gesta::EventId::random(), event_type, "null")
}

#[tokio::test]
async fn a_journal_is_replaced_by_checkpoints_and_stays_short() {
    let branch = Branch::with(|setup| setup.concurrency(1)).await;
    branch.office.fail("book-poison", Failing::Permanently);
    branch.lend("poison").await;
    let letter = branch.letter().await;
    for number in 0..1_200 {
        branch.lend("emma").await;
        if number % 3 == 0 {
            branch.drain().await;
        }
    }
    branch.drain().await;
    let branch = branch.reopen().await;
    let journal = ReadStream::forwards(StreamName::new("reactors:journal-notices").unwrap());
    let journal = branch.store.read_stream(journal).collect_events().await.unwrap();
    assert!(journal[0].revision.number() > 0, "its beginning is hidden");
    assert!(journal.len() <= 1_002, "{} events", journal.len());
    branch.drain().await;
    assert_eq!(branch.office.of("book-emma"), (0..1_200).collect::<Vec<_>>());
    assert_eq!(branch.letter().await, letter);
}

#[tokio::test]
async fn two_reactors_of_one_name_do_not_open() {
    let notices = || Notices(PostOffice::default());
    let builder = Gesta::at("memory:").react(notices(), Begin::Now);
    let error = builder.react(notices(), Begin::Now).open().await.unwrap_err();
    assert!(matches!(error, OpenError::DuplicateReactor { reactor: "notices" }), "{error}");
}

/// Loads what its event does not carry.
struct Counting;

impl Reactor for Counting {
    const NAME: &'static str = "counting";
    type Event = BookEvent;

    async fn react(
        &self,
        event: &Recorded<BookEvent>,
        effect: &EffectContext,
    ) -> Result<(), EffectError> {
        let BookEvent::Lent(lent) = &event.event else { return Ok(()) };
        let book = effect.load::<crate::library::Book>(&lent.book).await?;
        let book = book.ok_or_else(|| EffectError::message("the book has no events"))?;
        if book.revision.number() < 1 {
            return Err(EffectError::message("lent only once"));
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_reactor_loads_the_current_state_at_each_attempt() {
    let clock = VirtualClock::new();
    let setup = ReactorSetup::of(Counting, Begin::Now);
    let builder = Gesta::at("memory:").clock(clock.clone()).react_set_up(setup);
    let gesta = builder.open().await.unwrap();
    gesta.execute(LendBook::new("emma", "ann")).await.unwrap();
    drain(&gesta).await;
    let status = gesta.reactors().await.unwrap().remove(0);
    assert!(status.trouble.unwrap().contains("lent only once"));
    gesta.execute(LendBook::new("emma", "bob")).await.unwrap();
    clock.advance(MINUTE);
    drain(&gesta).await;
    let status = gesta.reactors().await.unwrap().remove(0);
    assert_eq!((status.retrying, status.trouble), (0, None));
}
