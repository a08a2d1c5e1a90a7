//! Verifications and backups of the store while the server runs.
//!
//! Owns: [`Upkeep`], the seam to a store that has them, the names of backups, and the state of the
//! last verification and of the last backup. Invariants: one of them runs at a time, and none
//! beside a scavenge; each has a thread of its own; the server ends after it; a caller names a
//! backup and never a path. Not here: the work itself (the store), scavenges
//! ([`scavenges`](crate::scavenges)), and who may ask ([`access`](crate::access)).

use std::{
    error::Error,
    fs, io,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use gesta_store::RecordedAt;
use serde_json::{Value, json};
use tokio::{sync::watch, task::spawn_blocking};
use uuid::Uuid;

use crate::{
    clock::{time_text, wall_now},
    scavenges::chain_text,
};

/// Maximum length of a backup's name, in bytes.
const NAME_BYTES_MAX: usize = 100;
/// Maximum number of backups that are listed.
const LISTED_MAX: usize = 1_000;

/// Verification and backups of a store, while the store is served.
///
/// All methods may block: they are called on threads for blocking work. `progress` is called
/// between steps; after a break, a method ends soon and returns `None`.
///
/// ```
/// use std::{error::Error, ops::ControlFlow, path::Path};
///
/// use gesta_server::{BackupFigures, Upkeep, UpkeepProgress, VerifyFindings};
///
/// /// A store without events.
/// struct Nothing;
///
/// type Failure = Box<dyn Error + Send + Sync>;
///
/// impl Upkeep for Nothing {
///     fn verify(
///         &self,
///         progress: &mut dyn FnMut(UpkeepProgress) -> ControlFlow<()>,
///     ) -> Result<Option<VerifyFindings>, Failure> {
///         let _ = progress(UpkeepProgress::default());
///         Ok(Some(VerifyFindings::default()))
///     }
///
///     fn backups(&self) -> Option<&Path> {
///         None
///     }
///
///     fn back_up(
///         &self,
///         _: &Path,
///         _: &mut dyn FnMut(UpkeepProgress) -> ControlFlow<()>,
///     ) -> Result<Option<BackupFigures>, Failure> {
///         Err("there is nothing to back up".into())
///     }
///
///     fn backup_figures(&self, _: &Path) -> Result<Option<BackupFigures>, Failure> {
///         Ok(None)
///     }
/// }
/// ```
pub trait Upkeep: Send + Sync {
    /// Checks every byte of the store, and changes nothing. Damage is a finding, not an error.
    ///
    /// # Errors
    ///
    /// The store's error, if it cannot be read at all.
    fn verify(
        &self,
        progress: &mut dyn FnMut(UpkeepProgress) -> ControlFlow<()>,
    ) -> Result<Option<VerifyFindings>, Box<dyn Error + Send + Sync>>;

    /// Returns the directory of all backups, if the operator has set one. Backups are directories
    /// directly below it.
    fn backups(&self) -> Option<&Path>;

    /// Copies every event that was acknowledged before the call to a directory, which is made if
    /// it does not exist. An earlier backup there stays until the new one is complete.
    ///
    /// # Errors
    ///
    /// The store's error; an earlier backup can still be restored.
    fn back_up(
        &self,
        target: &Path,
        progress: &mut dyn FnMut(UpkeepProgress) -> ControlFlow<()>,
    ) -> Result<Option<BackupFigures>, Box<dyn Error + Send + Sync>>;

    /// Returns what a directory's backup holds, or `None` if it has no finished one.
    ///
    /// # Errors
    ///
    /// The store's error, if the backup cannot be read.
    fn backup_figures(
        &self,
        target: &Path,
    ) -> Result<Option<BackupFigures>, Box<dyn Error + Send + Sync>>;
}

/// The progress of a verification or a backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpkeepProgress {
    /// Bytes that were read.
    pub bytes_done: u64,
    /// Bytes to read.
    pub bytes_total: u64,
}

impl UpkeepProgress {
    /// Creates a progress.
    #[must_use]
    pub const fn new(bytes_done: u64, bytes_total: u64) -> Self {
        Self { bytes_done, bytes_total }
    }
}

/// The result of a verification. The store is sound if nothing is damaged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyFindings {
    /// Number of readable events.
    pub events: u64,
    /// Each damaged place, for people.
    pub damage: Vec<String>,
    /// Each damaged place of what can be derived again, such as an index.
    pub index_damage: Vec<String>,
}

