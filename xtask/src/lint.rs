//! `cargo xtask lint`: rustfmt, clippy and rustdoc, with warnings as errors, the packages of
//! published crates, the oldest Rust, and other platforms.

use anyhow::Result;

use crate::{
    oldest_rust, platforms,
    step::{cargo, step},
};

const CLIPPY: [&str; 4] = ["clippy", "--workspace", "--all-features", "--all-targets"];
const E2E: [&str; 5] = ["clippy", "--workspace", "--all-features", "--test", "e2e"];
const UNPUBLISHED: [&str; 5] = ["gesta-bench", "gesta-services", "gesta-sim", "shop", "xtask"];

pub(crate) fn run() -> Result<()> {
    step("formatting", cargo().args(["fmt", "--all", "--check"]))?;
    step("clippy", cargo().args(CLIPPY).args(["--", "-D", "warnings"]))?;
    // Cargo's `--all-targets` leaves out tests that do not run by default.
    step("clippy of end-to-end tests", cargo().args(E2E).args(["--", "-D", "warnings"]))?;
    step(
        "rustdoc",
        cargo()
            .args(["doc", "--workspace", "--all-features", "--no-deps"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    // Fails if a published crate lacks metadata, or needs a crate that is not published.
    let mut package = cargo();
    package.args(["package", "--workspace", "--no-verify", "--allow-dirty", "--offline"]);
    for name in UNPUBLISHED {
        package.args(["--exclude", name]);
    }
    step("packages", &mut package)?;
    oldest_rust::check(&UNPUBLISHED)?;
    platforms::check()
}
