//! `gesta server scavenge`.

use anyhow::Result;
use clap::{Subcommand, value_parser};
use gesta_server::{ScavengeRequest, admin::AdminClient};

use super::calls::{show, wait};
use crate::{exit::Outcome, output::Output};

#[derive(Subcommand, Debug)]
pub(super) enum ScavengeCommand {
    /// Start to remove hidden events, and show the scavenge
    Start {
        /// Minimum share of a segment that must be reclaimable, in percent
        #[arg(long, value_name = "PERCENT", value_parser = value_parser!(u8).range(..=100))]
        threshold: Option<u8>,
    },
    /// Show the last scavenge since the server was started
    Show,
    /// End a scavenge. What was reclaimed stays reclaimed
    Stop {
        /// Id of the scavenge
        id: String,
    },
}

impl ScavengeCommand {
    pub(super) fn run(self, client: &AdminClient, output: &mut Output) -> Result<Outcome> {
        let scavenge = match self {
            Self::Start { threshold } => {
                let mut request = ScavengeRequest::default();
                request.threshold_percent = threshold;
                wait(client.start_scavenge(request))?
            }
            Self::Show => wait(client.last_scavenge())?,
            Self::Stop { id } => wait(client.stop_scavenge(&id))?,
        };
        show(&scavenge, output)?;
        Ok(Outcome::Done)
    }
}
