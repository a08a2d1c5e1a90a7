//! Line 5: requests made up from the OpenAPI document, and what they find.
//!
//! The tool is installed, in the version named here, into a virtual environment below the target
//! directory; its configuration is the shop's.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::{Ground, server::Shop};
use crate::step::step;

const TOOL: &str = "schemathesis==4.32.5";
const CONFIGURATION: &str = "apps/shop/schemathesis.toml";

/// All checks of the tool, over a shop that begins empty.
pub(super) fn finds_nothing(ground: &Ground) -> Result<String> {
    let shop = Shop::build(ground, "schemathesis")?;
    let environment = ground.target_directory.join("prove/schemathesis-environment");
    let mut make = Command::new("python3");
    step("a virtual environment", make.args(["-m", "venv"]).arg(&environment))?;
    let mut install = Command::new(environment.join("bin/pip"));
    step("schemathesis", install.args(["install", "--quiet", TOOL]))?;
    let server = shop.serve(&shop.store("store"))?;
    let document = format!("http://{}/openapi.json", server.address);
    let output = Command::new(environment.join("bin/schemathesis"))
        .args(["--config-file", CONFIGURATION, "run", &document])
        .current_dir(&ground.root)
        .stdin(Stdio::null())
        .output()
        .context("schemathesis cannot be started")?;
    let told = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{told}");
    let last = told.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    Ok(last.trim_matches([' ', '=']).to_owned())
}
