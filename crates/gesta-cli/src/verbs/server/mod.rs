//! `gesta server`: what operators do with a running `gesta serve`.
//!
//! Owns: the subcommands for users, groups, projections and figures, and their errors as exit
//! codes. Invariant: no password is an argument. Not here: streams and events, which have verbs of
//! their own.

mod calls;
mod connection_string;
mod groups;
mod password;
mod projections;
mod target;
mod users;

use anyhow::Result;
use clap::{Args, Subcommand};

use self::{
    calls::{show, wait},
    groups::GroupsCommand,
    projections::ScriptsCommand,
    target::ServerTarget,
    users::UsersCommand,
};
use crate::{exit::Outcome, output::Output};

const HINT: &str = "\
Examples:
  export GESTA_SERVER='kurrentdb://admin@events.example:2113?tlsCaFile=certs/ca.pem'
  gesta server users create ann --group sales
  gesta server groups list
  gesta server groups replay order-1 mail
  gesta server projections create totals --file totals.js
  gesta server stats

The password of the login is asked for at a terminal, or taken from GESTA_PASSWORD or
--password-file.

Exit codes:
  0  success
  1  refused by the server, for example because the name exists
  2  usage error, no answer, or the user may not do it
  3  not found";

/// Manage users, consumer groups and projections of a running `gesta serve`
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct ServerVerb {
    #[command(flatten)]
    target: ServerTarget,
    #[command(subcommand)]
    verb: ServerCommand,
}

#[derive(Subcommand, Debug)]
enum ServerCommand {
    /// List, create, change and delete users
    #[command(subcommand)]
    Users(UsersCommand),
    /// List, create and delete consumer groups, and replay parked events
    #[command(subcommand)]
    Groups(GroupsCommand),
    /// List, create, start, stop and delete projections, and show their results
    #[command(subcommand)]
    Projections(ScriptsCommand),
    /// Show the figures of the server
    Stats,
}

impl ServerVerb {
    pub(crate) fn run(self, output: &mut Output) -> Result<Outcome> {
        // Before a password is asked for: the arguments of a verb may be wrong, too.
        match &self.verb {
            ServerCommand::Groups(verb) => verb.confirm()?,
            ServerCommand::Projections(verb) => verb.confirm()?,
            ServerCommand::Users(verb) => verb.confirm()?,
            ServerCommand::Stats => {}
        }
        let client = self.target.client()?;
        match self.verb {
            ServerCommand::Users(verb) => verb.run(&client, output),
            ServerCommand::Groups(verb) => verb.run(&client, output),
            ServerCommand::Projections(verb) => verb.run(&client, output),
            ServerCommand::Stats => {
                let stats = wait(client.stats())?;
                show(&stats, output)?;
                Ok(Outcome::Done)
            }
        }
    }
}
