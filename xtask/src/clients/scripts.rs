//! Scripts for Node and Python, and the installations of their packages.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result};

use super::client::Client;
use crate::step::step;

/// Packages of PyPI with a list of pinned versions in `tests/clients/python/requirements`.
const PYTHON_PACKAGES: [&str; 2] = ["kurrentdbclient", "esdbclient"];
/// Packages of npm, pinned in `tests/clients/node/package-lock.json`.
const NODE_PACKAGES: [&str; 2] = ["@eventstore/db-client", "@kurrent/kurrentdb-client"];
const PYTHON_SCRIPTS: [&str; 3] = ["streams.py", "streams_async.py", "projections.py"];
const NODE_SCRIPTS: [&str; 3] = ["streams.js", "projections.js", "applications.js"];

/// Installs all packages, and returns the scripts with each of them.
pub(super) fn clients(folder: &Path, sources: &Path) -> Result<Vec<Client>> {
    let mut clients = node_clients(folder, &sources.join("node"))?;
    for package in PYTHON_PACKAGES {
        clients.extend(python_clients(folder, &sources.join("python"), package)?);
    }
    Ok(clients)
}

/// Installs the packages for Node by their lock file, and returns their scripts.
fn node_clients(folder: &Path, scripts: &Path) -> Result<Vec<Client>> {
    let home = folder.join("node");
    fs::create_dir_all(&home)?;
    let lock = fs::read_to_string(scripts.join("package-lock.json"))?;
    let mark = home.join("installed");
    if !fs::read_to_string(&mark).is_ok_and(|installed| installed == lock) {
        for file in ["package.json", "package-lock.json"] {
            fs::copy(scripts.join(file), home.join(file))?;
        }
        let mut install = Command::new("npm");
        install.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&home);
        step("installing packages for Node", &mut install)
            .context("the clients need Node with npm, and the packages of package-lock.json")?;
        fs::write(mark, lock)?;
    }
    let client = |package: &str, script: &str| Client {
        title: format!("{script} with {package}"),
        program: "node".into(),
        arguments: vec![scripts.join(script).into(), package.into()],
        packages: Some(home.join("node_modules")),
    };
    let of_package =
        |package: &'static str| NODE_SCRIPTS.iter().map(move |script| (package, *script));
    let runs = NODE_PACKAGES.into_iter().flat_map(of_package);
    Ok(runs.map(|(package, script)| client(package, script)).collect())
}

/// Makes the virtual environment of a package, unless it has these versions already, and returns
/// its scripts.
fn python_clients(folder: &Path, scripts: &Path, package: &str) -> Result<Vec<Client>> {
    let wanted = scripts.join(format!("requirements/{package}.txt"));
    let pinned = fs::read_to_string(&wanted)?;
    let (home, mark) = (folder.join(package), folder.join(format!("{package}.installed")));
    let python = home.join("bin/python");
    if !fs::read_to_string(&mark).is_ok_and(|installed| installed == pinned) {
        let mut create = Command::new("python3");
        create.args(["-m", "venv", "--clear"]).arg(&home);
        step(&format!("Python environment of {package}"), &mut create)
            .context("the clients need python3 with its module venv (python3-venv in Debian)")?;
        let mut install = Command::new(&python);
        install.args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(&wanted);
        step(&format!("installing {package}"), &mut install)
            .context("the clients are installed from PyPI, or from the index that pip is set to")?;
        fs::write(mark, pinned)?;
    }
    let client = |script: &&str| Client {
        title: format!("{script} with {package}"),
        program: python.clone(),
        // A compiled module would be written next to the scripts.
        arguments: vec!["-B".into(), scripts.join(script).into(), package.into()],
        packages: None,
    };
    Ok(PYTHON_SCRIPTS.iter().map(client).collect())
}
