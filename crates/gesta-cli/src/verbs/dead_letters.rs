//! `gesta dead-letters`: events that projections of a running application have set aside.

use anyhow::Result;
use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};

use super::processes::{Reason, done};
use crate::{
    application::{Application, Path},
    exit::Outcome,
    output::Output,
    table::Table,
};

const HINT: &str = "\
Examples:
  gesta dead-letters list
  gesta dead-letters retry users@12
  gesta dead-letters discard users@12 --reason 'written by hand, no user'

Exit codes:
  0  done
  1  the application says no, such as when it still fails
  2  wrong usage, or no application answers
  3  there is nothing of this id";

/// Look after events that projections of a running application have set aside.
///
/// A projection that cannot apply an event sets it aside, and what comes for the same stream waits
/// behind it.
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct DeadLetters {
    #[command(flatten)]
    application: Application,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// List all of them, by projection and position.
    List,
    /// Apply the dead letters of a stream again, in order.
    Retry {
        /// The id, as `list` gives it.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
        #[command(flatten)]
        reason: Reason,
    },
    /// Leave an event out of the read model for good, and apply those that wait behind it.
    Discard {
        /// The id, as `list` gives it.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
        #[command(flatten)]
        reason: Reason,
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
            Verb::List => {
                LETTERS.show(&at.items(&letters)?, output)?;
                return Ok(Outcome::Done);
            }
            Verb::Retry { id, reason } => {
                at.post(&letters.name(&id).then("/retry"), reason.reason.as_deref())?;
            }
            Verb::Discard { id, reason } => {
                at.delete(&letters.name(&id), reason.reason.as_deref())?;
            }
        }
        done(output)
    }
}
