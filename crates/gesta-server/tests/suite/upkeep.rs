//! Verifications and backups of a store while it is served.

use std::{
    error::Error,
    fs,
    io::{Seek as _, SeekFrom, Write as _},
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
};

use gesta_log::{LogStore, Options};
use gesta_server::{BackupFigures, Upkeep, UpkeepProgress, VerifyFindings};
use gesta_store::{
    Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, ReadAll, StreamName,
    memory::MemoryStore,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::{
    client::{Credentials, PATIENCE},
    operating::Endless,
    secured::{Secured, basic},
};

type Failure = Box<dyn Error + Send + Sync>;

/// The upkeep of a store in a directory.
pub(crate) struct OfDirectory {
    pub(crate) store: PathBuf,
    pub(crate) backups: PathBuf,
}

impl Upkeep for OfDirectory {
    fn verify(
        &self,
        progress: &mut dyn FnMut(UpkeepProgress) -> ControlFlow<()>,
    ) -> Result<Option<VerifyFindings>, Failure> {
        let report = gesta_log::verify_while(&self.store, &mut |done| {
            progress(UpkeepProgress::new(done.bytes_done, done.bytes_total))
        })?;
        Ok(report.map(|report| {
            let mut found = VerifyFindings::default();
            found.events = report.events;
            found.damage = report.damage.iter().map(ToString::to_string).collect();
            found
        }))
    }

    fn backups(&self) -> Option<&Path> {
        Some(&self.backups)
    }

    fn back_up(
        &self,
        target: &Path,
        progress: &mut dyn FnMut(UpkeepProgress) -> ControlFlow<()>,
    ) -> Result<Option<BackupFigures>, Failure> {
        let report = gesta_log::backup_while(&self.store, target, &mut |done| {
            progress(UpkeepProgress::new(done.bytes_done, done.bytes_total))
        })?;
        Ok(report.map(|report| figures(report.end.number(), report.bytes)))
    }

    fn backup_figures(&self, target: &Path) -> Result<Option<BackupFigures>, Failure> {
        let summary = gesta_log::backup_summary(target)?;
        Ok(summary.map(|summary| figures(summary.end.number(), summary.bytes)))
    }
}

fn figures(position: u64, bytes: u64) -> BackupFigures {
    let mut figures = BackupFigures::default();
    (figures.position, figures.bytes) = (position, bytes);
    figures
}

/// Work that continues until it is stopped, without a directory for backups.
struct EndlessUpkeep;

impl Upkeep for EndlessUpkeep {
    fn verify(
        &self,
        progress: &mut dyn FnMut(UpkeepProgress) -> ControlFlow<()>,
    ) -> Result<Option<VerifyFindings>, Failure> {
        while progress(UpkeepProgress::new(1, 4)).is_continue() {
            std::thread::yield_now();
        }
        Ok(None)
    }

    fn backups(&self) -> Option<&Path> {
        None
    }

    fn back_up(
        &self,
        _: &Path,
        _: &mut dyn FnMut(UpkeepProgress) -> ControlFlow<()>,
    ) -> Result<Option<BackupFigures>, Failure> {
        Err("nobody may come here".into())
    }

    fn backup_figures(&self, _: &Path) -> Result<Option<BackupFigures>, Failure> {
        Ok(None)
    }
}

/// Upkeep that tells a first quarter, and goes on when the scenario lets it.
pub(crate) struct Held {
    of: OfDirectory,
    proceed: Mutex<Receiver<()>>,
}

impl Held {
    /// Returns what lets one work go on, too.
    pub(crate) fn of(of: OfDirectory) -> (Self, Sender<()>) {
        let (sender, proceed) = channel();
        (Self { of, proceed: Mutex::new(proceed) }, sender)
    }

    fn wait(&self, progress: &mut dyn FnMut(UpkeepProgress) -> ControlFlow<()>) {
        let _ = progress(UpkeepProgress::new(256, 1_024));
        // A scenario that has ended holds nothing.
        let _ = self.proceed.lock().unwrap().recv();
    }
}

impl Upkeep for Held {
    fn verify(
        &self,
        progress: &mut dyn FnMut(UpkeepProgress) -> ControlFlow<()>,
    ) -> Result<Option<VerifyFindings>, Failure> {
        self.wait(progress);
        self.of.verify(progress)
    }

    fn backups(&self) -> Option<&Path> {
        self.of.backups()
    }

    fn back_up(
        &self,
        target: &Path,
        progress: &mut dyn FnMut(UpkeepProgress) -> ControlFlow<()>,
    ) -> Result<Option<BackupFigures>, Failure> {
        self.wait(progress);
        self.of.back_up(target, progress)
    }

    fn backup_figures(&self, target: &Path) -> Result<Option<BackupFigures>, Failure> {
        self.of.backup_figures(target)
    }
}

/// A damaged store, whose backups are empty directories.
pub(crate) struct DamagedStore {
    backups: TempDir,
    place: String,
}

impl DamagedStore {
    pub(crate) fn at(place: &str) -> Self {
        Self { backups: tempfile::tempdir().unwrap(), place: place.to_owned() }
    }
}

impl Upkeep for DamagedStore {
    fn verify(
        &self,
        progress: &mut dyn FnMut(UpkeepProgress) -> ControlFlow<()>,
    ) -> Result<Option<VerifyFindings>, Failure> {
        let _ = progress(UpkeepProgress::new(4, 4));
        let mut found = VerifyFindings::default();
        (found.events, found.damage) = (7, vec![self.place.clone()]);
        Ok(Some(found))
    }

    fn backups(&self) -> Option<&Path> {
        Some(self.backups.path())
    }

    fn back_up(
        &self,
        target: &Path,
        progress: &mut dyn FnMut(UpkeepProgress) -> ControlFlow<()>,
    ) -> Result<Option<BackupFigures>, Failure> {
        let _ = progress(UpkeepProgress::new(4, 4));
        fs::create_dir(target)?;
        Ok(Some(figures(7, 4)))
    }

    fn backup_figures(&self, _: &Path) -> Result<Option<BackupFigures>, Failure> {
        Ok(Some(figures(7, 4)))
    }
}

/// A served store in a directory, with another directory for its backups.
struct Kept {
    directories: TempDir,
    store: LogStore,
    scene: Secured,
    ops: Credentials,
}

impl Kept {
    async fn begin() -> Self {
        let directories = tempfile::tempdir().unwrap();
        Self::over(directories).await
    }

    async fn over(directories: TempDir) -> Self {
        let path = |name: &str| directories.path().join(name);
        fs::create_dir_all(path("backups")).unwrap();
        let store = LogStore::open_async(path("things"), Options::default()).await.unwrap();
        let upkeep = Arc::new(OfDirectory { store: path("things"), backups: path("backups") });
        let scene = Secured::made(Arc::new(store.clone()), |server| server.keeping(upkeep)).await;
        let ops = basic("ops", scene.passwords.ops());
        Self { directories, store, scene, ops }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directories.path().join(name)
    }

    async fn append(&self, to: &str) -> u64 {
        append(&self.store, to).await
    }

    /// Starts work, and returns its description once it has ended.
    async fn done(&self, start: &str, show: &str) -> Value {
        let started = self.scene.send(start, &self.ops, &Value::Null).await.done();
        assert_eq!(started["state"], "running");
        let ended = async {
            loop {
                let shown = self.scene.send(show, &self.ops, &Value::Null).await.done();
                assert_eq!(shown["last"]["id"], started["id"]);
                if shown["last"]["state"] != "running" {
                    break shown["last"].clone();
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, ended).await.expect("the work ends")
    }
}

async fn append(store: &LogStore, to: &str) -> u64 {
    let event = NewEvent::json(EventId::random(), EventType::new("happened").unwrap(), "{}");
    let stream = StreamName::new(to).unwrap();
    let append = Append::to(stream, ExpectedRevision::Any, [event]);
    store.append(append).await.unwrap().position.number()
}

#[tokio::test]
async fn damage_in_a_sealed_segment_is_found_while_the_store_is_served() {
    let directories = tempfile::tempdir().unwrap();
    let path = directories.path().join("things");
    let store = LogStore::open_async(path.clone(), Options::default()).await.unwrap();
    append(&store, "order-1").await;
    // The end seals the segment.
    store.close().await.unwrap();
    drop(store);
    let kept = Kept::over(directories).await;
    kept.append("order-2").await;
    let sound = kept.done("POST /v1/verify?reason=weekly", "GET /v1/verify").await;
    assert_eq!((&sound["state"], &sound["result"]["sound"]), (&"completed".into(), &true.into()));
    assert_eq!(sound["bytesDone"], sound["bytesTotal"]);

    let files = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
    let has_event = |file: &PathBuf| fs::read(file).unwrap().windows(7).any(|at| at == b"order-1");
    let is_run = |file: &PathBuf| file.extension().is_some_and(|of| of == "run");
    let segments: Vec<_> = files.filter(|file| !is_run(file) && has_event(file)).collect();
    let mut first = fs::OpenOptions::new().read(true).write(true).open(&segments[0]).unwrap();
    let bytes = fs::read(&segments[0]).unwrap();
    let at = bytes.windows(8).position(|window| window == b"happened").unwrap();
    first.seek(SeekFrom::Start(at as u64)).unwrap();
    first.write_all(b"HAPPENED").unwrap();
    first.sync_all().unwrap();

    let damaged = kept.done("POST /v1/verify", "GET /v1/verify").await;
    assert_eq!(damaged["state"], "completed");
    assert_eq!(damaged["result"]["sound"], false);
    let place = damaged["result"]["damage"][0].as_str().unwrap();
    let file = segments[0].file_name().unwrap().to_str().unwrap();
    assert!(place.contains(file), "{place}");
    // It is served as before.
    kept.append("order-3").await;
}

#[tokio::test]
async fn a_backup_under_appends_opens_and_has_all_that_was_acknowledged_before() {
    let kept = Kept::begin().await;
    let mut before = 0;
    for number in 0..20 {
        before = kept.append(&format!("order-{number}")).await;
    }
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let store = kept.store.clone();
    let appends = tokio::spawn(async move {
        let mut stopped = stopped;
        while stopped.try_recv() == Err(tokio::sync::oneshot::error::TryRecvError::Empty) {
            append(&store, "busy-1").await;
        }
    });
    let backup = kept.done("POST /v1/backup?name=monday", "GET /v1/backup").await;
    drop(stop);
    appends.await.unwrap();
    assert_eq!((&backup["state"], &backup["name"]), (&"completed".into(), &"monday".into()));
    let position = backup["result"]["position"].as_u64().unwrap();
    assert!(position >= before, "{position} {before}");

    let listed = kept.scene.send("GET /v1/backup", &kept.ops, &Value::Null).await.done();
    assert_eq!(listed["backups"][0]["name"], "monday");
    assert_eq!(listed["backups"][0]["position"], position);
    let again = kept.path("again");
    gesta_log::restore(&kept.path("backups/monday"), &again, &mut |_| {}).unwrap();
    let restored = LogStore::open_async(again, Options::default()).await.unwrap();
    let copied = restored.read_all(ReadAll::forwards()).collect_events().await.unwrap();
    let all = kept.store.read_all(ReadAll::forwards()).collect_events().await.unwrap();
    assert_eq!(copied.last().unwrap().position.number(), position);
    assert_eq!(copied[..], all[..copied.len()]);
}

#[tokio::test]
async fn one_work_runs_at_a_time_and_is_stopped() {
    let add = |server: gesta_server::Server| {
        server.keeping(Arc::new(EndlessUpkeep)).scavenging(Arc::new(Endless))
    };
    let scene = Secured::made(Arc::new(MemoryStore::new()), add).await;
    let ops = basic("ops", scene.passwords.ops());
    let send = async |line: &str| scene.send(line, &ops, &Value::Null).await;
    let id = send("POST /v1/verify").await.done()["id"].as_str().unwrap().to_owned();
    for other in ["POST /v1/verify", "POST /v1/scavenge"] {
        let refused = send(other).await.refused(409, "not-now");
        assert!(refused["detail"].as_str().unwrap().contains(&id), "{refused}");
    }
    let other = "DELETE /v1/verify/0190a0de-7f51-7c9f-8b6b-111111111111";
    send(other).await.refused(404, "not-found");
    let stopped = send(&format!("DELETE /v1/verify/{id}")).await.done();
    assert_eq!((&stopped["state"], &stopped["result"]), (&"stopped".into(), &Value::Null));

    let scavenge = send("POST /v1/scavenge").await.done()["scavengeId"].clone();
    let refused = send("POST /v1/verify").await.refused(409, "not-now");
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains(scavenge.as_str().unwrap()), "{detail}");
    let refused = send("POST /v1/backup?name=monday").await.refused(501, "not-supported");
    assert!(refused["detail"].as_str().unwrap().contains("--backups"), "{refused}");
}

#[tokio::test]
async fn no_backup_is_written_outside_the_directory_of_the_operator() {
    let kept = Kept::begin().await;
    kept.append("order-1").await;
    fs::create_dir(kept.path("elsewhere")).unwrap();
    fs::write(kept.path("backups/file"), "a file").unwrap();
    std::os::unix::fs::symlink(kept.path("elsewhere"), kept.path("backups/link")).unwrap();
    let long = "a".repeat(101);
    let names = [
        "",
        "..",
        ".",
        ".hidden",
        "../elsewhere",
        "%2e%2e%2felsewhere",
        "%2ftmp%2fx",
        "a%2fb",
        "a%5cb",
        "a%00",
        "link",
        "file",
        &long,
    ];
    for name in names {
        let line = format!("POST /v1/backup?name={name}");
        let refused = kept.scene.send(&line, &kept.ops, &Value::Null).await.refused(400, "invalid");
        assert_eq!(refused["field"], "name", "{name}");
    }
    kept.scene.send("POST /v1/backup", &kept.ops, &Value::Null).await.refused(400, "invalid");
    assert_eq!(fs::read_dir(kept.path("elsewhere")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(kept.path("backups")).unwrap().count(), 2);
    let listed = kept.scene.send("GET /v1/backup", &kept.ops, &Value::Null).await.done();
    assert_eq!((&listed["supported"], &listed["backups"]), (&true.into(), &json!([])));
}

#[tokio::test]
async fn a_store_without_a_directory_says_so() {
    let scene = Secured::start().await;
    let ops = basic("ops", scene.passwords.ops());
    for (show, start) in
        [("GET /v1/verify", "POST /v1/verify"), ("GET /v1/backup", "POST /v1/backup?name=monday")]
    {
        let shown = scene.send(show, &ops, &Value::Null).await.done();
        assert_eq!((&shown["supported"], &shown["last"]), (&false.into(), &Value::Null));
        let refused = scene.send(start, &ops, &Value::Null).await.refused(501, "not-supported");
        assert!(refused["detail"].as_str().unwrap().contains("directory"), "{refused}");
    }
}

#[tokio::test]
async fn the_audit_stream_says_who_made_a_backup_and_why() {
    let kept = Kept::begin().await;
    kept.append("order-1").await;
    kept.done("POST /v1/backup?name=monday&reason=nightly", "GET /v1/backup").await;
    let admin = basic("admin", kept.scene.passwords.admin());
    let audit = kept.scene.send("GET /v1/streams/$audit", &admin, &Value::Null).await.done();
    let records = audit["events"].as_array().unwrap();
    let data = records.iter().map(|event| &event["data"]);
    let backup = data.filter(|data| data["backup"] == "monday").collect::<Vec<_>>();
    assert_eq!(backup.len(), 1, "{audit}");
    assert_eq!((&backup[0]["by"], &backup[0]["reason"]), (&"ops".into(), &"nightly".into()));
}
