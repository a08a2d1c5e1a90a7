//! The server that a command is for, and the user of the command.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use clap::Args;
use gesta_server::admin::{AdminClient, ClientTls};

use super::{
    calls::wait,
    connection_string::{ConnectionString, TlsFiles},
    password,
};
use crate::exit::Refusal;

/// Files in which distributions have the authorities that a machine trusts.
const SYSTEM_AUTHORITIES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

#[derive(Args, Debug)]
pub(super) struct ServerTarget {
    /// Connection string of the server, as clients have it:
    /// kurrentdb://USER@HOST:PORT?tlsCaFile=FILE
    #[arg(long, global = true, value_name = "URL", env = "GESTA_SERVER", hide_env_values = true)]
    server: Option<ConnectionString>,
    /// File with the password of the user in the URL
    #[arg(long, global = true, value_name = "FILE", env = "GESTA_PASSWORD_FILE")]
    password_file: Option<PathBuf>,
}

impl ServerTarget {
    /// Returns a client of the server, or of the first of several that can be reached.
    pub(super) fn client(self) -> Result<AdminClient> {
        let Some(server) = self.server else {
            let message = "no server given: use --server kurrentdb://…, or set GESTA_SERVER";
            return Err(Refusal::usage("no-server-named", message).into());
        };
        let ConnectionString { addresses, login, password, has_tls, files } = server;
        let password = match (&login, password) {
            // Credentials go over encrypted connections only.
            (_, _) if !has_tls => None,
            (None, _) => None,
            (Some(_), Some(password)) => Some(password),
            (Some(login), None) => {
                Some(password::of_login(login, self.password_file.as_deref(), &files)?)
            }
        };
        let tls = if has_tls { Some(tls(&files)?) } else { None };
        let clients = addresses.into_iter().map(|address| {
            let client = match &tls {
                Some(tls) => AdminClient::secure(address, tls.clone()),
                None => AdminClient::insecure(address),
            };
            match (&login, &password) {
                (Some(login), Some(password)) if !password.is_empty() => {
                    client.user(login, password)
                }
                _ => client,
            }
        });
        first_reached(clients)
    }
}

fn first_reached(mut clients: impl ExactSizeIterator<Item = AdminClient>) -> Result<AdminClient> {
    loop {
        let client = clients.next().context("the URL names no server")?;
        // The last one tells its error at the call.
        if clients.len() == 0 || wait(client.ping()).is_ok() {
            return Ok(client);
        }
    }
}

fn tls(files: &TlsFiles) -> Result<ClientTls> {
    let authorities = match &files.authorities {
        Some(path) => bytes(path)?,
        None => system_authorities()?,
    };
    let tls = match (&files.certificate, &files.key) {
        (Some(certificate), Some(key)) => {
            ClientTls::with_certificate(&authorities, &bytes(certificate)?, &bytes(key)?)
        }
        _ => ClientTls::new(&authorities),
    };
    tls.map_err(|error| Refusal::usage("certificates", error.to_string()).into())
}

fn system_authorities() -> Result<Vec<u8>> {
    let found = SYSTEM_AUTHORITIES.iter().find_map(|path| fs::read(path).ok());
    found.ok_or_else(|| {
        let message = "this machine has no list of authorities";
        let hint = "name the authority of the server's certificate: ?tlsCaFile=FILE in the URL";
        Refusal::usage("certificates", message).hint(hint).into()
    })
}

fn bytes(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
