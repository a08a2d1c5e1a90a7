//! The log of a served shop, read from outside, and its invariants.
//!
//! Invariant: the checks use the log, never the server's answers. Not here: the acknowledged
//! commands, which the writers record ([`Acknowledged`]).

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use gesta::store::{EventStore, ReadAll, RecordedEvent};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::writers::Acknowledged;

const FINISH_POLL: Duration = Duration::from_millis(250);
const FINISH_POLLS_MAX: usize = 240;

/// All events of a store.
#[derive(PartialEq)]
pub(super) struct Log(Vec<Value>);

impl Log {
    pub(super) fn read(gesta: &Path, store: &Path) -> Result<Self> {
        let url = format!("gesta:{}", store.display());
        let output =
            Command::new(gesta).args(["read", "--all", "--json", "--store", &url]).output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "gesta read: {error}");
        let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let events = lines.map(serde_json::from_slice).collect::<Result<Vec<_>, _>>();
        Ok(Self(events.context("gesta read --json")?))
    }

    /// Reads the log of a store that this program has opened.
    fn of_store(runtime: &Runtime, store: &dyn EventStore) -> Result<Self> {
        let events = store.read_all(ReadAll::forwards()).collect_events();
        Ok(Self(runtime.block_on(events)?.iter().map(json_of).collect()))
    }

    /// Waits until every process is finished, and reads the log.
    pub(super) fn read_when_finished(gesta: &Path, store: &Path) -> Result<Self> {
        Self::when_finished(|| Self::read(gesta, store))
    }

    /// Waits until every process is finished, and reads the log of an open store.
    pub(super) fn of_store_when_finished(
        runtime: &Runtime,
        store: &dyn EventStore,
    ) -> Result<Self> {
        Self::when_finished(|| Self::of_store(runtime, store))
    }

    fn when_finished(read: impl Fn() -> Result<Self>) -> Result<Self> {
        for _ in 0..FINISH_POLLS_MAX {
            let log = read()?;
            let orders = log.streams_of("order-placed").len();
            if log.pending_timers() == 0
                && log.pending_commands() == 0
                && log.ended_orders().len() == orders
            {
                return Ok(log);
            }
            thread::park_timeout(FINISH_POLL);
        }
        bail!("the processes did not finish in time")
    }

    fn of_type<'a>(&'a self, event_type: &'a str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |event| text(event, "/type") == event_type)
    }

    pub(super) fn count(&self, event_type: &str) -> usize {
        self.of_type(event_type).count()
    }

    fn streams_of<'a>(&'a self, event_type: &'a str) -> HashSet<&'a str> {
        self.of_type(event_type).map(|event| text(event, "/stream")).collect()
    }

    /// Number of operations of this kind in the audit stream.
    pub(super) fn audited(&self, operation: &str) -> usize {
        let ordered = self.of_type("operation-ordered");
        ordered.filter(|event| text(event, "/data/operation") == operation).count()
    }

    /// Number of users still to be welcomed. Events without a user are ignored.
    pub(super) fn pending_timers(&self) -> usize {
        let users = |event_type| -> HashSet<&str> {
            let named = self.of_type(event_type).map(|event| text(event, "/data/userId"));
            named.filter(|user| !user.is_empty()).collect()
        };
        users("user-created").difference(&users("user-welcomed")).count()
    }

    /// Number of commands decided by a process and not yet executed or answered.
    pub(super) fn pending_commands(&self) -> usize {
        let mut done: HashMap<(&str, &str), usize> = HashMap::new();
        for event in &self.0 {
            // A command's events name the reaction that caused them.
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
                // Executed with events, or answered without.
                let executed = done.contains_key(&(text(event, "/id"), command));
                (!executed && !answered.contains(&place)).then_some(())
            })
            .count()
    }

    /// Commands settled without an event of their own, or rejected: stream, revision and ordinal of
    /// the effect.
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

    /// Streams of orders paid from an account.
    fn paid_from_accounts(&self) -> HashSet<&str> {
        let from_account = |event: &&Value| event.pointer("/data/paymentAccountId").is_some();
        let placed = self.of_type("order-placed").filter(from_account);
        placed.map(|event| text(event, "/stream")).collect()
    }

    /// Position of the last event.
    pub(super) fn head(&self) -> u64 {
        self.0.last().map_or(0, |event| number(event, "/position"))
    }

    /// Streams of orders that were shipped or cancelled.
    pub(super) fn ended_orders(&self) -> HashSet<&str> {
        self.streams_of("order-shipped")
            .union(&self.streams_of("order-cancelled"))
            .copied()
            .collect()
    }

    /// Checks that every acknowledged command and every effect of a process is present once.
    pub(super) fn check(&self, acknowledged: &Acknowledged) -> Result<()> {
        let mut by_command: HashMap<&str, usize> = HashMap::new();
        for event in &self.0 {
            *by_command.entry(key_of(text(event, "/metadata/commandId"))).or_default() += 1;
        }
        let acknowledged = acknowledged.commands();
        for key in acknowledged.iter() {
            let times = by_command.get(key.as_str()).copied().unwrap_or(0);
            ensure!(times == 1, "{key} was acknowledged and is present {times} times");
        }
        for once in ["user-welcomed", "order-shipped", "order-paid", "order-placed"] {
            let (events, streams) = (self.count(once), self.streams_of(once).len());
            ensure!(events == streams, "{events} times {once} in {streams} streams");
        }
        let (shipped, paid) = (self.streams_of("order-shipped"), self.streams_of("order-paid"));
        ensure!(shipped == paid, "{} shipped, {} paid", shipped.len(), paid.len());
        let withdrawn = self.count("money-withdrawn");
        let charged = self.paid_from_accounts().intersection(&paid).count();
        // Orders may be cancelled after their payment, so there may be more payments.
        ensure!(withdrawn >= charged, "{withdrawn} payments for {charged} paid orders");
        Ok(())
    }
}

/// Returns an event in the form that `gesta read --json` prints, as far as it is checked here.
fn json_of(event: &RecordedEvent) -> Value {
    let parsed = |bytes: &[u8]| serde_json::from_slice(bytes).unwrap_or(Value::Null);
    json!({
        "id": event.id.to_string(),
        "stream": event.stream.as_str(),
        "type": event.event_type.as_str(),
        "revision": event.revision.number(),
        "position": event.position.number(),
        "causationId": event.causation_id.as_ref().map(ToString::to_string),
        "metadata": parsed(&event.metadata),
        "data": parsed(&event.data),
    })
}

/// Returns the idempotency key in a command id, which may end with a digest of its scope.
fn key_of(command_id: &str) -> &str {
    let is_digest =
        |text: &str| text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match command_id.rsplit_once(':') {
        Some((key, digest)) if is_digest(digest) => key,
        Some(_) | None => command_id,
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
        assert_eq!(Log(vec![reaction()]).pending_commands(), 1);
        let done = json!({ "causationId": "r", "metadata": { "command": "welcome-user" } });
        assert_eq!(Log(vec![reaction(), done]).pending_commands(), 0);
    }

    #[test]
    fn a_command_that_is_there_twice_is_seen() {
        let acknowledged = Acknowledged::default();
        acknowledged.commands().insert("command-1".to_owned());
        let id = "command-1:0123456789abcdef0123456789abcdef";
        let event = json!({ "type": "x", "metadata": { "commandId": id } });
        assert!(Log(vec![event.clone()]).check(&acknowledged).is_ok());
        assert!(Log(vec![event.clone(), event]).check(&acknowledged).is_err());
        assert!(Log(vec![]).check(&acknowledged).is_err());
    }
}
