//! The import of the real data set: its report, its kills and its cost.
//!
//! The data set is next to the repository, not in it; without it these checks fail.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use gesta_bench::load::{clock::Stopwatch, device, workload::random_fraction};
use gesta_services::e2e::{empty_directory, figures, is_full, peak_resident_kib, program};
use serde_json::Value;

use crate::server::gesta;

const DATA: &str = "../../../shared/data/online-retail.csv";
const EXPECTED: &str = "../../../shared/data/expected-report.json";

const KILLS_FULL: usize = 20;
const KILLS_SHORT: usize = 3;
/// Minimum of kills between the first and the last append, in the full form.
const KILLS_BETWEEN_MIN: usize = 15;

/// Number of commands that import the data set.
const COMMANDS: u32 = 31_775;
const COST_MAX: f64 = 2.0;
const RESIDENT_KIB_MAX: u64 = 300_000;
const RUNS: usize = 5;
const POLL: Duration = Duration::from_millis(5);

/// Path of the data set.
pub(super) fn data() -> Result<PathBuf> {
    beside_the_repository(DATA)
}

/// The report on the whole data set.
pub(super) fn expected_report() -> Result<Value> {
    let report = fs::read(beside_the_repository(EXPECTED)?)?;
    serde_json::from_slice(&report).context("the expected report is JSON")
}

/// Returns the path of a file that is named relative to the shop's folder.
fn beside_the_repository(path: &str) -> Result<PathBuf> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    ensure!(file.exists(), "{path}, relative to apps/shop, is missing");
    Ok(file)
}

/// Built programs, the data, and a directory for stores.
struct ImportSetup {
    shop: PathBuf,
    gesta: PathBuf,
    data: PathBuf,
    expected: Value,
    stores: PathBuf,
}

impl ImportSetup {
    fn new(name: &str) -> Result<Self> {
        Ok(Self {
            shop: program("shop", "shop")?,
            gesta: gesta()?,
            data: data()?,
            expected: expected_report()?,
            stores: empty_directory(name)?,
        })
    }

    fn store(&self, name: &str) -> (PathBuf, String) {
        let directory = self.stores.join(name);
        let url = format!("gesta:{}", directory.display());
        (directory, url)
    }

    fn import(&self, url: &str) -> Command {
        let mut command = Command::new(&self.shop);
        command.arg("import").arg(&self.data).args(["--store", url]).stdin(Stdio::null());
        command.stdout(Stdio::null());
        command
    }

    fn import_whole(&self, url: &str) -> Result<()> {
        let status = self.import(url).status()?;
        ensure!(status.success(), "shop import: {status}");
        Ok(())
    }

    fn check_report(&self, url: &str) -> Result<()> {
        let output =
            Command::new(&self.shop).args(["report", "--json", "--store", url]).output()?;
        ensure!(output.status.success(), "shop report: {}", output.status);
        let report: Value = serde_json::from_slice(&output.stdout)?;
        ensure!(report == self.expected, "the report differs from the expected one: {report}");
        Ok(())
    }

    /// Waits until an import has appended more events than this, or has ended.
    fn wait_for_more_than(&self, events: u64, url: &str, import: &mut Child) -> Result<()> {
        while self.events(url)? <= events && import.try_wait()?.is_none() {
            thread::park_timeout(POLL);
        }
        Ok(())
    }

    /// Number of events in a store; 0 if it does not exist.
    fn events(&self, url: &str) -> Result<u64> {
        let output = Command::new(&self.gesta)
            .args(["read", "--all", "--backwards", "--limit", "1", "--json", "--store", url])
            .output()?;
        if output.stdout.is_empty() {
            return Ok(0);
        }
        let last: Value = serde_json::from_slice(&output.stdout)?;
        last.get("position").and_then(Value::as_u64).context("an event has a position")
    }
}

/// Checks that the report is the expected one, even after a second import.
#[test]
fn the_report_is_exact_also_after_a_second_import() -> Result<()> {
    let setup = ImportSetup::new("import-report")?;
    let (_, url) = setup.store("store");
    setup.import_whole(&url)?;
    setup.check_report(&url)?;
    let events = setup.events(&url)?;
    setup.import_whole(&url)?;
    setup.check_report(&url)?;
    let again = setup.events(&url)?;
    ensure!(events == again, "the second import added {} events", again - events);
    figures(format!("{events} events, exactly the expected report, the same after a second import"))
}

