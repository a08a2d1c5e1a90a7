//! Promises 2 and 4: the import of the real data set: its report, its kills and its cost.
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
use serde_json::Value;

use super::{CheckContext, Effort, device, server};
use crate::step::Stopwatch;

const DATA: &str = "../shared/data/online-retail.csv";
const EXPECTED: &str = "../shared/data/expected-report.json";

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
pub(super) fn data(context: &CheckContext) -> Result<PathBuf> {
    let data = context.root.join(DATA);
    ensure!(data.exists(), "the data set is missing: {DATA}, relative to the repository");
    Ok(data)
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
    fn new(context: &CheckContext, name: &str) -> Result<Self> {
        let stores = server::build(context, name)?;
        let data = data(context)?;
        let expected = fs::read(context.root.join(EXPECTED)).context(EXPECTED)?;
        Ok(Self {
            shop: context.target_directory.join("release/shop"),
            gesta: context.target_directory.join("release/gesta"),
            data,
            expected: serde_json::from_slice(&expected)?,
            stores,
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

    /// Waits until an import has appended an event, so that a kill interrupts it.
    fn first_append(&self, url: &str, import: &mut Child) -> Result<()> {
        while self.events(url)? == 0 {
            ensure!(import.try_wait()?.is_none(), "the import ended before its first append");
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

/// Checks that the report is the expected one, also after a second import.
pub(super) fn exact_report(context: &CheckContext) -> Result<String> {
    let setup = ImportSetup::new(context, "import-report")?;
    let (_, url) = setup.store("store");
    setup.import_whole(&url)?;
    setup.check_report(&url)?;
    let events = setup.events(&url)?;
    setup.import_whole(&url)?;
    setup.check_report(&url)?;
    let again = setup.events(&url)?;
    ensure!(events == again, "the second import added {} events", again - events);
    Ok(format!("{events} events, exactly the expected report, the same after a second import"))
}

/// Kills imports at random times after their first append, and checks the report after another
/// import.
pub(super) fn kills(context: &CheckContext) -> Result<String> {
    let setup = ImportSetup::new(context, "import-kills")?;
    let kills = match context.effort {
        Effort::Short => KILLS_SHORT,
        Effort::Full => KILLS_FULL,
    };
    // An undisturbed import gives the time span for kills and the final number of events.
    let (_, whole_url) = setup.store("whole");
    let mut import = setup.import(&whole_url).stderr(Stdio::null()).spawn()?;
    setup.first_append(&whole_url, &mut import)?;
    let stopwatch = Stopwatch::start();
    let status = import.wait()?;
    ensure!(status.success(), "shop import: {status}");
    let span = stopwatch.elapsed();
    let all = setup.events(&whole_url)?;
    let mut between = 0;
    for kill in 0..kills {
        let (directory, url) = setup.store(&format!("kill-{kill}"));
        // Wait for the first append, so that the kill falls into the import itself.
        let mut import = setup.import(&url).stderr(Stdio::null()).spawn()?;
        setup.first_append(&url, &mut import)?;
        // A random time within the span of an undisturbed import.
        thread::park_timeout(span.mul_f64(random_fraction()?));
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
    let needed = match context.effort {
        Effort::Short => 1,
        Effort::Full => KILLS_BETWEEN_MIN,
    };
    ensure!(between >= needed, "only {between} of {kills} kills interrupted the import");
    Ok(format!(
        "{kills} kills, {between} between the first and the last append; every report exact"
    ))
}

/// Returns a random number between 0 and 1.
pub(super) fn random_fraction() -> Result<f64> {
    use std::io::Read;
    let mut bytes = [0; 4];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
}

/// Measures the time until every read model is complete, relative to the bare device.
pub(super) fn cost(context: &CheckContext) -> Result<String> {
    let setup = ImportSetup::new(context, "import-cost")?;
    let mut times = Vec::new();
    let mut probes = Vec::new();
    let mut resident = 0;
    for run in 0..RUNS {
        let (directory, url) = setup.store(&format!("run-{run}"));
        // Probed before each run, because the device's speed drifts.
        probes.push(device::write_and_sync_p50(&setup.stores)?);
        let stopwatch = Stopwatch::start();
        let mut import = setup.import(&url).stderr(Stdio::null()).spawn()?;
        resident = resident.max(peak_resident_kib(&mut import)?);
        times.push(stopwatch.elapsed());
        fs::remove_dir_all(directory)?;
    }
    let (time, probe) = (median(&mut times)?, median(&mut probes)?);
    let bare = probe * COMMANDS;
    let ratio = time.as_secs_f64() / bare.as_secs_f64();
    let figures = format!(
        "median of {RUNS} {:.2} s, {ratio:.2} x {COMMANDS} bare writes and syncs of {} us; \
         {} MB resident at most",
        time.as_secs_f64(),
        probe.as_micros(),
        resident / 1_000,
    );
    ensure!(ratio <= COST_MAX && resident <= RESIDENT_KIB_MAX, "{figures}");
    Ok(figures)
}

fn median(times: &mut [Duration]) -> Result<Duration> {
    times.sort_unstable();
    times.get(times.len() / 2).copied().context("nothing was timed")
}

/// Waits for a program to exit. Returns its peak memory in KiB.
pub(super) fn peak_resident_kib(child: &mut Child) -> Result<u64> {
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let mut peak = 0;
    loop {
        if let Some(end) = child.try_wait()? {
            ensure!(end.success(), "the measured program: {end}");
            return Ok(peak);
        }
        // The file disappears when the program exits.
        peak = peak.max(high_water_kib(&status).unwrap_or(0));
        thread::park_timeout(POLL);
    }
}

fn high_water_kib(status: &Path) -> Option<u64> {
    let status = fs::read_to_string(status).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Checks for a progress bar on a terminal and none in a pipe.
pub(super) fn progress(context: &CheckContext) -> Result<String> {
    let setup = ImportSetup::new(context, "import-progress")?;
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
    Ok("a bar on a terminal, none in a pipe".to_owned())
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
