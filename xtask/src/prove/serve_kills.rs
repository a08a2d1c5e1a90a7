//! Line 7: a server is killed while it is busy; afterwards everything is there once.
//!
//! Writers keep, outside the server, which commands were acknowledged. After each kill the log is
//! read as the kill left it; after the last one the server gets time to finish, and the log is
//! judged against what the writers know.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::{
    Effort, Ground,
    client::Client,
    server::{Server, Shop},
};

const WRITERS: usize = 32;
const KILLS_FULL: usize = 50;
const KILLS_SHORT: usize = 3;
/// Commands that are acknowledged between two kills, at least.
const ACKNOWLEDGED_MIN: usize = 100;
/// Of 50 kills so many at least meet a pending timer, and so many a decision without its command.
const KILLS_OF_EACH_KIND_MIN: (usize, usize) = (10, 50);
const ACCOUNTS: usize = 8;
const POLL: Duration = Duration::from_millis(2);
const FINISH_POLL: Duration = Duration::from_millis(250);
const FINISH_POLLS_MAX: usize = 240;

/// What the writers know.
#[derive(Default)]
struct Known {
    next: AtomicUsize,
    acknowledged: Mutex<HashSet<String>>,
}

impl Known {
    fn count(&self) -> usize {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// Kills and judges.
pub(super) fn everything_once(ground: &Ground) -> Result<String> {
    let shop = Shop::build(ground, "serve-kills")?;
    let gesta = ground.target_directory.join("release/gesta");
    let store = shop.store("store");
    let kills = match ground.effort {
        Effort::Short => KILLS_SHORT,
        Effort::Full => KILLS_FULL,
    };
    let known = Known::default();
    let mut server = shop.serve(&store)?;
    prepare(&server)?;
    let (mut with_timer, mut with_decision) = (0, 0);
    for kill in 0..kills {
        load_until_killed(&mut server, &known, kill)?;
        let log = Log::read(&gesta, &store)?;
        with_timer += usize::from(log.pending_timers() > 0);
        with_decision += usize::from(log.undone_decisions() > 0);
        server = shop.serve(&store)?;
    }
    let log = finish(&gesta, &store)?;
    drop(server);
    log.judge(&known)?;
    let (needed, of) = KILLS_OF_EACH_KIND_MIN;
    let enough = |count: usize| count * of >= kills * needed;
    let figures = format!(
        "{kills} kills, {} acknowledged commands there once; {with_timer} kills with a timer \
         pending, {with_decision} between a decision and its command; {} users welcomed once, {} \
         orders ended once",
        known.count(),
        log.count("user-welcomed"),
        log.ended_orders().len(),
    );
    ensure!(enough(with_timer) && enough(with_decision), "{figures}");
    Ok(figures)
}

/// One product and some accounts with money.
fn prepare(server: &Server) -> Result<()> {
    let mut client = Client::connect(server.address)?;
    let mut post = |path: &str, body: Value| client.command(path, &body).map(drop);
    post("/v1/products", json!({ "productId": "mug", "name": "Mug", "price": "1" }))?;
    post("/v1/products/mug/stock", json!({ "type": "receive", "quantity": 1_000_000 }))?;
    for account in 0..ACCOUNTS {
        post("/v1/accounts", json!({ "accountId": format!("a{account}"), "currency": "GBP" }))?;
        let deposit = json!({ "amount": "1000000", "reference": "start" });
        post(&format!("/v1/accounts/a{account}/deposit"), deposit)?;
    }
    Ok(())
}

/// Writers at full speed, until enough was acknowledged and a moment more; then the kill.
fn load_until_killed(server: &mut Server, known: &Known, kill: usize) -> Result<()> {
    let address = server.address;
    let before = known.count();
    thread::scope(|scope| {
        let writers: Vec<_> =
            (0..WRITERS).map(|_| scope.spawn(|| write_until_cut(address, known))).collect();
        while known.count() < before + ACKNOWLEDGED_MIN
            && !writers.iter().all(thread::ScopedJoinHandle::is_finished)
        {
            thread::park_timeout(POLL);
        }
        // Somewhere in the next moment, another one each time.
        thread::park_timeout(POLL * u32::try_from(kill * 7 % 60).unwrap_or(0));
        server.kill()?;
        writers.into_iter().try_for_each(|writer| writer.join().expect("a writer ends"))
    })
}

/// Ends with the connection, which the kill cuts; fails on an answer that nobody expects.
fn write_until_cut(address: SocketAddr, known: &Known) -> Result<()> {
    let Ok(mut client) = Client::connect(address) else { return Ok(()) };
    loop {
        let number = known.next.fetch_add(1, Ordering::Relaxed);
        let key = format!("command-{number}");
        let (path, body) = command(number);
        let Ok(reply) = client.post(&path, &[("Idempotency-Key", &key)], &body) else {
            return Ok(());
        };
        match reply.status {
            200 | 201 => {
                known.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
            }
            // Others were faster, or there is too much to do: not acknowledged.
            409 | 503 => {}
            status => bail!("{path}: {status} {}", reply.text()),
        }
    }
}

/// Users to be welcomed, deposits, and orders that are fulfilled from an account.
fn command(number: usize) -> (String, Value) {
    let account = format!("a{}", number % ACCOUNTS);
    match number % 3 {
        0 => {
            let user = format!("u{number}");
            let body = json!({ "userId": user, "firstName": "Ann", "lastName": "Example" });
            ("/v1/users".to_owned(), body)
        }
        1 => {
            let body = json!({ "amount": "1", "reference": format!("d{number}") });
            (format!("/v1/accounts/{account}/deposit"), body)
        }
        _ => {
            let items = json!([{ "productId": "mug", "quantity": 1 }]);
            let order = format!("o{number}");
            let body =
                json!({ "orderId": order, "orderItems": items, "paymentAccountId": account });
            ("/v1/orders".to_owned(), body)
        }
    }
}

/// Waits until every process has finished what it began.
fn finish(gesta: &Path, store: &Path) -> Result<Log> {
    for _ in 0..FINISH_POLLS_MAX {
        let log = Log::read(gesta, store)?;
        let orders = log.streams_of("order-placed").len();
        if log.pending_timers() == 0
            && log.undone_decisions() == 0
            && log.ended_orders().len() == orders
        {
            return Ok(log);
        }
        thread::park_timeout(FINISH_POLL);
    }
    bail!("the processes did not finish in time")
}

/// The log, as a reader outside sees it.
struct Log(Vec<Value>);

impl Log {
    fn read(gesta: &Path, store: &Path) -> Result<Self> {
        let url = format!("gesta:{}", store.display());
        let output =
            Command::new(gesta).args(["read", "--all", "--json", "--store", &url]).output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "gesta read: {error}");
        let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let events = lines.map(serde_json::from_slice).collect::<Result<Vec<_>, _>>();
        Ok(Self(events.context("gesta read --json")?))
    }

    fn of_type<'a>(&'a self, event_type: &'a str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |event| text(event, "/type") == event_type)
    }

