//! The engine with each of its system calls killed or failed.
//!
//! A fixed script (`gesta-bench record` with one writer and tiny segments: it opens a store,
//! appends, seals and starts segments, flushes and compacts their index, and closes) is traced once
//! for its calls on the store. It then runs again for each call, on a new store: killed as it
//! enters the call, and with the call failing with `EIO` and with `ENOSPC`. After each run a new
//! process opens the store and reads everything back.
//!
//! Invariants: a call is identified by its name, its file and its index among such calls of its
//! thread, so it is hit even if threads interleave differently; runs that do not reach their call
//! are counted separately. A segment under construction has a different name in each run
//! (`NUMBER-SALT.new`), so calls on it are counted over all files. Not here: opening such a file,
//! since that would also hit the program's start; the tests of shortages fail it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::AtomicU64,
    thread,
};

use anyhow::{Context, Result, ensure};
use gesta_services::e2e::{empty_directory, figures, is_full, program};

use crate::oracle::{OracleReport, OracleStore};

/// Arguments of the script.
const SCRIPT: [&str; 12] = [
    "--writers",
    "1",
    "--appends-each",
    "120",
    "--segment-bytes",
    "5120",
    "--event-bytes",
    "64",
    "--streams",
    "10",
    "--tags",
    "10",
];
/// Calls that read, change or sync files or their names.
const CALLS: &str = "openat,flock,read,pread64,write,pwrite64,pwritev,pwritev2,fdatasync,fsync,\
                     rename,renameat,renameat2,unlink,unlinkat,ftruncate,fallocate,getdents64,\
                     fadvise64,statx,mkdir";
const CASES_SHORT: usize = 40;
const SECONDS_MAX: &str = "30";
/// Calls that the script must make, as evidence that it covers the lifecycle of all files.
const NEEDED: [&str; 6] = ["openat", "pwrite64", "fdatasync", "fsync", "rename", "unlink"];

/// Calls of every program at its start.
const AT_THE_START: [&str; 4] = ["openat", "read", "pread64", "statx"];

/// Failure injected into a call.
#[derive(Clone, Copy, Debug)]
enum Injection {
    Killed,
    IoError,
    NoSpace,
}

impl Injection {
    const ALL: [Self; 3] = [Self::Killed, Self::IoError, Self::NoSpace];

    const fn strace_action(self) -> &'static str {
        match self {
            Self::Killed => "signal=KILL",
            Self::IoError => "error=EIO",
            Self::NoSpace => "error=ENOSPC",
        }
    }
}

/// A call of the script and the injected failure.
#[derive(Debug)]
struct Case {
    call: String,
    /// `None` for files whose name differs between runs.
    path: Option<PathBuf>,
    /// Index among such calls on the file, or on all files without one; counted from 1.
    nth: usize,
    injection: Injection,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call, path, nth, injection } = self;
        write!(f, "{} at call {nth} of {call}", injection.strace_action())?;
        let name = path.as_deref().and_then(Path::file_name);
        name.map_or(Ok(()), |name| write!(f, " on {}", name.display()))
    }
}

/// Results of the runs.
#[derive(Debug, Default)]
struct StrikeTally {
    struck: usize,
    missed: usize,
    acknowledged: u64,
    unanswered_present: u64,
}

