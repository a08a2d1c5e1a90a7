//! `cargo xtask clients`: scripts of official KurrentDB clients against `gesta serve`.
//!
//! Owns: the list of packages, their installations in the target directory, and the servers of each
//! run: insecure ones, and one with TLS and users. Needs Python 3, Node, Go and, the first time,
//! their registries; says aloud what is missing. Without Go its client is skipped, which is an
//! error under `CI=true`. Not here: the scripts (`tests/clients`); the test command, which needs
//! none of this.

use std::{
    env,
    ffi::OsString,
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{
    step::{cargo, step},
    workspace::Workspace,
};

/// Packages of PyPI with a list of pinned versions in `tests/clients/python/requirements`.
const PYTHON_PACKAGES: [&str; 2] = ["kurrentdbclient", "esdbclient"];
/// Packages of npm, pinned in `tests/clients/node/package-lock.json`.
const NODE_PACKAGES: [&str; 2] = ["@eventstore/db-client", "@kurrent/kurrentdb-client"];
const PYTHON_SCRIPTS: [&str; 3] = ["streams.py", "streams_async.py", "projections.py"];
const NODE_SCRIPTS: [&str; 2] = ["streams.js", "projections.js"];

/// A script with the program that runs it; the address of the server is its last argument.
struct Client {
    title: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    /// The packages of a script for Node.
    packages: Option<PathBuf>,
}

pub(crate) fn run() -> Result<()> {
    let workspace = Workspace::open()?;
    step("gesta", cargo().args(["build", "--package", "gesta-cli"]))?;
    let program = workspace.target_directory.join("debug/gesta");
    let folder = workspace.target_directory.join("clients");
    let scripts = workspace.root.join("tests/clients");
    fs::create_dir_all(&folder)?;
    let mut clients = node_clients(&folder, &scripts.join("node"))?;
    for package in PYTHON_PACKAGES {
        clients.extend(python_clients(&folder, &scripts.join("python"), package)?);
    }
    clients.extend(go_client(&folder, &scripts.join("go"))?);
    let certificates = Certificates::make(&program, &folder)?;
    let secured = Some(&certificates);
    for (store, secured) in [("memory", None), ("a directory", None), ("memory, TLS", secured)] {
        let server = Server::start(&program, store, &folder, secured)?;
        for client in &clients {
            let mut command = Command::new(&client.program);
            command.args(&client.arguments).arg(&server.address);
            if let Some(certificates) = secured {
                command.env("GESTA_CLIENT_LOGIN", certificates.login()?);
                command.env("GESTA_CLIENT_CA", certificates.folder.join("ca.pem"));
            }
            if let Some(packages) = &client.packages {
                command.env("NODE_PATH", packages);
            }
            step(&format!("{}, store in {store}", client.title), &mut command)?;
        }
    }
    Ok(())
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

/// Builds the program for Go, if there is a toolchain.
fn go_client(folder: &Path, sources: &Path) -> Result<Option<Client>> {
    if Command::new("go").arg("version").output().is_err() {
        ensure!(env::var_os("CI").is_none(), "the client for Go needs a toolchain of Go 1.23");
        println!("SKIPPED: the client for Go; to run it, install Go 1.23 or newer");
        return Ok(None);
    }
    let program = folder.join("go-client");
    let mut build = Command::new("go");
    build.args(["build", "-mod=readonly", "-o"]).arg(&program).arg(".").current_dir(sources);
    step("building the client for Go", &mut build)?;
    let title = "KurrentDB-Client-Go".to_owned();
    Ok(Some(Client { title, program, arguments: Vec::new(), packages: None }))
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

/// Certificates of a secured server, and the file that it writes its first passwords to.
struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    fn make(program: &Path, folder: &Path) -> Result<Self> {
        let folder = folder.join("certificates");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        let mut make = Command::new(program);
        make.args(["certs", "dev", "--directory"]).arg(&folder);
        step("certificates", &mut make)?;
        Ok(Self { folder })
    }

    fn passwords(&self) -> PathBuf {
        self.folder.join("passwords")
    }

    fn options(&self) -> [OsString; 6] {
        let file = |name| self.folder.join(name).into_os_string();
        [
            "--tls-cert".into(),
            file("server.pem"),
            "--tls-key".into(),
            file("server.key"),
            "--admin-password-file".into(),
            file("passwords"),
        ]
    }

    /// Returns login and password of the administrator, joined by a colon.
    fn login(&self) -> Result<String> {
        let passwords = fs::read_to_string(self.passwords())?;
        let admin = passwords.lines().find_map(|line| line.strip_prefix("admin "));
        Ok(format!("admin:{}", admin.context("there is no password of admin")?))
    }
}

/// A server on a free port, which ends with this value.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start(
        program: &Path,
        store: &str,
        folder: &Path,
        secured: Option<&Certificates>,
    ) -> Result<Self> {
        let url = match store {
            "memory" | "memory, TLS" => "memory:".to_owned(),
            _ => {
                let directory = folder.join("store");
                if directory.exists() {
                    fs::remove_dir_all(&directory)?;
                }
                fs::create_dir_all(&directory)?;
                format!("gesta:{}?index=correlation,streams", directory.display())
            }
        };
        let mut command = Command::new(program);
        command
            .args(["serve", "--json", "--listen", "127.0.0.1:0", "--store"])
            .arg(url)
            .stdout(Stdio::piped());
        match secured {
            Some(certificates) => command.args(certificates.options()),
            None => command.arg("--insecure"),
        };
        let mut process = command.spawn().context("gesta serve cannot be started")?;
        let mut line = String::new();
        if let Some(output) = process.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let mut server = Self { process, address: String::new() };
        let started: Value = serde_json::from_str(&line)
            .with_context(|| format!("gesta serve did not start; it printed {line:?}"))?;
        let Some(address) = started.get("address").and_then(Value::as_str) else {
            bail!("gesta serve printed no address: {line}");
        };
        server.address = address.to_owned();
        ensure!(server.process.try_wait()?.is_none(), "gesta serve ended at once");
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, which the scripts have noticed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
