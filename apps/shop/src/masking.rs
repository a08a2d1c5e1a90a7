//! Texts for people, without the passwords that arguments and settings may have.
//!
//! Invariant: what the program repeats of its arguments, its environment and its settings file goes
//! through [`masked`], because any of them may be a URL that stands in the wrong place. Not here:
//! the rule by which a password is found (`gesta::store::without_password`).

use std::{
    env,
    ffi::OsString,
    io::{self, Write as _},
    process,
    sync::OnceLock,
};

use gesta::store::without_passwords;

/// The values of the settings file.
static OF_FILE: OnceLock<Vec<String>> = OnceLock::new();

/// Masks the values of the settings file from now on.
pub(crate) fn mask_settings(values: Vec<String>) {
    // The first file is the only one.
    drop(OF_FILE.set(values));
}

/// Returns a text in which no argument and no setting has a password.
pub(crate) fn masked(text: &str) -> String {
    let of_settings = |(name, value): (OsString, OsString)| {
        name.to_string_lossy().starts_with("GESTA_").then_some(value)
    };
    let given = env::args_os().chain(env::vars_os().filter_map(of_settings));
    let of_file = OF_FILE.get().into_iter().flatten().cloned();
    let given = given.map(|value| value.to_string_lossy().into_owned()).chain(of_file);
    without_passwords(text, given)
}

/// Ends the program with an error of the command line, or with the help that was asked for.
pub(crate) fn exit(error: &clap::Error) -> ! {
    let rendered = error.render().to_string();
    let text = masked(&rendered);
    // The parser's own output has colours.
    let written = match (text == rendered, error.use_stderr()) {
        (true, _) => error.print(),
        (false, true) => io::stderr().write_all(text.as_bytes()),
        (false, false) => io::stdout().write_all(text.as_bytes()),
    };
    drop(written);
    process::exit(error.exit_code())
}
