//! Rates of appends compared with those of bare inserts, on one server in one run.
//!
//! `cargo run --release -p gesta-postgres --example append_rates -- postgres://…` measures, with 1,
//! 8 and 64 writers in turns: a transaction with one `INSERT` that checks the version of its
//! stream, on a connection of each writer; and an append of one event at an exact revision, to one
//! store. A conditional append is compared with one of an event with the same tag, because the tag
//! has a row and an index of its own. Prints the medians of the turns, and their ratios.

#![expect(clippy::print_stdout, clippy::indexing_slicing, reason = "a program that prints")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use gesta_postgres::PostgresStore;
use gesta_store::{
    Append, AppendCondition, EventId, EventQuery, EventStore, EventType, ExpectedRevision,
    NewEvent, QueryItem, Revision, StreamName, Tag,
};
use tokio::{task::JoinSet, time::sleep};
use tokio_postgres::NoTls;
use uuid::Uuid;

const PAYLOAD_BYTES: usize = 200;
const TURNS: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Load {
    /// One event, a transaction each, by hand.
    BareInsert,
    /// One event.
    Append,
    /// One event with a tag.
    TaggedAppend,
    /// One event with a tag, on condition that no event has it.
    ConditionalAppend,
    /// 100 events in one statement, by hand.
    BareHundred,
    /// 100 events.
    AppendHundred,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let server = std::env::args().nth(1).context("the first argument is the URL of a server")?;
    let seconds = std::env::args().nth(2).map_or(Ok(3), |text| text.parse())?;
    let turn = Duration::from_secs(seconds);
    let schema = format!("gesta_rates_{}", Uuid::new_v4().simple());
    let store = Arc::new(PostgresStore::connect(&format!("{server}?schema={schema}")).await?);
    let table = format!("{schema}.bare");
    let create = format!(
        "CREATE TABLE {table} (position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
         stream text NOT NULL, version bigint NOT NULL, id uuid NOT NULL, type text NOT NULL, \
         recorded_at timestamptz NOT NULL DEFAULT now(), data bytea NOT NULL, \
         UNIQUE (stream, version))"
    );
    execute(&server, &create).await?;
    let bench = Arc::new(Bench { server, table, store });
    println!("writers  bare insert/s  append/s  ratio | tagged/s  conditional/s  ratio");
    for writers in [1, 8, 64] {
        let loads = [Load::BareInsert, Load::Append, Load::TaggedAppend, Load::ConditionalAppend];
        let [bare, append, tagged, conditional] = bench.in_turns(writers, turn, loads).await?;
        println!(
            "{writers:7} {bare:14.0} {append:9.0} {:6.2} | {tagged:8.0} {conditional:14.0} {:6.2}",
            append / bare,
            conditional / tagged
        );
    }
    let [bare, append] = bench.in_turns(8, turn, [Load::BareHundred, Load::AppendHundred]).await?;
    println!(
        "8 writers, 100 events each: {bare:.0} bare, {append:.0} appends/s, {:.2}",
        append / bare
    );
    bench.store.close().await?;
    execute(&bench.server, &format!("DROP SCHEMA {schema} CASCADE")).await
}

async fn execute(server: &str, statement: &str) -> anyhow::Result<()> {
    let (client, connection) = tokio_postgres::connect(server, NoTls).await?;
    let driver = tokio::spawn(connection);
    client.batch_execute(statement).await?;
    drop(client);
    Ok(driver.await??)
}

struct Bench {
    server: String,
    table: String,
    store: Arc<PostgresStore>,
}

impl Bench {
    /// Runs each load for a turn, several times. Returns the median rate of each.
    async fn in_turns<const LOADS: usize>(
        self: &Arc<Self>,
        writers: usize,
        turn: Duration,
        loads: [Load; LOADS],
    ) -> anyhow::Result<[f64; LOADS]> {
        let mut rates: Vec<Vec<f64>> = vec![Vec::new(); LOADS];
        for _ in 0..TURNS {
            for (load, rates) in loads.iter().zip(&mut rates) {
                rates.push(self.rate(writers, turn, *load).await?);
            }
        }
        let median = |mut rates: Vec<f64>| {
            rates.sort_by(f64::total_cmp);
            rates[TURNS / 2]
        };
        let medians: Vec<f64> = rates.into_iter().map(median).collect();
        Ok(std::array::from_fn(|nth| medians[nth]))
    }

