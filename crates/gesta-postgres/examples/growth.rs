//! Rates of appends and of loads in a store with few events and in one with many.
//!
//! `cargo run --release -p gesta-postgres --example growth -- postgres://… [EVENTS] [POSITIONS]
//! [SECONDS]` fills one store with 10,000 events and one with EVENTS (10,000,000), in partitions of
//! POSITIONS (10,000,000) positions, with payloads of about 200 bytes. Then it measures, in turns:
//! appends of one event to a new stream at its exact revision, by 1 and by 8 writers; appends to
//! streams of the fill; and loads of streams with 10 and with 100 events, any and the latest ones.
//! Prints the medians of the turns, and their ratios. The stores stay for another run, in the
//! schemas `gesta_growth_…`. 10,000,000 events need 6 GB. Event ids sort by time (UUID version 7),
//! as those of the framework do, so the server has to be PostgreSQL 18 or newer.

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
    Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, Position, ReadStream,
    Revision, StreamName,
};
use tokio::{task::JoinSet, time::sleep};
use tokio_postgres::NoTls;
use uuid::Uuid;

const PAYLOAD_BYTES: usize = 200;
const TURNS: usize = 5;
const FEW_EVENTS: u64 = 10_000;
/// Events of a short and of a long stream of the fill. Blocks of the fill have as many of each.
const SHORT: u64 = 10;
const LONG: u64 = 100;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Work {
    /// One event to a stream that the writer began.
    AppendNew,
    /// One event to a stream of the fill, each time to another one.
    AppendOld,
    LoadShort(Which),
    LoadLong(Which),
}

/// The streams of the fill that are loaded.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Which {
    Any,
    /// As many of the latest ones as the small store has.
    Recent,
}

const WORKS: [(&str, Work, usize); 8] = [
    ("append, 1 writer", Work::AppendNew, 1),
    ("append, 8 writers", Work::AppendNew, 8),
    ("append to old streams, 1 writer", Work::AppendOld, 1),
    ("append to old streams, 8 writers", Work::AppendOld, 8),
    ("load of 10 events", Work::LoadShort(Which::Any), 1),
    ("load of 100 events", Work::LoadLong(Which::Any), 1),
    ("load of 10 events, recent stream", Work::LoadShort(Which::Recent), 1),
    ("load of 100 events, recent stream", Work::LoadLong(Which::Recent), 1),
];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let server = arguments.next().context("the first argument is the URL of a server")?;
    let mut number = |default| arguments.next().map_or(Ok(default), |text| text.parse::<u64>());
    let (events, positions) = (number(10_000_000)?, number(10_000_000)?);
    let turn = Duration::from_secs(number(3)?);
    let few = Filled::create(&server, FEW_EVENTS, positions).await?;
    let many = Filled::create(&server, events, positions).await?;
    println!("{:34} {:>12} {:>12}  ratio", "per second", few.events(), many.events());
    for (name, work, tasks) in WORKS {
        let mut rates: [Vec<f64>; 2] = Default::default();
        for _ in 0..TURNS {
            for (store, rates) in [&few, &many].into_iter().zip(&mut rates) {
                rates.push(store.rate(work, tasks, turn).await?);
            }
        }
        let [few, many] = rates.map(|mut rates| {
            rates.sort_by(f64::total_cmp);
            rates[TURNS / 2]
        });
        println!("{name:34} {few:12.0} {many:12.0} {:6.2}", many / few);
    }
    for store in [few, many] {
        store.store.close().await?;
    }
    Ok(())
}

/// A store in a schema of its own, with events.
#[derive(Clone)]
struct Filled {
    blocks: u64,
    /// Short streams of a block, and as many long ones.
    streams: u64,
    store: Arc<PostgresStore>,
}

/// The statements of the fill, with a blank line between them. In each block, the events of its
/// streams alternate. Indexes are made afterwards.
const FILL: &str = "
SET search_path = {schema};

SET enable_seqscan = on;

INSERT INTO types (name) VALUES ('happened');

INSERT INTO categories (name) VALUES ('short'), ('long');

INSERT INTO streams (id, name, head, first_position)
SELECT nextval('stream_ids'), k.kind || '-' || b || '-' || i, k.events - 1, b * {block} + 1
  FROM (VALUES ('short', {short}), ('long', {long})) k(kind, events),
       generate_series(0, {blocks} - 1) b, generate_series(0, {streams} - 1) i
 ORDER BY k.events, b, i;

SELECT add_partitions({blocks} * {block});

DO $$
DECLARE
    made record;
BEGIN
    FOR made IN SELECT c.oid::regclass AS name, i.indexrelid::regclass AS index, x.conname
                  FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid
                  JOIN pg_index i ON i.indrelid = c.oid
                  LEFT JOIN pg_constraint x ON x.conindid = i.indexrelid
                 WHERE h.inhparent = 'events'::regclass LOOP
        IF made.conname IS NOT NULL THEN
            EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', made.name, made.conname);
        ELSE
            EXECUTE format('DROP INDEX %s', made.index);
        END IF;
    END LOOP;
END $$;

