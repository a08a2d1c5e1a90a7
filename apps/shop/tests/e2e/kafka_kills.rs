//! The shop's events in Kafka, while the shop, the reader of balances and the broker are killed.
//!
//! A process of its own keeps balances from Kafka alone. In the end they equal those of the log.
//! Run it with the shop's feature `kafka`; `GESTA_E2E=full` kills thirty times.

use std::{
    collections::{BTreeMap, HashSet},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use gesta::{
    kafka::{
        KafkaFeed, KafkaUrl,
        rdkafka::{
            ClientConfig, Message as _, Offset, TopicPartitionList,
            consumer::{BaseConsumer, Consumer as _},
            error::KafkaError,
        },
        recorded_event,
    },
    store::{EventStore as _, ReadAll, conformance::block_on},
};
use gesta_services::{
    OwnServer,
    e2e::{empty_directory, figures, is_full},
};
use serde_json::{Value, json};

use crate::client::Client;

const KILLS_FULL: usize = 30;
const KILLS_SHORT: usize = 4;
const ACCOUNTS: usize = 8;
/// Commands between two kills.
const COMMANDS: usize = 60;
const POLL: Duration = Duration::from_millis(20);
const POLLS_MAX: usize = 3_000;
/// Runs of the reader until it has what the relay publishes after the last kill.
const READS_MAX: usize = 60;

/// Balances by account.
type Balances = BTreeMap<String, String>;

/// The processes around one broker.
struct Stage {
    broker: OwnServer,
    directory: PathBuf,
    address: SocketAddr,
    shop: Option<Child>,
}

impl Stage {
    fn command(&self, verb: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
        command.args(verb).current_dir(&self.directory).stdin(Stdio::null());
        command.env("RUST_LOG", "error");
        command
    }

    fn relay(&self) -> String {
        format!("{}/shop?delivery=exactly-once", self.broker.url())
    }

    fn start_shop(&mut self) -> Result<()> {
        let (address, relay) = (self.address.to_string(), self.relay());
        let mut serve = self.command(&["serve", "--listen", &address, "--relay", &relay]);
        self.shop = Some(serve.stdout(Stdio::null()).spawn()?);
        for _ in 0..POLLS_MAX {
            let ready = Client::connect(self.address)
                .and_then(|mut client| client.get("/health/ready", &[]));
            if ready.is_ok_and(|reply| reply.status == 200) {
                return Ok(());
            }
            thread::park_timeout(POLL);
        }
        anyhow::bail!("the shop was not ready in time")
    }

    fn kill_shop(&mut self) -> Result<()> {
        if let Some(mut shop) = self.shop.take() {
            shop.kill()?;
            shop.wait()?;
        }
        Ok(())
    }

    fn reader(&self) -> Command {
        self.command(&["balances", "--source", &format!("{}/shop", self.broker.url())])
    }

    /// Kills a reader a moment after its start.
    fn kill_reader(&self, moment: Duration) -> Result<()> {
        let mut reader = self.reader().stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        thread::park_timeout(moment);
        reader.kill()?;
        reader.wait()?;
        Ok(())
    }

    /// Returns the balances as they are in Kafka now.
    fn read(&self) -> Result<Balances> {
        let output = self.reader().output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "shop balances: {error}");
        let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let balance = |line: &[u8]| {
            let row: Value = serde_json::from_slice(line)?;
            let text = |field| row.get(field).and_then(Value::as_str).map(str::to_owned);
            let row = text("accountId").zip(text("balance"));
            row.context("a line has an account and its balance")
        };
        lines.map(balance).collect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(self.kill_shop());
    }
}

/// The writer of deposits and withdrawals.
struct Writer {
    address: SocketAddr,
    next: usize,
}

impl Writer {
    /// Connects anew each time: the shop closes connections that were idle while a broker started.
    fn connect(&self) -> Result<Client> {
        Client::connect(self.address)
    }

    fn open_accounts(&self) -> Result<()> {
        let mut client = self.connect()?;
        for account in 0..ACCOUNTS {
            let opened = json!({ "accountId": format!("a{account}"), "currency": "GBP" });
            client.command("/v1/accounts", &opened)?;
        }
        Ok(())
    }

    fn write(&mut self, commands: usize) -> Result<()> {
        let mut client = self.connect()?;
        for number in self.next..self.next + commands {
            // Three deposits for each withdrawal, so that no account runs dry.
            let verb = if number % 4 == 3 { "withdraw" } else { "deposit" };
            let body = json!({ "amount": "2.50", "reference": format!("command {number}") });
            let account = number / 4 % ACCOUNTS;
            client.command(&format!("/v1/accounts/a{account}/{verb}"), &body)?;
        }
        self.next += commands;
        Ok(())
    }

