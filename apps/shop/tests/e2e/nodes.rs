//! Three nodes of the shop on one PostgreSQL, under load, while nodes are killed and stopped.
//!
//! Each command is given until a node acknowledges it, with one key. Afterwards the read models are
//! compared with those that one more shop computes from the events, and the events are checked for
//! everything that must happen once.

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use gesta::store::EventStore;
use gesta_bench::load::clock::Stopwatch;
use gesta_services::{
    OwnServer,
    e2e::{empty_directory, figures, is_full},
};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::{
    client::Client,
    log::Log,
    writers::{ACCOUNTS, Acknowledged, command, prepare},
};

const NODES: usize = 3;
const WRITERS: usize = 8;
const PROBES: usize = 3;

/// Length of the load, and the time from one fault to the next one.
const FULL: (Duration, Duration) = (Duration::from_secs(300), Duration::from_secs(20));
const SHORT: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(15));

/// Share of the time between two faults after which a killed node is started again, and a stopped
/// one continues: later than the term of its leases.
const BACK_AFTER: f64 = 0.6;

/// Maximum time until another node has taken over.
const TAKEOVER_MAX: Duration = Duration::from_secs(10);

/// Delay between a user's creation and the welcome.
const WELCOME_AFTER: Duration = Duration::from_secs(1);

/// Maximum time to wait for an answer of a node, which may be stopped.
const ANSWER_MAX: Duration = Duration::from_secs(4);
const START_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// A node: a process that may be killed and started again at the same address.
struct Node {
    child: Child,
    name: String,
    address: SocketAddr,
}

/// The nodes with their database.
struct NodeSet {
    nodes: Vec<Node>,
    url: String,
    local: PathBuf,
    store: Arc<dyn EventStore>,
    runtime: Runtime,
    /// Dropped last: the nodes use it.
    _server: OwnServer,
}

impl Drop for NodeSet {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            // Also ends a stopped process.
            drop(node.child.kill());
            drop(node.child.wait());
        }
    }
}

impl NodeSet {
    /// `None` if there is no PostgreSQL here, which was said.
    fn start(name: &str) -> Result<Option<Self>> {
        let Some(server) = OwnServer::start_or_skip("postgres") else { return Ok(None) };
        let url = server.url();
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let store = runtime.block_on(gesta::open(&url))?;
        let (nodes, local) = (Vec::new(), empty_directory(name)?);
        let mut set = Self { nodes, url, local, store, runtime, _server: server };
        for number in 1..=NODES {
            let (name, address) = (format!("node-{number}"), free_address()?);
            let child = set.serve(&name, address, &[])?;
            set.nodes.push(Node { child, name, address });
        }
        for node in &set.nodes {
            until_ready(node.address)?;
        }
        Ok(Some(set))
    }

