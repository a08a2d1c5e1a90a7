//! The options that protect a server, and what they amount to.
//!
//! Owns: [`ProtectionOptions`], and the rule that a server is secure or explicitly not. Invariant:
//! files are read before anything is opened, and no secret of a file is printed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use clap::Args;
use gesta_server::{Security, Tls, TokenRule};

use crate::exit::Refusal;

#[derive(Args, Debug)]
pub(super) struct ProtectionOptions {
    /// Serve without TLS and users, on loopback only. Every process of this machine may read,
    /// append and delete
    #[arg(long, env = "GESTA_INSECURE")]
    insecure: bool,
    /// PEM file with the certificate of the server, followed by those of its authorities
    #[arg(long, value_name = "FILE", env = "GESTA_TLS_CERT")]
    tls_cert: Option<PathBuf>,
    /// PEM file with the private key of the certificate
    #[arg(long, value_name = "FILE", env = "GESTA_TLS_KEY")]
    tls_key: Option<PathBuf>,
    /// PEM file with the authorities of client certificates; the common name of such a certificate
    /// is the login of its user
    #[arg(long, value_name = "FILE", env = "GESTA_CLIENT_CA")]
    client_ca: Option<PathBuf>,
    /// File with the key of bearer tokens (JWT): a public key in PEM for RS256 or ES256, else a
    /// shared secret for HS256
    #[arg(long, value_name = "FILE", env = "GESTA_JWT_KEY")]
    jwt_key: Option<PathBuf>,
    /// Accept only bearer tokens of this issuer (`iss`)
    #[arg(long, value_name = "TEXT", env = "GESTA_JWT_ISSUER")]
    jwt_issuer: Option<String>,
    /// Accept only bearer tokens for this audience (`aud`)
    #[arg(long, value_name = "TEXT", env = "GESTA_JWT_AUDIENCE")]
    jwt_audience: Option<String>,
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
            return Ok(Protection::Insecure);
        }
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

    fn tls(&self, certificate: &Path, key: &Path) -> Result<Tls> {
        let (chain, private) = (bytes(certificate)?, bytes(key)?);
        let tls = match &self.client_ca {
            Some(authorities) => {
                Tls::with_client_certificates(&chain, &private, &bytes(authorities)?)
            }
            None => Tls::new(&chain, &private),
        };
        let unusable = || format!("{} and {} cannot be used", certificate.display(), key.display());
        tls.with_context(unusable)
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

    /// Returns `true` if clients may have certificates.
    pub(super) const fn accepts_certificates(&self) -> bool {
        self.client_ca.is_some()
    }

    /// Returns `true` if clients may have bearer tokens.
    pub(super) const fn accepts_tokens(&self) -> bool {
        self.jwt_key.is_some()
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
