//! Nodes that share a lease are killed, and stopped for longer than their term.
//!
//! The program is the example `leased_relay`. Each row that it writes has the token of the lease
//! under which it was written: rows are in the order of tokens if no node wrote with an old one.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use gesta::{
    sqlite::Sqlite,
    store::{LeaseInForce, Leases as _, ListRows, ReadModelStore as _, ReadRows as _},
};
use gesta_services::e2e::{empty_directory, example, figures, is_full};
use gesta_store::conformance::block_on;

const NODES: usize = 3;
const ROUNDS_FULL: usize = 40;
const ROUNDS_SHORT: usize = 6;
/// Rows that a node has written before it is killed or stopped.
const ROWS_BETWEEN: usize = 20;
const POLL: Duration = Duration::from_millis(2);
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Longest wait for another node's lease. The bar of the project is ten seconds.
const TAKEOVER_MAX: Duration = Duration::from_secs(10);

/// Every other round kills the node that has the lease; the others stop it, let another one take
/// over, and continue it.
#[test]
fn no_node_writes_with_an_old_lease_through_kills_and_stops() -> Result<()> {
    let mut nodes = Nodes::start()?;
    let rounds = if is_full() { ROUNDS_FULL } else { ROUNDS_SHORT };
    let mut takeovers = Vec::new();
    for round in 0..rounds {
        let takeover = if round % 2 == 0 { nodes.kill_holder() } else { nodes.stop_holder() };
        takeovers.push(takeover.with_context(|| format!("round {round}"))?);
    }
    let tokens = nodes.finish()?;
    let changes = check(&tokens)?;
    ensure!(changes > rounds, "{changes} leases wrote rows in {rounds} rounds");
    takeovers.sort();
    let longest = takeovers.last().copied().unwrap_or_default();
    ensure!(longest < TAKEOVER_MAX, "a takeover took {longest:?}");
    figures(format!(
        "{rounds} kills and stops of {NODES} nodes: {} rows under {changes} leases, none written \
         with an old one; takeover {:.1} s at the median, {:.1} s at most",
        tokens.len(),
        takeovers.get(rounds / 2).copied().unwrap_or_default().as_secs_f64(),
        longest.as_secs_f64(),
    ))
}

/// The running nodes, and their directory.
struct Nodes {
    program: PathBuf,
    directory: PathBuf,
    running: Vec<(String, Child)>,
    started: usize,
    store: Sqlite,
}

impl Nodes {
    fn start() -> Result<Self> {
        let program = example("gesta", "leased_relay")?;
        let directory = empty_directory("lease-kills")?;
        let store = Sqlite::open_blocking(&directory)?;
        let mut nodes = Self { program, directory, running: Vec::new(), started: 0, store };
        for _ in 0..NODES {
            nodes.start_one()?;
        }
        Ok(nodes)
    }

    /// Starts a node under a name that no other one had.
    fn start_one(&mut self) -> Result<()> {
        self.started += 1;
        let name = format!("node {}", self.started);
        let mut node = Command::new(&self.program);
        node.arg(&self.directory).arg(&name).stdin(Stdio::null());
        self.running.push((name, node.spawn().context("the example cannot be started")?));
        Ok(())
    }

    /// Kills the node that has the lease, and starts another one. Returns the time until another
    /// node had written.
    fn kill_holder(&mut self) -> Result<Duration> {
        let holder = self.writing_holder()?;
        let mut node = self.take(&holder)?;
        let killed = stopwatch();
        node.kill()?;
        node.wait()?;
        self.start_one()?;
        self.wait_for_rows_after(&holder)?;
        Ok(killed.elapsed())
    }

    /// Stops the node that has the lease until another one has it. The same figure.
    fn stop_holder(&mut self) -> Result<Duration> {
        let holder = self.writing_holder()?;
        let node = self.take(&holder)?;
        let stopped = stopwatch();
        signal(&node, "STOP")?;
        // The node may have been stopped while it holds a lock of the database: then no node can
        // take over before it continues.
        let moved = self.wait_until(TAKEOVER_MAX / 2, |held| held.token > holder.token);
        signal(&node, "CONT")?;
        self.running.push((holder.node.to_string(), node));
        moved?;
        self.wait_for_rows_after(&holder)?;
        Ok(stopped.elapsed())
    }

