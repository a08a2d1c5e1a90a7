//! The settings file of `gesta serve`.
//!
//! Owns: the names that a file may have. Arguments and the environment are stronger than the file.
//! Invariant: no error repeats a value, which may be a URL with a password. Not here: the meaning
//! of a setting, which is with its argument.

use std::{
    error::Error as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use clap::{Arg, ArgAction, Command};
use toml_edit::{DocumentMut, Item, Value};

use crate::exit::Refusal;

/// Names of the settings; an argument has the same name.
const NAMES: [&str; 18] = [
    "store",
    "listen",
    "max-connections",
    "insecure",
    "tls-cert",
    "tls-key",
    "client-ca",
    "jwt-key",
    "jwt-issuer",
    "jwt-audience",
    "admin-password-file",
    "advertise",
    "drain-seconds",
    "environment",
    "log",
    "log-format",
    "otlp-endpoint",
    "trace-ratio",
];

/// Settings that may be written as numbers.
const NUMBERS: [&str; 3] = ["drain-seconds", "max-connections", "trace-ratio"];

/// The settings of a file.
#[derive(Debug)]
pub(crate) struct SettingsFile {
    path: PathBuf,
    settings: Vec<(String, String)>,
}

impl SettingsFile {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read the settings in {}", path.display()))?;
        let settings = Self::parse(&text);
        let settings = settings.with_context(|| format!("{} cannot be used", path.display()))?;
        Ok(Self { path: path.to_owned(), settings })
    }

    /// Names the setting that is wrong by itself, if there is one.
    pub(crate) fn check_each(&self, command: &Command) -> Result<()> {
        let serve = command.find_subcommand("serve").context("there is no `gesta serve`")?;
        for (name, value) in &self.settings {
            let is_this = |argument: &&Arg| argument.get_long() == Some(name.as_str());
            let argument = command.get_arguments().chain(serve.get_arguments()).find(is_this);
            let Some(argument) = argument else { continue };
            let alone = Command::new("settings")
                .no_binary_name(true)
                .arg(argument.clone().required(false).action(ArgAction::Set).env(None::<&str>));
            let Err(error) = alone.try_get_matches_from([format!("--{name}={value}")]) else {
                continue;
            };
            let reason = match (name.as_str(), error.source()) {
                // The reason may repeat a part of the URL.
                ("store", _) | (_, None) => "it is none of the values that it may have".to_owned(),
                (_, Some(reason)) => reason.to_string(),
            };
            let message =
                format!("{}: the setting `{name}` is wrong: {reason}", self.path.display());
            let hint = "`gesta serve --help` describes the option of the same name";
            return Err(Refusal::usage("settings", message).hint(hint).into());
        }
        Ok(())
    }

    fn parse(text: &str) -> Result<Vec<(String, String)>> {
        let wrong = |message: String| Refusal::usage("settings", message);
        // The parser's own error quotes the line.
        let document = text.parse::<DocumentMut>().map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            wrong(format!(
                "line {line} is not TOML; write lines such as `listen = \"0.0.0.0:2113\"`, and \
                 numbers below 2^63"
            ))
        })?;
        let mut settings = Vec::new();
        for (name, item) in document.iter() {
            if !NAMES.contains(&name) {
                let names = NAMES.join(", ");
                let message = format!("there is no setting `{name}`; the settings are {names}");
                return Err(wrong(message).into());
            }
            let is_number = NUMBERS.contains(&name);
            let Some(value) = text_of(item, is_number) else {
                let forms = if is_number { "a number" } else { "a text, true or false" };
                return Err(wrong(format!("`{name}` must be {forms}")).into());
            };
            settings.push((name.to_owned(), value));
        }
        Ok(settings)
    }

    /// Makes the settings the defaults of the arguments of `gesta serve`.
    pub(crate) fn as_defaults_of(&self, command: Command) -> Command {
        command
            .mut_args(|argument| self.as_default_of(argument))
            .mut_subcommand("serve", |serve| serve.mut_args(|one| self.as_default_of(one)))
    }

    fn as_default_of(&self, argument: Arg) -> Arg {
        let found =
            self.settings.iter().find(|(name, _)| argument.get_long() == Some(name.as_str()));
        match found {
            Some((_, value)) => {
                // A flag shows no default.
                let is_hidden = argument.get_action().takes_values();
                argument.default_value(value.clone()).hide_default_value(is_hidden)
            }
            None => argument,
        }
    }
}

fn text_of(item: &Item, is_number: bool) -> Option<String> {
    match item.as_value()? {
        Value::Integer(number) if is_number => Some(number.value().to_string()),
        Value::Float(number) if is_number => Some(number.value().to_string()),
        Value::String(text) => Some(text.value().clone()),
        Value::Boolean(truth) => Some(truth.value().to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::arguments::Arguments;

    #[test]
    fn a_wrong_file_is_refused_without_its_values() {
        for (text, reason) in [
            ("stor = \"postgres://a:secret@b\"", "there is no setting `stor`; the settings are"),
            ("store = \"postgres://a:secret@b", "line 1 is not TOML"),
            ("insecure = true\ndrain-seconds = 18446744073709551615", "line 2 is not TOML"),
            ("listen = 2113", "`listen` must be a text"),
            ("drain-seconds = [\"secret\"]", "`drain-seconds` must be a number"),
        ] {
            let error = SettingsFile::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(reason) && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_setting_may_be_a_number() {
        let settings = SettingsFile::parse("max-connections = 2000").unwrap();
        assert_eq!(settings, [("max-connections".to_owned(), "2000".to_owned())]);
    }

    #[test]
    fn a_wrong_setting_is_named_with_its_file() {
        let checked = |text: &str| {
            let settings = SettingsFile::parse(text).unwrap();
            let file = SettingsFile { path: "serve.toml".into(), settings };
            file.check_each(&Arguments::command()).map_err(|error| error.to_string())
        };
        let good = "max-connections = 2\ninsecure = true\nlisten = \"127.0.0.1:1\"\n\
                    store = \"memory:\"\nlog-format = \"json\"\ntrace-ratio = 0.5";
        assert_eq!(checked(good), Ok(()));
        for (text, name) in [
            ("max-connections = 0", "max-connections"),
            ("drain-seconds = 70000", "drain-seconds"),
            ("listen = \"events.example:1\"", "listen"),
            ("log-format = \"xml\"", "log-format"),
            ("store = \"postgress://a:secret@b\"", "store"),
            ("insecure = \"perhaps\"", "insecure"),
        ] {
            let refused = checked(text).unwrap_err();
            assert!(refused.starts_with(&format!("serve.toml: the setting `{name}`")), "{refused}");
            assert!(!refused.contains("secret"), "{refused}");
        }
    }

    #[test]
    fn every_setting_is_an_argument() {
        let command = Arguments::command();
        let serve = command.find_subcommand("serve").unwrap();
        let arguments = command.get_arguments().chain(serve.get_arguments());
        let names: Vec<_> = arguments.filter_map(Arg::get_long).collect();
        for name in NAMES {
            assert!(names.contains(&name), "{name}");
        }
    }
}
