//! The program `gesta`: for the owner of a store, at a shell.
//!
//! Owns: the verbs, how events are shown, and exit codes. Always holds: what was asked for goes to
//! standard output, everything else to standard error; a reader that has seen enough (`| head`)
//! ends the program quietly; no verb but `append`, `import` and `scavenge` changes a store that is
//! there, but for `bench`, which wants one of its own.
//! Not here: what a store promises (`gesta-store`), and how it keeps that (`gesta-log`).

mod arguments;
mod counted;
mod events;
mod exit;
mod load;
mod output;
mod progress;
mod source;
mod store_url;
mod told;
mod verbs;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{arguments::Arguments, output::Output};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut output = Output::stdout(arguments.style());
    let ended = arguments.run(&mut output);
    // What was found before an error is shown before it.
    let flushed = output.flush();
    exit::code(ended.and_then(|outcome| flushed.map(|()| outcome)))
}
