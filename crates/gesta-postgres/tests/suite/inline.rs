//! Inline projections: rows change in the transaction of the append.

pub(crate) mod till;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use gesta::{Gesta, Nodes, OpenError, ProjectionState, store::MemoryReadModels};
use gesta_services::{Fault, FaultProxy};
use gesta_store::{
    Append, DeleteStream, EventId, EventStore, EventType, ExpectedRevision, InlineError, NewEvent,
    StoreError, memory::MemoryStore,
};
use tokio::time::Duration;

use self::till::{Sums, Till, UNLUCKY, caught_up, deposit, operator, sum};
use crate::server::{name, with_client};

/// Writers of a test that has several, each with an account of its own.
const WRITERS: u64 = 8;

/// Commands of the test of visibility, which has more in its full form.
fn commands() -> u64 {
    if gesta_services::e2e::is_full() { 10_000 } else { 1_000 }
}

/// Returns an append of one deposit, as a program without the projection sends it.
fn raw_deposits(account: &str, amounts: impl IntoIterator<Item = u64>) -> Append {
    let event_type = EventType::new("deposited").expect("a name");
    let events = amounts.into_iter().map(|amount| {
        NewEvent::json(EventId::random(), event_type.clone(), format!("{{\"amount\":{amount}}}"))
    });
    Append::to(name(&format!("account-{account}")), ExpectedRevision::Any, events)
}

/// Deposits 1 again and again to an account, and looks after each. Returns the failed commands.
async fn deposit_and_look(gesta: &Gesta, account: &str, times: u64) -> u64 {
    let (mut seen, mut failed) = (0, 0);
    while seen < times {
        match deposit(gesta, account, 1).await {
            Ok(_) => {
                let now = sum(gesta, account).await.unwrap_or_default();
                assert!(now > seen, "{account}: {now} after {seen} and one command more");
                seen = now;
            }
            // With an unknown outcome it may have happened. The next read shows it.
            Err(_) => failed += 1,
        }
    }
    failed
}

async fn writers(gesta: &Gesta, times_each: u64) {
    let tasks = (0..WRITERS).map(|writer| {
        let gesta = gesta.clone();
        tokio::spawn(async move { deposit_and_look(&gesta, &writer.to_string(), times_each).await })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("each command is visible");
    }
}

/// Compares the rows with the events.
async fn check_sums(gesta: &Gesta, accounts: impl IntoIterator<Item = String>) {
    caught_up(gesta).await;
    for account in accounts {
        let stream = name(&format!("account-{account}"));
        let read = gesta_store::ReadStream::forwards(stream);
        let events = gesta.store().read_stream(read).collect_events().await.unwrap();
        let recorded = gesta::Recorded::<till::AccountEvent>::read;
        let amounts = events.iter().map(|event| match recorded(event).unwrap().event {
            till::AccountEvent::Deposited(till::Deposited { amount }) => amount,
        });
        assert_eq!(
            sum(gesta, &account).await.unwrap_or_default(),
            amounts.sum::<u64>(),
            "{account}"
        );
    }
}

fn accounts() -> impl Iterator<Item = String> {
    (0..WRITERS).map(|writer| writer.to_string())
}

#[test]
fn a_query_right_after_a_command_sees_it_every_time() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    each_command_is_visible(&server, commands());
}

#[test]
fn a_query_right_after_a_command_sees_it_through_a_pooler() {
    let Some(pooler) = gesta_services::url_or_skip("pgbouncer") else { return };
    each_command_is_visible(&pooler, 200);
}

/// Executes half of the commands one after the other, and half by several writers.
fn each_command_is_visible(server: &str, commands: u64) {
    let till = Till::create(server);
    till.runtime.block_on(async {
        let gesta = till.open().await;
        for nth in 1..=commands / 2 {
            let receipt = deposit(&gesta, "alone", 1).await.unwrap();
            assert_eq!(sum(&gesta, "alone").await, Some(nth), "at {}", receipt.position);
            assert!(gesta.reached::<Sums>().is_some_and(|reached| reached >= receipt.position));
        }
        // Appends that wait at the same time share a transaction.
        writers(&gesta, commands / 2 / WRITERS).await;
        check_sums(&gesta, accounts()).await;
        let status = gesta.projections().await.unwrap().remove(0);
        assert!(status.inline && status.state == ProjectionState::Running, "{status:?}");
        gesta.close().await;
    });
}

