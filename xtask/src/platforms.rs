//! `cargo xtask lint`, other platforms: published crates compile for macOS and Windows.
//!
//! Compiled, not run. Needs `rustup target add` for each target; a missing target is reported, and
//! is an error under `CI=true`. C code is left out: nothing here has a compiler for it.

use std::{env, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};

use crate::step::{cargo, step};

struct Platform {
    name: &'static str,
    target: &'static str,
    /// Arguments of `cargo check`: packages that have to compile, and features without C code.
    checks: &'static [&'static [&'static str]],
}

const PLATFORMS: [Platform; 2] = [
    Platform {
        name: "macOS",
        target: "aarch64-apple-darwin",
        checks: &[
            &["-p", "gesta-store", "-p", "gesta-log", "--features", "blake3/pure"],
            &["-p", "gesta", "--no-default-features", "--features", "embedded-store,blake3/pure"],
        ],
    },
    Platform {
        name: "Windows",
        target: "x86_64-pc-windows-gnu",
        checks: &[
            &["-p", "gesta-store"],
            &["-p", "gesta", "--no-default-features", "--features", "embedded-store,blake3/pure"],
        ],
    },
];

pub(crate) fn check() -> Result<()> {
    for platform in &PLATFORMS {
        let Platform { name, target, checks } = platform;
        if !is_installed(target)? {
            ensure!(
                env::var_os("CI").is_none(),
                "the standard library for {name} is missing: rustup target add {target}"
            );
            println!("SKIPPED: {name}; to check it, run `rustup target add {target}`");
            continue;
        }
        for arguments in *checks {
            let mut check = cargo();
            check.args(["check", "--target", target]).args(*arguments);
            // Warnings differ by platform as well.
            check.env("RUSTFLAGS", "-D warnings");
            step(&format!("{name}: {}", arguments.join(" ")), &mut check)?;
        }
    }
    Ok(())
}

/// Returns whether the toolchain has the standard library for a target.
fn is_installed(target: &str) -> Result<bool> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output();
    let output = output.context("rustc does not run")?;
    let sysroot = String::from_utf8(output.stdout).context("the sysroot is not UTF-8")?;
    Ok(PathBuf::from(sysroot.trim()).join("lib/rustlib").join(target).join("lib").is_dir())
}
