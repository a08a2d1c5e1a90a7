//! The program `gesta`: for the owner of a store, at a shell.
//!
//! Owns: the verbs, how events are shown, and exit codes. Always holds: what was asked for goes to
//! standard output, everything else to standard error; a reader that has seen enough (`| head`)
//! ends the program quietly; a verb that changes a store says so in its help, and one that takes
//! something away for good asks before.
//! Not here: what a store promises (`gesta-store`), and how it keeps that (`gesta-log`).

mod application;
mod arguments;
mod confirm;
mod counted;
mod directory;
mod events;
mod exit;
mod load;
mod lookup;
mod output;
mod progress;
mod source;
mod store_url;
mod table;
mod told;
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
    let mut output = Output::stdout(style);
    let ended = arguments.run(&mut output);
    // What was found before an error is shown before it.
    let flushed = output.flush();
    exit::code(ended.and_then(|outcome| flushed.map(|()| outcome)), style)
}

/// For whom an error is about a command line that could not be read: as far as it says.
fn style_of_wrong_usage() -> Style {
    if std::env::args_os().any(|argument| argument == "--json") { Style::Json } else { Style::Text }
}