/// The contents of a backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupFigures {
    /// Position of the last event in it.
    pub position: u64,
    /// Its size, in bytes.
    pub bytes: u64,
    /// Bytes that were copied; the others were there and intact. 0 in a list.
    pub bytes_copied: u64,
    /// The time at which it was completed, if that is known.
    pub taken_at: Option<RecordedAt>,
}

/// The two kinds of work.
#[derive(Clone, Debug)]
pub(crate) enum UpkeepTask {
    Verify,
    Backup { name: String, target: PathBuf },
}

#[derive(Clone, Debug)]
enum Finished {
    Verified(VerifyFindings),
    BackedUp(BackupFigures),
}

#[derive(Clone, Debug)]
enum UpkeepState {
    Running,
    Completed(Finished),
    Stopped,
    /// The store's error.
    Failed(String),
}

/// A verification or a backup, running or ended.
#[derive(Clone, Debug)]
pub(crate) struct UpkeepStatus {
    pub(crate) id: Uuid,
    task: UpkeepTask,
    state: UpkeepState,
    started: RecordedAt,
    ended: Option<RecordedAt>,
    progress: UpkeepProgress,
}

impl UpkeepStatus {
    fn is_running(&self) -> bool {
        matches!(self.state, UpkeepState::Running)
    }

    /// Returns the work in words, as part of a refusal of other work.
    pub(crate) fn words(&self) -> String {
        match &self.task {
            UpkeepTask::Verify => format!("the verification {}", self.id),
            UpkeepTask::Backup { name, .. } => format!("the backup {name}, {},", self.id),
        }
    }

    /// Returns the work as an answer over HTTP.
    pub(crate) fn to_json(&self) -> Value {
        let (state, error) = match &self.state {
            UpkeepState::Running => ("running", None),
            UpkeepState::Completed(_) => ("completed", None),
            UpkeepState::Stopped => ("stopped", None),
            UpkeepState::Failed(error) => ("failed", Some(error)),
        };
        let result = match &self.state {
            UpkeepState::Completed(Finished::Verified(found)) => json!({
                "sound": found.damage.is_empty(),
                "events": found.events,
                "damage": found.damage,
                "indexDamage": found.index_damage,
            }),
            UpkeepState::Completed(Finished::BackedUp(figures)) => json!({
                "position": figures.position,
                "bytes": figures.bytes,
                "bytesCopied": figures.bytes_copied,
            }),
            UpkeepState::Running | UpkeepState::Stopped | UpkeepState::Failed(_) => Value::Null,
        };
        let name = match &self.task {
            UpkeepTask::Verify => None,
            UpkeepTask::Backup { name, .. } => Some(name),
        };
        json!({
            "id": self.id.to_string(),
            "name": name,
            "state": state,
            "error": error,
            "startedAt": time_text(self.started),
            "endedAt": self.ended.map(time_text),
            "bytesDone": self.progress.bytes_done,
            "bytesTotal": self.progress.bytes_total,
            "result": result,
        })
    }
}

/// The reason for which no work was started.
#[derive(Debug)]
pub(crate) enum UpkeepRefusal {
    /// The store has neither verification nor backups of this server.
    Unsupported,
    /// The operator has set no directory for backups.
    NoDirectory,
    /// The name of the backup, with what is wrong.
    BadName(String),
    /// The directory of this name is no place for a backup.
    BadTarget(String),
    /// Other work is running, in words.
    Busy(String),
    /// The server ends.
    Ending,
}

/// The verifications and backups of one server.
#[derive(Default)]
pub(crate) struct StoreUpkeep {
    upkeep: OnceLock<Arc<dyn Upkeep>>,
    state: Mutex<UpkeepRuns>,
}

#[derive(Default)]
struct UpkeepRuns {
    is_ending: bool,
    verification: Option<UpkeepRun>,
    backup: Option<UpkeepRun>,
}

/// The last work of a kind, as others see it.
#[derive(Clone)]
struct UpkeepRun {
    stop: Arc<AtomicBool>,
    status: watch::Receiver<UpkeepStatus>,
}

impl StoreUpkeep {
    /// Sets the seam to the store. The first one stays.
    pub(crate) fn enable(&self, upkeep: Arc<dyn Upkeep>) {
        let _ = self.upkeep.set(upkeep);
    }

    pub(crate) fn verifies(&self) -> bool {
        self.upkeep.get().is_some()
    }

