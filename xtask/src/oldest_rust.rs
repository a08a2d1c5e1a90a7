//! `cargo xtask lint`, the oldest Rust: published crates compile with the version that they state.
//!
//! A run with that version checks it by every other step. A run with a newer one needs it next to
//! its own (`rustup toolchain install`); a missing one is reported, and is an error under
//! `CI=true`.

use std::{env, process::Command};

use anyhow::{Context as _, Result, ensure};

use crate::{step::step, workspace};

/// The `rust-version` of the workspace, such as `1.95`.
const OLDEST: &str = env!("CARGO_PKG_RUST_VERSION");

/// Checks all packages but these.
pub(crate) fn check(unpublished: &[&str]) -> Result<()> {
    let running = version(&mut Command::new("rustc"))?.context("rustc has no version")?;
    if is_oldest(&running) {
        println!("\n== oldest Rust: {}, which this run has", running.trim());
        return Ok(());
    }
    let Some(oldest) = version(Command::new("rustup").args(["run", OLDEST, "rustc"]))? else {
        let install = format!("rustup toolchain install {OLDEST} --profile minimal");
        ensure!(env::var_os("CI").is_none(), "Rust {OLDEST} is missing: {install}");
        println!("\nSKIPPED: Rust {OLDEST}; to check it, run `{install}`");
        return Ok(());
    };
    let mut check = Command::new("rustup");
    check.args(["run", OLDEST, "cargo", "check", "--workspace", "--all-features", "--target-dir"]);
    check.arg(workspace::target_directory()?.join("oldest-rust"));
    for name in unpublished {
        check.args(["--exclude", name]);
    }
    step(&format!("oldest Rust: {}", oldest.trim()), &mut check)
}

/// Returns what a compiler says of its version, or `None` if it is not there.
fn version(compiler: &mut Command) -> Result<Option<String>> {
    let Ok(output) = compiler.arg("--version").output() else { return Ok(None) };
    Ok(output.status.success().then(|| String::from_utf8(output.stdout)).transpose()?)
}

fn is_oldest(version: &str) -> bool {
    let after = version.strip_prefix("rustc ").and_then(|rest| rest.strip_prefix(OLDEST));
    after.is_some_and(|rest| rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_release_of_the_oldest_version_is_the_oldest_one() {
        assert!(is_oldest(&format!("rustc {OLDEST}.2 (59807616e 2026-04-14)\n")));
        assert!(!is_oldest(&format!("rustc {OLDEST}0.0 (59807616e 2026-04-14)\n")));
        assert!(!is_oldest("rustc 1.2.0\n"));
        assert!(!is_oldest("cargo\n"));
    }

    #[test]
    fn a_compiler_that_is_not_there_has_no_version() {
        assert!(version(&mut Command::new("no-such-compiler")).unwrap().is_none());
        assert!(version(&mut Command::new("rustc")).unwrap().is_some());
    }
}
