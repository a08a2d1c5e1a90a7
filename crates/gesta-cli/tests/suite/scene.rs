//! Fixture of the tests: a directory with a store, and runs of the program.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    ops::Deref,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Mutex, PoisonError,
        mpsc::{self, Receiver},
    },
    thread,
    time::Duration,
};

use gesta_log::{LogStore, Options};
use gesta_store::{
    Append, Appended, EventId, EventStore as _, EventType, ExpectedRevision, NewEvent, StreamName,
};
use serde_json::Value;
use tempfile::TempDir;

/// Timeout for a line of output.
const PATIENCE: Duration = Duration::from_secs(60);

/// A temporary directory, with or without a store.
pub(crate) struct Scene {
    directory: TempDir,
}

impl Scene {
    /// An empty directory.
    pub(crate) fn empty() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    /// A store in which two orders were placed and one of them was paid.
    pub(crate) fn of_two_orders() -> Self {
        let scene = Self::empty();
        let store = scene.open();
        append_two_orders(&store);
        drop(store);
        scene
    }

    /// The same, as a kill right after the last acknowledgement leaves it: the last event is not
    /// confirmed as durable.
    pub(crate) fn of_two_orders_killed_at_the_last_event() -> Self {
        let scene = Self::empty();
        let never_idle = Options::default().close_after(Duration::from_secs(3_600));
        let store = scene.open_with(never_idle);
        append_two_orders(&store);
        scene.as_killed()
    }

    /// A copy of the store as a kill at this moment would leave it, without segments still being
    /// created.
    pub(crate) fn as_killed(&self) -> Self {
        let killed = Self::empty();
        for file in self.segment_files() {
            fs::copy(&file, killed.path().join(file.file_name().unwrap())).unwrap();
        }
        killed
    }

    fn segment_files(&self) -> impl Iterator<Item = PathBuf> {
        let files = fs::read_dir(self.path()).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|file| file.extension().is_some_and(|end| end == "seg"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn open(&self) -> OpenStore {
        self.open_with(Options::default())
    }

    fn open_with(&self, options: Options) -> OpenStore {
        OpenStore(Some(LogStore::open(self.path(), options).unwrap()))
    }

    /// The program with these arguments, for this store.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program(arguments);
        command.env("GESTA_STORE", format!("gesta:{}", self.path().display()));
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> RunOutput {
        run(self.command(arguments))
    }

    /// Runs the program with a text on its standard input.
    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &str) -> RunOutput {
        let mut command = self.command(arguments);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = start(piped);
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        RunOutput::of(child.wait_with_output().unwrap())
    }

    /// Returns every file with its bytes, to compare before and after a command.
    pub(crate) fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files: Vec<_> = fs::read_dir(self.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect();
        files.sort();
        files
    }
}

/// The program with these arguments, without a store in its environment.
pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gesta"));
    command.args(arguments).env_remove("GESTA_STORE").stdin(Stdio::null());
    command
}

pub(crate) fn run(mut command: Command) -> RunOutput {
    let child = start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    RunOutput::of(child.wait_with_output().unwrap())
}

/// Lock that is held while a program starts and while a store is closed. A program that is about to
/// start inherits every open file of this process, including locks of stores, and a directory is
/// free only once all copies of its lock are closed.
static STARTING: Mutex<()> = Mutex::new(());

pub(crate) fn start(command: &mut Command) -> Child {
    let _alone = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    command.spawn().unwrap()
}

/// A store that this process has open.
pub(crate) struct OpenStore(Option<LogStore>);

impl Deref for OpenStore {
    type Target = LogStore;

    fn deref(&self) -> &LogStore {
        self.0.as_ref().expect("taken only when dropped")
    }
}

impl Drop for OpenStore {
    fn drop(&mut self) {
        let _alone = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = self.0.take() {
            // The program, or a test, needs the complete files at once.
            futures_executor::block_on(store.close()).unwrap();
        }
    }
}

/// Result of a run.
#[derive(Debug)]
pub(crate) struct RunOutput {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl RunOutput {
    fn of(output: Output) -> Self {
        let Output { status, stdout, stderr } = output;
        Self {
            code: status.code().unwrap(),
            out: String::from_utf8(stdout).unwrap(),
            err: String::from_utf8(stderr).unwrap(),
        }
    }

    /// Returns standard output. Panics unless the run succeeded without messages.
    #[track_caller]
    pub(crate) fn stdout(&self) -> &str {
        assert!(self.code == 0 && self.err.is_empty(), "{self:?}");
        &self.out
    }

    /// Returns standard output as JSON, one object per line.
    #[track_caller]
    pub(crate) fn objects(&self) -> Vec<Value> {
        self.stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Returns the error that `--json` prints, as one JSON object.
    #[track_caller]
    pub(crate) fn error(&self) -> Value {
        assert_eq!(self.err.lines().count(), 1, "{self:?}");
        serde_json::from_str(&self.err).unwrap()
    }

    /// Panics unless the program exited with this code, printed no results, and gave this reason.
    #[track_caller]
    pub(crate) fn fails_with(&self, code: i32, explanation: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.err.contains(explanation), "{self:?}");
        assert!(self.out.is_empty(), "{self:?}");
    }
}

fn append_two_orders(store: &LogStore) {
    append(store, "order-1", "order-placed", r#"{"total":"9.90"}"#);
    append(store, "order-2", "order-placed", r#"{"total":"1.10"}"#);
    append(store, "order-1", "order-paid", "{}");
}

pub(crate) fn append(store: &LogStore, stream: &str, event_type: &str, data: &str) -> Appended {
    let event =
        NewEvent::json(EventId::random(), EventType::new(event_type).unwrap(), data.to_owned());
    append_event(store, stream, event)
}

pub(crate) fn append_event(store: &LogStore, stream: &str, event: NewEvent) -> Appended {
    let stream = StreamName::stored(stream).unwrap();
    let append = Append::to(stream, ExpectedRevision::Any, [event]);
    futures_executor::block_on(store.append(append)).unwrap()
}

/// A running program, which is killed at the end of the test.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    pub(crate) fn start(command: Command) -> Self {
        Self::start_with(command, Stdio::null())
    }

    /// The same, with its messages in a file.
    #[cfg(feature = "server")]
    pub(crate) fn start_logged(command: Command, log: &Path) -> Self {
        Self::start_with(command, fs::File::create(log).unwrap().into())
    }

    fn start_with(mut command: Command, stderr: Stdio) -> Self {
        let mut child = start(command.stdout(Stdio::piped()).stderr(stderr));
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stdout.lines() {
                if sender.send(line.unwrap()).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// Waits for the next line.
    #[track_caller]
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line comes in time")
    }

    /// Sends the signal that asks a program to end, and returns its exit code.
    #[cfg(feature = "server")]
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