/// Injects failures into every call, or a sample of them in the short form.
#[test]
fn acknowledged_appends_survive_a_failure_of_any_call() -> Result<()> {
    let directory = empty_directory("engine-syscalls")?;
    let program = program("gesta-bench", "gesta-bench")?;
    let trace = directory.join("trace");
    run(&program, &directory, &["-e", &format!("trace={CALLS}")])?;
    let calls = calls_on(&fs::read_to_string(&trace)?, &directory.join("store"));
    for needed in NEEDED {
        let by_file = calls.by_file.keys().any(|(call, _)| call == needed);
        ensure!(by_file, "the script never calls {needed}");
    }
    let all = cases(&calls);
    let step = if is_full() { 1 } else { all.len().div_ceil(CASES_SHORT) };
    let mut tally = StrikeTally::default();
    for case in all.iter().step_by(step) {
        strike(&program, &directory, case, &mut tally).with_context(|| case.to_string())?;
    }
    let StrikeTally { struck, missed, acknowledged, unanswered_present } = tally;
    // Thread timing may skip some calls, but not many.
    ensure!(struck > missed * 10, "only {struck} runs reached their call, {missed} did not");
    fs::remove_dir_all(directory)?;
    figures(format!(
        "{struck} runs struck, of {} calls by {} names, {missed} did not come to theirs; \
         {acknowledged} acknowledged appends present once, {unanswered_present} without an answer present",
        all.len() / Injection::ALL.len(),
        calls.by_file.keys().map(|(call, _)| call).collect::<BTreeSet<_>>().len(),
    ))
}

fn strike(program: &Path, directory: &Path, case: &Case, tally: &mut StrikeTally) -> Result<()> {
    let Case { call, path, nth, injection } = case;
    let (trace, inject) = (
        format!("trace={call}"),
        format!("inject={call}:{}:when={nth}", injection.strace_action()),
    );
    let mut traced = vec!["-e", &trace, "-e", &inject];
    let path = path.as_ref().map(|path| path.display().to_string());
    if let Some(path) = &path {
        // Restricts the injection to one file.
        traced.splice(0..0, ["-P", path]);
    }
    let store = run(program, directory, &traced)?;
    let OracleReport { acknowledged, unanswered_present, .. } = store.check()?;
    let trace = fs::read_to_string(directory.join("trace"))?;
    // strace marks injected errors; a kill shows as the end of a thread.
    let struck = trace.contains("(INJECTED)") || trace.contains("+++ killed by SIGKILL");
    tally.struck += usize::from(struck);
    tally.missed += usize::from(!struck);
    tally.acknowledged += acknowledged;
    tally.unanswered_present += unanswered_present;
    Ok(())
}

/// Runs the script on a new store under strace, whatever its exit status.
fn run(program: &Path, directory: &Path, traced: &[&str]) -> Result<OracleStore> {
    for old in ["store", "log"] {
        let old = directory.join(old);
        drop(fs::remove_dir_all(&old).or_else(|_| fs::remove_file(&old)));
    }
    let mut store = OracleStore::new(program, directory)?;
    let script = store.writer(&SCRIPT);
    let mut command = Command::new("timeout");
    command.args(["--signal=KILL", SECONDS_MAX, "strace", "-f", "-y", "-o"]);
    command.arg(directory.join("trace")).args(traced).arg(script.get_program());
    command.args(script.get_args()).stdin(Stdio::null()).stdout(Stdio::piped());
    // The injected failure is reported to standard error, as expected.
    let mut child = command
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("strace cannot be started; install it (`apt-get install strace`)")?;
    let output = child.stdout.take().context("its standard output is piped")?;
    thread::scope(|scope| {
        let recorder = scope.spawn(|| store.record(output, &AtomicU64::new(0)));
        let ended = child.wait();
        // If the script hangs, `timeout` killed only strace; the script would keep the pipe open
        // forever.
        let group = format!("-{}", child.id());
        let rest = Command::new("kill").args(["-9", "--", &group]).stderr(Stdio::null()).status();
        let recorded = recorder.join().expect("the recorder of the log does not panic");
        ended.and(rest).map_err(anyhow::Error::from).and(recorded)
    })?;
    Ok(store)
}

/// Calls on files of the store.
#[derive(Debug, Default)]
struct Calls {
    /// Maximum number of calls of each kind by one thread on a file.
    by_file: BTreeMap<(String, PathBuf), usize>,
    /// Calls on segments under construction, by name and index on their thread.
    on_unnamed: BTreeSet<(String, usize)>,
}

