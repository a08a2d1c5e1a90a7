//! Processes of other programs, known by id and start time.
//!
//! Invariant: a signal is sent only if the process with this id still has the noted start time. The
//! system reuses ids, and a file with an old one may be read days later.

use std::{fmt, fs, str::FromStr};

use anyhow::{Context, Error, Result};
pub(crate) use rustix::process::Signal;
use rustix::{
    io::Errno,
    process::{Pid, kill_process},
};

/// Place of the start time in `/proc/PID/stat`, counted from the field after the program's name.
const START_TIME: usize = 19;

/// A process by its id and start time, which together are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProcessId {
    pid: Pid,
    /// In clock ticks after the machine's start.
    started: u64,
}

impl ProcessId {
    /// Returns the identity of a running process, or `None` if there is none with this id.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let pid = pid_of(pid)?;
        let started = fields_of(pid)?.get(START_TIME)?.parse().ok()?;
        Some(Self { pid, started })
    }

    /// Returns whether the process still runs. One that has ended and was not waited for does not.
    pub(crate) fn is_alive(self) -> bool {
        let Some(fields) = fields_of(self.pid) else { return false };
        let is_same = fields.get(START_TIME).is_some_and(|text| *text == self.started.to_string());
        let is_ended = fields.first().is_some_and(|state| state == "Z");
        // The first thread can end before the others, which keep ports and files.
        is_same && (!is_ended || threads_of(self.pid).len() > 1)
    }

    /// Returns the processes that this one has started and that still run.
    pub(crate) fn children(self) -> Vec<Self> {
        let lists = threads_of(self.pid).into_iter().filter_map(|thread| {
            let path = format!("/proc/{}/task/{thread}/children", self.pid.as_raw_nonzero());
            fs::read_to_string(path).ok()
        });
        let lists: Vec<String> = lists.collect();
        let ids = lists.iter().flat_map(|list| list.split_whitespace());
        ids.filter_map(|id| Self::of(id.parse().ok()?)).collect()
    }

    /// Sends a signal. Has no effect on a process that has ended.
    pub(crate) fn signal(self, signal: Signal) -> Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        match kill_process(self.pid, signal) {
            // It has ended since.
            Err(Errno::SRCH) => Ok(()),
            sent => sent.with_context(|| format!("cannot signal process {self}")),
        }
    }
}

/// The form in files.
impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pid.as_raw_nonzero(), self.started)
    }
}

impl FromStr for ProcessId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parsed = || {
            let (pid, started) = text.trim().split_once(' ')?;
            Some(Self { pid: pid_of(pid.parse().ok()?)?, started: started.parse().ok()? })
        };
        parsed().with_context(|| format!("{text:?} is not a process id and its start time"))
    }
}

fn pid_of(number: u32) -> Option<Pid> {
    // 0 and negative numbers mean groups of processes.
    Pid::from_raw(number.try_into().ok()?)
}

/// Fields of `/proc/PID/stat` after the program's name, or `None` if the process does not exist.
fn fields_of(pid: Pid) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The name is in parentheses and may contain spaces and parentheses.
    let (_, fields) = text.rsplit_once(") ")?;
    Some(fields.split(' ').map(str::to_owned).collect())
}

fn threads_of(pid: Pid) -> Vec<String> {
    let Ok(entries) = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())) else {
        return Vec::new();
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.collect()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{
        io::Read as _,
        process::{Command, Stdio, id},
    };

    use super::*;

    #[test]
    fn a_process_reads_as_it_was_written() {
        let own = ProcessId::of(id()).unwrap();
        assert!(own.is_alive());
        assert_eq!(own.to_string().parse::<ProcessId>().unwrap(), own);
        for wrong in ["", "7", "7 ", "seven 7", "0 7", "-1 7"] {
            assert!(wrong.parse::<ProcessId>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_reused_id_is_another_process() {
        let own = ProcessId::of(id()).unwrap();
        let earlier = ProcessId { started: own.started - 1, ..own };
        assert!(!earlier.is_alive());
        // This process would end if the signal reached it.
        earlier.signal(Signal::KILL).unwrap();
    }

    #[test]
    fn a_killed_process_is_not_alive_before_it_is_waited_for() {
        let mut child = Command::new("cat");
        let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let process = ProcessId::of(child.id()).unwrap();
        assert!(process.is_alive());
        assert!(ProcessId::of(id()).unwrap().children().contains(&process));
        process.signal(Signal::KILL).unwrap();
        // Its output ends when it does.
        assert_eq!(child.stdout.take().unwrap().read_to_end(&mut Vec::new()).unwrap(), 0);
        let ended =
            crate::wait::wait_until(std::time::Duration::from_secs(60), || Ok(!process.is_alive()));
        assert!(ended.unwrap());
        child.wait().unwrap();
    }
}
