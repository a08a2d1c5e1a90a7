//! Settings: arguments, environment variables, a file and defaults, in this order.
//!
//! Owns: the file `shop.toml`, and the list of settings that `shop config` prints with their
//! origins. Invariant: no password is printed, neither by `config` nor in an error.
//!
//! Not here: the meaning of a setting, which is with its argument.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::{
    Arg, ArgMatches, Command, CommandFactory as _, FromArgMatches as _, parser::ValueSource,
};
use toml_edit::{DocumentMut, Item, Value};

use crate::{
    arguments::{Arguments, EVERYTHING},
    masking,
};

/// The file that is read if it exists and no other one is given.
const DEFAULT_FILE: &str = "shop.toml";

/// The argument that names the file.
const CONFIG: &str = "config";

/// Names of the settings in a file. An argument has the same name, and so has its environment
/// variable: `GESTA_READ_MODELS` is `read-models`.
const NAMES: [&str; 14] = [
    "store",
    "read-models",
    "search",
    "cache",
    "snapshots",
    "local",
    "listen",
    "access",
    "allow-remote",
    "allow-origin",
    "welcome-after",
    "node",
    "role",
    "relay",
];

/// The arguments, completed from the environment and a file.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) arguments: Arguments,
    matches: ArgMatches,
    file: Option<SettingsFile>,
}

impl Settings {
    /// Reads the settings. Ends the program if the arguments are wrong, or ask for help.
    pub(crate) fn read() -> Result<Self> {
        Self::of(std::env::args_os().collect())
    }

    fn of(arguments: Vec<OsString>) -> Result<Self> {
        // Twice: the first time finds the file, which the second time has the defaults.
        let named = Arguments::command().try_get_matches_from(&arguments);
        let named = named.unwrap_or_else(|error| masking::exit(&error));
        let file = SettingsFile::find(named.get_one::<PathBuf>(CONFIG))?;
        let mut command = Arguments::command();
        if wants_everything(&named) {
            let defaults = EVERYTHING.map(|(name, url)| (name.to_owned(), vec![url.to_owned()]));
            command = with_defaults(command, &defaults);
        }
        if let Some(file) = &file {
            let values = file.settings.iter().flat_map(|(_, values)| values.clone());
            masking::mask_settings(values.collect());
            // Last: the file takes the place of all other defaults.
            command = with_defaults(command, &file.settings);
        }
        let matches = command.try_get_matches_from(&arguments);
        let matches = matches.unwrap_or_else(|error| masking::exit(&error));
        let arguments = Arguments::from_arg_matches(&matches);
        let arguments = arguments.unwrap_or_else(|error| masking::exit(&error));
        Ok(Self { arguments, matches, file })
    }

    /// Returns the origin of a setting, for people.
    pub(crate) fn origin(&self, name: &str) -> String {
        let id = id_of(name);
        // Arguments of the whole program are also those of its verb.
        let matches = self.matches.subcommand().map_or(&self.matches, |(_, of_verb)| of_verb);
        let source = if matches.ids().any(|known| known.as_str() == id) {
            matches.value_source(&id)
        } else {
            None
        };
        match (source, &self.file) {
            (Some(ValueSource::CommandLine), _) => format!("argument --{name}"),
            (Some(ValueSource::EnvVariable), _) => format!("environment {}", variable_of(name)),
            (Some(ValueSource::DefaultValue), Some(file)) if file.has(name) => {
                file.path.display().to_string()
            }
            _ => "default".to_owned(),
        }
    }
}

/// A settings file.
#[derive(Debug)]
struct SettingsFile {
    path: PathBuf,
    /// Each name with its values: a list may have any number of them.
    settings: Vec<(String, Vec<String>)>,
}

