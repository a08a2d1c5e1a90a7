//! Common parts of end-to-end tests: their form, programs of the workspace, directories, figures.
//!
//! Such a test is a target `e2e` that a plain `cargo test` leaves out. It is run by `cargo test -p
//! CRATE --test e2e`, by `cargo xtask prove`, and in its long form with `GESTA_E2E=full`.

use std::{
    env,
    ffi::OsString,
    fmt::Display,
    fs,
    path::{self, Path, PathBuf},
    process::{Child, Command},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::target_directory;

/// Environment variable with the form: `full` for the long one.
pub const FORM: &str = "GESTA_E2E";
/// Environment variable with the directory of programs that the caller has built already, with
/// their examples below it.
pub const PROGRAMS: &str = "GESTA_PROGRAMS";
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
    target_directory::around().into_iter().next().context("a test is built into a target directory")
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
    if let Some(program) = given_program(file)? {
        return Ok(program);
    }
    build(cargo().arg("build").args(arguments))?;
    Ok(target()?.join(profile).join(file))
}

/// Returns the path of a program that `GESTA_PROGRAMS` has, or `None` if the variable is not set.
pub fn given_program(file: &str) -> Result<Option<PathBuf>> {
    let Some(programs) = env::var_os(PROGRAMS) else { return Ok(None) };
    let program = path::absolute(Path::new(&programs).join(file))?;
    ensure!(program.exists(), "{PROGRAMS} has no {file}");
    Ok(Some(program))
}

/// The cargo that runs this program, so that all builds use one toolchain.
///
/// It builds as one that is called by hand does: cargo describes the package of a program to it by
/// variables, and build scripts that read them, such as ring's, would run again for each package,
/// with everything that depends on them.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    cargo
}

/// Runs a build to its end.
pub fn build(command: &mut Command) -> Result<()> {
    let status = command.status().context("cargo cannot be started")?;
    ensure!(status.success(), "cargo build: {status}");
    Ok(())
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
