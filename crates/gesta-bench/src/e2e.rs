//! Common parts of end-to-end tests: their form, programs of other crates, directories, figures.
//!
//! Such a test is a target `e2e` that a plain `cargo test` leaves out. It is run by `cargo test -p
//! CRATE --test e2e`, by `cargo xtask prove`, and in its long form with `GESTA_E2E=full`.

use std::{
    env,
    ffi::OsString,
    fmt::Display,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::load::workload::Random;

const FORM: &str = "GESTA_E2E";
/// Directory of programs that the caller has built already, with their examples below it.
const PROGRAMS: &str = "GESTA_PROGRAMS";
const POLL: Duration = Duration::from_millis(5);

/// Returns whether the long form is to run.
pub fn is_full() -> bool {
    env::var_os(FORM).is_some_and(|form| form == "full")
}

/// Reports the figures of a test that passes. `cargo xtask prove` shows the line.
#[expect(clippy::print_stdout, reason = "a test reports to standard output")]
pub fn figures(figures: impl Display) -> Result<()> {
    println!("figures: {figures}");
    Ok(())
}

/// The target directory.
pub fn target() -> Result<PathBuf> {
    let test = env::current_exe()?;
    // `target/debug/deps/e2e-HASH`
    Ok(test.ancestors().nth(3).context("a test is built into a target directory")?.to_owned())
}

/// Returns an empty directory below the target directory, which is on a real disk; a temporary
/// directory may not be.
pub fn empty_directory(name: &str) -> Result<PathBuf> {
    let directory = target()?.join("e2e").join(name);
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    fs::create_dir_all(&directory)?;
    Ok(directory.canonicalize()?)
}

/// Builds a program of the workspace as it is released, unless `GESTA_PROGRAMS` has it. Returns its
/// path.
pub fn program(package: &str, name: &str) -> Result<PathBuf> {
    built("release", name, &["--release", "--package", package, "--bin", name])
}

/// Builds a program as tests are built, unless `GESTA_PROGRAMS` has it. Returns its path.
pub fn debug_program(package: &str, name: &str) -> Result<PathBuf> {
    built("debug", name, &["--package", package, "--bin", name])
}

/// Builds an example as tests are built, unless `GESTA_PROGRAMS` has it. Returns its path.
pub fn example(package: &str, name: &str) -> Result<PathBuf> {
    let file = format!("examples/{name}");
    built("debug", &file, &["--package", package, "--example", name])
}

fn built(profile: &str, file: &str, arguments: &[&str]) -> Result<PathBuf> {
    if let Some(programs) = env::var_os(PROGRAMS) {
        let program = Path::new(&programs).join(file);
        ensure!(program.exists(), "{PROGRAMS} has no {file}");
        return Ok(program);
    }
    build(cargo().arg("build").args(arguments))?;
    Ok(target()?.join(profile).join(file))
}

/// The cargo that runs this test.
pub fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
}

/// Runs a build to its end.
pub fn build(command: &mut Command) -> Result<()> {
    let status = command.status().context("cargo cannot be started")?;
    ensure!(status.success(), "cargo build: {status}");
    Ok(())
}

/// Returns a random number from 0 up to 1, different in each run.
pub fn random_fraction() -> f64 {
    let mut random = Random::of_seed(uuid::Uuid::now_v7().as_u64_pair().1);
    random.next() as f64 / u64::MAX as f64
}

/// Waits for a program to exit. Returns its peak memory in KiB.
pub fn peak_resident_kib(child: &mut Child) -> Result<u64> {
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let mut peak = 0;
    loop {
        if let Some(end) = child.try_wait()? {
            ensure!(end.success(), "the measured program failed: {end}");
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
