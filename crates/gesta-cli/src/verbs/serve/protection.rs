//! The options that protect a server, and what they amount to.
//!
//! Owns: [`ProtectionOptions`], and the rule that a server is secure or explicitly not. Invariant:
//! files are read before anything is opened, and no secret of a file is printed.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use clap::Args;
use gesta_server::{Security, Tls, TlsFileError, TlsFiles, TokenRule};
use rustix::fs::{Access, access};

use crate::{exit::Refusal, store_url::PlaceToServe};

/// Maximum size of the file of a key.
const FILE_BYTES_MAX: u64 = 1 << 20;

#[derive(Args, Debug)]
pub(super) struct ProtectionOptions {
    /// Serve without TLS and users, on loopback only. Every process of this machine may read,
    /// append and delete
    #[arg(long, env = "GESTA_INSECURE")]
    insecure: bool,
    /// PEM file with the certificate of the server, followed by those of its authorities. A file
    /// that replaces it, with its key, is taken up within seconds
    #[arg(long, value_name = "FILE", env = "GESTA_TLS_CERT")]
    pub(super) tls_cert: Option<PathBuf>,
    /// PEM file with the private key of the certificate
    #[arg(long, value_name = "FILE", env = "GESTA_TLS_KEY")]
    pub(super) tls_key: Option<PathBuf>,
    /// PEM file with the authorities of client certificates; the common name of such a certificate
    /// is the login of its user
    #[arg(long, value_name = "FILE", env = "GESTA_CLIENT_CA")]
    pub(super) client_ca: Option<PathBuf>,
    /// File with the key of bearer tokens (JWT): a public key in PEM for RS256 or ES256, else a
    /// shared secret for HS256
    #[arg(long, value_name = "FILE", env = "GESTA_JWT_KEY")]
    pub(super) jwt_key: Option<PathBuf>,
    /// Accept only bearer tokens of this issuer (`iss`)
    #[arg(long, value_name = "TEXT", env = "GESTA_JWT_ISSUER")]
    pub(super) jwt_issuer: Option<String>,
    /// Accept only bearer tokens for this audience (`aud`)
    #[arg(long, value_name = "TEXT", env = "GESTA_JWT_AUDIENCE")]
    pub(super) jwt_audience: Option<String>,
    /// File for the one-time passwords of `admin` and `ops`, which the first start of a store
    /// makes. Without it they are printed
    #[arg(long, value_name = "FILE", env = "GESTA_ADMIN_PASSWORD_FILE")]
    pub(super) admin_password_file: Option<PathBuf>,
}

/// The protection of a server.
#[derive(Debug)]
pub(super) enum Protection {
    Insecure,
    Secure(Box<Security>),
}

impl ProtectionOptions {
    /// Reads the files. Refuses a server that is neither secure nor said to be insecure.
    pub(super) fn read(&self) -> Result<Protection> {
        let files = [&self.tls_cert, &self.tls_key, &self.client_ca, &self.jwt_key];
        if self.insecure {
            if files.iter().any(|file| file.is_some()) {
                let message = "an insecure server uses no certificates and no keys";
                let hint = "remove --insecure, or the other options and settings";
                return Err(Refusal::usage("insecure", message).hint(hint).into());
            }
            if self.admin_password_file.is_some() {
                let message = "an insecure server has no users, and writes no first passwords";
                let hint = "remove --insecure, or --admin-password-file";
                return Err(Refusal::usage("insecure", message).hint(hint).into());
            }
            return Ok(Protection::Insecure);
        }
        self.check_password_file()?;
        let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) else {
            let message = "a server with users needs TLS: a certificate and its key";
            let hint = "pass --tls-cert and --tls-key (`gesta certs dev` makes both for \
                        localhost), or add --insecure to serve the processes of this machine";
            return Err(Refusal::usage("insecure", message).hint(hint).into());
        };
        let security = Security::new(self.tls(certificate, key)?);
        Ok(Protection::Secure(Box::new(match &self.jwt_key {
            Some(path) => security.tokens(self.tokens(path)?),
            None => security,
        })))
    }

    /// Checks that a file of first passwords can be made.
    fn check_password_file(&self) -> Result<()> {
        let Some(path) = &self.admin_password_file else { return Ok(()) };
        let unusable = |reason: &str, hint: &str| {
            let message = format!("--admin-password-file {}: {reason}", path.display());
            Err(Refusal::usage("password-file", message).hint(hint).into())
        };
        if path.file_name().is_none() || path.is_dir() {
            return unusable("it is a directory", "name a file in it");
        }
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or_else(|| Path::new("."));
        if !directory.is_dir() {
            let reason = format!("the directory {} does not exist", directory.display());
            return unusable(&reason, "create the directory, or name another file");
        }
        if access(directory, Access::WRITE_OK | Access::EXEC_OK).is_err() {
            let reason = format!("{} cannot be written to", directory.display());
            return unusable(&reason, "change its permissions, or name another file");
        }
        Ok(())
    }

    /// Checks that the first start, which makes users, can write their passwords.
    pub(super) fn check_first_passwords(&self, state: PlaceToServe) -> Result<()> {
        match &self.admin_password_file {
            Some(path) if state == PlaceToServe::New && path.exists() => Err(existing_file(path)),
            _ => Ok(()),
        }
    }

    fn tls(&self, certificate: &Path, key: &Path) -> Result<Tls> {
        let files = TlsFiles::new(certificate, key);
        let files = match &self.client_ca {
            Some(authorities) => files.client_authorities(authorities),
            None => files,
        };
        files.read().map_err(|error| match error {
            TlsFileError::TooLarge { .. } => {
                Refusal::usage("certificates", error.to_string()).into()
            }
            error => error.into(),
        })
    }

    fn tokens(&self, path: &Path) -> Result<TokenRule> {
        let rule = TokenRule::new(&bytes(path)?);
        let mut rule = rule.with_context(|| format!("{} cannot be used", path.display()))?;
        if let Some(issuer) = &self.jwt_issuer {
            rule = rule.issuer(issuer.as_str());
        }
        if let Some(audience) = &self.jwt_audience {
            rule = rule.audience(audience.as_str());
        }
        Ok(rule)
    }
}

/// Reads the file of a key. A device without an end is refused, too.
fn bytes(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {}", path.display()))?;
    if read as u64 > FILE_BYTES_MAX {
        let message = format!("{} has more than 1 MiB, so it has no key", path.display());
        return Err(Refusal::usage("certificates", message).into());
    }
    Ok(bytes)
}

/// Refuses a file of first passwords that exists where the first start would write it.
pub(super) fn existing_file(path: &Path) -> anyhow::Error {
    let cannot = format!("cannot write the first passwords to {}", path.display());
    let hint = "move the file away, or name another one; the users were not made yet";
    Refusal::usage("file-exists", format!("{cannot}, because the file exists")).hint(hint).into()
}
