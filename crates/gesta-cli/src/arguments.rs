//! The command line: global options and subcommands.
//!
//! The arguments of each subcommand are defined in [`verbs`](crate::verbs).

use anyhow::Result;
#[cfg(feature = "server")]
use clap::{CommandFactory as _, FromArgMatches as _};
use clap::{Parser, Subcommand};
#[cfg(feature = "server")]
use gesta_settings::{InvalidSettings, Settings, SettingsFile};

use crate::{
    exit::{Outcome, Refusal},
    output::{Output, Style},
    store_url::StoreUrl,
    verbs::{
        Append, Backup, Bench, Capabilities, Clock, Copy, DeadLetters, Delete, Export, Import,
        Metadata, Processes, Projections, Reactors, Read, Restore, Scavenge, Stats, Streams,
        Subscribe, Tombstone, Truncate, Verify,
    },
};

#[cfg(feature = "postgres")]
use crate::verbs::Archive;
#[cfg(feature = "server")]
use crate::verbs::{Certs, Serve, ServerVerb};

/// Heading of the options that every subcommand accepts.
const HEADING: &str = "Global options";

/// Text after the list of options.
const HINT: &str = "\
Examples:
  mkdir ./things
  export GESTA_STORE=gesta:./things
  gesta append order-1 --type order-placed --data '{\"total\": \"9.90\"}'
  gesta read order-1

Exit codes:
  0  success
  1  refused by the store: conflict, tombstoned stream, corruption
  2  usage error, or the store cannot be used
  3  not found, such as a stream that does not exist

With --json, errors are JSON objects on standard error: code, message, hint.";

/// Inspect and change an event store
///
/// A store is a directory of immutable events, a schema in PostgreSQL, or a server. Commands that
/// only read also work while an application has the store open, and after a crash. Commands that
/// change a store in a directory need exclusive access.
#[derive(Parser, Debug)]
#[command(name = "gesta", version, after_help = HINT, arg_required_else_help = true)]
pub(crate) struct Arguments {
    /// Store to use: gesta:DIR, where DIR is the store's directory,
    /// postgres://USER@HOST:PORT/DATABASE?schema=NAME, dynamodb://REGION/PREFIX (feature
    /// `dynamodb`), or kurrentdb://USER:PASSWORD@HOST:PORT for a server such as `gesta serve`. The
    /// password for PostgreSQL is taken from PGPASSWORD or ~/.pgpass. A command that writes to a
    /// directory can add ids by which events are found:
    /// gesta:DIR?index=event-id,correlation,causation,streams
    #[arg(long, global = true, value_name = "URL", env = "GESTA_STORE", hide_env_values = true, help_heading = HEADING)]
    store: Option<StoreUrl>,
    /// Print JSON, one object per line
    #[arg(long, global = true, help_heading = HEADING)]
    json: bool,
    #[command(subcommand)]
    verb: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Streams(Streams),
    Read(Read),
    Append(Append),
    Delete(Delete),
    Truncate(Truncate),
    Tombstone(Tombstone),
    Metadata(Metadata),
    Subscribe(Subscribe),
    Verify(Verify),
    Export(Export),
    Import(Import),
    Bench(Bench),
    Backup(Backup),
    Restore(Restore),
    Copy(Copy),
    Scavenge(Scavenge),
    #[cfg(feature = "server")]
    Serve(Serve),
    #[cfg(feature = "server")]
    Server(ServerVerb),
    #[cfg(feature = "server")]
    Certs(Certs),
    Stats(Stats),
    Capabilities(Capabilities),
    Processes(Processes),
    Projections(Projections),
    DeadLetters(DeadLetters),
    Reactors(Reactors),
    Clock(Clock),
    #[cfg(feature = "postgres")]
    Archive(Archive),
}

impl Arguments {
    /// Returns the arguments with the settings of the file that they name.
    #[cfg(feature = "server")]
    pub(crate) fn with_settings_file(self) -> Result<Self> {
        let Command::Serve(serve) = &self.verb else { return Ok(self) };
        let command = Self::command();
        let settings = Settings::of(&command, &["serve"]);
        let file = serve.settings_file().map(|path| SettingsFile::read(path, &settings));
        let file = file.transpose().map_err(refused)?;
        let command = match &file {
            Some(file) => file.as_defaults_of(command),
            None => command,
        };
        let matches = command.try_get_matches()?;
        let mut arguments = Self::from_arg_matches(&matches)?;
        if let Command::Serve(serve) = &mut arguments.verb {
            serve.listing = settings.in_force(&matches, file.as_ref());
        }
        Ok(arguments)
    }

    pub(crate) const fn style(&self) -> Style {
        if self.json { Style::Json } else { Style::Text }
    }

    pub(crate) fn run(self, output: &mut Output) -> Result<Outcome> {
        // Not a required option of clap: `restore`, `copy` and the commands for running
        // applications take none.
        let unnamed = || {
            let message = "no store given: use --store gesta:DIR or --store postgres://…, or set \
                           GESTA_STORE";
            Refusal::usage("no-store-named", message)
        };
        let store = || self.store.as_ref().ok_or_else(unnamed);
        match self.verb {
            Command::Streams(streams) => streams.run(store()?, output),
            Command::Read(read) => read.run(store()?, output),
            Command::Append(append) => append.run(store()?, output),
            Command::Delete(delete) => delete.run(store()?, output),
            Command::Truncate(truncate) => truncate.run(store()?, output),
            Command::Tombstone(tombstone) => tombstone.run(store()?, output),
            Command::Metadata(metadata) => metadata.run(store()?, output),
            Command::Subscribe(subscribe) => subscribe.run(store()?, output),
            Command::Verify(verify) => verify.run(store()?, output),
            Command::Export(export) => export.run(store()?, output),
            Command::Import(import) => import.run(store()?, output),
            Command::Bench(bench) => bench.run(store()?, output),
            Command::Backup(backup) => backup.run(store()?, output),
            Command::Restore(restore) => restore.run(output),
            Command::Copy(copy) => copy.run(output),
            Command::Scavenge(scavenge) => scavenge.run(store()?, output),
            #[cfg(feature = "server")]
            Command::Serve(serve) if serve.print_config => serve.print_config(output),
            #[cfg(feature = "server")]
            Command::Serve(serve) => serve.run(store()?, output),
            #[cfg(feature = "server")]
            Command::Server(server) => server.run(output),
            #[cfg(feature = "server")]
            Command::Certs(certs) => certs.run(output),
            Command::Stats(stats) => stats.run(store()?, output),
            Command::Capabilities(capabilities) => capabilities.run(output),
            Command::Processes(processes) => processes.run(output),
            Command::Projections(projections) => projections.run(output),
            Command::DeadLetters(letters) => letters.run(output),
            Command::Reactors(reactors) => reactors.run(output),
            Command::Clock(clock) => clock.run(store()?, output),
            #[cfg(feature = "postgres")]
            Command::Archive(archive) => archive.run(store()?, output),
        }
    }
}

#[cfg(feature = "server")]
fn refused(invalid: InvalidSettings) -> anyhow::Error {
    match invalid {
        InvalidSettings::Unreadable { .. } => invalid.into(),
        invalid => {
            let hint = "`gesta serve --help` describes the option of the same name";
            Refusal::usage("settings", invalid.to_string()).hint(hint).into()
        }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(not(feature = "server"))]
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Arguments::command().debug_assert();
    }
}