impl SettingsFile {
    /// Reads the file of this path, or the default one if it exists.
    fn find(path: Option<&PathBuf>) -> Result<Option<Self>> {
        let (path, may_be_missing) = match path {
            Some(path) => (path.as_path(), false),
            None => (Path::new(DEFAULT_FILE), true),
        };
        match fs::read_to_string(path) {
            Ok(text) => {
                let read = Self::parse(path, &text);
                Ok(Some(read.with_context(|| path.display().to_string())?))
            }
            Err(error) if may_be_missing && error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error)
                .with_context(|| format!("cannot read the settings in {}", path.display())),
        }
    }

    fn parse(path: &Path, text: &str) -> Result<Self> {
        // The parser's own error quotes the line, which may have a password.
        let Ok(document) = text.parse::<DocumentMut>() else {
            bail!("is not TOML; write lines such as `store = \"gesta:./shop-data\"`");
        };
        let mut settings = Vec::new();
        for (name, item) in document.iter() {
            ensure!(
                NAMES.contains(&name),
                "there is no setting `{name}`; the settings are {}",
                NAMES.join(", "),
            );
            settings.push((name.to_owned(), values_of(name, item)?));
        }
        Ok(Self { path: path.to_owned(), settings })
    }

    fn has(&self, name: &str) -> bool {
        self.settings.iter().any(|(known, _)| known == name)
    }
}

/// Returns whether the demo was asked for with every part.
fn wants_everything(matches: &ArgMatches) -> bool {
    let demo = matches.subcommand().filter(|(verb, _)| *verb == "demo");
    demo.is_some_and(|(_, demo)| demo.get_flag("everything"))
}

/// Makes settings the defaults of the arguments with the same names, of every verb.
fn with_defaults(command: Command, settings: &[(String, Vec<String>)]) -> Command {
    let with_default = |argument: Arg| {
        let id = argument.get_id().to_string();
        match settings.iter().find(|(name, _)| id_of(name) == id) {
            Some((_, values)) => argument.default_values(values.clone()).hide_default_value(true),
            None => argument,
        }
    };
    command.mut_args(with_default).mut_subcommands(|verb| verb.mut_args(with_default))
}

fn values_of(name: &str, item: &Item) -> Result<Vec<String>> {
    let one = |value: &Value| match value {
        Value::String(text) => Some(text.value().clone()),
        Value::Integer(number) => Some(number.value().to_string()),
        Value::Boolean(truth) => Some(truth.value().to_string()),
        _ => None,
    };
    let values = match item.as_value() {
        Some(Value::Array(list)) => list.iter().map(one).collect(),
        Some(value) => one(value).map(|value| vec![value]),
        None => None,
    };
    values.with_context(|| {
        format!("`{name}` must be a text, a whole number, true or false, or a list of texts")
    })
}

/// The name of an argument as clap knows it.
fn id_of(name: &str) -> String {
    name.replace('-', "_")
}

fn variable_of(name: &str) -> String {
    format!("GESTA_{}", id_of(name).to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<SettingsFile> {
        SettingsFile::parse(Path::new("shop.toml"), text)
    }

    #[test]
    fn a_file_has_settings_by_the_names_of_the_arguments() {
        let file = parse("store = \"memory:\"\nwelcome-after = 3\nallow-origin = [\"a\", \"b\"]");
        let expected = [
            ("store", vec!["memory:"]),
            ("welcome-after", vec!["3"]),
            ("allow-origin", vec!["a", "b"]),
        ];
        let settings = file.unwrap().settings;
        let settings: Vec<_> = settings
            .iter()
            .map(|(name, values)| (name.as_str(), values.iter().map(String::as_str).collect()))
            .collect();
        assert_eq!(settings, expected);
    }

    #[test]
    fn a_wrong_file_is_refused_without_its_passwords() {
        for (text, reason) in [
            ("stor = \"postgres://a:secret@b\"", "there is no setting `stor`; the settings are"),
            ("store = \"postgres://a:secret@b", "is not TOML"),
            ("listen = 1.5", "`listen` must be a text"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(reason) && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn every_setting_is_an_argument() {
        let command = Arguments::command();
        let verbs = command.get_subcommands().flat_map(Command::get_arguments);
        let known: Vec<_> =
            command.get_arguments().chain(verbs).map(|known| known.get_id().to_string()).collect();
        for name in NAMES {
            assert!(known.contains(&id_of(name)), "{name}");
        }
    }
}
