//! Connection strings of KurrentDB clients, as `--server` takes them.
//!
//! Owns: [`ConnectionString`]. Invariants: no printed text has the password; an option that this
//! program does not know is refused, because it may protect something; options about pace and
//! discovery that have no meaning here are accepted.

use std::{fmt, path::PathBuf, str::FromStr};

use gesta_server::ServerAddress;
use gesta_store::percent_decoded;

/// Port of an address that names none.
const PORT: u16 = 2113;
/// The forms, for error texts.
const FORM: &str = "kurrentdb://USER@HOST:PORT?tlsCaFile=FILE, or kurrentdb://HOST:PORT?tls=false";
/// Options of clients that change nothing here, in lower case.
const WITHOUT_MEANING: [&str; 10] = [
    "connectionname",
    "defaultdeadline",
    "discoveryinterval",
    "gossiptimeout",
    "keepaliveinterval",
    "keepalivetimeout",
    "maxdiscoverattempts",
    "nodepreference",
    "throwonappendfailure",
    "feature",
];

/// A server, and how to reach it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct ConnectionString {
    /// The first address; others are tried if there is no connection.
    pub(super) addresses: Vec<ServerAddress>,
    pub(super) login: Option<String>,
    pub(super) password: Option<String>,
    pub(super) has_tls: bool,
    pub(super) files: TlsFiles,
}

/// The files of a connection with TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TlsFiles {
    pub(super) authorities: Option<PathBuf>,
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
}

impl FromStr for ConnectionString {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected {FORM}");
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        if !matches!(scheme.trim_end_matches("+discover"), "kurrentdb" | "kurrent" | "kdb" | "esdb")
        {
            return Err(wrong());
        }
        let (place, options) = rest.split_once('?').unwrap_or((rest, ""));
        let place = place.trim_end_matches('/');
        let (user, hosts) = match place.rsplit_once('@') {
            Some((user, hosts)) => (Some(user), hosts),
            None => (None, place),
        };
        let (login, password) = match user.map(|user| user.split_once(':').unwrap_or((user, ""))) {
            Some((login, password)) => (Some(decoded(login)?), decoded(password)?),
            None => (None, String::new()),
        };
        let addresses: Result<Vec<_>, _> = hosts.split(',').map(address).collect();
        let mut parsed = Self {
            addresses: addresses?,
            login: login.filter(|login| !login.is_empty()),
            password: Some(password).filter(|password| !password.is_empty()),
            has_tls: true,
            files: TlsFiles::default(),
        };
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            parsed.set(name, &decoded(value)?)?;
        }
        let TlsFiles { certificate, key, .. } = &parsed.files;
        if certificate.is_some() != key.is_some() {
            return Err("userCertFile and userKeyFile belong together".to_owned());
        }
        Ok(parsed)
    }
}

impl ConnectionString {
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let file = || Some(PathBuf::from(value));
        match name.to_ascii_lowercase().as_str() {
            "tls" => self.has_tls = truth("tls", value)?,
            "tlsverifycert" => {
                if !truth("tlsVerifyCert", value)? {
                    return Err("tlsVerifyCert=false is not supported: name the authority of the \
                                server's certificate with tlsCaFile"
                        .to_owned());
                }
            }
            "tlscafile" => self.files.authorities = file(),
            "usercertfile" => self.files.certificate = file(),
            "userkeyfile" => self.files.key = file(),
            lower if WITHOUT_MEANING.contains(&lower) => {}
            _ => return Err(format!("there is no option `{name}`; expected {FORM}")),
        }
        Ok(())
    }
}

fn truth(name: &str, value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("{name} must be true or false")),
    }
}

fn address(text: &str) -> Result<ServerAddress, String> {
    let has_port = text.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let full = if has_port { text.to_owned() } else { format!("{text}:{PORT}") };
    full.parse().map_err(|_| format!("expected {FORM}"))
}

fn decoded(text: &str) -> Result<String, String> {
    let wrong = || "a part of the URL is not percent-encoded UTF-8".to_owned();
    percent_decoded(text).ok_or_else(wrong)
}

impl fmt::Debug for ConnectionString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionString")
            .field("addresses", &self.addresses)
            .field("login", &self.login)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ConnectionString, String> {
        text.parse()
    }

    #[test]
    fn a_connection_string_has_hosts_a_user_and_files() {
        let text = "kurrentdb+discover://an%40n:p%3Aw@one.example,[::1]:1/?tlsCaFile=c%20a.pem\
                    &nodePreference=leader";
        let parsed = parse(text).unwrap();
        let addresses: Vec<_> = parsed.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["one.example:2113", "[::1]:1"]);
        assert_eq!(
            (parsed.login.as_deref(), parsed.password.as_deref()),
            (Some("an@n"), Some("p:w"))
        );
        assert_eq!(parsed.files.authorities, Some(PathBuf::from("c a.pem")));
        assert!(parsed.has_tls);
        assert!(!format!("{parsed:?}").contains("p:w"));
        assert!(!parse("esdb://localhost?TLS=False").unwrap().has_tls);
    }

    #[test]
    fn what_would_be_ignored_is_refused_without_the_password() {
        for (text, reason) in [
            ("https://a:secret@b", "expected kurrentdb://"),
            ("kurrentdb://a:secret@b?tlsVerifyCert=false", "not supported"),
            ("kurrentdb://a:secret@b?tsl=false", "no option `tsl`"),
            ("kurrentdb://a:secret@b?userKeyFile=k", "belong together"),
            ("kurrentdb://a:secret%2@b", "percent-encoded"),
            ("kurrentdb://a:secret@", "expected kurrentdb://"),
        ] {
            let refused = parse(text).unwrap_err();
            assert!(refused.contains(reason) && !refused.contains("secret"), "{refused}");
        }
    }
}
