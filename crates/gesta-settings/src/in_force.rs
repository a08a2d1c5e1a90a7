//! The values in force, with the source of each.
//!
//! Invariant: a listing in its text form is a settings file, except for values that are not shown
//! whole. Not here: the order of the sources, which is that of clap with the file as the defaults.

use std::fmt;

use clap::{Arg, ArgMatches, parser::ValueSource};
use gesta_store::without_password;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::{Settings, SettingsFile, settings::is_list};

/// Text in place of a secret.
const HIDDEN: &str = "(hidden)";

/// The source of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettingSource {
    /// An option of the command line.
    Option {
        /// Long name of the option.
        name: String,
    },
    /// An environment variable.
    Variable {
        /// Name of the variable.
        name: String,
    },
    /// The settings file.
    File {
        /// Path of the file, as it was given.
        path: String,
    },
    /// The default of the program.
    Default,
}

/// The value of a setting, with its source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SettingInForce {
    /// Name of the setting.
    pub name: String,
    /// The value, without passwords. `None` for a setting that is not set.
    pub value: Option<SettingValue>,
    /// The source of the value.
    pub source: SettingSource,
}

/// A value as it is shown, in the text of an option.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum SettingValue {
    /// The value of a setting that has one.
    One(String),
    /// The values of a setting that may have several.
    List(Vec<String>),
}

/// All settings with their values, in the order of the program's help.
///
/// `Display` writes a settings file, with the source of each value as a comment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    settings: Vec<SettingInForce>,
}

impl Settings {
    /// Returns the values in force by the matches of the command line, in which the file is the
    /// defaults. The subcommand of the matches is the one that these are the settings of.
    #[must_use]
    pub fn in_force(&self, matches: &ArgMatches, file: Option<&SettingsFile>) -> Listing {
        // Options of the whole program are also those of its subcommand.
        let matches = matches.subcommand().map_or(matches, |(_, of_verb)| of_verb);
        let settings = self.arguments().iter().map(|argument| in_force(argument, matches, file));
        Listing { settings: settings.collect() }
    }
}

fn in_force(argument: &Arg, matches: &ArgMatches, file: Option<&SettingsFile>) -> SettingInForce {
    let (id, name) = (argument.get_id().as_str(), argument.get_long().unwrap_or_default());
    let raw = matches.try_get_raw(id).ok().flatten();
    let values = raw.map(|raw| raw.map(|value| shown(argument, &value.to_string_lossy())));
    let value = match values {
        Some(values) if is_list(argument) => Some(SettingValue::List(values.collect())),
        Some(mut values) => values.next().map(SettingValue::One),
        None => None,
    };
    let source = match (matches.value_source(id), file) {
        (Some(ValueSource::CommandLine), _) => SettingSource::Option { name: name.to_owned() },
        (Some(ValueSource::EnvVariable), _) => {
            let variable = argument.get_env().unwrap_or_default();
            SettingSource::Variable { name: variable.to_string_lossy().into_owned() }
        }
        (Some(_), Some(file)) if file.has(name) => {
            SettingSource::File { path: file.path().display().to_string() }
        }
        _ => SettingSource::Default,
    };
    SettingInForce { name: name.to_owned(), value, source }
}

/// Returns a value as it may be shown.
fn shown(argument: &Arg, value: &str) -> String {
    match argument.is_hide_env_set() {
        true => HIDDEN.to_owned(),
        // Any value may be a URL that stands in the wrong place.
        false => without_password(value).into_owned(),
    }
}

impl Listing {
    /// Returns the settings.
    pub fn iter(&self) -> impl Iterator<Item = &SettingInForce> {
        self.settings.iter()
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.iter().try_for_each(|setting| writeln!(f, "{setting}"))
    }
}

impl fmt::Display for SettingInForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, value, source } = self;
        match value {
            Some(value) => write!(f, "{name} = {}  # {source}", toml_of(value)),
            None => write!(f, "# {name} is not set"),
        }
    }
}

impl fmt::Display for SettingSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option { name } => write!(f, "option --{name}"),
            Self::Variable { name } => write!(f, "environment {name}"),
            Self::File { path } => f.write_str(path),
            Self::Default => f.write_str("default"),
        }
    }
}

impl Serialize for SettingSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn toml_of(value: &SettingValue) -> String {
    match value {
        SettingValue::One(text) => plain(text),
        SettingValue::List(texts) => {
            let texts: Vec<_> = texts.iter().map(|text| plain(text)).collect();
            format!("[{}]", texts.join(", "))
        }
    }
}

/// Returns a text as the TOML value that a file would have.
fn plain(text: &str) -> String {
    // Only the usual form: `007` is no number.
    let is_number = text.parse::<i64>().is_ok_and(|number| number.to_string() == text);
    if is_number || ["true", "false"].contains(&text) {
        return text.to_owned();
    }
    // A string of JSON is one of TOML, except for the last control character of ASCII.
    Value::from(text).to_string().replace('\u{7f}', "\\u007F")
}
