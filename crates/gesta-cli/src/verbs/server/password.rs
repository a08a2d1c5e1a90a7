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
use crate::exit::Refusal;

/// Environment variable with the password of the user who calls.
const OF_LOGIN: &str = "GESTA_PASSWORD";
/// Environment variable with the password that a user gets.
const NEW: &str = "GESTA_NEW_PASSWORD";

/// Returns the password of the user who calls; empty if a certificate stands for it.
pub(super) fn of_login(login: &str, file: Option<&Path>, files: &TlsFiles) -> Result<String> {
    if let Some(password) = given(file, OF_LOGIN)? {
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
    if let Some(password) = given(file, NEW)? {
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

fn given(file: Option<&Path>, variable: &str) -> Result<Option<String>> {
    if let Some(path) = file {
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read the password in {}", path.display()))?;
        // Editors end a file with a line break.
        return Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()));
    }
    Ok(env::var(variable).ok().filter(|password| !password.is_empty()))
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
