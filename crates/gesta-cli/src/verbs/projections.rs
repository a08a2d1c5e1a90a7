//! `gesta projections`: inspects and rebuilds the projections of a running application.

use anyhow::Result;
use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::processes::{Reason, done};
use crate::{
    application::{Application, Path},
    confirm::Confirm,
    events::Printable,
    exit::Outcome,
    output::{Output, Style},
    table::Table,
};

const HINT: &str = "\
Examples:
  gesta projections list
  gesta projections rebuild orders --reason 'totals were rounded wrongly'
  gesta projections rebuild orders --hold   wait for confirm before the switch
  gesta projections compare orders          compare the held rebuild with the current rows
  gesta projections confirm orders          switch to a rebuild with dead letters, or a held one
  gesta projections pause orders            apply no events until it is resumed
  gesta projections roll-back orders        switch back to the previous read model
  gesta projections drop-old orders         delete the previous read model

Exit codes:
  0  success
  1  the compared rows differ, or the application refuses, for example because there is nothing
     to confirm
  2  usage error, or the application does not respond
  3  not found";

/// Manage projections in a running application
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Projections {
    #[command(flatten)]
    application: Application,
    #[command(subcommand)]
    verb: ProjectionsCommand,
}

#[derive(Subcommand, Debug)]
enum ProjectionsCommand {
    /// List projections with their progress
    List,
    /// Build a new read model while the current one serves queries
    Rebuild {
        #[command(flatten)]
        order: Order,
        /// Switch to it only once it is confirmed, also if it has no dead letters
        #[arg(long)]
        hold: bool,
    },
    /// Compare the rows of a rebuild that awaits confirmation with the current ones
    Compare {
        /// Projection
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
    },
    /// Switch to a rebuilt read model that has dead letters or is held
    Confirm(Order),
    /// Pause a projection until it is resumed or the application restarts
    Pause(Order),
    /// Resume a projection after a pause
    Resume(Order),
    /// Switch back to the previous read model
    RollBack(Order),
    /// Delete the previous read model. Asks for confirmation
    DropOld {
        #[command(flatten)]
        order: Order,
        #[command(flatten)]
        confirm: Confirm,
    },
}

#[derive(Args, Debug)]
struct Order {
    /// Projection
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,
    #[command(flatten)]
    reason: Reason,
}

const PROJECTIONS: Table = Table(&[
    ("STATE", "state", 12),
    ("VERSION", "version", 8),
    ("POSITION", "position", 10),
    ("LAG", "lagEvents", 8),
    ("DEAD LETTERS", "deadLetters", 12),
    ("PROJECTION", "name", 0),
]);

impl Projections {
    pub(crate) fn run(self, output: &mut Output) -> Result<Outcome> {
        let at = &self.application;
        let (order, what) = match self.verb {
            ProjectionsCommand::List => {
                PROJECTIONS.show(&at.items(&Path::new("/projections"))?, output)?;
                return Ok(Outcome::Done);
            }
            ProjectionsCommand::Compare { name } => return compare(at, &name, output),
            ProjectionsCommand::Rebuild { order, hold: false } => (order, "/rebuild"),
            ProjectionsCommand::Rebuild { order, hold: true } => (order, "/rebuild?hold=true"),
            ProjectionsCommand::Pause(order) => (order, "/pause"),
            ProjectionsCommand::Resume(order) => (order, "/resume"),
            ProjectionsCommand::Confirm(order) => (order, "/confirm-switch"),
            ProjectionsCommand::RollBack(order) => (order, "/roll-back"),
            ProjectionsCommand::DropOld { order, confirm } => {
                let name = Printable(&order.name);
                confirm.ask(&format!("this permanently deletes the previous rows of {name}"))?;
                (order, "/drop-old-rows")
            }
        };
        let path = Path::new("/projections").name(&order.name).then(what);
        at.post(&path, order.reason.reason.as_deref())?;
        done(output)
    }
}

const TABLES: Table = Table(&[
    ("EQUAL", "equal", 8),
    ("CURRENT ROWS", "liveRows", 14),
    ("REBUILT ROWS", "rebuiltRows", 14),
    ("TABLE", "name", 0),
]);

/// A comparison of a rebuild, of which the tables are printed one by one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ComparedBuilds {
    equal: bool,
    tables: Vec<Box<RawValue>>,
}

/// The rows of a table that only one build has.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Differences {
    name: String,
    only_live: Vec<String>,
    only_rebuilt: Vec<String>,
    more: bool,
}

fn compare(at: &Application, name: &str, output: &mut Output) -> Result<Outcome> {
    let text = at.ask(&Path::new("/projections").name(name).then("/compare"))?;
    let compared: ComparedBuilds = serde_json::from_str(&text)?;
    TABLES.show(&compared.tables, output)?;
    if output.style() == Style::Text {
        for table in &compared.tables {
            differences(&serde_json::from_str(table.get())?, output)?;
        }
    }
    Ok(if compared.equal { Outcome::Done } else { Outcome::ProblemFound })
}

fn differences(table: &Differences, output: &mut Output) -> Result<()> {
    let sides = [("current", &table.only_live), ("rebuilt", &table.only_rebuilt)];
    for (side, row) in sides.iter().flat_map(|(side, rows)| rows.iter().map(move |row| (side, row)))
    {
        output.line(format_args!("{} only {side}: {}", Printable(&table.name), Printable(row)))?;
    }
    if table.more {
        output.line(format_args!("{}: more rows differ", Printable(&table.name)))?;
    }
    Ok(())
}
