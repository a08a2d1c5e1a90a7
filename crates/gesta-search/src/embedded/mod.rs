//! Tantivy in the process: one directory, with an index for each build.
//!
//! Owns: the directory. `catalogue.json` lists the builds; `build-N` has the index of build N.
//!
//! Invariants:
//! - One store at a time has the directory, by a lock for its life.
//! - Documents and state of a build change in one commit of its index, which has the state as its
//!   payload.
//! - A build that the catalogue does not list is deleted when the directory is opened.
//! - Calls run on threads of their own; the one that polls never waits for a disk.

mod build;
mod catalogue;
mod collector;
mod errors;
mod query;
mod schema;

use std::{
    collections::HashMap,
    fmt,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use gesta_store::{CreateReadModel, DatabaseError, DatabaseFuture, ReadModelId, Stage};

use crate::{
    IndexDefinition, OpenError, SearchResults,
    engine::{
        Batch, EngineReader, ListedBuild, LiveBefore, SearchEngine, StoredDocument, StoredState,
        Written,
    },
    search::CheckedSearch,
    worker::Worker,
};
use build::{Build, Moment};
use catalogue::Catalogue;
use errors::unavailable;

/// File that is locked while the directory is open.
const LOCK: &str = "LOCK";

/// The engine in the process.
#[derive(Debug)]
pub(crate) struct Embedded {
    directory: Arc<Directory>,
    worker: Arc<Worker>,
}

/// The open directory.
struct Directory {
    path: PathBuf,
    state: Mutex<DirectoryState>,
}

struct DirectoryState {
    catalogue: Catalogue,
    builds: HashMap<ReadModelId, Arc<Build>>,
    /// `None` after the store was closed.
    lock: Option<File>,
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Directory({})", self.path.display())
    }
}

impl Embedded {
    pub(crate) async fn open(directory: PathBuf) -> Result<Self, OpenError> {
        let worker = Worker::start("gesta-search").map_err(OpenError::Threads)?;
        // The outer result is that of the thread.
        let open = worker.run_blocking(move || Ok(Directory::open(directory)));
        let directory = open.await.map_err(OpenError::Server)??;
        Ok(Self { directory: Arc::new(directory), worker: Arc::new(worker) })
    }

    /// Runs work on the directory on a thread that may block.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Directory) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let directory = Arc::clone(&self.directory);
        self.worker.run_blocking(move || work(&directory)).await
    }
}

impl Directory {
    fn open(path: PathBuf) -> Result<Self, OpenError> {
        let failed = |error| OpenError::Directory { directory: path.clone(), error };
        fs::create_dir_all(&path).map_err(failed)?;
        let lock = File::create(path.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::InUse { directory: path });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let catalogue = Catalogue::load(&path)?;
        delete_unlisted(&path, &catalogue).map_err(failed)?;
        let state = DirectoryState { catalogue, builds: HashMap::new(), lock: Some(lock) };
        Ok(Self { path, state: Mutex::new(state) })
    }

