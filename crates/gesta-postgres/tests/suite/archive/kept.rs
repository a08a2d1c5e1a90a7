//! Payloads by which servers and the framework work, which no archive takes along.

use std::{num::NonZeroU64, sync::Arc, time::Duration};

use gesta::{
    Gesta, InstanceState, ProcessState, Subject,
    audit::Operator,
    prelude::*,
    testing::{VirtualClock, drain},
};
use gesta_postgres::PostgresStore;
use gesta_store::{
    Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, ReadStream,
    SetStreamMetadata, StreamMetadata, conformance::block_on,
};
use tokio::runtime::Runtime;

use super::{Archived, is_archived};
use crate::{
    inline::till::{AccountEvent, Deposit},
    server::{TestStore, append_of, event, name, texts_of},
};

/// More than a process copies of an event.
const LARGE: usize = 1 << 20;
const DAY: Duration = Duration::from_secs(24 * 3_600);
/// Positions of a partition.
const POSITIONS: usize = 1_000;
/// Streams whose payloads stay.
const KEPT: [&str; 7] = [
    "$user-admin",
    "$persistentSubscriptionConfig",
    "$projections-sums-checkpoint",
    "process:welcome-ann",
    "processes:journal-welcome",
    "reactors:journal-mail",
    "imported-positions-5c1f5dd9-9a0b-4d1f-a3c8-6f6b2f6a6f3e",
];

impl Archived {
    /// A store with one partition, which takes appends.
    fn begun_or_skip() -> Option<Self> {
        let server = gesta_services::url_or_skip("postgres")?;
        let test = TestStore::create(&server);
        let store = test.open();
        block_on(store.archive().set_partition_positions(POSITIONS as u64)).unwrap();
        Some(Self { test, store, appends: Vec::new() })
    }

    /// Appends events until the first partition is full.
    fn fill_first(&self) {
        let events: Vec<NewEvent> = (0..POSITIONS).map(|nth| event(&nth.to_string())).collect();
        let filling = Append::to(name("order-1"), ExpectedRevision::Any, events);
        block_on(self.store.append(filling)).unwrap();
    }
}

/// Reads what a server and the framework would.
fn kept_of(store: &PostgresStore) -> Vec<Vec<String>> {
    KEPT.iter().chain(&["$$order-1"]).map(|stream| texts_of(store, stream)).collect()
}

#[test]
fn streams_by_which_servers_and_applications_work_are_read_wherever_their_partition_is() {
    let Some(archived) = Archived::begun_or_skip() else { return };
    let store = &archived.store;
    for stream in KEPT {
        for nth in 0..2 {
            let append = append_of(stream, &format!("{stream} {nth}")).privileged();
            block_on(store.append(append)).unwrap();
        }
    }
    let metadata = StreamMetadata::default().max_count(NonZeroU64::new(5_000));
    let set = SetStreamMetadata::new(name("order-1"), ExpectedRevision::NoStream, metadata);
    block_on(store.set_stream_metadata(set)).unwrap();
    block_on(store.append(append_of("processes-1", "of an application"))).unwrap();
    archived.fill_first();
    let before = kept_of(store);
    let all = archived.read_all(1).unwrap();
    assert_eq!(before.iter().map(Vec::len).sum::<usize>(), 2 * KEPT.len() + 1);
    archived.move_to_schema(1);
    assert_eq!(kept_of(store), before);
    let (parts, kept) = archived.move_to_file_with_kept(1);
    assert_eq!((kept.events, kept.streams), (2 * KEPT.len() as u64 + 1, KEPT.len() as u64 + 1));
    for store in [store, &archived.test.open()] {
        assert_eq!(kept_of(store), before);
        let last = ReadStream::backwards(name("$user-admin")).limit(1);
        assert_eq!(block_on(store.read_stream(last).collect_events()).unwrap().len(), 1);
    }
    // The others have left, and no read passes them over.
    let stream = ReadStream::forwards(name("processes-1"));
    let at = 2 * KEPT.len() as u64 + 2;
    is_archived(block_on(store.read_stream(stream).collect_events()), at);
    is_archived(archived.read_all(1), at);
    // The file has all of them.
    let in_file: usize = parts.iter().map(|part| part.append.events.len()).sum();
    assert_eq!(in_file, POSITIONS);
    archived.restore(1, parts).unwrap();
    assert_eq!(kept_of(store), before);
    assert_eq!(archived.read_all(1).unwrap(), all);
}

