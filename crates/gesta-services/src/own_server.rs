//! Servers of one test, which it may crash, pause and configure.
//!
//! The servers of a program that was killed are stopped and deleted by the next program that starts
//! one, and by `cargo xtask services`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::id,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context, Result};

use crate::{
    cache::remove_if_there, catalogue, need::or_skip, process::ProcessId, server::Server,
    target_directory::services_around,
};

/// Folder of these servers next to the shared ones.
const FOLDER: &str = "own";

/// Held while the folder of this program, or a folder in it, is created or deleted.
static FOLDERS: Mutex<()> = Mutex::new(());

/// A server of one test, with the servers that it needs. Stopped and deleted when dropped.
#[derive(Debug)]
pub struct OwnServer {
    server: Server,
    /// In the order of starting.
    needed: Vec<Server>,
    directory: PathBuf,
}

impl OwnServer {
    /// Starts a new, empty server, or says why the test is skipped.
    ///
    /// Takes a second or two for PostgreSQL. Blocks until the server answers.
    ///
    /// # Panics
    ///
    /// If the server cannot be started and the environment has `CI=true`, and if there is no
    /// service of this name.
    #[must_use]
    #[track_caller]
    pub fn start_or_skip(name: &str) -> Option<Self> {
        Self::with_or_skip(name, &[])
    }

    /// Starts a new server with these settings, such as `max_connections=5`, or says why the test
    /// is skipped. Otherwise the same as [`start_or_skip`](Self::start_or_skip).
    ///
    /// # Panics
    ///
    /// The same as [`start_or_skip`](Self::start_or_skip).
    #[must_use]
    #[track_caller]
    pub fn with_or_skip(name: &str, settings: &[&str]) -> Option<Self> {
        or_skip(name, Self::create(name, settings, None))
    }

    /// Starts a new server with a disk of this size at [`small_disk`](Self::small_disk), or says
    /// why the test is skipped. The disk is in memory, and empty after each start.
    ///
    /// # Panics
    ///
    /// The same as [`start_or_skip`](Self::start_or_skip).
    #[must_use]
    #[track_caller]
    pub fn with_small_disk_or_skip(name: &str, bytes: u64) -> Option<Self> {
        or_skip(name, Self::create(name, &[], Some(bytes)))
    }

    fn create(name: &str, settings: &[&str], small_disk_bytes: Option<u64>) -> Result<Self> {
        let directory = new_directory(name)?;
        let mut servers = Vec::new();
        for service in catalogue::with_needed(&[name.to_owned()])? {
            let needed = servers.iter().map(|(name, server): &(_, Server)| (*name, server.port()));
            let place = directory.join(service.name());
            let server = Server::at(place, service, needed.collect())?;
            servers.push((service.name(), server));
        }
        let (_, server) = servers.pop().context("a service is among those that it needs")?;
        let needed = servers.into_iter().map(|(_, server)| server).collect();
        let mut own = Self { server, needed, directory };
        own.server.set(settings);
        if let Some(bytes) = small_disk_bytes {
            own.server.set_small_disk(bytes);
        }
        own.start()?;
        Ok(own)
    }

    /// Returns the URL for clients. It stays the same over restarts.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Returns the directory of the server's data, for a test that changes them while the server is
    /// stopped.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.server.data()
    }

    /// Returns everything that the server has printed so far.
    #[must_use]
    pub fn output(&self) -> String {
        self.server.output()
    }

    /// Returns the directory of the small disk, which only the server sees.
    #[must_use]
    pub fn small_disk(&self) -> PathBuf {
        self.server.small_disk()
    }

    /// Returns the URL of a server that this one needs, such as the primary of a replica, or `None`
    /// if it needs no such service.
    #[must_use]
    pub fn url_of_needed(&self, name: &str) -> Option<String> {
        self.needed.iter().find(|server| server.name() == name).map(Server::url)
    }

    /// Starts the server again, with its data. Has no effect on a running one. Blocks until the
    /// server answers.
    ///
    /// # Errors
    ///
    /// If the server does not start within its time limit, a minute by default.
    pub fn start(&mut self) -> Result<()> {
        self.needed.iter_mut().try_for_each(Server::start)?;
        self.server.start()
    }

    /// Stops the server in an orderly way: open transactions are rolled back. Blocks until it has
    /// ended.
    ///
    /// # Errors
    ///
    /// If it does not end.
    pub fn stop(&mut self) -> Result<()> {
        self.server.stop()
    }

    /// Kills all processes of the server with SIGKILL. Blocks until they have ended.
    ///
    /// # Errors
    ///
    /// If they do not end.
    pub fn crash(&mut self) -> Result<()> {
        self.server.crash()
    }

    /// Kills a server that this one needs, such as the primary of a replica.
    ///
    /// # Errors
    ///
    /// If there is none of this name, or it does not end.
    pub fn crash_needed(&mut self, name: &str) -> Result<()> {
        let needed = self.needed.iter_mut().find(|server| server.name() == name);
        needed.with_context(|| format!("there is no {name} here"))?.crash()
    }

    /// Stops all processes of the server where they are (SIGSTOP). Connections stay open and get no
    /// answers.
    ///
    /// # Errors
    ///
    /// If a signal cannot be sent.
    pub fn pause(&self) -> Result<()> {
        self.server.pause()
    }

    /// Continues after [`pause`](Self::pause).
    ///
    /// # Errors
    ///
    /// If a signal cannot be sent.
    pub fn resume(&self) -> Result<()> {
        self.server.resume()
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        // A test may be unwinding. What is left is deleted by the next program.
        drop(self.server.crash());
        self.needed.iter_mut().for_each(|server| drop(server.crash()));
        let folders = FOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
        drop(remove_if_there(&self.directory));
        // The folder of the program goes with its last server: it is removed only if it is empty.
        if let Some(folder) = self.directory.parent() {
            drop(fs::remove_dir(folder));
        }
        drop(folders);
    }
}

/// Deletes the servers of programs that have ended, below the folder for services.
pub(crate) fn delete_abandoned(services: &Path) -> Result<()> {
    let Ok(programs) = fs::read_dir(services.join(FOLDER)) else { return Ok(()) };
    for program in programs {
        let program = program?.path();
        let owner = program.file_name().unwrap_or_default().to_string_lossy().replace('-', " ");
        if owner.parse().is_ok_and(ProcessId::is_alive) {
            continue;
        }
        for server in folders_in(&program)?.iter().map(|folder| folders_in(folder)) {
            for place in server? {
                let name = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
                Server::at(place, catalogue::by_name(&name)?, Vec::new())?.crash()?;
            }
        }
        remove_if_there(&program)?;
    }
    Ok(())
}

fn folders_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    Ok(paths.filter(|path| path.is_dir()).collect())
}

/// Creates a folder for a server of this program, in a folder whose name has the owner.
fn new_directory(service: &str) -> Result<PathBuf> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let around = services_around();
    let services = around.into_iter().next_back().unwrap_or_else(env::temp_dir);
    delete_abandoned(&services)?;
    let owner = ProcessId::of(id()).context("servers are started on Linux only")?;
    let owner = owner.to_string().replace(' ', "-");
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let directory = services.join(FOLDER).join(owner).join(format!("{service}-{number}"));
    let folders = FOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    drop(folders);
    Ok(directory)
}