    fn serve(&self, name: &str, address: SocketAddr, more: &[&str]) -> Result<Child> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
        command.args(["serve", "--store", &self.url, "--node", name]);
        command.args(["--listen", &address.to_string()]).arg("--local").arg(&self.local);
        command.args(["--welcome-after", &WELCOME_AFTER.as_secs().to_string()]).args(more);
        command.env("RUST_LOG", "error").stdin(Stdio::null()).stdout(Stdio::null());
        command.spawn().context("the shop cannot be started")
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.address).collect()
    }

    fn kill(&mut self, number: usize) -> Result<()> {
        let node = self.nodes.get_mut(number).context("a node")?;
        node.child.kill()?;
        node.child.wait()?;
        Ok(())
    }

    fn start_again(&mut self, number: usize) -> Result<()> {
        let node = self.nodes.get(number).context("a node")?;
        let child = self.serve(&node.name, node.address, &[])?;
        self.nodes.get_mut(number).context("a node")?.child = child;
        Ok(())
    }

    /// Sends a signal, such as `STOP`.
    fn signal(&self, number: usize, signal: &str) -> Result<()> {
        let node = self.nodes.get(number).context("a node")?;
        let sent = Command::new("kill").args(["-s", signal, &node.child.id().to_string()]).status();
        ensure!(sent?.success(), "{} did not get SIG{signal}", node.name);
        Ok(())
    }

    /// Kills and stops the nodes in turns. Returns the number of faults.
    #[expect(clippy::disallowed_methods, reason = "faults come at times of their own")]
    fn disturb(&mut self, faulty: &AtomicUsize) -> Result<usize> {
        let (time, every) = if is_full() { FULL } else { SHORT };
        let faults = (time.as_secs_f64() / every.as_secs_f64()) as usize;
        for fault in 0..faults {
            let (number, is_kill) = (fault % NODES, fault % 2 == 0);
            faulty.store(number, Ordering::SeqCst);
            if is_kill {
                self.kill(number)?
            } else {
                self.signal(number, "STOP")?
            }
            thread::sleep(every.mul_f64(BACK_AFTER));
            if is_kill {
                self.start_again(number)?
            } else {
                self.signal(number, "CONT")?
            }
            let back = Stopwatch::start();
            until_ready(self.nodes.get(number).context("a node")?.address)?;
            faulty.store(NODES, Ordering::SeqCst);
            thread::sleep(every.mul_f64(1.0 - BACK_AFTER).saturating_sub(back.elapsed()));
        }
        Ok(faults)
    }

    /// Compares the lists of a node with those of a shop that computes its read models anew. Ends
    /// the nodes first: that shop takes no lease, and is refused next to others.
    fn check_read_models(&mut self) -> Result<usize> {
        let node = self.nodes.first().context("a node")?.address;
        let head = self.runtime.block_on(self.store.head())?.position.number();
        let lists_of = |address: SocketAddr| -> Result<Vec<_>> {
            lists().iter().map(|list| all_items(address, list, head)).collect()
        };
        let kept = lists_of(node)?;
        for number in 0..NODES {
            self.signal(number, "TERM")?;
        }
        for node in &mut self.nodes {
            node.child.wait()?;
        }
        let address = free_address()?;
        let mut fresh = self.serve("recomputed", address, &["--read-models", "memory:"])?;
        let computed = until_ready(address).and_then(|()| lists_of(address));
        fresh.kill()?;
        fresh.wait()?;
        for ((list, kept), computed) in lists().iter().zip(&kept).zip(&computed?) {
            ensure!(
                kept == computed,
                "{list}: the read model differs from a computation: {:?} is in it alone, {:?} is \
                 missing",
                kept.iter().find(|row| !computed.contains(row)),
                computed.iter().find(|row| !kept.contains(row)),
            );
        }
        Ok(kept.iter().map(Vec::len).sum())
    }
}

/// The lists that show the rows of every projection.
fn lists() -> Vec<String> {
    let mut lists =
        vec!["/v1/users".to_owned(), "/v1/products".to_owned(), "/v1/orders".to_owned()];
    lists.extend((0..ACCOUNTS).map(|account| format!("/v1/accounts/a{account}/transactions")));
    lists
}

/// Returns all items of a list, page by page, as they are after the event at this position.
fn all_items(address: SocketAddr, list: &str, position: u64) -> Result<Vec<Value>> {
    let mut client = Client::connect(address)?;
    let mut items = Vec::new();
    let mut path = format!("{list}?limit=100");
    let position = position.to_string();
    let waited = Stopwatch::start();
    loop {
        let reply = client.get(&path, &[("Gesta-Position", &position)])?;
        if reply.status != 200 {
            // The read model is not there yet: a computation from the first event takes a while.
            let (status, text) = (reply.status, reply.text());
            ensure!(status == 503 && waited.elapsed() < START_MAX, "{path}: {status} {text}");
            continue;
        }
        let page: Value = serde_json::from_slice(&reply.body)?;
        items.extend(page.get("items").and_then(Value::as_array).into_iter().flatten().cloned());
        let Some(next) = page.get("next").and_then(Value::as_str) else { return Ok(items) };
        path = format!("{list}?limit=100&cursor={next}");
    }
}