    fn take(&mut self, holder: &LeaseInForce) -> Result<Child> {
        let found = self.running.iter().position(|(name, _)| name == holder.node.as_str());
        let found = found.with_context(|| format!("{} is not one of the nodes", holder.node))?;
        Ok(self.running.remove(found).1)
    }

    /// Waits until the node that has the lease has written some rows, and returns its lease.
    fn writing_holder(&self) -> Result<LeaseInForce> {
        let start = stopwatch();
        while start.elapsed() < WAIT_MAX {
            let held = block_on(self.store.list()).unwrap_or_default().into_iter().next();
            if let Some(held) = held {
                let tokens = self.tokens().unwrap_or_default();
                let own = tokens.iter().filter(|token| **token == held.token.number()).count();
                if own >= ROWS_BETWEEN {
                    return Ok(held);
                }
            }
            thread::park_timeout(POLL);
        }
        anyhow::bail!("no node wrote {ROWS_BETWEEN} rows within {WAIT_MAX:?}")
    }

    /// Waits for a row with a later token.
    fn wait_for_rows_after(&self, holder: &LeaseInForce) -> Result<()> {
        let start = stopwatch();
        while start.elapsed() < WAIT_MAX {
            let tokens = self.tokens().unwrap_or_default();
            if tokens.last().is_some_and(|token| *token > holder.token.number()) {
                return Ok(());
            }
            thread::park_timeout(POLL);
        }
        anyhow::bail!("no node wrote within {WAIT_MAX:?} after {} was gone", holder.node)
    }

    /// Waits for a lease. Not an error if there is none in time.
    fn wait_until(&self, limit: Duration, is_it: impl Fn(&LeaseInForce) -> bool) -> Result<()> {
        let start = stopwatch();
        while start.elapsed() < limit {
            if block_on(self.store.list()).unwrap_or_default().iter().any(&is_it) {
                return Ok(());
            }
            thread::park_timeout(POLL);
        }
        Ok(())
    }

    /// Stops all nodes in an orderly way. Returns the tokens of all rows.
    fn finish(mut self) -> Result<Vec<u64>> {
        fs::write(self.directory.join("stop"), "")?;
        for (name, mut node) in self.running.drain(..) {
            let status = node.wait()?;
            ensure!(status.success(), "{name}: {status}");
        }
        self.tokens()
    }

    /// Returns the tokens of all rows, in the order of the rows.
    fn tokens(&self) -> Result<Vec<u64>> {
        block_on(async {
            let Some(relay) = self.store.list_read_models("relay").await?.into_iter().next() else {
                return Ok(Vec::new());
            };
            let mut reader = self.store.reader(&relay.id).await?;
            let rows = reader.list_json(ListRows::of("rows")).await?;
            let token = |number: usize, key: &str, token: Option<u64>| {
                ensure!(key == format!("{:08}", number + 1), "row {key} comes after {number} rows");
                token.with_context(|| format!("row {key} has no token"))
            };
            let tokens = rows.iter().enumerate();
            tokens.map(|(number, row)| token(number, &row.key, row.value.as_u64())).collect()
        })
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for (_, node) in &mut self.running {
            // A failed test leaves no program behind, not even a stopped one.
            drop(node.kill());
            drop(node.wait());
        }
    }
}

fn signal(node: &Child, signal: &str) -> Result<()> {
    let sent = Command::new("kill").arg(format!("-{signal}")).arg(node.id().to_string()).status();
    ensure!(sent?.success(), "SIG{signal} was not sent");
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a takeover is measured in real time")]
fn stopwatch() -> Instant {
    Instant::now()
}

/// Checks that no token comes after a later one. Returns the number of different tokens.
fn check(tokens: &[u64]) -> Result<usize> {
    let mut changes = usize::from(!tokens.is_empty());
    for (number, (earlier, later)) in (2..).zip(tokens.iter().zip(tokens.iter().skip(1))) {
        ensure!(earlier <= later, "row {number} has the token {later} after {earlier}");
        changes += usize::from(earlier < later);
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_an_old_lease_is_found() {
        assert_eq!(check(&[]).unwrap(), 0);
        assert_eq!(check(&[1, 1, 2, 5, 5]).unwrap(), 3);
        assert!(check(&[1, 2, 1]).is_err());
    }
}
