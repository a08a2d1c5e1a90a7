//! Passwords that are not in the URL, found where libpq finds them.
//!
//! Owns: the order of the places: `PGPASSWORD`, then the password file, which is `PGPASSFILE` or
//! `~/.pgpass`. Invariant: a file that others may read is not used. Not here: passwords in URLs.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use tokio_postgres::{Config, config::Host};

/// The server, database and user that a line of the file is looked up by.
#[derive(Debug)]
struct Login {
    host: String,
    port: String,
    database: String,
    user: String,
}

/// The origin of the password of a connection, for error texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PasswordOrigin {
    /// The URL, the environment or the password file.
    Given,
    Missing,
    /// The password file is not used, because others may read it.
    PublicFile(PathBuf),
}

/// Adds the password of the environment or of the password file, unless the URL has one. Reads a
/// file, so it runs on the thread of the store.
pub(crate) fn add_missing(config: &mut Config) -> PasswordOrigin {
    if config.get_password().is_some() {
        return PasswordOrigin::Given;
    }
    let in_environment = env::var("PGPASSWORD").ok().filter(|password| !password.is_empty());
    let found = match (in_environment, password_file()) {
        (Some(password), _) => Some(password),
        (None, Some(file)) if is_public(&file) => return PasswordOrigin::PublicFile(file),
        (None, Some(file)) if file.is_file() => {
            fs::read_to_string(file).ok().and_then(|text| password_of(&text, &Login::of(config)))
        }
        (None, _) => None,
    };
    match found {
        Some(password) => {
            config.password(password);
            PasswordOrigin::Given
        }
        None => PasswordOrigin::Missing,
    }
}

impl PasswordOrigin {
    /// Returns the remedy for a server that refuses the password, or asks for one.
    pub(crate) fn remedy(&self) -> String {
        let ways = "give one in the URL as USER:PASSWORD@, in PGPASSWORD, or in ~/.pgpass";
        match self {
            Self::Given => "check user and password of the store's URL".to_owned(),
            Self::Missing => format!("no password was found; {ways}"),
            Self::PublicFile(file) => format!(
                "the password file {} is not used, because others may read it; run chmod 600 on \
                 it, or {ways}",
                file.display()
            ),
        }
    }
}

impl Login {
    fn of(config: &Config) -> Self {
        let host = match config.get_hosts().first() {
            Some(Host::Tcp(name)) => name.clone(),
            // The server's own sockets are looked up by this name.
            _ => "localhost".to_owned(),
        };
        let port = config.get_ports().first().map_or_else(|| "5432".to_owned(), u16::to_string);
        let user = config.get_user().map(str::to_owned);
        let user = user.or_else(|| env::var("USER").ok()).unwrap_or_default();
        let database = config.get_dbname().unwrap_or(&user).to_owned();
        Self { host, port, database, user }
    }
}

fn password_file() -> Option<PathBuf> {
    if let Some(file) = env::var_os("PGPASSFILE") {
        return Some(file.into());
    }
    Some(Path::new(&env::var_os("HOME")?).join(".pgpass"))
}

/// Returns whether others than its owner may read a regular file. Warns if they may.
#[cfg(unix)]
fn is_public(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;

    let Ok(metadata) = fs::metadata(file) else { return false };
    let is_public = metadata.is_file() && metadata.permissions().mode() & 0o077 != 0;
    if is_public {
        tracing::warn!(
            file = %file.display(),
            "the password file is not used, because others may read it; run chmod 600 on it"
        );
    }
    is_public
}

#[cfg(not(unix))]
const fn is_public(_: &Path) -> bool {
    false
}

/// Returns the password of the first line that fits.
fn password_of(text: &str, login: &Login) -> Option<String> {
    let wanted = [&login.host, &login.port, &login.database, &login.user];
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut fields = fields_of(line);
        let password = fields.get_mut(4).map(std::mem::take)?;
        let fits = fields.iter().zip(wanted).all(|(field, wanted)| field == "*" || field == wanted);
        fits.then_some(password)
    })
}

/// Splits a line at the first four colons. A backslash takes the next character as it is.
fn fields_of(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        let begins_next = character == ':' && fields.len() < 5;
        let Some(field) = fields.last_mut() else { break };
        match character {
            '\\' => field.extend(characters.next()),
            _ if begins_next => fields.push(String::new()),
            plain => field.push(plain),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, url: &str) -> Option<String> {
        password_of(text, &Login::of(&url.parse().unwrap()))
    }

    #[test]
    fn the_first_line_that_fits_has_the_password() {
        let file = "# passwords\n\
                    db:5432:shop:bob:of bob\n\
                    db:6543:*:ann:other port\n\
                    db:5432:shop:ann:with\\:colon and \\\\\n\
                    *:*:*:ann:any\n";
        assert_eq!(found(file, "postgres://ann@db/shop"), Some("with:colon and \\".to_owned()));
        assert_eq!(found(file, "postgres://ann@db:6543/x"), Some("other port".to_owned()));
        assert_eq!(found(file, "postgres://ann@elsewhere/x"), Some("any".to_owned()));
        assert_eq!(found(file, "postgres://eve@db/shop"), None);
        assert_eq!(found("db:5432:shop:ann\n", "postgres://ann@db/shop"), None, "no password");
    }

    #[test]
    fn a_password_keeps_its_colons() {
        assert_eq!(found("*:*:*:*:a:b:c", "postgres://ann@db/shop"), Some("a:b:c".to_owned()));
    }
}
