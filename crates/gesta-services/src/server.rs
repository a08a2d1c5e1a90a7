//! One server: its directory, port and process.
//!
//! The directory has the files `port`, `process` and `log`, and the server's `data`. Invariants:
//! the port never changes; `process` names the last process that was started; data are complete if
//! the file `prepared` exists.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    cache::remove_if_there,
    log_tail, ports,
    process::{ProcessId, Signal},
    service::{Place, Service},
    wait::wait_until,
};

const STOP_MAX: Duration = Duration::from_secs(30);
const KILLED_MAX: Duration = Duration::from_secs(20);

const PORT: &str = "port";
const PROCESS: &str = "process";
const PREPARED: &str = "prepared";

pub(crate) struct Server {
    service: &'static dyn Service,
    place: Place,
    /// The process, if this value has started it.
    child: Option<Child>,
}

impl Server {
    /// Returns the server of a directory, which is created if needed. Starts nothing.
    pub(crate) fn at(
        directory: PathBuf,
        service: &'static dyn Service,
        needed: Vec<(&'static str, u16)>,
    ) -> Result<Self> {
        fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
        let directory = fs::canonicalize(&directory)?;
        let path = directory.join(PORT);
        let port = match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().with_context(|| path.display().to_string())?,
            Err(_) => {
                let port = ports::free()?;
                fs::write(&path, port.to_string()).with_context(|| path.display().to_string())?;
                port
            }
        };
        let place = Place { directory, port, settings: Vec::new(), small_disk_bytes: None, needed };
        Ok(Self { service, place, child: None })
    }

    /// Applies settings from the next start on.
    pub(crate) fn set(&mut self, settings: &[&str]) {
        self.place.settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
    }

    /// Gives the server a small disk from the next start on, empty at each start.
    pub(crate) fn set_small_disk(&mut self, bytes: u64) {
        self.place.small_disk_bytes = Some(bytes);
    }

    /// Returns the directory of the server's data.
    pub(crate) fn data(&self) -> PathBuf {
        self.place.data()
    }

    /// Returns the directory of the small disk.
    pub(crate) fn small_disk(&self) -> PathBuf {
        self.place.small_disk()
    }

    pub(crate) fn name(&self) -> &'static str {
        self.service.name()
    }

    pub(crate) fn url(&self) -> String {
        self.service.url(self.place.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.place.port
    }

    pub(crate) fn is_running(&self) -> bool {
        self.process().is_some()
    }

    /// Starts the server with the data that it has, and returns when it answers. Has no effect on a
    /// running server.
    ///
    /// # Errors
    ///
    /// If the programs are missing, the port is taken, or the server ends or does not answer within
    /// a minute. The error has the end of the server's log.
    pub(crate) fn start(&mut self) -> Result<()> {
        if self.is_running() {
            return Ok(());
        }
        ensure!(cfg!(target_os = "linux"), "servers are started on Linux only; see compose.yaml");
        let port = self.place.port;
        ensure!(!ports::is_open(port), "port {port} is taken by another program");
        let programs = self.service.programs()?;
        self.prepare(&programs).with_context(|| format!("cannot prepare {}", self.name()))?;
        self.service.clear(&self.place)?;
        let log = self.log()?;
        let mut command = self.service.command(&programs, &self.place);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // An interrupt from the keyboard ends the program that started the server, not the server.
        let child = command.process_group(0).spawn();
        let child = child.with_context(|| format!("cannot start {}", self.name()))?;
        let process = ProcessId::of(child.id());
        self.child = Some(child);
        let process = process.with_context(|| format!("{} ended at once", self.name()))?;
        fs::write(self.file(PROCESS), process.to_string())?;
        self.wait_until_ready(process)
    }

    /// Stops the server in an orderly way, and kills it if it does not stop within 30 seconds.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let Some(process) = self.process() else { return Ok(()) };
        self.resume()?;
        process.signal(self.service.stop_signal())?;
        if !wait_until(STOP_MAX, || Ok(!process.is_alive()))? {
            return self.crash();
        }
        self.reap()
    }

    /// Kills the server and the processes that it has started, and waits until they have ended.
    pub(crate) fn crash(&mut self) -> Result<()> {
        let Some(process) = self.process() else { return Ok(()) };
        let children = process.children();
        process.signal(Signal::KILL)?;
        children.iter().try_for_each(|child| child.signal(Signal::KILL))?;
        let is_ended = || Ok(!process.is_alive() && !children.iter().any(|one| one.is_alive()));
        let ended = wait_until(KILLED_MAX, is_ended)?;
        ensure!(ended, "{} was killed and still runs", self.name());
        self.reap()
    }

    /// Stops all processes of the server where they are, until [`resume`](Self::resume).
    pub(crate) fn pause(&self) -> Result<()> {
        self.signal_all(Signal::STOP)
    }

    pub(crate) fn resume(&self) -> Result<()> {
        self.signal_all(Signal::CONT)
    }

    /// Kills the server and deletes its directory.
    pub(crate) fn delete(&mut self) -> Result<()> {
        self.crash()?;
        remove_if_there(&self.place.directory)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.place.directory.join(name)
    }

    /// Returns the server's process if it is alive.
    fn process(&self) -> Option<ProcessId> {
        let noted = fs::read_to_string(self.file(PROCESS)).ok()?;
        noted.parse().ok().filter(|process: &ProcessId| process.is_alive())
    }

    fn signal_all(&self, signal: Signal) -> Result<()> {
        let Some(process) = self.process() else { return Ok(()) };
        process.signal(signal)?;
        process.children().iter().try_for_each(|child| child.signal(signal))
    }

    fn prepare(&self, programs: &Path) -> Result<()> {
        if self.file(PREPARED).exists() {
            return Ok(());
        }
        // An earlier attempt may have left a part.
        remove_if_there(&self.place.data())?;
        self.service.prepare(programs, &self.place)?;
        fs::write(self.file(PREPARED), "")?;
        Ok(())
    }

    /// Returns everything that the server has printed, over all its starts.
    pub(crate) fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.place.log()).unwrap_or_default()).into_owned()
    }

    fn log(&self) -> Result<File> {
        let path = self.place.log();
        let log = OpenOptions::new().create(true).append(true).open(&path);
        log.with_context(|| path.display().to_string())
    }

    fn wait_until_ready(&mut self, process: ProcessId) -> Result<()> {
        let log = self.place.log();
        let is_ready = wait_until(self.service.ready_within(), || {
            if !process.is_alive() {
                bail!("{} ended while it started:{}", self.name(), log_tail::of(&log));
            }
            Ok(self.service.is_ready(&self.place))
        })?;
        if !is_ready {
            let error = format!("{} does not answer:{}", self.name(), log_tail::of(&log));
            self.crash()?;
            bail!(error);
        }
        Ok(())
    }

    /// Takes the exit status, so that the system forgets the ended process.
    fn reap(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.wait()?;
        }
        Ok(())
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("name", &self.name()).field("url", &self.url()).finish()
    }
}
