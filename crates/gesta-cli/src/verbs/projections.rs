//! `gesta projections`: the projections of a running application, and their rebuilds.

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
  gesta projections list
  gesta projections rebuild orders --reason 'totals were rounded wrongly'
  gesta projections confirm orders          switches to a rebuild that set events aside
  gesta projections roll-back orders        answers from the read model before the switch again
  gesta projections drop-old orders         frees the space of the one before the switch

Exit codes:
  0  done
  1  the application says no, such as when there is nothing to confirm
  2  wrong usage, or no application answers
  3  there is nothing of this name";

/// Look after the projections of a running application.
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Projections {
    #[command(flatten)]
    application: Application,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// List all of them, with how far they are.
    List,
    /// Fill a read model anew, beside the one that answers.
    Rebuild(Order),
    /// Switch to a read model that is filled anew and set events aside.
    Confirm(Order),
    /// Answer from the read model before the last switch again.
    RollBack(Order),
    /// Drop the read model that answered before the last switch.
    DropOld(Order),
}

#[derive(Args, Debug)]
struct Order {
    /// The projection.
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
            Verb::List => {
                PROJECTIONS.show(&at.items(&Path::new("/projections"))?, output)?;
                return Ok(Outcome::Done);
            }
            Verb::Rebuild(order) => (order, "/rebuild"),
            Verb::Confirm(order) => (order, "/confirm-switch"),
            Verb::RollBack(order) => (order, "/roll-back"),
            Verb::DropOld(order) => (order, "/drop-old-rows"),
        };
        let path = Path::new("/projections").name(&order.name).then(what);
        at.post(&path, order.reason.reason.as_deref())?;
        done(output)
    }
}
