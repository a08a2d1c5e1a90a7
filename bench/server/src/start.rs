//! Idle memory of `gesta serve`, and its time to ready on a store of 1 GB.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};

use crate::{report::Report, servers::Program};

/// Time after which a server that nobody calls is idle.
const IDLE_AFTER: Duration = Duration::from_secs(1);
const STORE_BYTES_MIN: u64 = 1_000_000_000;
const STARTS: usize = 5;

pub(crate) fn measure(gesta: &Path, data: &Path, report: &mut Report) -> Result<()> {
    let program = || Program::Gesta(gesta.to_owned());
    let fresh = program().start("gesta", &data.join("fresh"))?;
    thread::sleep(IDLE_AFTER);
    report.idle_bytes = Some(fresh.resident_bytes()?);
    drop(fresh);
    let large = data.join("large");
    report.store_bytes = fill(gesta, &large)?;
    for _ in 0..STARTS {
        let started = program().start("gesta", &large)?;
        report.ready_after.push(started.ready_after);
        report.ready_time = Some(started.processor_time()?);
        thread::sleep(IDLE_AFTER);
        report.large_bytes = Some(started.resident_bytes()?);
        // As after a crash, which is the slower start.
        started.kill()?;
    }
    Ok(fs::remove_dir_all(large)?)
}

/// Fills a store with single and batched events until it is large enough. Returns its size.
fn fill(gesta: &Path, directory: &Path) -> Result<u64> {
    let mut seconds = 4_u64;
    loop {
        eprintln!("fills a store of 1 GB");
        fs::create_dir_all(directory)?;
        let mut command = Command::new(gesta);
        command.args(["bench", "append", "--writers", "8", "--events-per-append", "20"]);
        command.args(["--store", &format!("gesta:{}", directory.display())]);
        command.args(["--seconds", &seconds.to_string()]).stdout(Stdio::null());
        ensure!(command.status()?.success(), "`gesta bench append` failed");
        let bytes = bytes_in(directory)?;
        if bytes >= STORE_BYTES_MIN {
            return Ok(bytes);
        }
        seconds *= 1 + STORE_BYTES_MIN / bytes.max(1);
        fs::remove_dir_all(directory)?;
    }
}

fn bytes_in(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let metadata = entry?.metadata()?;
        if metadata.is_file() {
            bytes += metadata.len();
        }
    }
    Ok(bytes)
}
