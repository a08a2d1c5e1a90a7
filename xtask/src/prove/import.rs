//! Lines 2 and 4: the import of the real data set, its report, its kills and its cost.
//!
//! The data set lies beside the repository, not in it; without it these checks fail and say so.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Effort, Ground, device, server};
use crate::step::Stopwatch;

const DATA: &str = "../shared/data/online-retail.csv";
const EXPECTED: &str = "../shared/data/expected-report.json";

const KILLS_FULL: usize = 20;
const KILLS_SHORT: usize = 3;
/// Of the kills of the full form so many at least fall between the first and the last append.
const KILLS_BETWEEN_MIN: usize = 15;

/// Commands that the import of the data set takes.
const COMMANDS: u32 = 31_775;
const COST_MAX: f64 = 2.0;
const RESIDENT_KIB_MAX: u64 = 300_000;
const RUNS: usize = 5;
const POLL: Duration = Duration::from_millis(5);

/// The real data set.
pub(super) fn data(ground: &Ground) -> Result<PathBuf> {
    let data = ground.root.join(DATA);
    ensure!(data.exists(), "the data set is not beside the repository: {DATA}");
    Ok(data)
}

/// The built programs, the data, and a place for stores.
struct Rig {
    shop: PathBuf,
    gesta: PathBuf,
    data: PathBuf,
    expected: Value,
    stores: PathBuf,
}

impl Rig {
    fn set_up(ground: &Ground, name: &str) -> Result<Self> {
        let stores = server::build(ground, name)?;
        let data = data(ground)?;
        let expected = fs::read(ground.root.join(EXPECTED)).context(EXPECTED)?;
        Ok(Self {
            shop: ground.target_directory.join("release/shop"),
            gesta: ground.target_directory.join("release/gesta"),
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
        ensure!(report == self.expected, "the report is another one: {report}");
        Ok(())
    }

    /// Waits until an import has appended something, which is when a kill can cut it in two.
    fn first_append(&self, url: &str, import: &mut Child) -> Result<()> {
        while self.events(url)? == 0 {
            ensure!(import.try_wait()?.is_none(), "the import ended before its first append");
            thread::park_timeout(POLL);
        }
        Ok(())
    }

    /// How many events a store has; none, if it is not there yet.
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

/// The report is the expected one, and stays so when the file is imported again.
pub(super) fn exact_report(ground: &Ground) -> Result<String> {
    let rig = Rig::set_up(ground, "import-report")?;
    let (_, url) = rig.store("store");
    rig.import_whole(&url)?;
    rig.check_report(&url)?;
    let events = rig.events(&url)?;
    rig.import_whole(&url)?;
    rig.check_report(&url)?;
    let again = rig.events(&url)?;
    ensure!(events == again, "{} events came with the second import", again - events);
    Ok(format!("{events} events, exactly the expected report, the same after a second import"))
}

/// Kills at random moments after the first append, each followed by an import that ends in the expected report.
pub(super) fn kills(ground: &Ground) -> Result<String> {
    let rig = Rig::set_up(ground, "import-kills")?;
    let kills = match ground.effort {
        Effort::Short => KILLS_SHORT,
        Effort::Full => KILLS_FULL,
    };
    let (_, whole_url) = rig.store("whole");
    let mut import = rig.import(&whole_url).stderr(Stdio::null()).spawn()?;
    rig.first_append(&whole_url, &mut import)?;
    let stopwatch = Stopwatch::start();
    let status = import.wait()?;
    ensure!(status.success(), "shop import: {status}");
    let span = stopwatch.elapsed();
    let all = rig.events(&whole_url)?;
    let mut between = 0;
    for kill in 0..kills {
        let (directory, url) = rig.store(&format!("kill-{kill}"));
        let mut import = rig.import(&url).stderr(Stdio::null()).spawn()?;
        rig.first_append(&url, &mut import)?;
        thread::park_timeout(span.mul_f64(chance()?));
        import.kill()?;
        import.wait()?;
        let events = rig.events(&url)?;
        between += usize::from(events > 0 && events < all);
        rig.import_whole(&url)?;
        rig.check_report(&url).with_context(|| format!("kill {kill} at {events} events"))?;
        ensure!(rig.events(&url)? == all, "kill {kill}: not {all} events");
        fs::remove_dir_all(directory)?;
    }
    // A few kills say too little about the share; they only have to have met the import at work.
    let needed = match ground.effort {
        Effort::Short => 1,
        Effort::Full => KILLS_BETWEEN_MIN,
    };
    ensure!(between >= needed, "only {between} of {kills} kills fell in between");
    Ok(format!(
        "{kills} kills, {between} between the first and the last append; every report exact"
    ))
}

/// A number between 0 and 1 from the system's randomness.
pub(super) fn chance() -> Result<f64> {
    use std::io::Read;
    let mut bytes = [0; 4];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
}

/// The time of an import until every read model has everything, against the bare device.
pub(super) fn cost(ground: &Ground) -> Result<String> {
    let rig = Rig::set_up(ground, "import-cost")?;
    let mut times = Vec::new();
    let mut probes = Vec::new();
    let mut resident = 0;
    for run in 0..RUNS {
        let (directory, url) = rig.store(&format!("run-{run}"));
        probes.push(device::write_and_sync_p50(&rig.stores)?);
        let stopwatch = Stopwatch::start();
        let mut import = rig.import(&url).stderr(Stdio::null()).spawn()?;
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

/// Waits for a program's end; the most memory that it had, in KiB.
pub(super) fn peak_resident_kib(child: &mut Child) -> Result<u64> {
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let mut peak = 0;
    loop {
        if let Some(end) = child.try_wait()? {
            ensure!(end.success(), "the measured program: {end}");
            return Ok(peak);
        }
        peak = peak.max(high_water_kib(&status).unwrap_or(0));
        thread::park_timeout(POLL);
    }
}

fn high_water_kib(status: &Path) -> Option<u64> {
    let status = fs::read_to_string(status).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// A progress bar where somebody looks, none where a program reads.
pub(super) fn progress(ground: &Ground) -> Result<String> {
    let rig = Rig::set_up(ground, "import-progress")?;
    let (_, url) = rig.store("pipe");
    let output = rig.import(&url).stdout(Stdio::piped()).stderr(Stdio::piped()).output()?;
    let piped = [output.stdout, output.stderr].concat();
    ensure!(!redraws(&piped), "a pipe got a progress bar: {}", String::from_utf8_lossy(&piped));
    let (_, url) = rig.store("terminal");
    let import = format!("{} import {} --store {url}", rig.shop.display(), rig.data.display());
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &import, "/dev/null"])
        .stdin(Stdio::null())
        .output()
        .context("script cannot be started; install it (`apt-get install bsdutils`)")?;
    ensure!(output.status.success(), "shop import on a terminal: {}", output.status);
    ensure!(redraws(&output.stdout), "a terminal got no progress bar");
    Ok("a bar on a terminal, none in a pipe".to_owned())
}

/// Whether a line was drawn over another.
fn redraws(output: &[u8]) -> bool {
    output.windows(2).any(|pair| matches!(pair, [b'\r', next] if *next != b'\n'))
        || output.contains(&0x1b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_drawn_again_is_told_from_one_that_ends() {
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
