//! Description of the machine, the commit and the time of a benchmark.

use std::{fs, path::Path, process::Command, thread};

use anyhow::{Context, Result};

use super::request::BenchRequest;
use crate::workspace::Workspace;

/// Returns the text above the tables.
pub(super) fn describe(
    workspace: &Workspace,
    request: &BenchRequest,
    directory: &Path,
) -> Result<String> {
    let date = output_of("date", &["-u", "+%Y-%m-%d %H:%M UTC"])?;
    let commit = output_of(
        "git",
        &["-C", &workspace.root.to_string_lossy(), "rev-parse", "--short", "HEAD"],
    )?;
    let cores = thread::available_parallelism()?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!(
        "{date}, commit {commit}. {cores} processors ({}), {} GiB, Linux {}, {}. Medians of {} runs \
         of {} s, each ended by a clean close, which counts.\n",
        field("/proc/cpuinfo", "model name")?,
        memory_gib()?,
        kernel.trim(),
        file_system(directory)?,
        request.runs,
        request.seconds,
    ))
}

fn output_of(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| format!("{program} cannot be started"))?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Value of `name: value` in a file.
fn field(file: &str, name: &str) -> Result<String> {
    let text = fs::read_to_string(file).with_context(|| file.to_owned())?;
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(key, _)| key.trim() == name);
    found.map(|(_, value)| value.trim().to_owned()).with_context(|| format!("no {name} in {file}"))
}

fn memory_gib() -> Result<u64> {
    let total = field("/proc/meminfo", "MemTotal")?;
    let kib: u64 = total.trim_end_matches(" kB").parse().context("MemTotal")?;
    Ok((kib >> 20) + 1)
}

/// File system of a directory: that of the longest mount point above it.
fn file_system(directory: &Path) -> Result<String> {
    let mounts = fs::read_to_string("/proc/mounts").context("/proc/mounts")?;
    let directory = directory.canonicalize()?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((Path::new(fields.next()?), fields.next()?))
    });
    // The root file system is above every directory, so there is always one.
    let above = mounts.filter(|(mount, _)| directory.starts_with(mount));
    let (_, kind) = above.max_by_key(|(mount, _)| mount.as_os_str().len()).context("no mount")?;
    Ok(kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_described() {
        let workspace = Workspace::open().unwrap();
        let request = BenchRequest::parse(&[]).unwrap();
        let text = describe(&workspace, &request, &workspace.root).unwrap();
        assert!(text.contains(" UTC, commit ") && text.contains("Linux "), "{text}");
        assert!(text.contains("Medians of 5 runs of 3 s"), "{text}");
    }

    #[test]
    fn a_field_that_is_not_there_is_an_error() {
        assert!(field("/proc/meminfo", "NoSuchField").is_err());
        assert!(memory_gib().unwrap() > 0);
    }
}
