//! `gesta server verify` and `gesta server backup`.
//!
//! Invariants: the work is the server's, so an interrupted command leaves it running; a command
//! that waits tells the end of the work that it means, or that it cannot know it.

use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use gesta_server::admin::{AdminClient, AdminError};
use indicatif::ProgressBar;
use serde_json::{Value, value::RawValue};
use tokio::time::{Instant, sleep};

use super::calls::{rows, wait};
use crate::{
    counted::counted,
    events::Printable,
    exit::{Outcome, Refusal},
    output::{Output, Style},
    progress::{Unit, bar},
    table::{Table, text},
};

/// Time between two looks at work that runs.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Time for which a server that does not answer is asked again.
const SILENCE_MAX: Duration = Duration::from_secs(30);

#[derive(Subcommand, Debug)]
pub(super) enum VerifyCommand {
    /// Check every byte of the store, and wait for the result
    Start(Started),
    /// Show the last verification since the server was started
    Show(Shown),
    /// End a verification
    Stop {
        /// Id of the verification
        id: String,
    },
}

#[derive(Subcommand, Debug)]
pub(super) enum BackupCommand {
    /// Copy the store into a directory of the server, and wait until it is complete
    ///
    /// The server must have been started with `--backups DIRECTORY`. The backup is the directory
    /// NAME below it, which `gesta restore` takes. A backup that is there already is brought up to
    /// date, and stays as it is until the new one is complete.
    Start {
        /// Name of the backup: letters, digits, `-`, `_` and `.`
        name: String,
        #[command(flatten)]
        started: Started,
    },
    /// Show the last backup since the server was started
    Show(Shown),
    /// List the backups in the directory of the server
    List,
    /// End a backup. An earlier backup of its name stays
    Stop {
        /// Id of the backup
        id: String,
    },
}

#[derive(Args, Debug)]
pub(super) struct Started {
    /// Reason, for the audit stream
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Return once it has begun. `show --wait` waits for its end
    #[arg(long)]
    detach: bool,
}

#[derive(Args, Debug)]
pub(super) struct Shown {
    /// Wait for its end, if it is running
    #[arg(long)]
    wait: bool,
}

/// The two kinds of work.
#[derive(Clone, Copy, Debug)]
enum Work {
    Verification,
    Backup,
}

impl Work {
    const fn word(self) -> &'static str {
        match self {
            Self::Verification => "verification",
            Self::Backup => "backup",
        }
    }

    /// Returns the verb of the command line.
    const fn verb(self) -> &'static str {
        match self {
            Self::Verification => "verify",
            Self::Backup => "backup",
        }
    }

    /// Asks for the last work of this kind.
    async fn last(self, client: &AdminClient) -> Result<Value, AdminError> {
        let mut shown = match self {
            Self::Verification => client.last_verification().await?,
            Self::Backup => client.backups().await?,
        };
        Ok(shown.get_mut("last").map(Value::take).unwrap_or_default())
    }
}

impl VerifyCommand {
    pub(super) fn run(self, client: &AdminClient, output: &mut Output) -> Result<Outcome> {
        let work = Work::Verification;
        match self {
            Self::Start(Started { reason, detach }) => {
                let started = wait(client.start_verification(reason.as_deref()))?;
                begun(work, started, detach, client, output)
            }
            Self::Show(shown) => show_last(work, &shown, client, output),
            Self::Stop { id } => told(work, &wait(client.stop_verification(&id))?, output),
        }
    }
}

const BACKUPS: Table = Table(&[
    ("TAKEN AT", "takenAt", 27),
    ("POSITION", "position", 14),
    ("BYTES", "bytes", 16),
    ("NAME", "name", 0),
]);

impl BackupCommand {
    pub(super) fn run(self, client: &AdminClient, output: &mut Output) -> Result<Outcome> {
        let work = Work::Backup;
        match self {
            Self::Start { name, started: Started { reason, detach } } => {
                let started = wait(client.start_backup(&name, reason.as_deref()))?;
                begun(work, started, detach, client, output)
            }
            Self::Show(shown) => show_last(work, &shown, client, output),
            Self::List => {
                BACKUPS.show(&listed(&wait(client.backups())?)?, output)?;
                Ok(Outcome::Done)
            }
            Self::Stop { id } => told(work, &wait(client.stop_backup(&id))?, output),
        }
    }
}

fn listed(answer: &Value) -> Result<Vec<Box<RawValue>>> {
    let backups = answer.get("backups").and_then(Value::as_array);
    rows(backups.map(Vec::as_slice).unwrap_or_default())
}

/// Waits for the end of work that was started, unless the caller wants none of it.
fn begun(
    work: Work,
    started: Value,
    detach: bool,
    client: &AdminClient,
    output: &mut Output,
) -> Result<Outcome> {
    if detach {
        return told(work, &started, output);
    }
    let ended = ended(work, started, client)?;
    ended_well(work, &ended)?;
    told(work, &ended, output)
}

fn show_last(
    work: Work,
    shown: &Shown,
    client: &AdminClient,
    output: &mut Output,
) -> Result<Outcome> {
    let mut last = wait(work.last(client))?;
    if last.is_null() {
        let word = work.word();
        let message = format!("no {word} was started since the start of the server");
        let hint = format!("`gesta server {} start` starts one", work.verb());
        return Err(Refusal::not_found("not-found", message).hint(hint).into());
    }
    if shown.wait {
        last = ended(work, last, client)?;
    }
    told(work, &last, output)
}

