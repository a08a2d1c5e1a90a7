//! `gesta server scavenge`.

use anyhow::Result;
use clap::{Subcommand, value_parser};
use gesta_server::{ScavengeRequest, admin::AdminClient};
use serde_json::Value;

use super::calls::wait;
use crate::{
    events::Printable,
    exit::Outcome,
    output::{Output, Style},
    table::text,
};

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
        match output.style() {
            Style::Json => output.json(&scavenge)?,
            Style::Text => print(&scavenge, output)?,
        }
        Ok(Outcome::Done)
    }
}

/// Prints a scavenge for people.
fn print(scavenge: &Value, output: &mut Output) -> Result<()> {
    let member = |name: &str| scavenge.get(name).map_or_else(|| "-".to_owned(), text);
    let (done, total) = (member("bytesDone"), member("bytesTotal"));
    let (bytes, events) = (member("bytesReclaimed"), member("eventsRemoved"));
    for (name, text) in [
        ("state", member("state")),
        ("id", member("scavengeId")),
        ("started", member("startedAt")),
        ("ended", member("endedAt")),
        ("examined", format!("{done} of {total} bytes")),
        ("reclaimed", format!("{bytes} bytes, {events} events")),
    ] {
        output.line(format_args!("{name:<10} {}", Printable(&text)))?;
    }
    match scavenge.get("error").and_then(Value::as_str) {
        Some(error) => output.line(format_args!("{:<10} {}", "error", Printable(error))),
        None => Ok(()),
    }
}
