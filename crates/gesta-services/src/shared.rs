//! The servers that all tests of a checkout share, behind `cargo xtask services`.
//!
//! Invariants: one program at a time starts and stops them; `urls.toml` names those that run.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::{
    cache::locked,
    catalogue::{self, SERVICES},
    own_server,
    server::Server,
    service::Service,
    target_directory, urls,
};

/// A service and the state of its shared server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerState {
    /// Name of the service.
    pub name: &'static str,
    /// The program with its version, for people.
    pub about: &'static str,
    /// URL of the running server, or `None` if it does not run.
    pub url: Option<String>,
}

/// The shared servers of a target directory.
#[derive(Debug)]
pub struct SharedServers {
    directory: PathBuf,
}

impl SharedServers {
    /// Returns the servers of a target directory. Starts nothing.
    #[must_use]
    pub fn of(target_directory: &Path) -> Self {
        Self { directory: target_directory.join(target_directory::SERVICES) }
    }

    /// Returns the folder of the servers' logs and data.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Starts the named services and those that they need, or all if no name is given, each with
    /// the data that it has. Blocks until they answer.
    ///
    /// One service that does not start does not keep the others from starting. Returns each service
    /// with the outcome; running ones are left alone.
    ///
    /// # Errors
    ///
    /// If a name is unknown or the folder cannot be written.
    pub fn up(&self, names: &[String]) -> Result<Vec<(&'static str, Result<()>)>> {
        let services = catalogue::with_needed(names)?;
        let _lock = self.lock()?;
        let start = |service: &'static dyn Service| self.server(service)?.start();
        let outcomes = services.into_iter().map(|service| (service.name(), start(service)));
        let outcomes = outcomes.collect();
        self.write_urls()?;
        Ok(outcomes)
    }

    /// Stops the named services and those that need them, or all if no name is given, and keeps
    /// their data. Also deletes servers that ended tests have left.
    ///
    /// # Errors
    ///
    /// If a name is unknown, or a server does not stop.
    pub fn down(&self, names: &[String]) -> Result<()> {
        self.for_each_dependent(names, Server::stop)
    }

    /// Stops services like [`down`](Self::down), and deletes their data.
    ///
    /// # Errors
    ///
    /// The same as [`down`](Self::down).
    pub fn delete(&self, names: &[String]) -> Result<()> {
        self.for_each_dependent(names, Server::delete)
    }

    /// Kills one server with SIGKILL. Its data stay as they are.
    ///
    /// # Errors
    ///
    /// If the name is unknown, or the server does not end.
    pub fn crash(&self, name: &str) -> Result<()> {
        let _lock = self.lock()?;
        self.server(catalogue::by_name(name)?)?.crash()?;
        self.write_urls()
    }

    /// Returns the state of every service.
    ///
    /// # Errors
    ///
    /// If a folder cannot be read.
    pub fn status(&self) -> Result<Vec<ServerState>> {
        let states = SERVICES.into_iter().map(|service| {
            let place = self.directory.join(service.name());
            let url = match place.exists() {
                true => Some(Server::at(place, service, Vec::new())?),
                false => None,
            };
            let url = url.filter(Server::is_running).map(|server| server.url());
            Ok(ServerState { name: service.name(), about: service.about(), url })
        });
        states.collect()
    }

    fn for_each_dependent(
        &self,
        names: &[String],
        act: impl Fn(&mut Server) -> Result<()>,
    ) -> Result<()> {
        let services = catalogue::with_dependent(names)?;
        let _lock = self.lock()?;
        own_server::delete_abandoned(&self.directory)?;
        for service in services {
            if self.directory.join(service.name()).exists() {
                act(&mut self.server(service)?)?;
            }
        }
        self.write_urls()
    }

    /// Returns the server of a service, with the ports of those running that it needs.
    fn server(&self, service: &'static dyn Service) -> Result<Server> {
        let mut needed = Vec::new();
        for name in service.needs() {
            let place = self.directory.join(name);
            let server = Server::at(place, catalogue::by_name(name)?, Vec::new())?;
            if server.is_running() {
                needed.push((*name, server.port()));
            }
        }
        Server::at(self.directory.join(service.name()), service, needed)
    }

    fn write_urls(&self) -> Result<()> {
        let running = self.status()?.into_iter();
        let urls = running.filter_map(|state| Some((state.name.to_owned(), state.url?)));
        urls::write(&self.directory.join(urls::FILE), &urls.collect::<BTreeMap<_, _>>())
    }

    /// Waits until no other program starts or stops servers here.
    fn lock(&self) -> Result<File> {
        let folder = &self.directory;
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        locked(&folder.join("LOCK"))
    }
}