    /// Returns the balances of the shop's own read model, which comes from the log.
    fn balances(&self) -> Result<Balances> {
        let mut client = self.connect()?;
        let last = json!({ "amount": "1", "reference": "the last one" });
        let reply = client.command("/v1/accounts/a0/deposit", &last)?;
        let position = reply.header("gesta-position").context("it has a position")?.to_owned();
        let mut balance = |account: usize| {
            let path = format!("/v1/accounts/a{account}");
            let reply = client.get(&path, &[("Gesta-Position", &position)])?;
            let found: Value = serde_json::from_slice(&reply.body)?;
            let balance = found.get("balance").and_then(Value::as_str);
            let balance = balance.context("an account has a balance")?;
            Ok((format!("a{account}"), balance.to_owned()))
        };
        (0..ACCOUNTS).map(&mut balance).collect()
    }
}

/// Reads the topic as any program does, and returns its number of events: each once, and those of a
/// stream in their order.
fn events_each_once(url: &KafkaUrl) -> Result<usize> {
    let published = block_on(KafkaFeed::at(url)?.read_all(ReadAll::forwards()).collect_events())?;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", url.brokers()).set("group.id", "check");
    config.set("isolation.level", "read_committed").set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create()?;
    let mut partitions = TopicPartitionList::new();
    for partition in 0..4 {
        partitions.add_partition_offset("shop.events", partition, Offset::Beginning)?;
    }
    consumer.assign(&partitions)?;
    let (mut heads, mut ended) = (BTreeMap::new(), HashSet::new());
    let mut count = 0;
    while ended.len() < 4 || count < published.len() {
        match consumer.poll(Duration::from_secs(60)).context("the broker answers in time")? {
            Ok(record) => {
                let event = recorded_event(&record)?;
                let next = heads.entry(event.stream.clone()).or_insert(0);
                let (stream, revision) = (&event.stream, event.revision.number());
                // Journals of processes are truncated, so some of their events are never published.
                let is_whole = stream.as_str().starts_with("account-");
                let is_next = if is_whole { revision == *next } else { revision >= *next };
                ensure!(is_next, "{stream}: revision {revision} in place of {next}");
                *next = revision + 1;
                count += 1;
                ended.remove(&record.partition());
            }
            Err(KafkaError::PartitionEOF(partition)) => drop(ended.insert(partition)),
            Err(error) => return Err(error.into()),
        }
    }
    ensure!(count == published.len(), "{count} records of {} events", published.len());
    Ok(count)
}

#[test]
fn balances_from_kafka_equal_those_of_the_log() -> Result<()> {
    let Some(broker) = OwnServer::start_or_skip("kafka") else { return Ok(()) };
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let directory = empty_directory("kafka-kills")?;
    let mut stage = Stage { broker, directory, address, shop: None };
    stage.start_shop()?;
    let mut writer = Writer { address, next: 0 };
    writer.open_accounts()?;
    let kills = if is_full() { KILLS_FULL } else { KILLS_SHORT };
    for kill in 0..kills {
        writer.write(COMMANDS)?;
        match kill % 4 {
            // In the middle of a batch, as often as not.
            0 => {
                stage.kill_shop()?;
                stage.start_shop()?;
            }
            1 => stage.kill_reader(POLL * u32::try_from(kill * 7 % 60).unwrap_or(0))?,
            2 => {
                stage.broker.crash()?;
                // Commands are executed while the broker is away.
                writer.write(COMMANDS)?;
                stage.broker.start()?;
            }
            _ => {
                stage.broker.crash()?;
                stage.kill_shop()?;
                stage.broker.start()?;
                stage.start_shop()?;
            }
        }
    }
    let expected = writer.balances()?;
    let mut reads = 0;
    // The relay needs a moment for the last events.
    while stage.read()? != expected {
        reads += 1;
        ensure!(reads < READS_MAX, "{:?} instead of {expected:?}", stage.read()?);
    }
    let events = events_each_once(&format!("{}/shop", stage.broker.url()).parse()?)?;
    figures(format!(
        "{kills} kills, {} commands: balances from Kafka equal the log's; {events} events once and \
         in order for a consumer that reads what is committed",
        writer.next
    ))
}