fn free_address() -> Result<SocketAddr> {
    // The system picks a free port; a race for it is unlikely on a test machine.
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn until_ready(address: SocketAddr) -> Result<()> {
    let waited = Stopwatch::start();
    while waited.elapsed() < START_MAX {
        let ready = Client::connect_within(address, ANSWER_MAX)
            .and_then(|mut client| client.get("/health/live", &[]));
        if ready.is_ok_and(|reply| reply.status == 200) {
            return Ok(());
        }
        thread::park_timeout(POLL);
    }
    bail!("the node at {address} was not ready in time")
}

/// A client of all nodes: it continues to the next node when one does not answer.
struct AnyNode<'n> {
    addresses: &'n [SocketAddr],
    turn: usize,
    client: Option<Client>,
}

impl<'n> AnyNode<'n> {
    fn new(addresses: &'n [SocketAddr], turn: usize) -> Self {
        Self { addresses, turn, client: None }
    }

    /// Posts until a node has answered. The outcome of an attempt without an answer is unknown, so
    /// that each attempt has the same key.
    fn post(
        &mut self,
        path: &str,
        key: &str,
        body: &Value,
        stop: &AtomicBool,
    ) -> Option<(u16, u64)> {
        loop {
            let reply = match &mut self.client {
                Some(client) => client.post(path, &[("Idempotency-Key", key)], body),
                None => {
                    self.turn += 1;
                    let address = self.addresses.get(self.turn % self.addresses.len())?;
                    match Client::connect_within(*address, ANSWER_MAX) {
                        Ok(client) => {
                            self.client = Some(client);
                            continue;
                        }
                        Err(error) => Err(error),
                    }
                }
            };
            match reply {
                // Overloaded, in conflict, or without its database: later again.
                Ok(reply) if ![409, 503].contains(&reply.status) => {
                    let position = reply.header("gesta-position").and_then(|it| it.parse().ok());
                    return Some((reply.status, position.unwrap_or_default()));
                }
                Ok(_) => thread::park_timeout(POLL),
                Err(_) => {
                    self.client = None;
                    thread::park_timeout(POLL);
                }
            }
            if stop.load(Ordering::SeqCst) {
                return None;
            }
        }
    }
}

/// Gives commands until a signal stops it.
fn write(
    addresses: &[SocketAddr],
    writer: usize,
    acknowledged: &Acknowledged,
    stop: &AtomicBool,
) -> Result<()> {
    let mut nodes = AnyNode::new(addresses, writer);
    while !stop.load(Ordering::SeqCst) {
        let number = acknowledged.number();
        let key = format!("command-{number}");
        let (path, body) = command(number);
        match nodes.post(&path, &key, &body, stop) {
            Some((200 | 201, _)) => drop(acknowledged.commands().insert(key)),
            Some((status, _)) => bail!("{path}: {status}"),
            None => {}
        }
    }
    Ok(())
}

/// Creates users, and measures how long each one is not visible on another node, and how much
/// longer than its delay its welcome takes.
fn probe(
    addresses: &[SocketAddr],
    probe: usize,
    faulty: &AtomicUsize,
    waits: &Mutex<Vec<Duration>>,
    stop: &AtomicBool,
) -> Result<()> {
    let mut nodes = AnyNode::new(addresses, probe);
    let mut number = 0;
    while !stop.load(Ordering::SeqCst) {
        number += 1;
        let id = format!("probe-{probe}-{number}");
        let user = json!({ "userId": id, "firstName": "Pat", "lastName": "Probe" });
        let Some((status, position)) = nodes.post("/v1/users", &id, &user, stop) else { break };
        ensure!(status == 201, "{id}: {status}");
        let created = Stopwatch::start();
        let path = format!("/v1/users/{id}");
        let own = OwnWrite { path: &path, position };
        until_shown(addresses, probe, faulty, own, Value::is_object)?;
        let shown = created.elapsed();
        let is_welcomed = |user: &Value| user.get("welcomed") == Some(&Value::Bool(true));
        until_shown(addresses, probe, faulty, own, is_welcomed)?;
        let welcomed = created.elapsed().saturating_sub(WELCOME_AFTER);
        waits.lock().unwrap_or_else(PoisonError::into_inner).push(shown.max(welcomed));
    }
    Ok(())
}