    fn lock(&self) -> Result<MutexGuard<'_, DirectoryState>, DatabaseError> {
        // Every change is saved before it is kept, so a panic cannot leave a wrong list.
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.lock.is_none() {
            return Err(DatabaseError::unavailable("the search store was closed"));
        }
        Ok(state)
    }

    /// Returns a build that the catalogue lists. Opens it first.
    fn build(&self, id: &ReadModelId) -> Result<Arc<Build>, DatabaseError> {
        let mut state = self.lock()?;
        state.catalogue.check(id)?;
        if let Some(build) = state.builds.get(id) {
            build.check_files()?;
            return Ok(Arc::clone(build));
        }
        let build = Arc::new(Build::open(folder(&self.path, id.build))?);
        state.builds.insert(id.clone(), Arc::clone(&build));
        Ok(build)
    }

    /// Changes the catalogue, and deletes what it no longer lists.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Catalogue) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        let mut state = self.lock()?;
        let mut catalogue = state.catalogue.clone();
        let outcome = change(&mut catalogue)?;
        state.create_again(&self.path).map_err(|error| unavailable(&self.path, error))?;
        catalogue.save(&self.path).map_err(|error| unavailable(&self.path, error))?;
        state.catalogue = catalogue;
        let DirectoryState { catalogue, builds, .. } = &mut *state;
        let gone: Vec<_> =
            builds.extract_if(|id, _| !catalogue.has(id)).map(|(_, build)| build).collect();
        drop(state);
        // Searches that have begun keep the files that they read.
        gone.iter().for_each(|build| build.end());
        self.delete_unlisted()?;
        Ok(outcome)
    }

    fn delete_unlisted(&self) -> Result<(), DatabaseError> {
        let state = self.lock()?;
        let deleted = delete_unlisted(&self.path, &state.catalogue);
        deleted.map_err(|error| unavailable(&self.path, error))
    }

    /// Moves the files of a build out of use.
    fn quarantine(&self, id: &ReadModelId) -> Result<Option<String>, DatabaseError> {
        let mut state = self.lock()?;
        if !state.catalogue.has(id) {
            return Ok(None);
        }
        if let Some(build) = state.builds.remove(id) {
            build.end();
        }
        let (from, to) = (folder(&self.path, id.build), self.path.join(kept_name(id.build)));
        let moved = match fs::rename(&from, &to) {
            Ok(()) => Some(to.display().to_string()),
            // Nothing was written to it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(unavailable(&from, error)),
        };
        let mut catalogue = state.catalogue.clone();
        catalogue.remove(id);
        catalogue.save(&self.path).map_err(|error| unavailable(&self.path, error))?;
        state.catalogue = catalogue;
        Ok(moved)
    }

    fn close(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let builds: Vec<_> = state.builds.drain().map(|(_, build)| build).collect();
        builds.iter().for_each(|build| build.end());
        // Last, so that another store finds no files in use.
        state.lock = None;
    }
}

impl DirectoryState {
    /// Creates the directory and its lock again if another program has deleted them.
    fn create_again(&mut self, path: &Path) -> io::Result<()> {
        let lock = path.join(LOCK);
        if lock.try_exists()? {
            return Ok(());
        }
        fs::create_dir_all(path)?;
        let file = File::create(lock)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                io::Error::other("another process has opened the directory since it was deleted")
            }
            TryLockError::Error(error) => error,
        })?;
        self.lock = Some(file);
        Ok(())
    }
}

fn folder(directory: &Path, build: u64) -> PathBuf {
    directory.join(format!("build-{build}"))
}

fn kept_name(build: u64) -> String {
    format!("quarantined-{build}")
}

/// Deletes the indexes of builds that were dropped.
fn delete_unlisted(directory: &Path, catalogue: &Catalogue) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let build = name.to_str().and_then(|name| name.strip_prefix("build-")?.parse().ok());
        if build.is_some_and(|build| !catalogue.has_number(build)) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

impl SearchEngine for Embedded {
    fn troubles(&self) -> DatabaseFuture<'_, Vec<String>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn version(&self) -> DatabaseFuture<'_, String> {
        Box::pin(async { Ok(tantivy::version_string().to_owned()) })
    }

    fn list<'a>(&'a self, projection: &'a str) -> DatabaseFuture<'a, Vec<ListedBuild>> {
        let projection = projection.to_owned();
        Box::pin(self.run(move |directory| Ok(directory.lock()?.catalogue.list(&projection))))
    }

    fn create<'a>(&'a self, create: CreateReadModel<'a>) -> DatabaseFuture<'a, ReadModelId> {
        let (projection, version) = (create.projection.to_owned(), create.version);
        let stage = create.stage;
        Box::pin(self.run(move |directory| {
            directory.change(|catalogue| Ok(catalogue.create(projection, version, stage)))
        }))
    }

