//! Confirmation prompt before a destructive change.
//!
//! Invariant: without `--yes`, nothing is changed unless a user confirms at a terminal.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::exit::Refusal;

/// Options of commands that ask for confirmation.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Confirm {
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
}

impl Confirm {
    /// Asks for confirmation.
    ///
    /// # Errors
    ///
    /// If the answer is not yes, or standard input is not a terminal.
    pub(crate) fn ask(self, consequence: &str) -> Result<()> {
        if self.yes {
            return Ok(());
        }
        // A script cannot answer, and piped input must not be taken for an answer.
        if !io::stdin().is_terminal() {
            return Err(Refusal::usage(
                "confirmation-needed",
                format!(
                    "nothing was changed: {consequence}, which must be confirmed, but standard \
                     input is not a terminal"
                ),
            )
            .hint("add --yes to confirm on the command line")
            .into());
        }
        // On standard error, so that the prompt shows even if the output is redirected.
        let mut prompt = io::stderr();
        write!(prompt, "{consequence}. Continue? [y/N] ").context("cannot write the prompt")?;
        prompt.flush().context("cannot write the prompt")?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).context("cannot read the answer")?;
        match answer.trim() {
            "y" | "Y" | "yes" => Ok(()),
            // Anything else means no, including end of input.
            _ => Err(Refusal::usage("not-confirmed", "not confirmed; nothing was changed").into()),
        }
    }
}
