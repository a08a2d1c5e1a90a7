//! The import with events behind `gesta serve`, while the importer is killed and the server is
//! stopped and killed. Run it with the shop's feature `kurrentdb`.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use gesta_services::e2e::{debug_program, empty_directory};

use crate::disturbed_import::{DisturbedShop, RestartedServer};

/// `gesta serve` on a directory, at one address.
struct GestaServe {
    program: PathBuf,
    store: PathBuf,
    port: u16,
    running: Option<Child>,
}

impl GestaServe {
    /// Starts a server with an empty store.
    fn start_new(store: PathBuf) -> Result<Self> {
        let program = debug_program("gesta-cli", "gesta")?;
        fs::create_dir(&store)?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut server = Self { program, store, port, running: None };
        server.start()?;
        Ok(server)
    }

    fn url(&self) -> String {
        // As patient as an import over a restart of its store.
        format!("kurrentdb://127.0.0.1:{}?tls=false&maxDiscoverAttempts=60", self.port)
    }
}

impl RestartedServer for GestaServe {
    fn stop(&mut self) -> Result<()> {
        let mut server = self.running.take().context("the server runs")?;
        let sent = Command::new("kill").args(["-TERM", &server.id().to_string()]).status()?;
        ensure!(sent.success(), "kill: {sent}");
        let ended = server.wait()?;
        ensure!(ended.success(), "gesta serve, after SIGTERM: {ended}");
        Ok(())
    }

    fn crash(&mut self) -> Result<()> {
        let mut server = self.running.take().context("the server runs")?;
        server.kill()?;
        server.wait()?;
        Ok(())
    }

    fn start(&mut self) -> Result<()> {
        let mut server = Command::new(&self.program)
            .args(["serve", "--insecure", "--store", &format!("gesta:{}", self.store.display())])
            .args(["--listen", &format!("127.0.0.1:{}", self.port)])
            .stdout(Stdio::piped())
            .spawn()
            .context("the server cannot be started")?;
        let output = server.stdout.take().context("the server has an output")?;
        self.running = Some(server);
        // It says where it listens once it does.
        let first = BufReader::new(output).lines().next().context("the server did not start")??;
        ensure!(first.contains("serving"), "the server begins with {first:?}");
        Ok(())
    }
}

impl Drop for GestaServe {
    fn drop(&mut self) {
        if self.running.is_some() {
            // The test has its result already.
            let _ = self.crash();
        }
    }
}

#[test]
fn an_import_behind_a_server_survives_kills_and_restarts_of_the_server() -> Result<()> {
    let directory = empty_directory("kurrentdb-import")?;
    let server = GestaServe::start_new(directory.join("events"))?;
    let (url, local) = (server.url(), directory.join("local"));
    let places = ["--local", &local.to_string_lossy()];
    DisturbedShop::new(&url, &places)?.restart(server).disturb().map(drop)
}
