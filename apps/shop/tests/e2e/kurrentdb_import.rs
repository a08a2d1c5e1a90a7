//! The import with events behind `gesta serve`, while the importer and the server are killed.
//!
//! The short form imports the shop's sample, the full one the data set beside the repository. Run
//! it with the shop's feature `kurrentdb`.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use gesta::{open, store::conformance::block_on};
use gesta_bench::{
    e2e::{build, cargo, empty_directory, figures, is_full, target},
    load::clock::Stopwatch,
};
use serde_json::Value;

use crate::import::{data, expected_report};

const SAMPLE: &str = "data/sample.csv";
const SAMPLE_REPORT: &str = "data/sample-report.json";

const POLL: Duration = Duration::from_millis(5);

/// A shop whose events are behind a server.
struct ServedShop {
    table: PathBuf,
    report: Value,
    directory: PathBuf,
    gesta: PathBuf,
    port: u16,
    server: Option<Child>,
}

impl ServedShop {
    fn new() -> Result<Self> {
        let (table, report) = match is_full() {
            true => (data()?, expected_report()?),
            false => {
                let here = Path::new(env!("CARGO_MANIFEST_DIR"));
                let report = serde_json::from_slice(&fs::read(here.join(SAMPLE_REPORT))?)?;
                (here.join(SAMPLE), report)
            }
        };
        // As this test is built: the short form waits for no second profile.
        build(cargo().args(["build", "--package", "gesta-cli", "--bin", "gesta"]))?;
        let gesta = target()?.join("debug/gesta");
        let directory = empty_directory("kurrentdb-import")?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut shop = Self { table, report, directory, gesta, port, server: None };
        shop.start_server()?;
        Ok(shop)
    }

    fn start_server(&mut self) -> Result<()> {
        let store = format!("gesta:{}/events", self.directory.display());
        let mut server = Command::new(&self.gesta)
            .args(["serve", "--insecure", "--store", &store])
            .args(["--listen", &format!("127.0.0.1:{}", self.port)])
            .stdout(Stdio::piped())
            .spawn()
            .context("the server cannot be started")?;
        let output = server.stdout.take().context("the server has an output")?;
        // It says where it listens once it does.
        let first = BufReader::new(output).lines().next();
        let is_up = first.is_some_and(|line| line.is_ok_and(|line| line.contains("serving")));
        self.server = Some(server);
        ensure!(is_up, "the server did not start");
        Ok(())
    }

    fn kill_server(&mut self) -> Result<()> {
        if let Some(mut server) = self.server.take() {
            server.kill()?;
            server.wait()?;
        }
        Ok(())
    }

    fn url(&self) -> String {
        // As patient as an import over a restart of its store.
        format!("kurrentdb://127.0.0.1:{}?tls=false&maxDiscoverAttempts=60", self.port)
    }

    fn command(&self, verb: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
        let local = self.directory.join("local");
        command.args(verb).args(["--store", &self.url(), "--local"]).arg(local);
        command.stdin(Stdio::null());
        command
    }

    fn start_import(&self) -> Result<Child> {
        let table = self.table.to_string_lossy();
        let mut import = self.command(&["import", &table]);
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

    /// Number of events: positions of the served log have no gaps.
    fn events(&self) -> Result<u64> {
        let store = block_on(open(&self.url()))?;
        let head = block_on(store.head())?;
        block_on(store.close())?;
        Ok(head.position.number())
    }

    /// Number of events that the import records: three of an order, one of any other document and
    /// of a product.
    fn expected_events(&self) -> Result<u64> {
        let count = |key: &str| self.report.get(key).and_then(Value::as_u64).context("a count");
        Ok(3 * count("orders")?
            + count("credit_notes")?
            + count("stock_adjustments")?
            + count("products")?)
    }

    /// Waits until an import has recorded this many events, or has ended.
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
        ensure!(report == self.report, "not the expected report: {report}");
        Ok(())
    }
}

impl Drop for ServedShop {
    fn drop(&mut self) {
        // The test has its result already.
        let _ = self.kill_server();
    }
}

#[test]
fn an_import_behind_a_server_survives_kills_of_the_importer_and_of_the_server() -> Result<()> {
    let mut shop = ServedShop::new()?;
    let all = shop.expected_events()?;
    let stopwatch = Stopwatch::start();
    let mut import = shop.start_import()?;
    shop.wait_for(&mut import, all / 3)?;
    import.kill()?;
    import.wait()?;
    let after_kill = shop.events()?;
    ensure!(after_kill < all, "the import had ended before it was killed");
    let mut import = shop.start_import()?;
    let before_restart = shop.wait_for(&mut import, all * 2 / 3)?;
    shop.kill_server()?;
    shop.start_server()?;
    ensure!(before_restart < all, "the import had ended before the server was killed");
    let ended = import.wait()?;
    ensure!(ended.success(), "shop import, over a kill of its server: {ended}");
    shop.check()?;
    let once = shop.events()?;
    // The import is complete: another one adds nothing.
    shop.import_to_the_end()?;
    shop.check()?;
    let twice = shop.events()?;
    ensure!(once == twice, "{once} events, and {twice} after another import");
    figures(format!(
        "killed at {after_kill} events, server killed at {before_restart}, of {all}: exactly the \
         expected report, in {:.0} s",
        stopwatch.elapsed().as_secs_f64(),
    ))
}
