//! An import while the importer is killed and the servers of its places are restarted: the same
//! steps for all places.
//!
//! Invariant: a step waits for a number of recorded events, never for a time. Not here: the table
//! (`table.rs`).

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use gesta::store::EventStore;
#[cfg(any(feature = "dynamodb", feature = "mongodb"))]
use gesta::store::{ListStreams, SnapshotStore, conformance::block_on};
use gesta_bench::load::clock::Stopwatch;
use gesta_log::{LogStore, Options};
use gesta_services::{
    OwnServer,
    e2e::{figures, is_full},
};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use crate::table::Table;

/// Numbers of kills, and of restarts of each server.
const FULL: (u64, u64) = (10, 5);
const SHORT: (u64, u64) = (2, 2);

const POLL: Duration = Duration::from_millis(5);

/// A server that is restarted while an import runs. It keeps its address and its data.
pub(super) trait RestartedServer {
    /// Ends it in an orderly way, if it has one.
    fn stop(&mut self) -> Result<()>;
    fn crash(&mut self) -> Result<()>;
    fn start(&mut self) -> Result<()>;
}

impl RestartedServer for OwnServer {
    fn stop(&mut self) -> Result<()> {
        Self::stop(self)
    }

    fn crash(&mut self) -> Result<()> {
        Self::crash(self)
    }

    fn start(&mut self) -> Result<()> {
        Self::start(self)
    }
}

/// Returns the number of products whose state is stored, at a revision of its stream.
#[cfg(any(feature = "dynamodb", feature = "mongodb"))]
pub(super) fn stored_states(store: &str, states: &impl SnapshotStore) -> Result<usize> {
    let events = block_on(gesta::open(store))?;
    let products = ListStreams::all().prefix("product-");
    let mut stored = 0;
    for stream in block_on(events.list_streams(products))? {
        let head = block_on(events.describe_stream(&stream))?.head;
        if let Some(state) = block_on(states.load_snapshot(&stream))? {
            ensure!(Some(state.revision) <= head, "{stream}: a state beyond the last event");
            stored += 1;
        }
    }
    block_on(events.close())?;
    Ok(stored)
}

/// The store of the events.
enum Events {
    /// Opened once: it outlives the restarts of the server as the importer does.
    Server(Arc<dyn EventStore>),
    /// The directory of the log, which an importer locks while it runs.
    Log(PathBuf),
}

/// A shop whose importer and servers are disturbed.
pub(super) struct DisturbedShop {
    table: Table,
    arguments: Vec<String>,
    events: Events,
    servers: Vec<Box<dyn RestartedServer>>,
    runtime: Runtime,
}

