//! The users of a store that has none: `admin` and `ops` with random passwords.
//!
//! Invariant: the passwords are where they were asked for before the users exist, so none is lost.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Result;
use gesta_server::{FirstPasswords, Server};
use serde_json::json;

use super::{super::certs::write_new, protection::existing_file};
use crate::output::{Output, Style};

/// Creates the users unless there are some, and prints their passwords once.
pub(super) async fn create(
    server: &Server,
    file: Option<&PathBuf>,
    output: &mut Output,
) -> Result<()> {
    if !server.lacks_first_users().await? {
        if let Some(path) = file.filter(|path| !path.exists()) {
            tracing::info!(file = %path.display(), "the store has users, so no passwords are written");
        }
        return Ok(());
    }
    let passwords = FirstPasswords::random();
    if let Some(path) = file {
        write(path, &passwords)?;
    }
    let created = server.create_first_users(&passwords).await;
    if let Some(path) = file {
        if !matches!(created, Ok(true)) {
            // The passwords are of no use: another server has made the users.
            let _ = fs::remove_file(path);
        }
    } else if matches!(created, Ok(true)) {
        tell(&passwords, output)?;
    }
    created?;
    Ok(())
}

fn write(path: &Path, passwords: &FirstPasswords) -> Result<()> {
    let text = format!("admin {}\nops {}\n", passwords.admin(), passwords.ops());
    let written = write_new(path, 0o600, text.as_bytes());
    written.map_err(|error| {
        if error.kind() != io::ErrorKind::AlreadyExists {
            let cannot = format!("cannot write the first passwords to {}", path.display());
            return anyhow::Error::from(error).context(cannot);
        }
        existing_file(path)
    })
}

fn tell(passwords: &FirstPasswords, output: &mut Output) -> Result<()> {
    let (admin, ops) = (passwords.admin(), passwords.ops());
    match output.style() {
        Style::Text => {
            output.line("the first start has made two users; their passwords are shown once:")?;
            output.line(format_args!("  admin  {admin}\n  ops    {ops}"))?;
        }
        Style::Json => output.json(&json!({ "passwords": { "admin": admin, "ops": ops } }))?,
    }
    output.flush()
}
