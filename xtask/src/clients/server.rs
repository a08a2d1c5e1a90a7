//! The servers that clients are run against.

use std::{
    ffi::OsString,
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::step::step;

/// The store of a server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum StoreKind {
    Memory,
    Directory,
}

impl StoreKind {
    /// Returns the name that scripts are told.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Directory => "directory",
        }
    }
}

/// Certificates of a secured server, and the file that it writes its first passwords to.
pub(super) struct Certificates {
    pub(super) folder: PathBuf,
}

impl Certificates {
    pub(super) fn make(program: &Path, folder: &Path) -> Result<Self> {
        let folder = folder.join("certificates");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        let mut make = Command::new(program);
        make.args(["certs", "dev", "--directory"]).arg(&folder);
        step("certificates", &mut make)?;
        Ok(Self { folder })
    }

    fn passwords(&self) -> PathBuf {
        self.folder.join("passwords")
    }

    fn options(&self) -> [OsString; 6] {
        let file = |name| self.folder.join(name).into_os_string();
        [
            "--tls-cert".into(),
            file("server.pem"),
            "--tls-key".into(),
            file("server.key"),
            "--admin-password-file".into(),
            file("passwords"),
        ]
    }

    /// Returns login and password of the administrator, joined by a colon.
    pub(super) fn login(&self) -> Result<String> {
        let passwords = fs::read_to_string(self.passwords())?;
        let admin = passwords.lines().find_map(|line| line.strip_prefix("admin "));
        Ok(format!("admin:{}", admin.context("there is no password of admin")?))
    }
}

/// A server on a free port, which ends with this value.
pub(super) struct Server {
    process: Child,
    pub(super) address: String,
}

impl Server {
    pub(super) fn start(
        program: &Path,
        store: StoreKind,
        folder: &Path,
        secured: Option<&Certificates>,
    ) -> Result<Self> {
        let url = match store {
            StoreKind::Memory => "memory:".to_owned(),
            StoreKind::Directory => {
                let directory = folder.join("store");
                if directory.exists() {
                    fs::remove_dir_all(&directory)?;
                }
                fs::create_dir_all(&directory)?;
                format!("gesta:{}?index=correlation,streams", directory.display())
            }
        };
        let mut command = Command::new(program);
        command
            .args(["serve", "--json", "--listen", "127.0.0.1:0", "--store"])
            .arg(url)
            .stdout(Stdio::piped());
        match secured {
            Some(certificates) => command.args(certificates.options()),
            None => command.arg("--insecure"),
        };
        let mut process = command.spawn().context("gesta serve cannot be started")?;
        let mut line = String::new();
        if let Some(output) = process.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let mut server = Self { process, address: String::new() };
        let started: Value = serde_json::from_str(&line)
            .with_context(|| format!("gesta serve did not start; it printed {line:?}"))?;
        let Some(address) = started.get("address").and_then(Value::as_str) else {
            bail!("gesta serve printed no address: {line}");
        };
        server.address = address.to_owned();
        ensure!(server.process.try_wait()?.is_none(), "gesta serve ended at once");
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, which the scripts have noticed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
