//! `gesta dead-letters`: dead letters of the projections of a running application.

use anyhow::Result;
use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};

use super::processes::{Reason, done};
use crate::{
    application::{Application, Path},
    confirm::Confirm,
    events::Printable,
    exit::Outcome,
    output::Output,
    table::Table,
};

const HINT: &str = "\
Examples:
  gesta dead-letters list
  gesta dead-letters retry users@12
  gesta dead-letters discard users@12 --reason 'manual entry, no such user' --yes

A discard asks for confirmation; --yes confirms it.

Exit codes:
  0  success
  1  refused by the application, for example because a retry failed
  2  usage error, or the application does not respond
  3  not found";

/// Manage dead letters of projections in a running application
///
/// A projection that cannot apply an event sets the event aside as a dead letter. Later events of
/// the same stream wait behind it.
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct DeadLetters {
    #[command(flatten)]
    application: Application,
    #[command(subcommand)]
    verb: DeadLettersCommand,
}

#[derive(Subcommand, Debug)]
enum DeadLettersCommand {
    /// List dead letters by projection and position
    List,
    /// Apply the dead letters of a stream again, in order
    Retry {
        /// Dead letter id, as shown by `list`
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
        #[command(flatten)]
        reason: Reason,
    },
    /// Skip an event permanently and apply the events that wait behind it
    Discard {
        /// Dead letter id, as shown by `list`
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
        #[command(flatten)]
        reason: Reason,
        #[command(flatten)]
        confirm: Confirm,
    },
}

const LETTERS: Table = Table(&[
    ("ID", "id", 24),
    ("TYPE", "type", 24),
    ("REVISION", "revision", 8),
    ("STREAM", "stream", 24),
    ("REASON", "reason", 0),
]);

impl DeadLetters {
    pub(crate) fn run(self, output: &mut Output) -> Result<Outcome> {
        let at = &self.application;
        let letters = Path::new("/dead-letters");
        match self.verb {
            DeadLettersCommand::List => {
                LETTERS.show(&at.items(&letters)?, output)?;
                return Ok(Outcome::Done);
            }
            DeadLettersCommand::Retry { id, reason } => {
                at.post(&letters.name(&id).then("/retry"), reason.reason.as_deref())?;
            }
            DeadLettersCommand::Discard { id, reason, confirm } => {
                let shown = Printable(&id);
                confirm.ask(&format!("this permanently skips the event of dead letter {shown}"))?;
                at.delete(&letters.name(&id), reason.reason.as_deref())?;
            }
        }
        done(output)
    }
}
