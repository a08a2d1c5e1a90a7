//! `gesta server projections`.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use gesta_server::admin::{AdminClient, NewProjection, ProjectionDescription};

use super::calls::{done, rows, show, wait};
use crate::{
    confirm::Confirm,
    events::Printable,
    exit::{Outcome, Refusal},
    output::{Output, Style, notice},
    table::Table,
};

#[derive(Subcommand, Debug)]
pub(super) enum ScriptsCommand {
    /// List projections with their progress, and the reason of those that have failed
    List,
    /// Show one projection
    Show {
        /// Name of the projection
        name: String,
    },
    /// Create a continuous projection from a script, and start it. A script that cannot run fails
    /// with line and column
    Create {
        /// Name of the projection
        name: String,
        /// File with the script
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
        /// Let the script emit events
        #[arg(long)]
        emit: bool,
        /// Remember the streams to which it emits, so that a reset deletes them
        #[arg(long, requires = "emit")]
        track_emitted_streams: bool,
    },
    /// Start a projection
    Enable {
        /// Name of the projection
        name: String,
    },
    /// Stop a projection, which stores its checkpoint
    Disable {
        /// Name of the projection
        name: String,
    },
    /// Let a projection begin anew. Asks for confirmation
    Reset {
        /// Name of the projection
        name: String,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Show the state of a projection as JSON
    State(Partition),
    /// Show the result of a projection as JSON: its state after transformBy and filterBy
    Result(Partition),
    /// Delete a stopped projection, with its states. Asks for confirmation
    Delete {
        /// Name of the projection
        name: String,
        #[command(flatten)]
        confirm: Confirm,
    },
}

#[derive(Args, Debug)]
pub(super) struct Partition {
    /// Name of the projection
    name: String,
    /// Partition, of a projection that has some
    #[arg(long, default_value = "", hide_default_value = true)]
    partition: String,
}

/// The status of a projection that does not go on.
const FAULTED: &str = "Faulted";

const PROJECTIONS: Table = Table(&[
    ("STATUS", "status", 17),
    ("MODE", "mode", 10),
    ("PROGRESS", "progress", 8),
    ("EVENTS", "events", 10),
    ("PROJECTION", "name", 0),
]);

impl ScriptsCommand {
    /// Asks for a confirmation if the command needs one.
    pub(super) fn confirm(&self) -> Result<()> {
        match self {
            Self::Delete { name, confirm } => {
                confirm.ask(&format!("this deletes the projection {}", Printable(name)))
            }
            Self::Reset { name, confirm } => confirm.ask(&format!(
                "the projection {} forgets its state and begins anew",
                Printable(name)
            )),
            _ => Ok(()),
        }
    }

    pub(super) fn run(self, client: &AdminClient, output: &mut Output) -> Result<Outcome> {
        match self {
            Self::List => {
                PROJECTIONS.show(&rows(&wait(client.projections())?)?, output)?;
                return Ok(Outcome::Done);
            }
            Self::Show { name } => {
                show(&wait(client.projection(&name))?, output)?;
                return Ok(Outcome::Done);
            }
            Self::Create { name, file, emit, track_emitted_streams } => {
                let script = fs::read_to_string(&file)
                    .with_context(|| format!("cannot read the script {}", file.display()))?;
                let mut projection = NewProjection::new(&name, &script);
                projection.emits = emit;
                projection.tracks_emitted_streams = track_emitted_streams;
                wait(client.create_projection(projection))?;
                check_runs(client, &name, "was created")?;
            }
            Self::Enable { name } => {
                wait(client.enable_projection(&name))?;
                check_runs(client, &name, "was started")?;
            }
            Self::Disable { name } => wait(client.disable_projection(&name))?,
            Self::Reset { name, .. } => wait(client.reset_projection(&name))?,
            Self::State(Partition { name, partition }) => {
                let state = wait(client.projection_state(&name, &partition))?;
                tell_fault(client, &name);
                return json(&state, output);
            }
            Self::Result(Partition { name, partition }) => {
                let result = wait(client.projection_result(&name, &partition))?;
                tell_fault(client, &name);
                return json(&result, output);
            }
            Self::Delete { name, .. } => wait(client.delete_projection(&name))?,
        }
        done(output)
    }
}

/// Returns the reason for which a projection has failed, if it has.
fn fault(projection: &ProjectionDescription) -> Option<String> {
    let reason = || projection.reason.clone().unwrap_or_default();
    (projection.status == FAULTED).then(reason)
}

/// Refuses a projection that has failed at its start.
fn check_runs(client: &AdminClient, name: &str, what: &str) -> Result<()> {
    let Some(reason) = fault(&wait(client.projection(name))?) else { return Ok(()) };
    let (reason, name) = (Printable(&reason), Printable(name));
    let message = format!("the projection {name} {what}, and has failed: {reason}");
    let hint = format!(
        "correct the script; `gesta server projections delete {name}` makes the name free again"
    );
    Err(Refusal::refused("projection-faulted", message).hint(hint).into())
}

/// Says that a state may be behind, on standard error: standard output has the state.
fn tell_fault(client: &AdminClient, name: &str) {
    // The state itself was there, so an error here is no reason to fail.
    if let Ok(projection) = wait(client.projection(name))
        && let Some(reason) = fault(&projection)
    {
        let (reason, name) = (Printable(&reason), Printable(name));
        notice(format_args!(
            "note: the projection {name} has failed, and its state stays as it is: {reason}"
        ));
    }
}

/// Prints a state: on one line with `--json`, else for people.
fn json(state: &serde_json::Value, output: &mut Output) -> Result<Outcome> {
    match output.style() {
        Style::Json => output.json(state)?,
        Style::Text => output.line(serde_json::to_string_pretty(state)?)?,
    }
    Ok(Outcome::Done)
}
