//! `gesta reactors`: reactors of a running application and their dead letters.

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use serde_json::value::RawValue;

use super::processes::{Reason, done};
use crate::{
    application::{Application, Path},
    confirm::Confirm,
    events::Printable,
    exit::Outcome,
    output::{Output, Style, notice},
    table::Table,
};

const HINT: &str = "\
Examples:
  gesta reactors list                            all reactors
  gesta reactors show welcome-mail               one reactor
  gesta reactors dead-letters welcome-mail       events whose effect failed, with the error
  gesta reactors retry welcome-mail 0192d3f0-7c1e-7000-8000-3f1c5a7b9e21
  gesta reactors discard welcome-mail 0192d3f0-7c1e-7000-8000-3f1c5a7b9e21 \\
      --reason 'the mailbox is closed'
  gesta reactors pause welcome-mail --reason 'the mail server moves'
  gesta reactors resume welcome-mail

Operations are recorded in the stream audit-operations, with the reason. A discard asks for
confirmation; --yes confirms it.

Exit codes:
  0  success
  1  refused by the application, for example because the effect failed again
  2  usage error, or the application does not respond
  3  not found";

/// Manage reactors in a running application
///
/// A reactor has a side effect for each event, such as a mail. An event whose effect fails at every
/// attempt is a dead letter, and later events of the same stream wait behind it.
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Reactors {
    #[command(flatten)]
    application: Application,
    #[command(subcommand)]
    verb: ReactorsCommand,
}

#[derive(Subcommand, Debug)]
enum ReactorsCommand {
    /// List reactors with their progress
    List,
    /// Show a reactor with its progress
    Show(Named),
    /// List the dead letters of a reactor by stream
    DeadLetters(Named),
    /// Attempt the effect of a dead letter again. The later events of its stream follow
    Retry(Letter),
    /// Discard a dead letter: its effect never happens. The later events of its stream follow
    Discard {
        #[command(flatten)]
        letter: Letter,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Pause a reactor after its current attempts. The pause ends when the application restarts
    Pause(Paused),
    /// Resume a reactor after a pause or halt
    Resume(Paused),
}

#[derive(Args, Debug)]
struct Named {
    /// Reactor
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    reactor: String,
}

#[derive(Args, Debug)]
struct Paused {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    reason: Reason,
}

#[derive(Args, Debug)]
struct Letter {
    #[command(flatten)]
    named: Named,
    /// Event id, as shown by `dead-letters`
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    event: String,
    #[command(flatten)]
    reason: Reason,
}

const REACTORS: Table = Table(&[
    ("STATE", "state", 8),
    ("DEAD LETTERS", "deadLetters", 12),
    ("RETRYING", "retrying", 8),
    ("LAG", "lagEvents", 8),
    ("POSITION", "position", 10),
    ("REACTOR", "name", 0),
]);

const EFFECTS: Table = Table(&[
    ("EVENT", "id", 36),
    ("TYPE", "type", 24),
    ("ATTEMPTS", "attempts", 8),
    ("REVISION", "revision", 8),
    ("STREAM", "stream", 0),
]);

impl Named {
    fn path(&self) -> Path {
        Path::new("/reactors").name(&self.reactor)
    }
}

impl Letter {
    fn path(&self) -> Path {
        self.named.path().then("/dead-letters").name(&self.event)
    }
}

impl Reactors {
    pub(crate) fn run(self, output: &mut Output) -> Result<Outcome> {
        let at = &self.application;
        match self.verb {
            ReactorsCommand::List => {
                REACTORS.show(&at.items(&Path::new("/reactors"))?, output)?;
                Ok(Outcome::Done)
            }
            ReactorsCommand::Show(named) => {
                let shown = RawValue::from_string(at.get(&named.path(), &[])?);
                REACTORS.show(&[shown.with_context(|| at.other_format())?], output)?;
                Ok(Outcome::Done)
            }
            ReactorsCommand::DeadLetters(named) => {
                let letters = at.items(&named.path().then("/dead-letters"))?;
                if letters.is_empty() && output.style() == Style::Text {
                    notice("no dead letters");
                } else {
                    EFFECTS.show(&letters, output)?;
                }
                Ok(Outcome::Done)
            }
            ReactorsCommand::Retry(letter) => {
                at.post(&letter.path().then("/retry"), letter.reason.reason.as_deref())?;
                done(output)
            }
            ReactorsCommand::Discard { letter, confirm } => {
                let event = Printable(&letter.event);
                confirm.ask(&format!("the effect of event {event} will never happen"))?;
                at.delete(&letter.path(), letter.reason.reason.as_deref())?;
                done(output)
            }
            ReactorsCommand::Pause(Paused { named, reason }) => {
                at.post(&named.path().then("/pause"), reason.reason.as_deref())?;
                done(output)
            }
            ReactorsCommand::Resume(Paused { named, reason }) => {
                at.post(&named.path().then("/resume"), reason.reason.as_deref())?;
                done(output)
            }
        }
    }
}