#[test]
fn an_event_that_the_projection_refuses_fails_its_append_and_no_other() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let till = Till::create(&server);
    till.runtime.block_on(async {
        let sums = Sums::default();
        let is_fixed = Arc::clone(&sums.is_fixed);
        let gesta = till.open_with(sums, |builder| builder).await;
        let commands = (0..WRITERS).map(|nth| {
            let gesta = gesta.clone();
            let amount = if nth == 3 { UNLUCKY } else { nth + 20 };
            tokio::spawn(async move { deposit(&gesta, &nth.to_string(), amount).await })
        });
        for (nth, command) in commands.collect::<Vec<_>>().into_iter().enumerate() {
            let outcome = command.await.unwrap();
            if nth != 3 {
                outcome.unwrap();
                assert_eq!(sum(&gesta, &nth.to_string()).await, Some(nth as u64 + 20));
                continue;
            }
            let error = outcome.unwrap_err();
            let gesta::ExecuteError::Store(StoreError::Inline(InlineError::Refused {
                consumer,
                reason,
            })) = error
            else {
                panic!("expected the projection's refusal: {error}");
            };
            assert_eq!(consumer, "inline projection sums");
            assert_eq!(reason, "deposited of stream account-3: thirteen is unlucky");
        }
        let stream = gesta.store().describe_stream(&name("account-3")).await.unwrap();
        assert_eq!(stream.head, None, "the append was not recorded");
        assert_eq!(gesta.dead_letters().await.unwrap().len(), 0);
        is_fixed.store(true, Ordering::SeqCst);
        deposit(&gesta, "3", UNLUCKY).await.unwrap();
        assert_eq!(sum(&gesta, "3").await, Some(UNLUCKY));
        gesta.close().await;
    });
}

#[test]
fn sessions_that_end_in_the_middle_lose_and_double_nothing() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let till = Till::create(&server);
    let ended = AtomicU64::new(0);
    till.runtime.block_on(async {
        let gesta = till.open().await;
        let working = tokio::spawn({
            let gesta = gesta.clone();
            async move { writers(&gesta, 60).await }
        });
        let schema = till.events.schema.clone();
        let ending = async {
            // Sessions of appends, wherever they are between the beginning and the commit.
            let end = format!(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                  WHERE application_name = 'gesta' AND xact_start IS NOT NULL \
                    AND pid IN (SELECT l.pid FROM pg_locks l JOIN pg_namespace n ON n.oid = l.objid \
                                 WHERE l.locktype = 'advisory' AND l.granted \
                                   AND n.nspname = '{schema}')"
            );
            let (client, driver) =
                tokio_postgres::connect(&server, tokio_postgres::NoTls).await.unwrap();
            tokio::spawn(driver);
            while !working.is_finished() && ended.load(Ordering::Relaxed) < 40 {
                let count: i64 = client.query_one(&end, &[]).await.unwrap().get(0);
                ended.fetch_add(count.unsigned_abs(), Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        };
        ending.await;
        working.await.expect("each command is visible");
        check_sums(&gesta, accounts()).await;
        gesta.close().await;
    });
    assert!(ended.load(Ordering::Relaxed) > 0, "no session was ended");
}

#[test]
fn an_append_whose_commit_has_no_answer_is_applied_once() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let till = Till::create(&server);
    let proxy = FaultProxy::start(&server).unwrap();
    till.runtime.block_on(async {
        let (store, rows) = till.connect(proxy.url()).await;
        let builder = Gesta::on(store).project_inline(Sums::default(), &rows).without_log_hint();
        let gesta = builder.open().await.unwrap();
        deposit(&gesta, "1", 20).await.unwrap();
        for (nth, is_before) in [(1, true), (2, false)] {
            let mut was_appended = false;
            let selects = move |message: &gesta_services::Message| {
                was_appended |= message.from_client() && message.contains("\"amount\":1}");
                let commits = message.from_client() && message.contains("SELECT 1; COMMIT");
                was_appended && if is_before { commits } else { message.is_commit_answer() }
            };
            proxy.inject(Fault::cut_before(selects));
            deposit(&gesta, "1", 1).await.unwrap();
            proxy.wait_until_injected();
            assert_eq!(sum(&gesta, "1").await, Some(20 + nth));
        }
        check_sums(&gesta, ["1".to_owned()]).await;
        gesta.close().await;
    });
}