    fn count(&self, event_type: &str) -> usize {
        self.of_type(event_type).count()
    }

    fn streams_of<'a>(&'a self, event_type: &'a str) -> HashSet<&'a str> {
        self.of_type(event_type).map(|event| text(event, "/stream")).collect()
    }

    /// Users whose welcome is still to come.
    fn pending_timers(&self) -> usize {
        let welcomed = self.streams_of("user-welcomed");
        self.streams_of("user-created").difference(&welcomed).count()
    }

    /// Commands that a process decided on and that have left no trace yet.
    fn undone_decisions(&self) -> usize {
        let mut done: HashMap<(&str, &str), usize> = HashMap::new();
        for event in &self.0 {
            let key = (text(event, "/causationId"), text(event, "/metadata/command"));
            *done.entry(key).or_default() += 1;
        }
        let answered = self.answered();
        let reactions = self.of_type("process-reacted");
        let undone = reactions.flat_map(|event| {
            let effects = event.pointer("/data/effects").and_then(Value::as_array);
            effects.into_iter().flatten().enumerate().map(move |effect| (event, effect))
        });
        undone
            .filter_map(|(event, (ordinal, effect))| {
                let command = effect.pointer("/send/command")?.as_str()?;
                let place = (text(event, "/stream"), number(event, "/revision"), ordinal as u64);
                let executed = done.contains_key(&(text(event, "/id"), command));
                (!executed && !answered.contains(&place)).then_some(())
            })
            .count()
    }

