//! Tests and programs that one build with every feature has made.
//!
//! Owns: [`Executables`], the tests of the workspace by package and target. Invariant: what
//! `cargo xtask test --all` has built is built with the same features here, so that only the
//! end-to-end tests are left to build. Not here: what is run ([`super::check`]).

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use gesta_services::e2e::PROGRAMS;
use serde_json::Value;

use crate::step::{Stopwatch, cargo};

/// Targets of each build: those of `cargo xtask test --all`, then tests that do not run by default.
const BUILDS: [&[&str]; 2] = [&[], &["--test", "e2e"]];

/// A built target of tests.
struct Executable {
    program: PathBuf,
    /// Directory of its package, in which cargo runs tests.
    directory: PathBuf,
}

pub(super) struct Executables {
    tests: HashMap<(String, String), Executable>,
    /// Directory with the programs of the same build.
    programs: PathBuf,
}

impl Executables {
    /// Builds the tests of all packages with every feature.
    pub(super) fn build(target_directory: &Path) -> Result<Self> {
        println!("\n== tests and programs with every feature");
        let stopwatch = Stopwatch::start();
        let mut executables =
            Self { tests: HashMap::new(), programs: target_directory.join("debug") };
        for targets in BUILDS {
            let mut build = cargo();
            build.args(["test", "--workspace", "--all-features", "--no-run"]).args(targets);
            build.args(["--message-format", "json-render-diagnostics"]).stderr(Stdio::inherit());
            let built = build.output().context("cargo cannot be started")?;
            ensure!(built.status.success(), "cargo test --no-run: {}", built.status);
            executables.tests.extend(tests(&String::from_utf8(built.stdout)?)?);
        }
        println!("== built in {:.1} s", stopwatch.elapsed().as_secs_f64());
        Ok(executables)
    }

    /// The command that runs tests of a target whose names contain the filter.
    pub(super) fn command(&self, package: &str, target: &str, filter: &str) -> Result<Command> {
        let test = self.tests.get(&(package.to_owned(), target.to_owned()));
        let test = test.with_context(|| format!("{package} has no tests {target}"))?;
        let mut command = Command::new(&test.program);
        command.arg(filter).current_dir(&test.directory).env(PROGRAMS, &self.programs);
        command.env("CARGO_MANIFEST_DIR", &test.directory);
        Ok(command)
    }
}

/// Reads cargo's messages, one a line.
fn tests(messages: &str) -> Result<HashMap<(String, String), Executable>> {
    let mut tests = HashMap::new();
    for line in messages.lines() {
        let message: Value = serde_json::from_str(line).context("a message of cargo")?;
        let text = |at: &str| message.pointer(at).and_then(Value::as_str);
        let (Some("test"), Some(program)) = (text("/target/kind/0"), text("/executable")) else {
            continue;
        };
        let manifest = PathBuf::from(text("/manifest_path").context("a manifest")?);
        let directory = manifest.parent().context("a manifest has a directory")?.to_owned();
        // Folders are named after their packages.
        let package = directory.file_name().context("a package has a folder")?;
        let package = package.to_string_lossy().into_owned();
        let target = text("/target/name").context("a target has a name")?.to_owned();
        tests.insert((package, target), Executable { program: program.into(), directory });
    }
    Ok(tests)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGES: &str = r#"{"reason":"compiler-artifact","manifest_path":"/w/apps/shop/Cargo.toml","target":{"kind":["lib"],"name":"shop"},"executable":"/w/target/debug/deps/shop-1"}
{"reason":"compiler-artifact","manifest_path":"/w/apps/shop/Cargo.toml","target":{"kind":["test"],"name":"e2e"},"executable":"/w/target/debug/deps/e2e-2"}
{"reason":"build-finished","success":true}"#;

    #[test]
    fn a_check_runs_the_built_tests_of_its_package() {
        let tests = tests(MESSAGES).unwrap();
        let executables = Executables { tests, programs: "/w/target/debug".into() };
        let command = executables.command("shop", "e2e", "demo").unwrap();
        assert_eq!(command.get_program(), "/w/target/debug/deps/e2e-2");
        assert_eq!(command.get_current_dir(), Some(Path::new("/w/apps/shop")));
        assert!(command.get_args().eq(["demo"]));
        let error = executables.command("shop", "suite", "").unwrap_err();
        assert_eq!(error.to_string(), "shop has no tests suite");
    }
}