/// Pays a bonus for each small deposit a day later, to an account that has its amount as its name.
#[derive(Clone, Default)]
struct Bonus(u64);

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct ADayLater;

const BONUS: u64 = 100;

impl ProcessManager for Bonus {
    const NAME: &'static str = "bonus";
    type Event = AccountEvent;
    type Timer = ADayLater;
    type Commands = (Deposit,);

    fn route(event: &Recorded<AccountEvent>) -> Routing {
        let AccountEvent::Deposited(deposited) = &event.event;
        match deposited.amount {
            BONUS => Routing::Ignore,
            amount => Routing::start(amount.to_string()),
        }
    }

    fn evolve(&mut self, input: &Input<Self>) {
        if let Input::Event(AccountEvent::Deposited(deposited)) = input {
            self.0 = deposited.amount;
        }
    }

    fn react(&self, input: &Input<Self>, _: RecordedAt) -> Effects<Self> {
        match input {
            Input::Event(_) => Effects::none().after_handling(DAY, ADayLater),
            Input::Timer(_) => {
                let account = self.0.to_string();
                Effects::none().send(Deposit { account, amount: BONUS }).end()
            }
            Input::Rejected(_) => Effects::none(),
        }
    }
}

async fn opened(store: &PostgresStore, clock: &VirtualClock) -> Gesta {
    let store: Arc<dyn EventStore> = Arc::new(store.clone());
    let builder = Gesta::on(store).clock(clock.clone()).process::<Bonus>();
    builder.without_log_hint().open().await.unwrap()
}

#[test]
fn processes_go_on_over_an_archive_and_one_that_needs_an_event_in_a_file_waits_alone() {
    let Some(archived) = Archived::begun_or_skip() else { return };
    let (runtime, clock) = (Runtime::new().unwrap(), VirtualClock::new());
    runtime.block_on(async {
        let gesta = opened(&archived.store, &clock).await;
        gesta.execute(Deposit { account: "payer".to_owned(), amount: 7 }).await.unwrap();
        // Too large to be copied into the stream of its process.
        let large = format!("{{\"amount\":9{}}}", " ".repeat(LARGE));
        let large = NewEvent::json(EventId::random(), EventType::new("deposited").unwrap(), large);
        let append = Append::to(name("account-large"), ExpectedRevision::NoStream, [large]);
        archived.store.append(append).await.unwrap();
        drain(&gesta).await;
        gesta.close().await;
    });
    archived.fill_first();
    let parts = archived.move_to_file(1);
    let paid = |account: &str| texts_of(&archived.store, &format!("account-{account}")).len();
    let subject = Subject::Instance("9".to_owned());
    runtime.block_on(async {
        let gesta = opened(&archived.store, &clock).await;
        gesta.execute(Deposit { account: "other".to_owned(), amount: 8 }).await.unwrap();
        drain(&gesta).await;
        clock.advance(2 * DAY);
        drain(&gesta).await;
        let manager = gesta.process_managers().remove(0);
        assert_eq!(manager.state, ProcessState::Running, "{manager:?}");
        let aside = gesta.process_set_aside("bonus").await.unwrap();
        assert_eq!(aside.len(), 1, "{aside:?}");
        assert_eq!(aside[0].subject, subject);
        let error = aside[0].inputs[0].error.as_deref().unwrap_or_default();
        assert!(error.contains("gesta archive restore"), "{error}");
        gesta.close().await;
    });
    assert_eq!(["7", "8", "9"].map(paid), [1, 1, 0]);
    archived.restore(1, parts).unwrap();
    runtime.block_on(async {
        let gesta = opened(&archived.store, &clock).await;
        gesta.retry_process("bonus", &subject, &Operator::new("ann")).await.unwrap();
        drain(&gesta).await;
        let instance = gesta.process_instance("bonus", "9").await.unwrap();
        assert_eq!(instance.state, InstanceState::Ended);
        gesta.close().await;
    });
    assert_eq!(["7", "8", "9"].map(paid), [1, 1, 1]);
}