    pub(crate) fn backs_up(&self) -> bool {
        self.upkeep.get().is_some_and(|upkeep| upkeep.backups().is_some())
    }

    /// Returns the task of a backup by its name.
    pub(crate) fn backup_task(&self, name: &str) -> Result<UpkeepTask, UpkeepRefusal> {
        let upkeep = self.upkeep.get().ok_or(UpkeepRefusal::Unsupported)?;
        let directory = upkeep.backups().ok_or(UpkeepRefusal::NoDirectory)?;
        check_name(name).map_err(UpkeepRefusal::BadName)?;
        let target = directory.join(name);
        // A link could lead out of the directory.
        match fs::symlink_metadata(&target) {
            Ok(there) if there.is_dir() => {}
            Ok(_) => {
                return Err(UpkeepRefusal::BadTarget(format!("{name} exists and is no directory")));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(UpkeepRefusal::BadTarget(error.to_string())),
        }
        Ok(UpkeepTask::Backup { name: name.to_owned(), target })
    }

    /// Starts work in the background. Needs the runtime. The caller makes sure that no scavenge
    /// starts at the same moment.
    pub(crate) fn start(&self, task: UpkeepTask) -> Result<UpkeepStatus, UpkeepRefusal> {
        let upkeep = self.upkeep.get().ok_or(UpkeepRefusal::Unsupported)?;
        let mut state = self.state();
        if state.is_ending {
            return Err(UpkeepRefusal::Ending);
        }
        if let Some(running) = state.running() {
            return Err(UpkeepRefusal::Busy(running.words()));
        }
        let is_backup = matches!(task, UpkeepTask::Backup { .. });
        let run = UpkeepRun::begin(Arc::clone(upkeep), task);
        let started = run.now();
        tracing::info!(id = %started.id, "{} of the store has started", kind(is_backup));
        *(if is_backup { &mut state.backup } else { &mut state.verification }) = Some(run);
        Ok(started)
    }

    /// Returns the work that is running.
    pub(crate) fn running(&self) -> Option<UpkeepStatus> {
        self.state().running()
    }

    pub(crate) fn last_verification(&self) -> Option<UpkeepStatus> {
        self.state().verification.as_ref().map(UpkeepRun::now)
    }

    pub(crate) fn last_backup(&self) -> Option<UpkeepStatus> {
        self.state().backup.as_ref().map(UpkeepRun::now)
    }

    /// Ends a verification and waits for its end. Returns `None` if the last one has another id.
    pub(crate) async fn stop_verification(&self, id: Uuid) -> Option<UpkeepStatus> {
        let run = self.state().verification.clone();
        Some(run.filter(|run| run.now().id == id)?.stop().await)
    }

    /// Ends a backup and waits for its end. Returns `None` if the last one has another id.
    pub(crate) async fn stop_backup(&self, id: Uuid) -> Option<UpkeepStatus> {
        let run = self.state().backup.clone();
        Some(run.filter(|run| run.now().id == id)?.stop().await)
    }

    /// Lists finished backups, ordered by name.
    pub(crate) async fn backups(&self) -> Result<Vec<Value>, String> {
        let Some(upkeep) = self.upkeep.get().cloned() else { return Ok(Vec::new()) };
        let listed = spawn_blocking(move || list_backups(upkeep.as_ref())).await;
        listed.map_err(|error| error.to_string())?
    }

    /// Ends the work that runs, and starts no other.
    pub(crate) async fn end(&self) {
        let runs = {
            let mut state = self.state();
            state.is_ending = true;
            [state.verification.clone(), state.backup.clone()]
        };
        for run in runs.into_iter().flatten() {
            run.stop().await;
        }
    }

    fn state(&self) -> MutexGuard<'_, UpkeepRuns> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UpkeepRuns {
    fn running(&self) -> Option<UpkeepStatus> {
        let runs = [&self.verification, &self.backup];
        runs.into_iter().flatten().map(UpkeepRun::now).find(UpkeepStatus::is_running)
    }
}

impl UpkeepRun {
    fn begin(upkeep: Arc<dyn Upkeep>, task: UpkeepTask) -> Self {
        let first = UpkeepStatus {
            id: Uuid::new_v4(),
            task: task.clone(),
            state: UpkeepState::Running,
            started: wall_now(),
            ended: None,
            progress: UpkeepProgress::default(),
        };
        let (told, status) = watch::channel(first);
        let (told, stop) = (Arc::new(told), Arc::new(AtomicBool::new(false)));
        let (teller, asked) = (Arc::clone(&told), Arc::clone(&stop));
        tokio::spawn(async move {
            let work = spawn_blocking(move || carry_out(upkeep.as_ref(), &task, &teller, &asked));
            // The sender must tell the end of work that has panicked, too.
            let state = work.await.unwrap_or_else(|error| UpkeepState::Failed(error.to_string()));
            log_end(&state);
            told.send_modify(|status| {
                status.state = state;
                status.ended = Some(wall_now());
            });
        });
        Self { stop, status }
    }

