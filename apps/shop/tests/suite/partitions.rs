//! A projection in partitions that three nodes share, with events and read models in PostgreSQL.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use gesta::{
    Answer, Apply, ApplyError, Gesta, Nodes, Projection, Query, QueryError, ReadTypedRows as _,
    Receipt, Recorded, TypedRows as _,
    postgres::{PostgresReadModels, PostgresStore},
    prelude::*,
    store::{ListRows, ReadAll},
};
use gesta_services::OwnServer;
use shop::read_models::{ReadModels, Reader, Tx};
use tokio::runtime::{Builder, Runtime};

/// With the part that shares them out there are eight, so each of three nodes has two at least.
const PARTITIONS: usize = 7;
const COUNTERS: u64 = 40;
/// The term of the leases: a node that was killed is missed as long.
const TERM: Duration = Duration::from_secs(1);
/// Maximum wait for a read model.
const PATIENCE: Duration = Duration::from_secs(60);
/// Maximum number of commands until each node has its share of the partitions.
const COMMANDS_MAX: u64 = 20_000;

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "counted")]
struct Counted {
    amount: u64,
}

#[derive(EventSet, Clone)]
enum CounterEvent {
    Counted(Counted),
}

#[derive(Default)]
struct Counter;

impl Aggregate for Counter {
    const CATEGORY: &'static str = "counter";
    type Id = String;
    type Event = CounterEvent;

    fn evolve(&mut self, _: &CounterEvent) {}
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "count", on = Counter, either)]
struct Count {
    #[command(id)]
    counter: String,
    amount: u64,
}

impl Decide for Count {
    type Rejection = Infallible;

    fn decide(&self, _: &Counter) -> Decision<Self> {
        Ok(Counted { amount: self.amount }.into())
    }
}

/// The number of events of each counter, and the sum of their amounts.
struct Counts;

type CountsOfAll = BTreeMap<String, (u64, u64)>;

impl Projection for Counts {
    const NAME: &'static str = "counts";
    const PARTITIONS: u32 = PARTITIONS as u32;
    type Event = CounterEvent;
}

impl Apply<Tx> for Counts {
    async fn apply(
        &self,
        tx: &mut Tx,
        events: &[Recorded<CounterEvent>],
    ) -> Result<(), ApplyError> {
        for event in events {
            let CounterEvent::Counted(Counted { amount }) = event.event;
            let counter = event.stream.as_str();
            let (count, sum): (u64, u64) = tx.get("counts", counter).await?.unwrap_or_default();
            tx.put("counts", counter, &(count + 1, sum + amount)).await?;
        }
        Ok(())
    }
}

struct AllCounts;

impl Query for AllCounts {
    type Reads = Counts;
    type Answer = CountsOfAll;
}

impl Answer<Reader> for AllCounts {
    async fn answer(&self, rows: &mut Reader) -> Result<CountsOfAll, QueryError> {
        Ok(rows.list(ListRows::of("counts")).await?.into_iter().collect())
    }
}

/// A node with a runtime of its own, so that it can be killed.
struct Node {
    gesta: Gesta,
    runtime: Runtime,
}

impl Node {
    fn start(server: &OwnServer, label: &str) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let gesta = runtime.block_on(async {
            let store = Arc::new(PostgresStore::connect(&server.url()).await.unwrap());
            let read_models = PostgresReadModels::connect(&server.url()).await.unwrap();
            let nodes = Nodes::new(store.clone(), label).unwrap().term(TERM);
            let builder = Gesta::on(store).nodes(nodes);
            builder.project(Counts, &ReadModels::from(read_models)).open().await.unwrap()
        });
        Self { gesta, runtime }
    }

    /// Gives a command, and waits until the read model shows it.
    fn count(&self, number: u64) {
        let receipt = self.give(number);
        let wait = self.gesta.wait_for::<Counts>(&receipt).within(PATIENCE);
        self.runtime.block_on(wait.into_future()).unwrap();
    }

    fn give(&self, number: u64) -> Receipt {
        let command = Count { counter: (number % COUNTERS).to_string(), amount: number };
        self.runtime.block_on(self.gesta.execute(command).into_future()).unwrap()
    }

    /// Returns the number of partitions of each node.
    fn spread(&self) -> BTreeMap<String, usize> {
        let projections = self.runtime.block_on(self.gesta.projections()).unwrap();
        let mut spread = BTreeMap::new();
        for partition in &projections[0].partitions {
            let node = partition.runs_on.as_ref().map(ToString::to_string);
            *spread.entry(node.unwrap_or_default()).or_default() += 1;
        }
        spread
    }

    /// Ends all tasks where they are: nothing is released or committed.
    fn kill(self) {
        self.runtime.shutdown_background();
    }

    fn counts(&self) -> CountsOfAll {
        self.runtime.block_on(async {
            let head = self.gesta.store().head().await.unwrap().position;
            let asked = self.gesta.ask::<_, Reader>(AllCounts).at_least_position(head);
            asked.within(PATIENCE).await.unwrap()
        })
    }

    /// Returns what the projection has to have counted.
    fn recomputed(&self) -> CountsOfAll {
        let events = self.gesta.store().read_all(ReadAll::forwards()).collect_events();
        let mut counts = CountsOfAll::new();
        for event in self.runtime.block_on(events).unwrap() {
            if event.event_type.as_str() != "counted" {
                continue;
            }
            let counted: Counted = serde_json::from_slice(&event.data).unwrap();
            let entry = counts.entry(event.stream.to_string()).or_default();
            *entry = (entry.0 + 1, entry.1 + counted.amount);
        }
        counts
    }
}

#[test]
fn three_nodes_apply_every_event_once_while_one_of_them_is_killed() {
    let Some(server) = OwnServer::start_or_skip("postgres") else { return };
    let [one, two, three] = ["one", "two", "three"].map(|label| Node::start(&server, label));
    let mut numbers = 0..COMMANDS_MAX;
    // The nodes look at the leases each second, so this takes as long.
    while {
        let spread = one.spread();
        spread.len() != 3 || spread.values().any(|partitions| *partitions > 3)
    } {
        for node in [&one, &two, &three] {
            node.count(numbers.next().expect("the partitions are spread in time"));
        }
    }
    for number in numbers.by_ref().take(300) {
        [&one, &two, &three][number as usize % 3].give(number);
    }
    let killed = three.gesta.node().unwrap().to_string();
    three.kill();
    for number in numbers.by_ref().take(200) {
        [&one, &two][number as usize % 2].give(number);
    }
    assert_eq!(one.counts(), one.recomputed());
    assert_eq!(two.counts(), two.recomputed());
    // A node learns of a lease that another one took over at its next look, within a second.
    let mut spread = two.spread();
    while spread.contains_key(&killed) {
        two.count(numbers.next().expect("the node learns who has taken over"));
        spread = two.spread();
    }
    assert_eq!(spread.values().sum::<usize>(), PARTITIONS, "{spread:?}");
    assert!(spread.len() <= 2, "{spread:?}");
    for node in [one, two] {
        let Node { gesta, runtime } = node;
        runtime.block_on(gesta.close());
    }
}
