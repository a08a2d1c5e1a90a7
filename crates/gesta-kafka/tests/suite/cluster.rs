//! Three brokers of which one is killed: `GESTA_E2E=full` kills each of them once.

use std::{future::pending, sync::Arc, thread, time::Duration};

use gesta_kafka::{
    KafkaUrl, Relay, RelayGuarantee,
    rdkafka::{
        ClientConfig,
        consumer::{BaseConsumer, Consumer as _},
    },
};
use gesta_services::{OwnServer, free_port};
use gesta_store::{EventStore, memory::MemoryStore};
use tokio::{
    task::block_in_place,
    time::{Instant, timeout},
};

use crate::{
    bank::{all_events, deposit_in_turns},
    broker::{WAIT_MAX, create_replicated_topic, events_of, produce, unique},
    relay::{head, options, topic},
    sequence::assert_each_once,
    source::{Running, append_payments, assert_payments, payments},
};

const BROKERS: usize = 3;

/// Three servers, each broker and controller.
struct KafkaCluster {
    servers: Vec<OwnServer>,
    brokers: String,
}

impl KafkaCluster {
    fn start_or_skip() -> Option<Self> {
        let ports = [(); BROKERS].map(|()| [free_port().unwrap(), free_port().unwrap()]);
        let numbered = || (1..).zip(ports);
        let voters: Vec<_> =
            numbered().map(|(id, [_, port])| format!("{id}@127.0.0.1:{port}")).collect();
        let voters = voters.join(",");
        // At the same time: none is ready before there is a majority of controllers.
        let name = thread::current().name().unwrap_or("unnamed").to_owned();
        let starting = numbered().map(|(id, [broker, controller])| {
            let settings = settings(id, broker, controller, &voters);
            let start = move || {
                let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
                OwnServer::with_or_skip("kafka", &settings)
            };
            thread::Builder::new().name(name.clone()).spawn(start).unwrap()
        });
        let starting: Vec<_> = starting.collect();
        let servers = starting.into_iter().map(|start| start.join().unwrap());
        let servers = servers.collect::<Option<Vec<_>>>()?;
        let brokers: Vec<_> = ports.iter().map(|[port, _]| format!("127.0.0.1:{port}")).collect();
        Some(Self { servers, brokers: brokers.join(",") })
    }

    fn url(&self) -> KafkaUrl {
        let relay = unique("relay");
        format!("kafka://{}/{relay}?replication=3", self.brokers).parse().unwrap()
    }

    /// Waits until each broker has everything of every topic, so that another one may be killed.
    fn wait_until_replicated(&self) {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        let client: BaseConsumer = config.create().unwrap();
        let limit = Instant::now() + WAIT_MAX;
        loop {
            let metadata = client.fetch_metadata(None, WAIT_MAX).unwrap();
            let mut partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
            if partitions.all(|partition| partition.isr().len() == BROKERS) {
                return;
            }
            assert!(Instant::now() < limit, "the brokers have not caught up");
        }
    }
}

fn settings(id: u32, broker: u16, controller: u16, voters: &str) -> Vec<String> {
    let own = [
        format!("node.id={id}"),
        format!("controller.quorum.voters={voters}"),
        format!("listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}"),
        format!("advertised.listeners=PLAINTEXT://127.0.0.1:{broker}"),
    ];
    let of_cluster = [
        "default.replication.factor=3",
        "min.insync.replicas=2",
        "offsets.topic.replication.factor=3",
        "transaction.state.log.replication.factor=3",
        "transaction.state.log.min.isr=2",
        "share.coordinator.state.topic.replication.factor=3",
        "share.coordinator.state.topic.min.isr=2",
        "replica.lag.time.max.ms=3000",
    ];
    own.into_iter().chain(of_cluster.map(str::to_owned)).collect()
}

/// Number of brokers that are killed, one after the other.
fn kills() -> usize {
    if gesta_services::e2e::is_full() { BROKERS } else { 1 }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_and_a_source_keep_working_while_one_broker_of_three_is_dead() {
    let Some(mut cluster) = block_in_place(KafkaCluster::start_or_skip) else { return };
    let url = cluster.url();
    let store = Arc::new(MemoryStore::new());
    let all: Arc<dyn EventStore> = store.clone();
    let relay = Relay::new(all, &url, options(&url, RelayGuarantee::ExactlyOnce));
    let mut progress = relay.progress();
    let running = tokio::spawn(relay.run_until(pending()));
    let payments_topic = unique("payments");
    create_replicated_topic(&url, &payments_topic, 4, 3).await;
    let options = gesta_kafka::SourceOptions::new(unique("bank"), [payments_topic.as_str()]);
    let options = options.unwrap().session(Duration::from_secs(6));
    let received = Arc::new(MemoryStore::new());
    let mut source = Running::start(&url, options, append_payments(&received));

    let (mut paid, all_payments) = (0, payments(100 * 7, 20));
    let mut works = async |doing: &str| {
        deposit_in_turns(&store, 9, 100).await;
        let reached = timeout(WAIT_MAX, progress.reached(head(&store).await)).await;
        assert!(reached.is_ok_and(|reached| reached), "{doing}: {:?}", progress.status());
        block_in_place(|| produce(&url, &payments_topic, &all_payments[paid..paid + 100]));
        paid += 100;
        source.until_appended(&received, paid).await;
    };
    works("before").await;
    for killed in 0..kills() {
        block_in_place(|| {
            cluster.wait_until_replicated();
            cluster.servers[killed].crash().unwrap();
        });
        works("while one is dead").await;
        block_in_place(|| cluster.servers[killed].start().unwrap());
        works("after its start").await;
    }
    source.stop().await;
    running.abort();
    assert_payments(&received, u32::try_from(paid).unwrap()).await;
    let stored = all_events(&*store).await;
    assert_each_once(&stored, &events_of(&url, &topic(&url), stored.len()));
}
