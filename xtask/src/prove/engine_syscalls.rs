//! The engine with each of its system calls killed or failed in turn.
//!
//! A fixed script (`gesta bench tell` with one writer and tiny segments: it opens a store, appends,
//! seals and begins segments, puts their index into files, merges these, and closes) is traced once
//! for the calls that it makes on the store. Then it runs again for each of them, on a fresh store:
//! killed as it enters the call, and with the call failing with `EIO` and with `ENOSPC`. After each
//! run a fresh process opens the store and reads everything back.
//!
//! Always holds: a call is named by its name, its file and how many of that kind came before it on
//! its thread, so that runs whose threads meet otherwise still strike all of them; a run that does
//! not come as far as to its call is counted apart. A segment that is being made has another name in
//! each run (`NUMBER-SALT.new`): calls on it are counted over all files. Not here: opening such a
//! file, for that would strike the program's own start; the tests of shortages fail it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::AtomicUsize,
    thread,
};

use anyhow::{Context, Result, ensure};

use super::{
    Effort, Ground,
    told::{Recounted, ToldStore, build},
};

/// What the script does.
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
/// Calls that read, change or sync files, or their names.
const CALLS: &str = "openat,flock,read,pread64,write,pwrite64,pwritev,pwritev2,fdatasync,fsync,\
                     rename,renameat,renameat2,unlink,unlinkat,ftruncate,fallocate,getdents64,\
                     fadvise64,statx,mkdir";
const CASES_SHORT: usize = 40;
const SECONDS_MAX: &str = "30";
/// The lives of all files are gone through only if some of these are met.
const NEEDED: [&str; 6] = ["openat", "pwrite64", "fdatasync", "fsync", "rename", "unlink"];

/// Calls that every program makes when it starts.
const AT_THE_START: [&str; 4] = ["openat", "read", "pread64", "statx"];

/// What becomes of a call.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Killed,
    InputOutput,
    NoSpace,
}

impl Fate {
    const ALL: [Self; 3] = [Self::Killed, Self::InputOutput, Self::NoSpace];

    const fn injected(self) -> &'static str {
        match self {
            Self::Killed => "signal=KILL",
            Self::InputOutput => "error=EIO",
            Self::NoSpace => "error=ENOSPC",
        }
    }
}

/// One call of the script and what becomes of it.
#[derive(Debug)]
struct Case {
    call: String,
    /// None for calls on a file that has another name in each run.
    path: Option<PathBuf>,
    /// Counted from 1, on that file or, without one, over all.
    nth: usize,
    fate: Fate,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call, path, nth, fate } = self;
        write!(f, "{} at call {nth} of {call}", fate.injected())?;
        let name = path.as_deref().and_then(Path::file_name);
        name.map_or(Ok(()), |name| write!(f, " on {}", name.display()))
    }
}

/// How the runs ended.
#[derive(Debug, Default)]
struct Tally {
    struck: usize,
    missed: usize,
    acknowledged: u64,
    open_and_there: u64,
}

/// Strikes every call, or in the short form a sample.
pub(super) fn every_call(ground: &Ground) -> Result<String> {
    let (gesta, directory) = build(ground, "engine-syscalls")?;
    let directory = directory.canonicalize()?;
    let trace = directory.join("trace");
    run(&gesta, &directory, &["-e", &format!("trace={CALLS}")])?;
    let calls = calls_on(&fs::read_to_string(&trace)?, &directory.join("store"));
    for needed in NEEDED {
        let by_file = calls.by_file.keys().any(|(call, _)| call == needed);
        ensure!(by_file, "the script never calls {needed}");
    }
    let all = cases(&calls);
    let step = match ground.effort {
        Effort::Full => 1,
        Effort::Short => all.len().div_ceil(CASES_SHORT),
    };
    let mut tally = Tally::default();
    for case in all.iter().step_by(step) {
        strike(&gesta, &directory, case, &mut tally).with_context(|| case.to_string())?;
    }
    let Tally { struck, missed, acknowledged, open_and_there } = tally;
    ensure!(struck > missed * 10, "only {struck} runs came to their call, {missed} did not");
    fs::remove_dir_all(directory)?;
    Ok(format!(
        "{struck} runs struck, of {} calls by {} names, {missed} did not come to theirs; \
         {acknowledged} acknowledged appends there once, {open_and_there} without an answer there",
        all.len() / Fate::ALL.len(),
        calls.by_file.keys().map(|(call, _)| call).collect::<BTreeSet<_>>().len(),
    ))
}

fn strike(gesta: &Path, directory: &Path, case: &Case, tally: &mut Tally) -> Result<()> {
    let Case { call, path, nth, fate } = case;
    let (trace, inject) =
        (format!("trace={call}"), format!("inject={call}:{}:when={nth}", fate.injected()));
    let mut traced = vec!["-e", &trace, "-e", &inject];
    let path = path.as_ref().map(|path| path.display().to_string());
    if let Some(path) = &path {
        traced.splice(0..0, ["-P", path]);
    }
    let store = run(gesta, directory, &traced)?;
    let Recounted { acknowledged, open_and_there, .. } = store.recount()?;
    let trace = fs::read_to_string(directory.join("trace"))?;
    let struck = trace.contains("(INJECTED)") || trace.contains("+++ killed by SIGKILL");
    tally.struck += usize::from(struck);
    tally.missed += usize::from(!struck);
    tally.acknowledged += acknowledged;
    tally.open_and_there += open_and_there;
    Ok(())
}

/// Runs the script on a fresh store under strace, however it ends.
fn run(gesta: &Path, directory: &Path, traced: &[&str]) -> Result<ToldStore> {
    for old in ["store", "log"] {
        let old = directory.join(old);
        drop(fs::remove_dir_all(&old).or_else(|_| fs::remove_file(&old)));
    }
    let mut store = ToldStore::new(gesta, directory)?;
    let script = store.tell(&SCRIPT);
    let mut command = Command::new("timeout");
    command.args(["--signal=KILL", SECONDS_MAX, "strace", "-f", "-y", "-o"]);
    command.arg(directory.join("trace")).args(traced).arg(script.get_program());
    command.args(script.get_args()).stdin(Stdio::null()).stdout(Stdio::piped());
    // What is struck complains, as it should.
    let mut child = command
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("strace cannot be started; install it (`apt-get install strace`)")?;
    let output = child.stdout.take().context("its standard output is piped")?;
    thread::scope(|scope| {
        let keeper = scope.spawn(|| store.keep(output, &AtomicUsize::new(0)));
        let ended = child.wait();
        // If it hangs, strace was killed and left it alone; it would keep the log for ever.
        let group = format!("-{}", child.id());
        let rest = Command::new("kill").args(["-9", "--", &group]).stderr(Stdio::null()).status();
        let kept = keeper.join().expect("the keeper of the log does not panic");
        ended.and(rest).map_err(anyhow::Error::from).and(kept)
    })?;
    Ok(store)
}

/// The calls on files of the store.
#[derive(Debug, Default)]
struct Calls {
    /// How many of each kind a thread makes on a file, at most.
    by_file: BTreeMap<(String, PathBuf), usize>,
    /// Calls on segments that are being made: which ones of their kind they are on their thread.
    on_unnamed: BTreeSet<(String, usize)>,
}

/// Whether a file is a segment that is being made, whose name has a salt.
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
        Fate::ALL.map(|fate| Case { call: call.clone(), path: path.clone(), nth, fate })
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
