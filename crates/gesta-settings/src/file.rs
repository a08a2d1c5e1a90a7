//! The settings file.
//!
//! Invariant: each value of a file has passed the parser of its option. Not here: conditions on
//! several settings together.

use std::{
    error::Error as _,
    fs, io,
    path::{Path, PathBuf},
};

use clap::{Arg, ArgAction, Command};
use gesta_store::without_passwords;
use toml_edit::{DocumentMut, Item, Value};

use crate::{Settings, settings::is_list};

/// A settings file that cannot be used. No variant has a value of the file that may be a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSettings {
    /// The file cannot be read.
    #[error("cannot read the settings in {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The failure.
        #[source]
        source: io::Error,
    },
    /// The file is not TOML.
    #[error(
        "{}: line {line} is not TOML; write lines such as `listen = \"127.0.0.1:80\"`, and numbers \
         below 2^63",
        path.display()
    )]
    NotToml {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
    },
    /// The file has a name that is no setting.
    #[error(
        "{}: there is no setting `{name}`; the nearest is `{nearest}`; the settings are {names}",
        path.display()
    )]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
        /// The setting whose name is most like it.
        nearest: String,
        /// All settings.
        names: String,
    },
    /// A setting has a value of a wrong kind.
    #[error("{}: the setting `{name}` must be {expected}", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
        /// The setting.
        name: String,
        /// The kinds of values that it takes.
        expected: &'static str,
    },
    /// A setting has a value that its option refuses.
    #[error("{}: the setting `{name}` is wrong: {reason}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The setting.
        name: String,
        /// The reason of the option's parser, without passwords.
        reason: String,
    },
}

/// The settings of a file, each of which is one of a program's [`Settings`].
#[derive(Clone, Debug)]
pub struct SettingsFile {
    path: PathBuf,
    values: Vec<(String, Vec<String>)>,
}

impl SettingsFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`InvalidSettings`] with the first fault.
    pub fn read(path: &Path, settings: &Settings) -> Result<Self, InvalidSettings> {
        let unreadable = |source| InvalidSettings::Unreadable { path: path.to_owned(), source };
        Self::parse(path, &fs::read_to_string(path).map_err(unreadable)?, settings)
    }

    /// Reads a file that may be missing.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_if_there(
        path: &Path,
        settings: &Settings,
    ) -> Result<Option<Self>, InvalidSettings> {
        match Self::read(path, settings) {
            Err(InvalidSettings::Unreadable { source, .. })
                if source.kind() == io::ErrorKind::NotFound =>
            {
                Ok(None)
            }
            read => read.map(Some),
        }
    }

    /// Reads the text of a file. The path is for people.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(path: &Path, text: &str, settings: &Settings) -> Result<Self, InvalidSettings> {
        // The parser's own error quotes the line, which may have a password.
        let document = text.parse::<DocumentMut>().map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            InvalidSettings::NotToml { path: path.to_owned(), line }
        })?;
        let mut values = Vec::new();
        for (name, item) in document.iter() {
            let argument = settings.find(name).ok_or_else(|| unknown(path, name, settings))?;
            let of_item = values_of(item, argument).map_err(|expected| InvalidSettings::Kind {
                path: path.to_owned(),
                name: name.to_owned(),
                expected,
            })?;
            check(path, argument, &of_item)?;
            values.push((name.to_owned(), of_item));
        }
        Ok(Self { path: path.to_owned(), values })
    }

    /// Returns the path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the values of all settings, for a program that leaves passwords out of what it
    /// prints.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.values.iter().flat_map(|(_, values)| values).map(String::as_str)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.values.iter().any(|(known, _)| known == name)
    }

    /// Makes the settings the defaults of the arguments with the same names, of a command and all
    /// of its subcommands.
    #[must_use]
    pub fn as_defaults_of(&self, command: Command) -> Command {
        let with_default = |argument: Arg| self.as_default_of(argument);
        command.mut_args(with_default).mut_subcommands(|verb| verb.mut_args(with_default))
    }

    fn as_default_of(&self, argument: Arg) -> Arg {
        let is_this = |(name, _): &&(String, _)| {
            // Other subcommands may have an option of this name that is no setting.
            argument.get_env().is_some() && argument.get_long() == Some(name.as_str())
        };
        match self.values.iter().find(is_this) {
            Some((_, values)) => {
                // A flag shows no default.
                let is_hidden = argument.get_action().takes_values();
                argument.default_values(values.clone()).hide_default_value(is_hidden)
            }
            None => argument,
        }
    }
}

fn unknown(path: &Path, name: &str, settings: &Settings) -> InvalidSettings {
    let names: Vec<_> = settings.names().collect();
    InvalidSettings::Unknown {
        path: path.to_owned(),
        name: name.to_owned(),
        nearest: settings.nearest(name).unwrap_or_default().to_owned(),
        names: names.join(", "),
    }
}

/// Returns the values of an item as texts of the command line, or the kinds that are allowed.
fn values_of(item: &Item, argument: &Arg) -> Result<Vec<String>, &'static str> {
    let is_flag = !argument.get_action().takes_values();
    let one = |value: &Value| match value {
        Value::Boolean(truth) if is_flag => Some(truth.value().to_string()),
        _ if is_flag => None,
        Value::String(text) => Some(text.value().clone()),
        Value::Integer(number) => Some(number.value().to_string()),
        Value::Float(number) => Some(number.value().to_string()),
        _ => None,
    };
    let values = match item.as_value() {
        Some(Value::Array(list)) if is_list(argument) => list.iter().map(one).collect(),
        Some(value) => one(value).map(|value| vec![value]),
        None => None,
    };
    values.ok_or(match (is_flag, is_list(argument)) {
        (true, _) => "true or false",
        (false, true) => "a text, a number or a list of them",
        (false, false) => "a text or a number",
    })
}

/// Checks each value by the parser of its option, so that an error names the file.
fn check(path: &Path, argument: &Arg, values: &[String]) -> Result<(), InvalidSettings> {
    let name = argument.get_long().unwrap_or_default();
    for value in values {
        let alone = Command::new("settings")
            .no_binary_name(true)
            .arg(argument.clone().required(false).action(ArgAction::Set).env(None::<&str>));
        let Err(error) = alone.try_get_matches_from([format!("--{name}={value}")]) else {
            continue;
        };
        let reason = match error.source() {
            Some(reason) if !is_secret(argument) => reason.to_string(),
            _ => "it is none of the values that it may have".to_owned(),
        };
        return Err(InvalidSettings::Value {
            path: path.to_owned(),
            name: name.to_owned(),
            reason: without_passwords(&reason, [value]),
        });
    }
    Ok(())
}

fn is_secret(argument: &Arg) -> bool {
    // The reason may repeat a part of a URL.
    argument.is_hide_env_set() || argument.is_hide_env_values_set()
}
