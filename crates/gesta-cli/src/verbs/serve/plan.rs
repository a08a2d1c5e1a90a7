//! `--check-config`: what a server would do with its settings, without one.
//!
//! Owns: [`ServePlan`]. Invariants: nothing is created and no port stays open; no secret is
//! printed. A server that runs with the same settings is no reason to refuse: its port is in use.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::{
    output::{Output, Style, notice},
    store_url::PlaceToServe,
};

/// Everything that serving would use, as `--check-config` prints it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServePlan {
    pub(super) store: String,
    pub(super) store_state: PlaceToServe,
    pub(super) listen: String,
    pub(super) advertise: Option<String>,
    pub(super) tls: bool,
    pub(super) users: bool,
    pub(super) tls_cert: Option<PathBuf>,
    pub(super) tls_key: Option<PathBuf>,
    pub(super) client_certificates: bool,
    pub(super) client_ca: Option<PathBuf>,
    pub(super) tokens: bool,
    pub(super) jwt_key: Option<PathBuf>,
    pub(super) jwt_issuer: Option<String>,
    pub(super) jwt_audience: Option<String>,
    pub(super) admin_password_file: Option<PathBuf>,
    pub(super) max_connections: u32,
    pub(super) drain_seconds: u16,
    pub(super) backups: Option<PathBuf>,
    pub(super) environment: Option<String>,
    pub(super) log: String,
    pub(super) log_format: &'static str,
    pub(super) traces: Option<String>,
    pub(super) trace_ratio: Option<f64>,
}

/// Opens a port for a moment.
pub(super) fn check_port(address: SocketAddr) -> Result<()> {
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            notice(format_args!("note: {address} is in use now, perhaps by a server that runs"));
            Ok(())
        }
        Err(error) => Err(error).with_context(|| format!("cannot listen on {address}")),
    }
}

impl ServePlan {
    /// Prints the plan.
    pub(super) fn show(&self, output: &mut Output) -> Result<()> {
        match output.style() {
            Style::Json => output.json(self),
            Style::Text => self.print(output),
        }
    }

    fn print(&self, output: &mut Output) -> Result<()> {
        let Self { store, listen, .. } = self;
        let how = if self.tls { "with" } else { "without" };
        output.line(format_args!("would serve {store} at {listen} {how} TLS and users"))?;
        let file = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let passwords = match (self.users, &self.admin_password_file, self.store_state) {
            (false, ..) => None,
            (true, Some(path), PlaceToServe::New) => Some(path.display().to_string()),
            (true, None, PlaceToServe::New) => Some("printed at the first start".to_owned()),
            (true, Some(path), _) => {
                Some(format!("{}, unless the store has users already", path.display()))
            }
            (true, None, _) => Some("printed, unless the store has users already".to_owned()),
        };
        let none = || Some("not accepted".to_owned());
        let lines = [
            ("store", Some(self.store_state.words().to_owned())),
            ("certificate", file(&self.tls_cert)),
            ("its key", file(&self.tls_key)),
            ("client certificates", file(&self.client_ca).or_else(none).filter(|_| self.tls)),
            ("bearer tokens", file(&self.jwt_key).or_else(none).filter(|_| self.tls)),
            ("their issuer", self.jwt_issuer.clone()),
            ("their audience", self.jwt_audience.clone()),
            ("first passwords", passwords),
            ("connections", Some(format!("at most {}", self.max_connections))),
            ("drain", Some(format!("{} seconds", self.drain_seconds))),
            ("backups below", file(&self.backups)),
            ("environment", self.environment.clone()),
            ("log", Some(format!("{}, as {}", self.log, self.log_format))),
            ("traces", self.traces.clone().or_else(|| Some("not sent".to_owned()))),
            ("part of the traces", self.trace_ratio.map(|ratio| ratio.to_string())),
            ("other servers name it", self.advertise.clone()),
        ];
        for (name, text) in lines {
            if let Some(text) = text {
                output.line(format_args!("  {name:<22} {text}"))?;
            }
        }
        Ok(())
    }
}
