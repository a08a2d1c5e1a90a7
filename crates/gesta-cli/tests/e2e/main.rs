//! Throughput and memory of `gesta verify`, compared with `cat` of the same files.
//!
//! Takes minutes and 3 GB of disk. Both read from the device: the page cache is asked to drop the
//! files before each run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use gesta_bench::load::clock::Stopwatch;
use gesta_services::e2e::{empty_directory, figures, peak_resident_kib, program};

const RUNS: usize = 5;
/// About 2.5 GB.
const EVENTS_IN_BATCHES: &str = "6000000";
/// About 1 GB.
const SECONDS_ONE_BY_ONE: &str = "25";
const BYTES_A_SECOND_MIN: f64 = 1e9;
/// Minimum rate relative to `cat`, if the device is slower than `BYTES_A_SECOND_MIN`.
const OF_CAT_MIN: f64 = 0.8;
/// The same for a store with one frame per event, where a core is the limit: two microseconds per
/// event, more than half of them for the hash chain and the streams' offsets.
const OF_CAT_MIN_ONE_BY_ONE: f64 = 0.4;
const RESIDENT_KIB_MAX: u64 = 300_000;

#[test]
fn a_store_is_verified_as_fast_as_it_can_be_read() -> Result<()> {
    let directory = empty_directory("engine-verify")?;
    let (gesta, bench) = (program("gesta-cli", "gesta")?, program("gesta-bench", "gesta-bench")?);
    let batches = ["--writers", "1", "--seconds", "0.1", "--fill", EVENTS_IN_BATCHES];
    let singles = ["--writers", "64", "--seconds", SECONDS_ONE_BY_ONE];
    let mut by_store = Vec::new();
    let stores = [
        ("in batches of 100", &batches[..], OF_CAT_MIN),
        ("one by one", &singles[..], OF_CAT_MIN_ONE_BY_ONE),
    ];
    for (name, arguments, of_cat_min) in stores {
        let store = directory.join("store");
        fs::create_dir_all(&store)?;
        let mut fill = Command::new(&bench);
        fill.args(["append", "--store", &url(&store)]).args(arguments);
        let status = fill.stdout(Stdio::null()).status()?;
        ensure!(status.success(), "filling a store {name}: {status}");
        let measured =
            measure(&gesta, &store, of_cat_min).with_context(|| format!("events {name}"))?;
        by_store.push(format!("{name}: {measured}"));
        fs::remove_dir_all(&store)?;
    }
    figures(by_store.join("; "))
}

fn url(store: &Path) -> String {
    format!("gesta:{}", store.display())
}

fn measure(gesta: &Path, store: &Path, of_cat_min: f64) -> Result<String> {
    let files = files(store)?;
    let lengths = files.iter().map(|file| Ok(fs::metadata(file)?.len()));
    let bytes = lengths.sum::<Result<u64>>()? as f64;
    let (mut verify, mut cat, mut warm, mut resident) = (vec![], vec![], vec![], 0);
    for _ in 0..RUNS {
        // Both programs must read from the device.
        evict(&files)?;
        let stopwatch = Stopwatch::start();
        resident = resident.max(verify_once(gesta, store)?);
        verify.push(stopwatch.elapsed());
        evict(&files)?;
        // The second run of `cat` reads what the first one left in the page cache.
        for times in [&mut cat, &mut warm] {
            let stopwatch = Stopwatch::start();
            let status = Command::new("cat").args(&files).stdout(Stdio::null()).status()?;
            ensure!(status.success(), "cat: {status}");
            times.push(stopwatch.elapsed());
        }
    }
    let rate = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        bytes / times.get(RUNS / 2).map_or(1.0, Duration::as_secs_f64)
    };
    let (verify, cat, warm) = (rate(&mut verify), rate(&mut cat), rate(&mut warm));
    let figures = format!(
        "{:.2} GB verified at {:.2} GB/s, {:.2} × cat, which reads {:.2} GB/s from the device and \
         {:.2} from memory; {} MB resident",
        bytes / 1e9,
        verify / 1e9,
        verify / cat,
        cat / 1e9,
        warm / 1e9,
        resident / 1_000
    );
    // Either bound suffices: the absolute rate, or the device's own.
    ensure!(verify >= BYTES_A_SECOND_MIN || verify >= of_cat_min * cat, "too slow: {figures}");
    ensure!(resident < RESIDENT_KIB_MAX, "too much memory: {figures}");
    Ok(figures)
}

/// Files that `gesta verify` reads.
fn files(store: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(store)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "seg" || end == "run") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Drops these files from the page cache.
fn evict(files: &[PathBuf]) -> Result<()> {
    for file in files {
        let mut evict = Command::new("dd");
        evict.arg(format!("if={}", file.display())).args(["iflag=nocache", "count=0"]);
        let status = evict.stderr(Stdio::null()).status()?;
        ensure!(status.success(), "dd cannot drop a file from the page cache: {status}");
    }
    Ok(())
}

/// Verifies a store. Returns its peak memory in KiB.
fn verify_once(gesta: &Path, store: &Path) -> Result<u64> {
    let mut child = Command::new(gesta)
        .args(["verify", "--store", &url(store)])
        .stdout(Stdio::null())
        .spawn()
        .context("the program cannot be started")?;
    peak_resident_kib(&mut child)
}
