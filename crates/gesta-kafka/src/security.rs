//! Encryption and the login of connections: what a URL says of them, and the settings of clients.
//!
//! Invariants: a password is only sent over an encrypted connection, and stands in no text for
//! people. A file is read by each client that is created, so a changed password takes effect
//! without a restart. Not here: the protocols, which are the library's.

use std::{collections::BTreeMap, fmt, fs, path::PathBuf};

use gesta_store::percent_decoded;
use rdkafka::ClientConfig;

use crate::invalid_url::InvalidUrl;

/// The options of a URL that belong here.
const AUTHORITIES: &str = "ca";
const MECHANISM: &str = "sasl";
const PASSWORD_FILE: &str = "password-file";
pub(crate) const OPTIONS: [&str; 3] = [AUTHORITIES, MECHANISM, PASSWORD_FILE];

/// The security of connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Security {
    encryption: Option<Encryption>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Encryption {
    /// File with the certificates of authorities. `None` for those of the system.
    authorities: Option<PathBuf>,
    login: Option<Login>,
}

#[derive(Clone, PartialEq, Eq)]
struct Login {
    user: String,
    password: Password,
    mechanism: Mechanism,
}

#[derive(Clone, PartialEq, Eq)]
enum Password {
    Given(String),
    InFile(PathBuf),
}

/// A mechanism of SASL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
}

impl Mechanism {
    const ALL: [(&str, Self); 3] = [
        ("plain", Self::Plain),
        ("scram-sha-256", Self::ScramSha256),
        ("scram-sha-512", Self::ScramSha512),
    ];

    const fn setting(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl Security {
    /// Reads the parts of a URL without encryption: there must be none.
    pub(crate) fn none(
        login: Option<&str>,
        options: &BTreeMap<String, String>,
    ) -> Result<Self, InvalidUrl> {
        if login.is_some() {
            return Err(InvalidUrl::because(
                "a user is for encrypted connections only: write kafka+ssl:// and the port of \
                 the listener with TLS",
            ));
        }
        if let Some(name) = OPTIONS.iter().find(|name| options.contains_key(**name)) {
            return Err(InvalidUrl::because(format!(
                "the option `{name}` is for encrypted connections only: write kafka+ssl://"
            )));
        }
        Ok(Self::default())
    }

    /// Reads the parts of a URL with encryption: `USER:PASSWORD`, and the options.
    pub(crate) fn encrypted(
        login: Option<&str>,
        options: &BTreeMap<String, String>,
    ) -> Result<Self, InvalidUrl> {
        if !cfg!(feature = "tls") {
            return Err(InvalidUrl::because(
                "encrypted connections (`kafka+ssl://`) are not built in; enable the feature \
                 `tls` of `gesta-kafka`, or `kafka-tls` of `gesta`",
            ));
        }
        let option = |name: &str| options.get(name).map(|value| decoded(name, value)).transpose();
        let login = match login {
            Some(login) => Some(Login::of(login, option(MECHANISM)?, option(PASSWORD_FILE)?)?),
            None => {
                let of_login = [MECHANISM, PASSWORD_FILE];
                if let Some(name) = of_login.iter().find(|name| options.contains_key(**name)) {
                    let reason = format!("the option `{name}` needs a user, as kafka+ssl://USER@…");
                    return Err(InvalidUrl::because(reason));
                }
                None
            }
        };
        let authorities = option(AUTHORITIES)?.map(PathBuf::from);
        Ok(Self { encryption: Some(Encryption { authorities, login }) })
    }

    pub(crate) const fn scheme(&self) -> &'static str {
        match self.encryption {
            Some(_) => "kafka+ssl",
            None => "kafka",
        }
    }

    /// Adds the settings of a client.
    ///
    /// # Errors
    ///
    /// The reason, if a file cannot be read.
    pub(crate) fn apply(&self, config: &mut ClientConfig) -> Result<(), String> {
        let Some(Encryption { authorities, login }) = &self.encryption else { return Ok(()) };
        config.set("security.protocol", if login.is_some() { "sasl_ssl" } else { "ssl" });
        if let Some(file) = authorities {
            // The library names the file only in a text of its own.
            fs::metadata(file).map_err(|error| {
                format!("the authorities in {} cannot be read: {error}", file.display())
            })?;
            config.set("ssl.ca.location", file.display().to_string());
        }
        if let Some(Login { user, password, mechanism }) = login {
            config.set("sasl.mechanism", mechanism.setting());
            config.set("sasl.username", user);
            config.set("sasl.password", password.read()?);
        }
        Ok(())
    }
}

impl Login {
    fn of(
        login: &str,
        mechanism: Option<String>,
        file: Option<String>,
    ) -> Result<Self, InvalidUrl> {
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(decoded("password", password)?)),
            None => (login, None),
        };
        let user = decoded("user", user)?;
        if user.is_empty() || user.contains(char::is_control) {
            return Err(InvalidUrl::because("the user before the `@` has no name"));
        }
        let password = match (password, file) {
            (Some(password), None) => {
                Password::Given(checked(password).map_err(InvalidUrl::because)?)
            }
            (None, Some(file)) => Password::InFile(file.into()),
            (Some(_), Some(_)) => {
                return Err(InvalidUrl::because(
                    "the password is given twice; write USER@ with password-file=FILE",
                ));
            }
            (None, None) => {
                return Err(InvalidUrl::because(
                    "the user has no password; write USER:PASSWORD@, or USER@ and the option \
                     password-file=FILE",
                ));
            }
        };
        let mechanism = match mechanism {
            None => Mechanism::ScramSha512,
            Some(name) => {
                let found = Mechanism::ALL.into_iter().find(|(known, _)| *known == name);
                let expected = "expected `sasl` to be plain, scram-sha-256 or scram-sha-512";
                found.ok_or_else(|| InvalidUrl::because(expected))?.1
            }
        };
        Ok(Self { user, password, mechanism })
    }
}

impl Password {
    fn read(&self) -> Result<String, String> {
        let file = match self {
            Self::Given(password) => return Ok(password.clone()),
            Self::InFile(file) => file,
        };
        let named =
            |reason: &dyn fmt::Display| format!("the password in {}: {reason}", file.display());
        let text = fs::read_to_string(file).map_err(|error| named(&error))?;
        // Editors end the line.
        let password = text.strip_suffix('\n').unwrap_or(&text);
        let password = password.strip_suffix('\r').unwrap_or(password);
        checked(password.to_owned()).map_err(|reason| named(&reason))
    }
}

/// Refuses passwords that the library cannot take.
fn checked(password: String) -> Result<String, &'static str> {
    if password.is_empty() {
        return Err("the password is empty");
    }
    if password.contains(char::is_control) {
        return Err("the password has a line end or another control character");
    }
    Ok(password)
}

/// Resolves the escapes of a part of the URL. The error has the name of the part only.
fn decoded(part: &str, text: &str) -> Result<String, InvalidUrl> {
    percent_decoded(text).ok_or_else(|| {
        InvalidUrl::because(format!(
            "the {part} has a `%` without two digits, or bytes that are no UTF-8; write `%` as %25"
        ))
    })
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login of {} by {}", self.user, self.mechanism.setting())
    }
}