/// Kills imports after random numbers of events, and checks the report after another import.
#[test]
fn every_import_after_a_kill_ends_in_the_same_report() -> Result<()> {
    let setup = ImportSetup::new("import-kills")?;
    let kills = if is_full() { KILLS_FULL } else { KILLS_SHORT };
    // An undisturbed import gives the final number of events.
    let (_, whole_url) = setup.store("whole");
    setup.import_whole(&whole_url)?;
    let all = setup.events(&whole_url)?;
    let mut between = 0;
    for kill in 0..kills {
        let (directory, url) = setup.store(&format!("kill-{kill}"));
        let mut import = setup.import(&url).stderr(Stdio::null()).spawn()?;
        // The import goes on during the look, so the kill is not bound to an append.
        let appended = (all as f64 * random_fraction()) as u64;
        setup.wait_for_more_than(appended, &url, &mut import)?;
        import.kill()?;
        import.wait()?;
        let events = setup.events(&url)?;
        between += usize::from(events > 0 && events < all);
        setup.import_whole(&url)?;
        setup.check_report(&url).with_context(|| format!("kill {kill} at {events} events"))?;
        // A repeated command would add events.
        ensure!(setup.events(&url)? == all, "kill {kill}: not {all} events");
        fs::remove_dir_all(directory)?;
    }
    // A few kills do not show the share; at least one must interrupt the import.
    let needed = if is_full() { KILLS_BETWEEN_MIN } else { 1 };
    ensure!(between >= needed, "only {between} of {kills} kills interrupted the import");
    figures(format!(
        "{kills} kills, {between} between the first and the last append; every report exact"
    ))
}

/// Measures the time until every read model is complete, relative to the bare device.
#[test]
fn an_import_costs_at_most_twice_its_bare_writes_and_syncs() -> Result<()> {
    let setup = ImportSetup::new("import-cost")?;
    let mut times = Vec::new();
    let mut probes = Vec::new();
    let mut resident = 0;
    for run in 0..RUNS {
        let (directory, url) = setup.store(&format!("run-{run}"));
        // Probed before each run, because the device's speed drifts.
        probes.push(write_and_sync_p50(&setup.stores)?);
        let stopwatch = Stopwatch::start();
        let mut import = setup.import(&url).stderr(Stdio::null()).spawn()?;
        resident = resident.max(peak_resident_kib(&mut import)?);
        times.push(stopwatch.elapsed());
        fs::remove_dir_all(directory)?;
    }
    let (time, probe) = (median(&mut times)?, median(&mut probes)?);
    let bare = probe * COMMANDS;
    let ratio = time.as_secs_f64() / bare.as_secs_f64();
    let summary = format!(
        "median of {RUNS} {:.2} s, {ratio:.2} x {COMMANDS} bare writes and syncs of {} us; \
         {} MB resident at most",
        time.as_secs_f64(),
        probe.as_micros(),
        resident / 1_000,
    );
    ensure!(ratio <= COST_MAX && resident <= RESIDENT_KIB_MAX, "{summary}");
    figures(summary)
}

/// Returns the median latency of a durable 4 KiB write on the device of a directory.
fn write_and_sync_p50(directory: &Path) -> Result<Duration> {
    Ok(Duration::from_secs_f64(device::probe(directory)?.write_and_sync_p50_us / 1e6))
}

fn median(times: &mut [Duration]) -> Result<Duration> {
    times.sort_unstable();
    times.get(times.len() / 2).copied().context("nothing was timed")
}

/// Checks for a progress bar on a terminal and none in a pipe.
#[test]
fn progress_is_drawn_on_a_terminal_and_not_in_a_pipe() -> Result<()> {
    let setup = ImportSetup::new("import-progress")?;
    let (_, url) = setup.store("pipe");
    let output = setup.import(&url).stdout(Stdio::piped()).stderr(Stdio::piped()).output()?;
    let piped = [output.stdout, output.stderr].concat();
    ensure!(!redraws(&piped), "a pipe got a progress bar: {}", String::from_utf8_lossy(&piped));
    let (_, url) = setup.store("terminal");
    let import = format!("{} import {} --store {url}", setup.shop.display(), setup.data.display());
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &import, "/dev/null"])
        .stdin(Stdio::null())
        .output()
        .context("script cannot be started; install it (`apt-get install bsdutils`)")?;
    ensure!(output.status.success(), "shop import on a terminal: {}", output.status);
    ensure!(redraws(&output.stdout), "a terminal got no progress bar");
    figures("a bar on a terminal, none in a pipe")
}

/// Returns whether a line was overwritten.
fn redraws(output: &[u8]) -> bool {
    output.windows(2).any(|pair| matches!(pair, [b'\r', next] if *next != b'\n'))
        || output.contains(&0x1b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redrawn_line_is_distinguished_from_a_finished_one() {
        assert!(redraws(b"10 %\r20 %\n"));
        assert!(!redraws(b"done\r\nall\n"));
    }

    #[test]
    fn the_median_is_in_the_middle() {
        let seconds = [5, 1, 9].map(Duration::from_secs);
        assert_eq!(median(&mut seconds.to_vec()).unwrap(), Duration::from_secs(5));
        assert!(median(&mut []).is_err());
    }
}
