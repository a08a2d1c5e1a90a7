//! Settings: arguments, environment variables, a file and defaults, in this order.
//!
//! Invariant: no password is printed, neither by `serve --print-config` nor in an error.
//!
//! Not here: the meaning of a setting, which is with its argument; the form of the file and of the
//! list (`gesta-settings`).

use std::{ffi::OsString, path::PathBuf};

use anyhow::Result;
use clap::{Arg, ArgMatches, Command, CommandFactory as _, FromArgMatches as _};
use gesta_settings::{Listing, SettingsFile};

use crate::{
    arguments::{Arguments, EVERYTHING},
    masking,
};

/// The file that is read if it exists and no other one is given.
const DEFAULT_FILE: &str = "shop.toml";

/// The argument that names the file.
const CONFIG: &str = "config";

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
        // Twice: the first time finds the file, which the second time has the defaults. What is
        // wrong or missing is found the second time.
        let named = Arguments::command().ignore_errors(true).try_get_matches_from(&arguments);
        let named = named.unwrap_or_else(|error| masking::exit(&error));
        let mut command = Arguments::command();
        let known = of_all_verbs(&command);
        let file = match named.get_one::<PathBuf>(CONFIG) {
            Some(path) => Some(SettingsFile::read(path, &known)?),
            None => SettingsFile::read_if_there(DEFAULT_FILE.as_ref(), &known)?,
        };
        if wants_everything(&named) {
            command = with_everything(command);
        }
        if let Some(file) = &file {
            masking::mask_settings(file.values().map(str::to_owned).collect());
            // Last: the file takes the place of all other defaults.
            command = file.as_defaults_of(command);
        }
        let matches = command.try_get_matches_from(&arguments);
        let matches = matches.unwrap_or_else(|error| masking::exit(&error));
        let arguments = Arguments::from_arg_matches(&matches);
        let arguments = arguments.unwrap_or_else(|error| masking::exit(&error));
        Ok(Self { arguments, matches, file })
    }

    /// Returns the settings of `serve` that are in force, with their sources.
    pub(crate) fn of_serve(&self) -> Listing {
        let settings = gesta_settings::Settings::of(&Arguments::command(), &["serve"]);
        settings.in_force(&self.matches, self.file.as_ref())
    }
}

fn of_all_verbs(command: &Command) -> gesta_settings::Settings {
    let verbs: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
    gesta_settings::Settings::of(command, &verbs)
}

/// Returns whether the demo was asked for with every part.
fn wants_everything(matches: &ArgMatches) -> bool {
    let demo = matches.subcommand().filter(|(verb, _)| *verb == "demo");
    demo.is_some_and(|(_, demo)| demo.get_flag("everything"))
}

/// Makes the places of the whole demo the defaults.
fn with_everything(command: Command) -> Command {
    let with_default = |argument: Arg| match EVERYTHING
        .iter()
        .find(|(name, _)| argument.get_long() == Some(*name))
    {
        Some((_, url)) => argument.default_values([*url]).hide_default_value(true),
        None => argument,
    };
    command.mut_args(with_default).mut_subcommands(|verb| verb.mut_args(with_default))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_option_of_serve_is_a_setting() {
        let command = Arguments::command();
        let known = of_all_verbs(&command);
        let serve = command.find_subcommand("serve").unwrap();
        let actions = ["check-config", "print-config", "config"];
        let options = command.get_arguments().chain(serve.get_arguments());
        for name in options.filter_map(Arg::get_long).filter(|name| !actions.contains(name)) {
            assert!(known.names().any(|it| it == name), "{name} has no variable");
        }
        assert!(known.names().count() >= 15);
    }
}