    /// Commands that were settled without an event of their own, or rejected: stream, revision and
    /// ordinal of the effect.
    fn answered(&self) -> HashSet<(&str, u64, u64)> {
        let place = |event: &'static str, path: &'static str| {
            self.of_type(event).filter_map(move |event| {
                let command = event.pointer(path)?;
                let stream = text(event, "/stream");
                Some((stream, number(command, "/revision"), number(command, "/ordinal")))
            })
        };
        place("process-command-settled", "/data/command")
            .chain(place("process-reacted", "/data/input/rejected/command"))
            .collect()
    }

    /// Orders that were shipped or cancelled.
    fn ended_orders(&self) -> HashSet<&str> {
        self.streams_of("order-shipped")
            .union(&self.streams_of("order-cancelled"))
            .copied()
            .collect()
    }

    /// Every acknowledged command is there once, and every process did its work once.
    fn judge(&self, known: &Known) -> Result<()> {
        let mut by_command: HashMap<&str, usize> = HashMap::new();
        for event in &self.0 {
            *by_command.entry(text(event, "/metadata/commandId")).or_default() += 1;
        }
        let acknowledged = known.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        for key in acknowledged.iter() {
            let times = by_command.get(key.as_str()).copied().unwrap_or(0);
            ensure!(times == 1, "{key} was acknowledged and is there {times} times");
        }
        for once in ["user-welcomed", "order-shipped", "order-paid", "order-placed"] {
            let (events, streams) = (self.count(once), self.streams_of(once).len());
            ensure!(events == streams, "{events} times {once} in {streams} streams");
        }
        let (shipped, paid) = (self.streams_of("order-shipped"), self.streams_of("order-paid"));
        ensure!(shipped == paid, "{} shipped, {} paid", shipped.len(), paid.len());
        let withdrawn = self.count("money-withdrawn");
        let charged = paid.len();
        ensure!(withdrawn >= charged, "{withdrawn} payments for {charged} paid orders");
        Ok(())
    }
}

fn text<'a>(event: &'a Value, path: &str) -> &'a str {
    event.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn number(event: &Value, path: &str) -> u64 {
    event.pointer(path).and_then(Value::as_u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reaction() -> Value {
        json!({
            "id": "r", "type": "process-reacted", "stream": "process:welcome-u1", "revision": 0,
            "data": { "effects": [{ "send": { "command": "welcome-user" } }] },
        })
    }

    #[test]
    fn a_decision_without_its_command_is_seen() {
        assert_eq!(Log(vec![reaction()]).undone_decisions(), 1);
        let done = json!({ "causationId": "r", "metadata": { "command": "welcome-user" } });
        assert_eq!(Log(vec![reaction(), done]).undone_decisions(), 0);
    }

    #[test]
    fn a_command_that_is_there_twice_is_seen() {
        let known = Known::default();
        known.acknowledged.lock().unwrap().insert("command-1".to_owned());
        let event = json!({ "type": "x", "metadata": { "commandId": "command-1" } });
        assert!(Log(vec![event.clone()]).judge(&known).is_ok());
        assert!(Log(vec![event.clone(), event]).judge(&known).is_err());
        assert!(Log(vec![]).judge(&known).is_err());
    }
}
