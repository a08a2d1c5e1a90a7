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
        if !io::stdin().is_terminal() {
            return Err(Refusal::usage(
                "confirmation-needed",
                format!("nothing was changed: {consequence}, and standard input is not a terminal to confirm it"),
            )
            .hint("use --yes to skip the confirmation")
            .into());
        }
        let mut asked = io::stderr();
        write!(asked, "{consequence}. Continue? [y/N] ").context("cannot write the prompt")?;
        asked.flush().context("cannot write the prompt")?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).context("cannot read the answer")?;
        match answer.trim() {
            "y" | "Y" | "yes" => Ok(()),
            _ => Err(Refusal::usage("not-confirmed", "nothing was changed").into()),
        }
    }
}