/// A document that shows an acknowledged command, and the position of the command.
#[derive(Clone, Copy)]
struct OwnWrite<'a> {
    path: &'a str,
    position: u64,
}

/// Asks nodes without a fault until one shows what is expected.
fn until_shown(
    addresses: &[SocketAddr],
    turn: usize,
    faulty: &AtomicUsize,
    own: OwnWrite<'_>,
    expected: impl Fn(&Value) -> bool,
) -> Result<()> {
    let (path, position) = (own.path, own.position.to_string());
    let waited = Stopwatch::start();
    for attempt in turn.. {
        ensure!(waited.elapsed() < START_MAX, "{path} is not as expected after a minute");
        let number = attempt % addresses.len();
        if number == faulty.load(Ordering::SeqCst) {
            continue;
        }
        let address = addresses.get(number).context("a node")?;
        let reply = Client::connect_within(*address, ANSWER_MAX)
            .and_then(|mut client| client.get(path, &[("Gesta-Position", &position)]));
        let shown = reply.ok().filter(|reply| reply.status == 200);
        if shown
            .and_then(|reply| serde_json::from_slice(&reply.body).ok())
            .is_some_and(|it| expected(&it))
        {
            return Ok(());
        }
        thread::park_timeout(POLL);
    }
    Ok(())
}

/// Kills and stops nodes under load.
#[test]
fn nodes_that_are_killed_and_stopped_lose_and_double_nothing() -> Result<()> {
    let Some(mut set) = NodeSet::start("nodes")? else { return Ok(()) };
    let addresses = set.addresses();
    prepare(*addresses.first().context("a node")?)?;
    let (acknowledged, stop) = (Acknowledged::default(), AtomicBool::new(false));
    let (faulty, waits) = (AtomicUsize::new(NODES), Mutex::new(Vec::new()));
    let faults = thread::scope(|scope| {
        let writers = (0..WRITERS).map(|writer| {
            let (addresses, acknowledged, stop) = (&addresses, &acknowledged, &stop);
            scope.spawn(move || write(addresses, writer, acknowledged, stop))
        });
        let writers: Vec<_> = writers.collect();
        let probes = (0..PROBES).map(|number| {
            let (addresses, faulty, waits, stop) = (&addresses, &faulty, &waits, &stop);
            scope.spawn(move || probe(addresses, number, faulty, waits, stop))
        });
        let probes: Vec<_> = probes.collect();
        let faults = set.disturb(&faulty);
        // Set also after an error, so that the threads end.
        stop.store(true, Ordering::SeqCst);
        for thread in writers.into_iter().chain(probes) {
            thread.join().expect("a thread of the load ends")?;
        }
        faults
    })?;
    let log = Log::of_store_when_finished(&set.runtime, set.store.as_ref())?;
    log.check(&acknowledged)?;
    let rows = set.check_read_models()?;
    let mut waits = waits.into_inner().unwrap_or_else(PoisonError::into_inner);
    waits.sort_unstable();
    let at = |share: usize| waits.get(waits.len() * share / 100).copied().unwrap_or_default();
    let longest = waits.last().copied().context("a probe was measured")?;
    let summary = format!(
        "{faults} faults; {} acknowledged commands present once, {} users welcomed once, {} orders \
         ended once; {rows} rows equal a computation from the events; {} probes were shown and \
         welcomed after p50 {:.2} s, p99 {:.2} s, at most {:.2} s",
        acknowledged.count(),
        log.count("user-welcomed"),
        log.ended_orders().len(),
        waits.len(),
        at(50).as_secs_f64(),
        at(99).as_secs_f64(),
        longest.as_secs_f64(),
    );
    ensure!(at(99) < TAKEOVER_MAX, "{summary}");
    figures(summary)
}