    fn now(&self) -> UpkeepStatus {
        self.status.borrow().clone()
    }

    async fn stop(mut self) -> UpkeepStatus {
        self.stop.store(true, Ordering::Relaxed);
        // The sender tells the end before it is dropped, unless the runtime itself ends.
        let ended = self.status.wait_for(|status| !status.is_running()).await;
        ended.map(|status| status.clone()).unwrap_or_else(|_| self.now())
    }
}

/// Does the work on its thread.
fn carry_out(
    upkeep: &dyn Upkeep,
    task: &UpkeepTask,
    told: &watch::Sender<UpkeepStatus>,
    stop: &AtomicBool,
) -> UpkeepState {
    let mut progress = |progress| {
        told.send_modify(|status| status.progress = progress);
        // Without receivers the server is gone, and its runtime waits for this thread.
        match stop.load(Ordering::Relaxed) || told.is_closed() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    };
    let done = match task {
        UpkeepTask::Verify => {
            upkeep.verify(&mut progress).map(|found| found.map(Finished::Verified))
        }
        UpkeepTask::Backup { target, .. } => {
            upkeep.back_up(target, &mut progress).map(|figures| figures.map(Finished::BackedUp))
        }
    };
    match done {
        Ok(Some(finished)) => UpkeepState::Completed(finished),
        Ok(None) => UpkeepState::Stopped,
        Err(error) => UpkeepState::Failed(chain_text(error.as_ref())),
    }
}

fn kind(is_backup: bool) -> &'static str {
    if is_backup { "a backup" } else { "a verification" }
}

fn log_end(state: &UpkeepState) {
    match state {
        UpkeepState::Failed(error) => tracing::error!(error, "verification or backup has failed"),
        UpkeepState::Completed(Finished::Verified(found)) if !found.damage.is_empty() => {
            let first = found.damage.first();
            tracing::error!(places = found.damage.len(), first, "the store is damaged");
        }
        state => tracing::info!(?state, "a verification or a backup has ended"),
    }
}

/// Returns the reason why a text cannot name a backup.
fn check_name(name: &str) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        let length = name.len();
        return Err(format!("must have 1 to {NAME_BYTES_MAX} characters; got {length}"));
    }
    if name.starts_with('.') || !name.bytes().all(is_plain) {
        let rule = "must have letters, digits, `-`, `_` and `.` only, and must not begin with `.`";
        return Err(rule.to_owned());
    }
    Ok(())
}

fn list_backups(upkeep: &dyn Upkeep) -> Result<Vec<Value>, String> {
    let Some(directory) = upkeep.backups() else { return Ok(Vec::new()) };
    let entries = match fs::read_dir(directory) {
        // The first backup makes it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| format!("cannot list the backups: {error}"))?,
    };
    // The type of an entry is that of a link itself, so nothing outside is read.
    let names = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|of| of.is_dir()));
    let mut names: Vec<_> =
        names.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| check_name(name).is_ok());
    names.sort();
    names.truncate(LISTED_MAX);
    Ok(names.into_iter().filter_map(|name| listed(upkeep, directory, &name)).collect())
}

/// Returns a backup in the list. A directory without a finished backup is not listed.
fn listed(upkeep: &dyn Upkeep, directory: &Path, name: &str) -> Option<Value> {
    let (figures, error) = match upkeep.backup_figures(&directory.join(name)) {
        Ok(figures) => (Some(figures?), None),
        Err(error) => (None, Some(chain_text(error.as_ref()))),
    };
    Some(json!({
        "name": name,
        "position": figures.map(|figures| figures.position),
        "bytes": figures.map(|figures| figures.bytes),
        "takenAt": figures.and_then(|figures| figures.taken_at).map(time_text),
        "error": error,
    }))
}