/// Returns whether a file is a segment under construction, whose name contains a salt.
fn is_unnamed(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(".new").filter(|stem| !stem.contains('.'));
    stem.is_some_and(|stem| stem.contains('-'))
}

fn calls_on(trace: &str, store: &Path) -> Calls {
    let store = store.display().to_string();
    let mut calls = Calls::default();
    let mut counts: BTreeMap<(String, PathBuf, String), usize> = BTreeMap::new();
    let mut of_thread: BTreeMap<(String, String), usize> = BTreeMap::new();
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let Some((name, arguments)) = call.trim_start().split_once('(') else { continue };
        let nth = of_thread.entry((name.to_owned(), thread.to_owned())).or_default();
        *nth += 1;
        // Calls on other files, such as libraries and pipes, are not injected.
        let Some(at) = arguments.find(&store) else { continue };
        let path = arguments.get(at..).and_then(|path| path.split(['"', '>']).next());
        let path = PathBuf::from(path.unwrap_or_default());
        if is_unnamed(&path) {
            if !AT_THE_START.contains(&name) {
                calls.on_unnamed.insert((name.to_owned(), *nth));
            }
            continue;
        }
        *counts.entry((name.to_owned(), path, thread.to_owned())).or_default() += 1;
    }
    for ((name, path, _), count) in counts {
        // Injection counts per thread, so the maximum over threads reaches every call.
        let most = calls.by_file.entry((name, path)).or_default();
        *most = count.max(*most);
    }
    calls
}

fn cases(calls: &Calls) -> Vec<Case> {
    let by_file = calls.by_file.iter().flat_map(|((call, path), count)| {
        (1..=*count).map(move |nth| (call.clone(), Some(path.clone()), nth))
    });
    let on_unnamed = calls.on_unnamed.iter().map(|(call, nth)| (call.clone(), None, *nth));
    let each = by_file.chain(on_unnamed).flat_map(|(call, path, nth)| {
        Injection::ALL.map(|injection| Case {
            call: call.clone(),
            path: path.clone(),
            nth,
            injection,
        })
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_on_the_store_are_counted_by_name_file_and_thread() {
        let trace = "\
7 openat(AT_FDCWD</>, \"/s/1.seg.new\", O_RDWR) = 5</s/1.seg.new>
7 pwrite64(5</s/1.seg.new>, \"a\", 1, 0) = 1
7 pwrite64(5</s/1.seg.new>, \"a\", 1, 1 <unfinished ...>
8 pwrite64(5</s/1.seg.new>, \"a\", 1, 2) = 1
7 <... pwrite64 resumed>) = 1
7 rename(\"/s/1.seg.new\", \"/s/1.seg\") = 0
7 fsync(9</s>) = 0
7 write(1<pipe:[3]>, \"offer\", 5) = 5
9 openat(AT_FDCWD</>, \"/s/0002-c8616312.new\", O_RDWR) = 6</s/0002-c8616312.new>
9 pwrite64(5</s/1.seg.new>, \"a\", 1, 3) = 1
9 pwrite64(6</s/0002-c8616312.new>, \"a\", 1, 0) = 1
7 +++ exited with 0 +++
";
        let calls = calls_on(trace, Path::new("/s"));
        let count =
            |call: &str, path: &str| calls.by_file.get(&(call.to_owned(), path.into())).copied();
        assert_eq!(count("openat", "/s/1.seg.new"), Some(1));
        assert_eq!(count("pwrite64", "/s/1.seg.new"), Some(2));
        assert_eq!(count("rename", "/s/1.seg.new"), Some(1));
        assert_eq!(count("fsync", "/s"), Some(1));
        assert_eq!(calls.by_file.len(), 4);
        assert_eq!(calls.on_unnamed, BTreeSet::from([("pwrite64".to_owned(), 2)]));
        assert_eq!(cases(&calls).len(), 18);
    }
}