#[test]
fn a_projection_that_is_far_behind_catches_up_and_then_takes_part() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let till = Till::create(&server);
    till.runtime.block_on(async {
        // A program without the projection.
        let (store, _) = till.connect(&server).await;
        for _ in 0..4 {
            store.append(raw_deposits("old", (0..500).map(|_| 1))).await.unwrap();
        }
        let gesta = till.open().await;
        // Appends do not wait for it.
        for account in accounts() {
            deposit(&gesta, &account, 1).await.unwrap();
        }
        caught_up(&gesta).await;
        assert_eq!(sum(&gesta, "old").await, Some(2_000));
        // The other program leaves it behind; the next append of this one takes it along.
        for nth in 1..=50 {
            store.append(raw_deposits("old", [1, 1])).await.unwrap();
            deposit(&gesta, "new", 1).await.unwrap();
            assert_eq!(sum(&gesta, "new").await, Some(nth));
            assert_eq!(sum(&gesta, "old").await, Some(2_000 + 2 * nth));
        }
        check_sums(&gesta, accounts().chain(["old".to_owned(), "new".to_owned()])).await;
        gesta.close().await;
    });
}

#[test]
fn queries_see_each_command_while_the_projection_is_rebuilt() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let till = Till::create(&server);
    till.runtime.block_on(async {
        let gesta = till.open().await;
        gesta.store().append(raw_deposits("old", (0..1_000).map(|_| 1))).await.unwrap();
        caught_up(&gesta).await;
        let build = "SELECT build FROM {catalogue}.read_models WHERE stage = 'live'";
        let mut commands = 0;
        for _ in 0..2 {
            let before = tokio::task::block_in_place(|| till.number(build));
            gesta.rebuild("sums", &operator()).await.unwrap();
            while gesta.projections().await.unwrap().remove(0).state != ProjectionState::Running {
                commands += 1;
                deposit(&gesta, "new", 1).await.unwrap();
                assert_eq!(sum(&gesta, "new").await, Some(commands));
            }
            let after = tokio::task::block_in_place(|| till.number(build));
            assert!(after > before, "build {after} took the place of build {before}");
        }
        assert!(commands > 0, "no command was executed meanwhile");
        deposit(&gesta, "new", 1).await.unwrap();
        assert_eq!(sum(&gesta, "new").await, Some(commands + 1));
        assert_eq!(sum(&gesta, "old").await, Some(1_000));
        gesta.close().await;
    });
}

#[test]
fn nodes_that_share_a_projection_each_see_their_commands() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let till = Till::create(&server);
    till.runtime.block_on(async {
        let mut nodes = Vec::new();
        for label in ["one", "two"] {
            let (leases, _) = till.connect(&server).await;
            let leases = Nodes::new(leases, label).unwrap().term(Duration::from_secs(30));
            nodes.push(till.open_with(Sums::default(), |builder| builder.nodes(leases)).await);
            caught_up(nodes.last().unwrap()).await;
        }
        let tasks = nodes.iter().zip(["one", "two"]).map(|(node, account)| {
            let node = node.clone();
            tokio::spawn(async move { deposit_and_look(&node, account, 100).await })
        });
        for task in tasks.collect::<Vec<_>>() {
            assert_eq!(task.await.expect("each command is visible"), 0);
        }
        check_sums(nodes.first().unwrap(), ["one".to_owned(), "two".to_owned()]).await;
        for node in nodes {
            node.close().await;
        }
    });
}

