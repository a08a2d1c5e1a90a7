//! The import with events, read models or both in PostgreSQL, while the importer is killed and the
//! server is restarted.
//!
//! The short form imports the shop's sample, the full one the data set next to the repository.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use gesta::store::EventStore;
use gesta_bench::{
    e2e::{empty_directory, figures, is_full},
    load::clock::Stopwatch,
};
use gesta_log::{LogStore, Options};
use gesta_services::OwnServer;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use crate::import::{data, expected_report};

const SAMPLE: &str = "data/sample.csv";
const SAMPLE_REPORT: &str = "data/sample-report.json";

/// Numbers of kills and of restarts.
const FULL: (u64, u64) = (10, 5);
const SHORT: (u64, u64) = (2, 2);

const POLL: Duration = Duration::from_millis(5);

/// A table with its report.
struct Table {
    file: PathBuf,
    report: Value,
}

impl Table {
    fn of_this_form() -> Result<Self> {
        if is_full() {
            return Ok(Self { file: data()?, report: expected_report()? });
        }
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let report = serde_json::from_slice(&fs::read(here.join(SAMPLE_REPORT))?)?;
        Ok(Self { file: here.join(SAMPLE), report })
    }

    /// Number of events that the import records: three of an order, one of any other document and
    /// of a product.
    fn events(&self) -> Result<u64> {
        let count = |key: &str| self.report.get(key).and_then(Value::as_u64).context("a count");
        Ok(3 * count("orders")?
            + count("credit_notes")?
            + count("stock_adjustments")?
            + count("products")?)
    }
}

/// Places of a shop: the arguments that name them, and the directory of the log, if it has one.
struct Places {
    arguments: Vec<String>,
    log: Option<PathBuf>,
}

/// The store of the events.
enum Events {
    /// Opened once: it outlives the restarts of the server as the importer does.
    Server(Arc<dyn EventStore>),
    /// The directory of the log, which an importer locks while it runs.
    Log(PathBuf),
}

/// A shop with a server of its own for events, read models or both.
struct PostgresShop {
    table: Table,
    server: OwnServer,
    arguments: Vec<String>,
    events: Events,
    runtime: Runtime,
}

impl PostgresShop {
    /// `None` if there is no PostgreSQL here, which was said.
    fn new(places: impl FnOnce(&str) -> Places) -> Result<Option<Self>> {
        let Some(server) = OwnServer::start_or_skip("postgres") else { return Ok(None) };
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let Places { arguments, log } = places(&server.url());
        let events = match log {
            Some(directory) => Events::Log(directory),
            None => Events::Server(runtime.block_on(gesta::open(&server.url()))?),
        };
        Ok(Some(Self { table: Table::of_this_form()?, server, arguments, events, runtime }))
    }

    fn command(&self, verb: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
        command.args(verb).args(&self.arguments).stdin(Stdio::null());
        command
    }

    fn start_import(&self) -> Result<Child> {
        let table = self.table.file.to_string_lossy();
        let mut import = self.command(&["import", &table]);
        // Restarts of the server are warnings.
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

    /// Waits until an import has recorded this many events; returns their number.
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
        ensure!(report == self.table.report, "not the expected report: {report}");
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

    /// Kills importers, then restarts the server while one import runs to its end. The steps are
    /// spread evenly over the import.
    fn disturb(mut self) -> Result<()> {
        let (kills, restarts) = if is_full() { FULL } else { SHORT };
        let all = self.table.events()?;
        let at = |step: u64| all * step / (kills + restarts + 1);
        let stopwatch = Stopwatch::start();
        let mut between = 0;
        for kill in 1..=kills {
            between += u64::from(self.kill_import_at(at(kill))?);
        }
        let mut import = self.start_import()?;
        let mut unfinished = 0;
        for restart in 1..=restarts {
            let recorded = self.wait_for(&mut import, at(kills + restart))?;
            unfinished += u64::from(recorded < all);
            if restart % 2 == 0 {
                self.server.crash()?
            } else {
                self.server.stop()?
            }
            self.server.start()?;
        }
        // Events continue into the log while the server of the read models is away, so only the
        // first restart is certain to come before the last event.
        let least = if matches!(self.events, Events::Log(_)) { 1 } else { restarts };
        ensure!(unfinished >= least, "only {unfinished} restarts came before the last event");
        let ended = import.wait()?;
        ensure!(ended.success(), "shop import, over {restarts} restarts of the server: {ended}");
        self.check()?;
        // The import is complete: another one adds nothing.
        self.import_to_the_end()?;
        self.check()?;
        ensure!(between >= kills.div_ceil(2), "only {between} of {kills} kills were in the middle");
        figures(format!(
            "{kills} kills of the importer, {between} in its middle, {restarts} restarts of the \
             server, {unfinished} before the last event: {all} events, each once, and exactly the expected report, in {:.0} s",
            stopwatch.elapsed().as_secs_f64(),
        ))
    }
}

/// Checks events in PostgreSQL with read models in SQLite.
#[test]
fn an_import_survives_kills_and_restarts_of_the_server() -> Result<()> {
    let local = empty_directory("postgres-import")?;
    let shop = PostgresShop::new(|url| {
        let local = local.to_string_lossy().into_owned();
        let read_models = format!("sqlite:{local}");
        let arguments = ["--store", url, "--read-models", &read_models, "--local", &local];
        Places { arguments: arguments.map(str::to_owned).into(), log: None }
    })?;
    shop.map_or(Ok(()), PostgresShop::disturb)
}

/// Checks events in the log with read models in PostgreSQL.
#[test]
fn an_import_into_the_log_survives_kills_and_restarts_of_the_server_of_its_read_models()
-> Result<()> {
    let log = empty_directory("log-import")?.join("store");
    let shop = PostgresShop::new(|url| {
        let store = format!("gesta:{}", log.display());
        let arguments = ["--store", &store, "--read-models", url];
        Places { arguments: arguments.map(str::to_owned).into(), log: Some(log) }
    })?;
    shop.map_or(Ok(()), PostgresShop::disturb)
}

/// Checks events and read models in PostgreSQL.
#[test]
fn an_import_survives_kills_and_restarts_of_the_server_of_its_read_models() -> Result<()> {
    let shop = PostgresShop::new(|url| Places {
        arguments: vec!["--store".to_owned(), url.to_owned()],
        log: None,
    })?;
    shop.map_or(Ok(()), PostgresShop::disturb)
}