    fn switch<'a>(&'a self, build: &'a ReadModelId, before: LiveBefore) -> DatabaseFuture<'a, ()> {
        let build = build.clone();
        Box::pin(
            self.run(move |directory| {
                directory.change(|catalogue| catalogue.switch(&build, before))
            }),
        )
    }

    fn resume<'a>(&'a self, build: &'a ReadModelId) -> DatabaseFuture<'a, ()> {
        let build = build.clone();
        Box::pin(self.run(move |directory| {
            directory.change(|catalogue| catalogue.move_from(&build, Stage::Retired))
        }))
    }

    fn quarantine<'a>(&'a self, build: &'a ReadModelId) -> DatabaseFuture<'a, Option<String>> {
        let build = build.clone();
        Box::pin(self.run(move |directory| directory.quarantine(&build)))
    }

    fn drop_build<'a>(&'a self, build: &'a ReadModelId) -> DatabaseFuture<'a, ()> {
        let build = build.clone();
        Box::pin(self.run(move |directory| {
            directory.change(|catalogue| {
                catalogue.remove(&build);
                Ok(())
            })
        }))
    }

    fn state<'a>(&'a self, build: &'a ReadModelId) -> DatabaseFuture<'a, StoredState> {
        let id = build.clone();
        Box::pin(self.run(move |directory| Ok(directory.build(&id)?.moment().state())))
    }

    fn load<'a>(
        &'a self,
        build: &'a ReadModelId,
        ids: &'a [String],
    ) -> DatabaseFuture<'a, Vec<Option<StoredDocument>>> {
        let (id, ids) = (build.clone(), ids.to_vec());
        Box::pin(self.run(move |directory| directory.build(&id)?.moment().load(&ids)))
    }

    fn write<'a>(&'a self, build: &'a ReadModelId, batch: Batch) -> DatabaseFuture<'a, Written> {
        let id = build.clone();
        Box::pin(self.run(move |directory| directory.build(&id)?.write(&batch)))
    }

    fn reader<'a>(&'a self, build: &'a ReadModelId) -> DatabaseFuture<'a, Box<dyn EngineReader>> {
        let id = build.clone();
        Box::pin(async move {
            let moment = self.run(move |directory| Ok(directory.build(&id)?.moment())).await?;
            let reader = MomentReader { moment, worker: Arc::clone(&self.worker) };
            Ok(Box::new(reader) as Box<dyn EngineReader>)
        })
    }

    fn close(&self) -> DatabaseFuture<'_, ()> {
        Box::pin(self.run(|directory| {
            directory.close();
            Ok(())
        }))
    }
}

/// Lets go of the directory without a wait: an index ends on a thread.
impl Drop for Embedded {
    fn drop(&mut self) {
        let directory = Arc::clone(&self.directory);
        let end = thread::Builder::new().name("gesta-search".to_owned());
        // Without a thread, the last handle of the directory ends it.
        drop(end.spawn(move || directory.close()));
    }
}

/// Reads one moment of a build.
#[derive(Debug)]
struct MomentReader {
    moment: Arc<Moment>,
    worker: Arc<Worker>,
}

impl EngineReader for MomentReader {
    fn definition(&self) -> DatabaseFuture<'_, Option<Arc<IndexDefinition>>> {
        Box::pin(async { Ok(self.moment.definition()) })
    }

    fn load<'a>(&'a self, ids: &'a [String]) -> DatabaseFuture<'a, Vec<Option<StoredDocument>>> {
        let (moment, ids) = (Arc::clone(&self.moment), ids.to_vec());
        Box::pin(self.worker.run_blocking(move || moment.load(&ids)))
    }

    fn search(&self, search: CheckedSearch) -> DatabaseFuture<'_, SearchResults> {
        let moment = Arc::clone(&self.moment);
        Box::pin(self.worker.run_blocking(move || moment.search(&search)))
    }
}