/// Waits until work has ended, and shows its progress.
fn ended(work: Work, started: Value, client: &AdminClient) -> Result<Value> {
    let bar = bar(Unit::Bytes, 0);
    let ended = wait(followed(work, started, client, &bar));
    // Only then: a bar that is still drawn would overwrite the error.
    bar.finish_and_clear();
    ended?.ok_or_else(|| {
        let message = format!(
            "the server has been started again or does other work; the end of this {} is not known",
            work.word()
        );
        let hint = format!("run `gesta server {} start` again", work.verb());
        Refusal::usage("outcome-unknown", message).hint(hint).into()
    })
}

/// Returns the end of work, or `None` once the server does not know it any more.
async fn followed(
    work: Work,
    mut seen: Value,
    client: &AdminClient,
    bar: &ProgressBar,
) -> Result<Option<Value>, AdminError> {
    let id = seen.get("id").cloned();
    let mut answered = Instant::now();
    while seen.get("state").is_some_and(|state| state == "running") {
        bar.set_length(number(&seen, "bytesTotal"));
        bar.set_position(number(&seen, "bytesDone"));
        sleep(LOOK_EVERY).await;
        seen = match work.last(client).await {
            Ok(last) if last.get("id") != id.as_ref() => return Ok(None),
            Ok(last) => last,
            // A server that is busy or out of reach for a moment continues its work.
            Err(AdminError::Busy { .. } | AdminError::Unreachable { .. })
                if answered.elapsed() < SILENCE_MAX =>
            {
                continue;
            }
            Err(error) => return Err(error),
        };
        answered = Instant::now();
    }
    Ok(Some(seen))
}

/// Returns an error if waited-for work has no result.
fn ended_well(work: Work, ended: &Value) -> Result<()> {
    let word = work.word();
    let refusal = match ended.get("state").and_then(Value::as_str) {
        Some("stopped") => Refusal::refused("stopped", format!("the {word} was stopped"))
            .hint("the audit stream of the server, `$audit`, names who stopped it"),
        Some("failed") => {
            let why = ended.get("error").map(text).unwrap_or_default();
            let hint = match work {
                Work::Verification => "look at the log and the disk of the server",
                Work::Backup => {
                    "an earlier backup of this name is unchanged; look at the log and the disk of \
                     the server, and run `gesta server verify start` if it tells of damage"
                }
            };
            Refusal::refused("failed", format!("the {word} has failed: {why}")).hint(hint)
        }
        _ => return Ok(()),
    };
    Err(refusal.into())
}

/// Prints work, and returns whether a problem was found.
fn told(work: Work, seen: &Value, output: &mut Output) -> Result<Outcome> {
    match output.style() {
        Style::Json => output.json(seen)?,
        Style::Text => print(work, seen, output)?,
    }
    let found = seen.pointer("/result/sound").is_some_and(|sound| sound == false);
    let failed = seen.get("state").is_some_and(|state| state == "failed");
    Ok(if found || failed { Outcome::ProblemFound } else { Outcome::Done })
}

/// Prints work for people.
fn print(work: Work, seen: &Value, output: &mut Output) -> Result<()> {
    let member =
        |name: &str| seen.get(name).filter(|value| !value.is_null()).map_or("-".to_owned(), text);
    let read = format!("{} of {} bytes", member("bytesDone"), member("bytesTotal"));
    let mut lines = vec![
        ("state", member("state")),
        ("id", member("id")),
        ("started", member("startedAt")),
        ("ended", member("endedAt")),
        ("read", read),
    ];
    if matches!(work, Work::Backup) {
        lines.insert(0, ("name", member("name")));
    }
    if let Some(error) = seen.get("error").filter(|error| !error.is_null()) {
        lines.push(("error", text(error)));
    }
    for (name, text) in lines {
        output.line(format_args!("{name:<8} {}", Printable(&text)))?;
    }
    match (work, seen.get("result").filter(|result| !result.is_null())) {
        (_, None) => Ok(()),
        (Work::Verification, Some(result)) => print_findings(result, output),
        (Work::Backup, Some(result)) => {
            let [position, bytes, copied] =
                ["position", "bytes", "bytesCopied"].map(|name| number(result, name));
            output.line(format_args!(
                "backed up to position {position}: {bytes} bytes, {copied} of them copied"
            ))
        }
    }
}

fn print_findings(result: &Value, output: &mut Output) -> Result<()> {
    let places = |name: &str| {
        let places = result.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        places.iter().map(text).collect::<Vec<_>>()
    };
    let (damage, index_damage) = (places("damage"), places("indexDamage"));
    for place in &damage {
        output.line(format_args!("damaged: {}", Printable(place)))?;
    }
    for place in &index_damage {
        output.line(format_args!("index damaged: {}", Printable(place)))?;
    }
    let events = counted(number(result, "events"), "event");
    if damage.is_empty() {
        if !index_damage.is_empty() {
            output.line(
                "No events are lost: the index can be rebuilt. `gesta verify` at the directory of \
                 the stopped server says how",
            )?;
        }
        return output.line(format_args!("sound: {events}"));
    }
    let places = counted(damage.len() as u64, "place");
    output.line(format_args!(
        "DAMAGED in {places}: {events} are readable. Stop the server and copy the whole directory of \
         the store first. Do not delete any file. Then check the disk and restore a backup into \
         another directory"
    ))
}

fn number(of: &Value, member: &str) -> u64 {
    of.get(member).and_then(Value::as_u64).unwrap_or_default()
}
