//! A question before something is taken away for good.
//!
//! Always holds: without `--yes` nothing happens unless a person at a terminal says so.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::exit::Refusal;

/// The part of the command line that verbs which ask have in common.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Confirm {
    /// Do not ask: for scripts.
    #[arg(long)]
    yes: bool,
}

impl Confirm {
    /// Asks whether it is meant.
    ///
    /// # Errors
    /// If it is not, or nobody is there to ask.
    pub(crate) fn ask(self, consequence: &str) -> Result<()> {
        if self.yes {
            return Ok(());
        }
        if !io::stdin().is_terminal() {
            return Err(Refusal::usage(
                "confirmation-needed",
                format!("nothing was changed, as nobody is there to confirm it: {consequence}"),
            )
            .hint("say it again with --yes")
            .into());
        }
        let mut asked = io::stderr();
        write!(asked, "{consequence}. Go on? [y/N] ").context("cannot ask")?;
        asked.flush().context("cannot ask")?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).context("cannot read the answer")?;
        match answer.trim() {
            "y" | "Y" | "yes" => Ok(()),
            _ => Err(Refusal::usage("not-confirmed", "nothing was changed").into()),
        }
    }
}