/// An event of another program fails: it is set aside, and later ones are applied by the task.
#[test]
fn a_projection_with_dead_letters_takes_part_again_after_they_are_gone() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let till = Till::create(&server);
    till.runtime.block_on(async {
        let sums = Sums::default();
        let is_fixed = Arc::clone(&sums.is_fixed);
        let gesta = till.open_with(sums, |builder| builder).await;
        let (other, _) = till.connect(&server).await;
        other.append(raw_deposits("1", [UNLUCKY])).await.unwrap();
        // Not blamed for the event of the other program.
        deposit(&gesta, "1", 20).await.unwrap();
        deposit(&gesta, "2", 20).await.unwrap();
        caught_up(&gesta).await;
        assert_eq!((sum(&gesta, "1").await, sum(&gesta, "2").await), (None, Some(20)));
        let letters = gesta.dead_letters().await.unwrap();
        assert_eq!(letters.len(), 2, "the event, and the one behind it");
        is_fixed.store(true, Ordering::SeqCst);
        let (first, _) = letters.first().unwrap();
        gesta.retry_dead_letter(first, &operator()).await.unwrap();
        assert_eq!(sum(&gesta, "1").await, Some(UNLUCKY + 20));
        caught_up(&gesta).await;
        assert_eq!(deposit_and_look(&gesta, "3", 20).await, 0);
        check_sums(&gesta, ["1", "2", "3"].map(str::to_owned)).await;
        gesta.close().await;
    });
}

#[test]
fn a_deleted_stream_leaves_no_rows_right_after_the_deletion() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let till = Till::create(&server);
    till.runtime.block_on(async {
        let gesta = till.open().await;
        for account in ["1", "2"] {
            deposit(&gesta, account, 20).await.unwrap();
        }
        let delete = DeleteStream::new(name("account-1"), ExpectedRevision::StreamExists);
        gesta.store().delete_stream(delete).await.unwrap();
        assert_eq!((sum(&gesta, "1").await, sum(&gesta, "2").await), (None, Some(20)));
        deposit(&gesta, "1", 30).await.unwrap();
        assert_eq!(sum(&gesta, "1").await, Some(30));
        gesta.close().await;
    });
}

/// An append does not wait for a transaction that was left open on the read model.
#[test]
fn a_locked_read_model_holds_up_appends_for_a_moment_only() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let till = Till::create(&server);
    till.runtime.block_on(async {
        let gesta = till.open().await;
        deposit(&gesta, "1", 20).await.unwrap();
        tokio::task::block_in_place(|| {
            let schemas = till.rows.schemas();
            let build = schemas.first().expect("the read model has a schema").clone();
            with_client(&server, async |client| {
                let lock =
                    format!("BEGIN; LOCK TABLE {build}.gesta_build IN SHARE UPDATE EXCLUSIVE MODE");
                client.batch_execute(&lock).await.unwrap();
                let append = gesta.store().append(raw_deposits("1", [1]));
                append.await.expect("the append goes on without the read model");
            });
        });
        caught_up(&gesta).await;
        assert_eq!(sum(&gesta, "1").await, Some(21));
        gesta.close().await;
    });
}

#[test]
fn stores_that_share_no_transaction_are_refused_when_the_application_opens() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let till = Till::create(&server);
    till.runtime.block_on(async {
        let (store, rows) = till.connect(&server).await;
        let elsewhere = MemoryReadModels::new();
        let refused = Gesta::on(store).project_inline(Sums::default(), &elsewhere).open().await;
        let error = refused.expect_err("the rows are in memory");
        assert!(matches!(error, OpenError::Inline { projection: "sums", .. }), "{error}");
        let refused =
            Gesta::on(Arc::new(MemoryStore::new())).project_inline(Sums::default(), &rows);
        let error = refused.open().await.expect_err("the events are in memory");
        assert!(matches!(error, OpenError::Inline { projection: "sums", .. }), "{error}");
    });
}