INSERT INTO events
SELECT b * {block} + o + 1,
       CASE WHEN o % 11 = 0 THEN b * {streams} + (o / 11) % {streams}
            ELSE ({blocks} + b) * {streams} + (o - o / 11 - 1) % {streams} END + 1,
       CASE WHEN o % 11 = 0 THEN o / 11 ELSE o - o / 11 - 1 END / {streams},
       1700000000000000 + b * {block} + o, uuidv7(), 1, 1 + sign(o % 11)::integer, 1, 1,
       NULL, NULL, NULL, NULL, NULL, convert_to(rpad(md5(o::text), {bytes}, md5(b::text)), 'UTF8')
  FROM generate_series(0::bigint, {blocks} - 1) b, generate_series(0::bigint, {block} - 1) o;

SELECT index_events(current_schema()::text, p.table_name) FROM partitions p;

VACUUM ANALYZE events;

VACUUM ANALYZE streams;

CHECKPOINT;";

impl Filled {
    async fn create(server: &str, events: u64, positions: u64) -> anyhow::Result<Self> {
        let schema = format!("gesta_growth_{events}");
        let store = Arc::new(PostgresStore::connect(&format!("{server}?schema={schema}")).await?);
        let per_stream = SHORT + LONG;
        let streams = (events / per_stream).clamp(1, 1_000);
        let blocks = (events / (per_stream * streams)).max(1);
        let filled = Self { blocks, streams, store };
        if filled.store.head().await?.position > Position::START {
            return Ok(filled);
        }
        filled.store.archive().set_partition_positions(positions).await?;
        let numbers = [
            ("{blocks}", blocks),
            ("{streams}", streams),
            ("{block}", filled.block()),
            ("{short}", SHORT),
            ("{long}", LONG),
            ("{bytes}", PAYLOAD_BYTES as u64),
        ];
        let fill = FILL.replace("{schema}", &schema);
        let fill =
            numbers.iter().fold(fill, |text, (name, value)| text.replace(name, &value.to_string()));
        // VACUUM runs in no transaction, so each statement is sent alone.
        let (client, connection) = tokio_postgres::connect(server, NoTls).await?;
        let driver = tokio::spawn(connection);
        for statement in fill.split("\n\n") {
            client.batch_execute(statement).await.with_context(|| statement.to_owned())?;
        }
        drop(client);
        driver.await??;
        Ok(filled)
    }

    fn block(&self) -> u64 {
        (SHORT + LONG) * self.streams
    }

    fn events(&self) -> u64 {
        self.block() * self.blocks
    }

    /// Returns the number of calls in a second.
    async fn rate(&self, work: Work, tasks: usize, turn: Duration) -> anyhow::Result<f64> {
        let (done, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let mut running = JoinSet::new();
        for task in 0..tasks {
            let (filled, done, stop) = (self.clone(), Arc::clone(&done), Arc::clone(&stop));
            running.spawn(async move { filled.run(work, task as u64, &done, &stop).await });
        }
        // Connections are opened and plans are made before the turn begins.
        sleep(turn / 10).await;
        let before = done.load(Ordering::Relaxed);
        sleep(turn).await;
        let counted = done.load(Ordering::Relaxed) - before;
        stop.store(true, Ordering::Relaxed);
        while let Some(ended) = running.join_next().await {
            ended??;
        }
        Ok(counted as f64 / turn.as_secs_f64())
    }

    async fn run(
        &self,
        work: Work,
        task: u64,
        done: &AtomicU64,
        stop: &AtomicBool,
    ) -> anyhow::Result<()> {
        let mut own = (StreamName::new(format!("order-{}", Uuid::new_v4()))?, None);
        let mut state = task.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ Uuid::new_v4().as_u64_pair().0;
        while !stop.load(Ordering::Relaxed) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(task + 1);
            let streams = self.blocks * self.streams;
            let chosen = match work {
                Work::LoadShort(Which::Recent) | Work::LoadLong(Which::Recent) => {
                    let few = streams.min(FEW_EVENTS / (SHORT + LONG));
                    streams - 1 - (state >> 33) % few
                }
                _ => (state >> 33) % streams,
            };
            let name = |kind: &str| {
                let (block, nth) = (chosen / self.streams, chosen % self.streams);
                StreamName::new(format!("{kind}-{block}-{nth}"))
            };
            match work {
                Work::AppendNew => {
                    let expected =
                        own.1.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact);
                    own.1 = Some(self.append(own.0.clone(), expected).await?);
                }
                Work::AppendOld => {
                    self.append(name("short")?, ExpectedRevision::StreamExists).await?;
                }
                Work::LoadShort(_) => self.load(name("short")?, SHORT).await?,
                Work::LoadLong(_) => self.load(name("long")?, LONG).await?,
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn append(
        &self,
        stream: StreamName,
        expected: ExpectedRevision,
    ) -> anyhow::Result<Revision> {
        let event_type = EventType::new("happened")?;
        let event = NewEvent::json(EventId::random(), event_type, vec![b'x'; PAYLOAD_BYTES]);
        let appended = self.store.append(Append::to(stream, expected, [event])).await?;
        Ok(appended.revisions.first().map_or(Revision::FIRST, |(_, head)| *head))
    }

    async fn load(&self, stream: StreamName, events: u64) -> anyhow::Result<()> {
        let read = ReadStream::forwards(stream).limit(events);
        let found = self.store.read_stream(read).collect_events().await?;
        anyhow::ensure!(found.len() as u64 == events, "{} events were found", found.len());
        Ok(())
    }
}
