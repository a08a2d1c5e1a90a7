//! Passwords: from a file, from the environment, or from a prompt without an echo.
//!
//! Invariants: no password is an argument, which other users of a machine could see; none is
//! printed; the terminal has its echo again after a prompt.

use std::{
    env, fs,
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    path::Path,
};

use anyhow::{Context as _, Result};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::connection_string::TlsFiles;
use crate::{events::Printable, exit::Refusal};

/// Environment variable with the password of the user who calls.
const OF_LOGIN: &str = "GESTA_PASSWORD";
/// Environment variable with the password that a user gets.
const NEW: &str = "GESTA_NEW_PASSWORD";

/// Returns the password of the user who calls; empty if a certificate stands for it.
pub(super) fn of_login(login: &str, file: Option<&Path>, files: &TlsFiles) -> Result<String> {
    if let Some(path) = file {
        return of_file(login, path);
    }
    if let Some(password) = of_environment(OF_LOGIN) {
        return Ok(password);
    }
    if files.certificate.is_some() {
        return Ok(String::new());
    }
    prompt(&format!("Password of {login}: "), || {
        format!("there is no password for {login}; set {OF_LOGIN}, or use --password-file")
    })
}

/// Returns the password that a user gets. A prompt asks twice.
pub(super) fn new(login: &str, file: Option<&Path>) -> Result<String> {
    if let Some(path) = file {
        return text_of(path);
    }
    if let Some(password) = of_environment(NEW) {
        return Ok(password);
    }
    let missing =
        || format!("there is no new password for {login}; set {NEW}, or use --new-password-file");
    let first = prompt(&format!("New password of {login}: "), missing)?;
    let again = prompt("The same again: ", missing)?;
    if first != again {
        return Err(Refusal::usage("passwords-differ", "the two passwords differ").into());
    }
    Ok(first)
}

/// Returns the password in a file: all of it, or that of the login in a file of first passwords.
fn of_file(login: &str, path: &Path) -> Result<String> {
    let text = text_of(path)?;
    let Some(passwords) = first_passwords(&text) else { return Ok(text) };
    let found = passwords.iter().find(|(user, _)| *user == login);
    found.map(|(_, password)| (*password).to_owned()).ok_or_else(|| {
        let message = format!(
            "{} has the first passwords of `admin` and `ops`, and none of {}",
            path.display(),
            Printable(login)
        );
        let hint = "name one of the two in the URL, or another file";
        Refusal::usage("no-password", message).hint(hint).into()
    })
}

/// Reads the lines of a file that `gesta serve --admin-password-file` has written.
fn first_passwords(text: &str) -> Option<[(&str, &str); 2]> {
    let mut lines = text.lines();
    let admin = lines.next()?.strip_prefix("admin ")?;
    let ops = lines.next()?.strip_prefix("ops ")?;
    lines.next().is_none().then_some([("admin", admin), ("ops", ops)])
}

fn text_of(path: &Path) -> Result<String> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read the password in {}", path.display()))?;
    // Editors end a file with a line break.
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn of_environment(variable: &str) -> Option<String> {
    env::var(variable).ok().filter(|password| !password.is_empty())
}

/// Asks at a terminal.
fn prompt(question: &str, missing: impl Fn() -> String) -> Result<String> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(Refusal::usage("no-password", missing()).into());
    }
    // On standard error, so that the prompt shows even if the output is redirected.
    let mut prompt = io::stderr();
    write!(prompt, "{question}").context("cannot write the prompt")?;
    prompt.flush().context("cannot write the prompt")?;
    let mut answer = String::new();
    let hidden = HiddenInput::begin();
    let read = stdin.lock().read_line(&mut answer);
    drop(hidden);
    // The line break was not echoed.
    drop(writeln!(prompt));
    read.context("cannot read the password")?;
    Ok(answer.trim_end_matches(['\r', '\n']).to_owned())
}

/// A terminal without an echo, until it is dropped.
struct HiddenInput(Option<Termios>);

impl HiddenInput {
    fn begin() -> Self {
        let stdin = io::stdin();
        // A terminal that cannot hide its input still takes it.
        let Ok(before) = tcgetattr(&stdin) else { return Self(None) };
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        let set = tcsetattr(&stdin, OptionalActions::Flush, &hidden);
        Self(set.is_ok().then_some(before))
    }
}

impl Drop for HiddenInput {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // Without its terminal the program has nobody to show an echo to.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_lines_of_the_first_users_are_a_file_of_first_passwords() {
        let read = first_passwords("admin one\nops two");
        assert_eq!(read, Some([("admin", "one"), ("ops", "two")]));
        for password in ["", "admin", "admin one", "admin one\nops two\nmore", "ops two\nadmin one"]
        {
            assert_eq!(first_passwords(password), None, "{password}");
        }
    }
}