impl DisturbedShop {
    /// A shop with its events in the store behind a URL; `arguments` has it with the other places.
    pub(super) fn new(store: &str, arguments: &[&str]) -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let events = match gesta::directory_of(store)? {
            Some(directory) => Events::Log(directory),
            None => Events::Server(runtime.block_on(gesta::open(store))?),
        };
        let store = ["--store", store];
        let arguments =
            store.iter().chain(arguments).map(|argument| (*argument).to_owned()).collect();
        let servers = Vec::new();
        Ok(Self { table: Table::of_this_form()?, arguments, events, servers, runtime })
    }

    /// Adds a server to restart.
    pub(super) fn restart(mut self, server: impl RestartedServer + 'static) -> Self {
        self.servers.push(Box::new(server));
        self
    }

    /// Returns the report of the imported table.
    #[cfg(feature = "search")]
    pub(super) fn expected_report(&self) -> &Value {
        self.table.report()
    }

    /// Number of events that the import records.
    #[cfg(feature = "everything")]
    pub(super) fn expected_events(&self) -> Result<u64> {
        self.table.events()
    }

    fn command(&self, verb: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
        command.args(verb).args(&self.arguments).stdin(Stdio::null());
        command
    }

    /// Imports the first document of each kind, undisturbed, so that each read model has rows.
    #[cfg(feature = "mongodb")]
    pub(super) fn begin(self) -> Result<Self> {
        let ended = self.start_import_of(self.table.first_documents()?.path())?.wait()?;
        ensure!(ended.success(), "shop import of the first documents: {ended}");
        Ok(self)
    }

    fn start_import(&self) -> Result<Child> {
        self.start_import_of(self.table.path())
    }

    fn start_import_of(&self, table: &Path) -> Result<Child> {
        let table = table.to_string_lossy();
        let mut import = self.command(&["import", &table]);
        // Restarts of the servers are warnings.
        import
            .env("RUST_LOG", "error")
            .stdout(Stdio::null())
            .spawn()
            .context("the shop cannot be started")
    }

    fn import_to_the_end(&self) -> Result<()> {
        let ended = self.start_import()?.wait()?;
        ensure!(ended.success(), "shop import: {ended}");
        Ok(())
    }

    /// Number of events: positions have no gaps.
    fn events(&self) -> Result<u64> {
        let head = match &self.events {
            Events::Server(store) => self.runtime.block_on(store.head())?,
            Events::Log(directory) if !directory.exists() => return Ok(0),
            // Anew each time: a reader without the lock sees what was durable when it opened.
            Events::Log(directory) => {
                let store = LogStore::open(directory, Options::read_only())?;
                self.runtime.block_on(store.head())?
            }
        };
        Ok(head.position.number())
    }

    /// Waits until an import has recorded this many events, or has ended; returns their number.
    fn wait_for(&self, import: &mut Child, events: u64) -> Result<u64> {
        loop {
            let recorded = self.events()?;
            if recorded >= events || import.try_wait()?.is_some() {
                return Ok(recorded);
            }
            std::thread::park_timeout(POLL);
        }
    }

    fn check(&self) -> Result<()> {
        let output = self.command(&["report", "--json"]).output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "shop report: {error}");
        let report: Value = serde_json::from_slice(&output.stdout)?;
        ensure!(report == *self.table.report(), "not the expected report: {report}");
        let (events, expected) = (self.events()?, self.table.events()?);
        ensure!(events == expected, "{events} events instead of {expected}");
        Ok(())
    }

    /// Kills an import once it has recorded this many events. Returns whether that was in its
    /// middle.
    fn kill_import_at(&self, events: u64) -> Result<bool> {
        let mut import = self.start_import()?;
        self.wait_for(&mut import, events)?;
        import.kill()?;
        import.wait()?;
        Ok(self.events()? < self.table.events()?)
    }

    /// Kills importers, then restarts the servers in turns while one import runs to its end. The
    /// steps are spread evenly over the import.
    /// Returns the shop, with its servers still running.
    pub(super) fn disturb(mut self) -> Result<Self> {
        let (kills, of_each) = if is_full() { FULL } else { SHORT };
        let restarts = of_each * self.servers.len() as u64;
        let all = self.table.events()?;
        let at = |step: u64| all * step / (kills + restarts + 1);
        let stopwatch = Stopwatch::start();
        let mut between = 0;
        for kill in 1..=kills {
            between += u64::from(self.kill_import_at(at(kill))?);
        }
        let mut import = self.start_import()?;
        let mut unfinished = 0;
        for restart in 0..restarts {
            let recorded = self.wait_for(&mut import, at(kills + restart + 1))?;
            unfinished += u64::from(recorded < all);
            self.restart_one(restart)?;
        }
        // Events continue while the server of the read models is away, so only the first restart is
        // certain to come before the last event.
        let has_others = matches!(self.events, Events::Log(_)) || self.servers.len() > 1;
        let least = if has_others { restarts.min(1) } else { restarts };
        ensure!(unfinished >= least, "only {unfinished} restarts came before the last event");
        let ended = import.wait()?;
        ensure!(ended.success(), "shop import, over {restarts} restarts of servers: {ended}");
        self.check()?;
        // The import is complete: another one adds nothing.
        self.import_to_the_end()?;
        self.check()?;
        ensure!(between >= kills.div_ceil(2), "only {between} of {kills} kills were in the middle");
        figures(format!(
            "{kills} kills of the importer, {between} in its middle, {restarts} restarts of \
             servers, {unfinished} before the last event: {all} events, each once, and exactly the \
             expected report, in {:.0} s",
            stopwatch.elapsed().as_secs_f64(),
        ))?;
        Ok(self)
    }

    /// Restarts the servers in turns: each is stopped, then crashed, and so on.
    fn restart_one(&mut self, restart: u64) -> Result<()> {
        let servers = self.servers.len() as u64;
        let (round, turn) = (restart / servers, usize::try_from(restart % servers)?);
        let server = self.servers.get_mut(turn).context("a server has the turn")?;
        if round % 2 == 0 {
            server.stop()?
        } else {
            server.crash()?
        }
        server.start()
    }
}
