//! The `gesta` command-line tool, for operators of a store.
//!
//! Owns: the subcommands, the formatting of events, and exit codes. Invariants: results go to
//! standard output, everything else to standard error; a closed pipe (`| head`) ends the program
//! without an error; a destructive command asks for confirmation. Not here: the store contract
//! (`gesta-store`) and the engine (`gesta-log`).

mod application;
mod arguments;
mod confirm;
mod counted;
mod directory;
mod events;
mod exit;
mod log_url;
mod lookup;
mod output;
mod progress;
mod selection;
mod store_url;
mod table;
mod transfer;
mod verbs;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{
    arguments::Arguments,
    output::{Output, Style},
};

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return exit::usage(&error, style_of_wrong_usage()),
    };
    let style = arguments.style();
    #[cfg(feature = "server")]
    let arguments = match arguments.with_settings_file() {
        Ok(arguments) => arguments,
        Err(error) => match error.downcast::<clap::Error>() {
            Ok(usage) => return exit::usage(&usage, style),
            Err(error) => return exit::code(Err(error), style),
        },
    };
    let mut output = Output::stdout(style);
    let ended = arguments.run(&mut output);
    // Flush first, so that results precede the error they led up to.
    let flushed = output.flush();
    // A store that a command opened to write is sealed before the program ends.
    gesta_log::finish_dropped_stores();
    exit::code(ended.and_then(|outcome| flushed.map(|()| outcome)), style)
}

/// Returns the output style for a command line that does not parse, from its raw arguments.
fn style_of_wrong_usage() -> Style {
    if std::env::args_os().any(|argument| argument == "--json") { Style::Json } else { Style::Text }
}