    async fn rate(
        self: &Arc<Self>,
        writers: usize,
        turn: Duration,
        load: Load,
    ) -> anyhow::Result<f64> {
        let (done, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let mut tasks = JoinSet::new();
        for _ in 0..writers {
            let (bench, done, stop) = (Arc::clone(self), Arc::clone(&done), Arc::clone(&stop));
            tasks.spawn(async move {
                match load {
                    Load::BareInsert => bench.insert(1, &done, &stop).await,
                    Load::BareHundred => bench.insert(100, &done, &stop).await,
                    Load::Append | Load::TaggedAppend | Load::ConditionalAppend => {
                        bench.append(1, load, &done, &stop).await
                    }
                    Load::AppendHundred => bench.append(100, load, &done, &stop).await,
                }
            });
        }
        // Connections are opened and plans are made before the turn begins.
        sleep(turn / 10).await;
        let before = done.load(Ordering::Relaxed);
        sleep(turn).await;
        let counted = done.load(Ordering::Relaxed) - before;
        stop.store(true, Ordering::Relaxed);
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Ok(counted as f64 / turn.as_secs_f64())
    }

    async fn insert(&self, events: i64, done: &AtomicU64, stop: &AtomicBool) -> anyhow::Result<()> {
        let (client, connection) = tokio_postgres::connect(&self.server, NoTls).await?;
        let driver = tokio::spawn(connection);
        let text = format!(
            "INSERT INTO {0} (stream, version, id, type, data) \
             SELECT $1, $2 + n, gen_random_uuid(), 'happened', $3 \
               FROM generate_series(0, $4::bigint - 1) n \
              WHERE coalesce((SELECT max(version) FROM {0} WHERE stream = $1), -1) = $2 - 1",
            self.table
        );
        let statement = client.prepare(&text).await?;
        let (stream, data) = (format!("order-{}", Uuid::new_v4()), vec![b'x'; PAYLOAD_BYTES]);
        let mut version = 0_i64;
        while !stop.load(Ordering::Relaxed) {
            let inserted = client.execute(&statement, &[&stream, &version, &data, &events]).await?;
            anyhow::ensure!(inserted == events as u64, "the version was checked");
            version += events;
            done.fetch_add(1, Ordering::Relaxed);
        }
        drop(client);
        Ok(driver.await??)
    }

    async fn append(
        &self,
        events: usize,
        load: Load,
        done: &AtomicU64,
        stop: &AtomicBool,
    ) -> anyhow::Result<()> {
        let stream = StreamName::new(format!("order-{}", Uuid::new_v4()))?;
        let event_type = EventType::new("happened")?;
        let mut expected = ExpectedRevision::NoStream;
        let mut head = self.store.head().await?.position;
        let is_conditional = load == Load::ConditionalAppend;
        let is_tagged = is_conditional || load == Load::TaggedAppend;
        while !stop.load(Ordering::Relaxed) {
            let tag = Tag::of("request", &Uuid::new_v4().to_string())?;
            let event = || {
                let event = NewEvent::json(
                    EventId::random(),
                    event_type.clone(),
                    vec![b'x'; PAYLOAD_BYTES],
                );
                if is_tagged { event.tagged([tag.clone()]) } else { event }
            };
            let batch: Vec<NewEvent> = std::iter::repeat_with(event).take(events).collect();
            let mut append = Append::to(stream.clone(), expected, batch);
            if is_conditional {
                let none_matching = EventQuery::of(QueryItem::every().tagged([tag.clone()]));
                append = append.with_condition(AppendCondition { none_matching, after: head });
            }
            let appended = self.store.append(append).await?;
            let revision = appended.revisions.first().map_or(Revision::FIRST, |(_, head)| *head);
            expected = ExpectedRevision::Exact(revision);
            head = appended.position;
            done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}
