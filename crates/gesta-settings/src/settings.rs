//! The arguments of a program that are settings.

use clap::{Arg, ArgAction, Command};

/// Long name of the option that names the file, which no file can set.
const FILE_OPTION: &str = "config";

/// The settings of a command line, in the order of its help.
#[derive(Clone, Debug)]
pub struct Settings {
    arguments: Vec<Arg>,
}

impl Settings {
    /// Returns the settings of a command and of these subcommands.
    #[must_use]
    pub fn of(command: &Command, subcommands: &[&str]) -> Self {
        let mut arguments: Vec<Arg> = Vec::new();
        let known = subcommands.iter().filter_map(|name| command.find_subcommand(name));
        let all = command.get_arguments().chain(known.flat_map(Command::get_arguments));
        for argument in all.filter(|argument| is_setting(argument)) {
            // Subcommands may share options.
            let is_new = |other: &Arg| other.get_long() != argument.get_long();
            if arguments.iter().all(is_new) {
                arguments.push(argument.clone());
            }
        }
        Self { arguments }
    }

    /// Returns the names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.arguments.iter().filter_map(Arg::get_long)
    }

    pub(crate) fn arguments(&self) -> &[Arg] {
        &self.arguments
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Arg> {
        self.arguments.iter().find(|argument| argument.get_long() == Some(name))
    }

    /// Returns the name that is most like another one.
    pub(crate) fn nearest(&self, name: &str) -> Option<&str> {
        let likeness = |known: &str| strsim::jaro_winkler(known, name);
        self.names().max_by(|one, other| likeness(one).total_cmp(&likeness(other)))
    }
}

fn is_setting(argument: &Arg) -> bool {
    let name = argument.get_long();
    argument.get_env().is_some() && name.is_some_and(|name| name != FILE_OPTION)
}

/// Returns whether an argument may have several values.
pub(crate) fn is_list(argument: &Arg) -> bool {
    matches!(argument.get_action(), ArgAction::Append)
}
