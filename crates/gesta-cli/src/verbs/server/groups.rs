//! `gesta server groups`.

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use gesta_server::admin::{AdminClient, GroupRef, NewGroup};

use super::calls::{done, rows, show, wait};
use crate::{confirm::Confirm, events::Printable, exit::Outcome, output::Output, table::Table};

#[derive(Subcommand, Debug)]
pub(super) enum GroupsCommand {
    /// List consumer groups with their progress
    List,
    /// Show one group
    Show(NamedGroup),
    /// Create a group
    Create {
        #[command(flatten)]
        group: NamedGroup,
        /// Begin at the first event, and not at the end
        #[arg(long)]
        from_start: bool,
        /// Way in which consumers share the events
        #[arg(long, value_enum, default_value = "round-robin")]
        strategy: GroupStrategy,
        /// Deliver the targets of links
        #[arg(long)]
        resolve_links: bool,
        /// Deliveries after the first one, before an event is parked
        #[arg(long, value_name = "NUMBER", default_value_t = 10)]
        retries: u16,
        /// Milliseconds that a consumer has for an event
        #[arg(long, value_name = "MILLIS", default_value_t = 30_000)]
        timeout_millis: u32,
    },
    /// Deliver the parked events of a group again
    Replay(NamedGroup),
    /// Delete a group with its checkpoint and its parked events. Asks for confirmation
    Delete {
        #[command(flatten)]
        group: NamedGroup,
        #[command(flatten)]
        confirm: Confirm,
    },
}

#[derive(Args, Debug)]
pub(super) struct NamedGroup {
    /// Stream of the group, or $all
    source: String,
    /// Name of the group
    name: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum GroupStrategy {
    /// Each consumer in turn
    RoundRobin,
    /// One consumer as long as it keeps up
    DispatchToSingle,
    /// The events of a stream to one consumer
    Pinned,
    /// The events of a correlation id to one consumer
    PinnedByCorrelation,
}

impl GroupStrategy {
    const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "RoundRobin",
            Self::DispatchToSingle => "DispatchToSingle",
            Self::Pinned => "Pinned",
            Self::PinnedByCorrelation => "PinnedByCorrelation",
        }
    }
}

impl From<&NamedGroup> for GroupRef {
    fn from(named: &NamedGroup) -> Self {
        Self::new(&named.source, &named.name)
    }
}

const GROUPS: Table = Table(&[
    ("STATUS", "status", 12),
    ("CONSUMERS", "consumers", 9),
    ("IN FLIGHT", "inFlight", 9),
    ("PARKED", "parked", 8),
    ("CHECKPOINT", "checkpoint", 16),
    ("LAST KNOWN", "lastKnown", 16),
    ("GROUP", "name", 24),
    ("SOURCE", "source", 0),
]);

impl GroupsCommand {
    /// Asks for a confirmation if the command needs one.
    pub(super) fn confirm(&self) -> Result<()> {
        match self {
            Self::Delete { group: NamedGroup { source, name }, confirm } => confirm.ask(&format!(
                "this deletes the group {} of {} with its checkpoint and its parked events",
                Printable(name),
                Printable(source)
            )),
            _ => Ok(()),
        }
    }

    pub(super) fn run(self, client: &AdminClient, output: &mut Output) -> Result<Outcome> {
        match self {
            Self::List => {
                GROUPS.show(&rows(&wait(client.groups())?)?, output)?;
                return Ok(Outcome::Done);
            }
            Self::Show(named) => {
                show(&wait(client.group(&GroupRef::from(&named)))?, output)?;
                return Ok(Outcome::Done);
            }
            Self::Create {
                group,
                from_start,
                strategy,
                resolve_links,
                retries,
                timeout_millis,
            } => {
                let mut new = NewGroup::new(GroupRef::from(&group));
                new.from_start = from_start;
                strategy.name().clone_into(&mut new.strategy);
                new.resolve_links = resolve_links;
                new.retries_max = retries;
                new.timeout_millis = timeout_millis;
                wait(client.create_group(new))?;
            }
            Self::Replay(named) => wait(client.replay_parked(&GroupRef::from(&named)))?,
            Self::Delete { group, .. } => wait(client.delete_group(&GroupRef::from(&group)))?,
        }
        done(output)
    }
}
