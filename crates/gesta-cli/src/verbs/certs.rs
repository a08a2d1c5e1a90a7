//! `gesta certs`: certificates for development.
//!
//! Owns: a private authority, a certificate of the server and those of users. Invariants: no file
//! is overwritten; private keys are readable by their owner only. Not here: how a server uses them.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use gesta_log::{Clock as _, SystemClock};
use jiff::{Span, Timestamp, ToSpan as _, tz::TimeZone};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use serde_json::json;

use crate::{
    exit::{Outcome, Refusal},
    output::{Output, Style},
};

/// Mode of a private key.
const OWNER_ONLY: u32 = 0o600;
/// Mode of a certificate.
const READABLE: u32 = 0o644;
const AUTHORITY: &str = "Gesta development authority";
const AUTHORITY_YEARS: i64 = 10;
/// Some systems refuse server certificates that are valid for more than 825 days.
const DAYS: i64 = 800;

const HINT: &str = "\
Examples:
  gesta certs dev
  gesta certs dev --directory ./certs --name events.example
  gesta certs user ann --directory ./certs
  gesta serve --store gesta:./things --tls-cert certs/server.pem --tls-key certs/server.key";

/// Make certificates for development
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Certs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    Dev(Dev),
    User(User),
}

/// Make a private authority and a server certificate for localhost
///
/// Writes ca.pem, ca.key, server.pem and server.key. Clients trust ca.pem. The authority is as
/// secret as ca.key.
#[derive(Args, Debug)]
struct Dev {
    /// Directory of the files, which is created
    #[arg(long, value_name = "DIRECTORY", default_value = "certs")]
    directory: PathBuf,
    /// Further name or address of the server; may be repeated
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
}

/// Make a client certificate whose common name is a login
///
/// Writes user-LOGIN.pem and user-LOGIN.key, signed by the authority in the directory. A server
/// with --client-ca ca.pem lets its holder in as this user.
#[derive(Args, Debug)]
struct User {
    /// Login of the user, who must exist on the server
    login: String,
    /// Directory with ca.key
    #[arg(long, value_name = "DIRECTORY", default_value = "certs")]
    directory: PathBuf,
}

impl Certs {
    pub(crate) fn run(self, output: &mut Output) -> Result<Outcome> {
        let files = match self.what {
            What::Dev(dev) => dev.files()?,
            What::User(user) => user.files()?,
        };
        // All of them before the first one, so that a refusal leaves nothing half done.
        for (path, ..) in &files {
            if path.exists() {
                let message = format!("{} exists", path.display());
                let hint = "pass another --directory, or remove the old certificates";
                return Err(Refusal::usage("certificate-exists", message).hint(hint).into());
            }
        }
        for (path, mode, text) in &files {
            write_new(path, *mode, text.as_bytes())
                .with_context(|| format!("cannot write {}", path.display()))?;
            match output.style() {
                Style::Text => output.line(path.display())?,
                Style::Json => output.json(&json!({ "file": path.display().to_string() }))?,
            }
        }
        Ok(Outcome::Done)
    }
}

type NewFile = (PathBuf, u32, String);

impl Dev {
    fn files(self) -> Result<Vec<NewFile>> {
        let Self { directory, name } = self;
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        let authority_key = KeyPair::generate()?;
        let authority = authority()?.self_signed(&authority_key)?;
        let issuer = Issuer::new(self::authority()?, authority_key);
        let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        names.extend(name);
        let (certificate, key) =
            issued("localhost", names, ExtendedKeyUsagePurpose::ServerAuth, &issuer)?;
        Ok(vec![
            (directory.join("ca.pem"), READABLE, authority.pem()),
            (directory.join("ca.key"), OWNER_ONLY, issuer.key().serialize_pem()),
            (directory.join("server.pem"), READABLE, certificate.pem()),
            (directory.join("server.key"), OWNER_ONLY, key.serialize_pem()),
        ])
    }
}

impl User {
    fn files(self) -> Result<Vec<NewFile>> {
        let Self { login, directory } = self;
        if login.is_empty() || login.contains(['/', '\\', '\0']) || login.starts_with(['.', '$']) {
            let message = format!("`{login}` cannot be the login of a certificate");
            return Err(Refusal::usage("login", message).into());
        }
        let path = directory.join("ca.key");
        let key =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let key = KeyPair::from_pem(&key)
            .with_context(|| format!("{} is not a private key", path.display()))?;
        let issuer = Issuer::new(authority()?, key);
        let (certificate, key) =
            issued(&login, Vec::new(), ExtendedKeyUsagePurpose::ClientAuth, &issuer)?;
        let file = |end: &str| directory.join(format!("user-{login}.{end}"));
        Ok(vec![
            (file("pem"), READABLE, certificate.pem()),
            (file("key"), OWNER_ONLY, key.serialize_pem()),
        ])
    }
}

/// Returns the parameters of the authority, which are the same each time but for the dates.
fn authority() -> Result<CertificateParams> {
    let years = AUTHORITY_YEARS;
    let mut parameters = parameters(AUTHORITY, Vec::new(), years.years())?;
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(parameters)
}

fn issued(
    name: &str,
    alternatives: Vec<String>,
    usage: ExtendedKeyUsagePurpose,
    issuer: &Issuer<'_, KeyPair>,
) -> Result<(Certificate, KeyPair)> {
    let mut parameters = parameters(name, alternatives, DAYS.days())?;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![usage];
    parameters.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    Ok((parameters.signed_by(&key, issuer)?, key))
}

fn parameters(name: &str, alternatives: Vec<String>, valid: Span) -> Result<CertificateParams> {
    let invalid = "a --name must be a DNS name or an address";
    let mut parameters = CertificateParams::new(alternatives).context(invalid)?;
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    let now = i64::try_from(SystemClock::new().now().micros())?;
    let today = Timestamp::from_microsecond(now)?.to_zoned(TimeZone::UTC).date();
    // A clock that is a little behind accepts the certificate, too.
    let (first, last) = (today.checked_sub(1.day())?, today.checked_add(valid)?);
    let date = |date: jiff::civil::Date| {
        let (month, day) = (date.month().unsigned_abs(), date.day().unsigned_abs());
        date_time_ymd(date.year().into(), month, day)
    };
    (parameters.not_before, parameters.not_after) = (date(first), date(last));
    Ok(parameters)
}

/// Writes a file that did not exist, and waits until it is durable.
pub(super) fn write_new(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
