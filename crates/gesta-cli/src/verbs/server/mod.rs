//! `gesta server`: what operators do with a running `gesta serve`.
//!
//! Owns: the subcommands for users, rights to streams, groups, projections, scavenges,
//! verifications, backups, figures and the end.
//! Invariant: no password is an argument. Not here: streams and events, which have verbs of their
//! own.

mod acl;
mod calls;
mod connection_string;
mod groups;
mod password;
mod projections;
mod scavenge;
mod target;
mod upkeep;
mod users;

use anyhow::Result;
use clap::{Args, Subcommand};

use self::{
    acl::AclCommand,
    calls::{done, show, wait},
    groups::GroupsCommand,
    projections::ScriptsCommand,
    scavenge::ScavengeCommand,
    target::ServerTarget,
    upkeep::{BackupCommand, VerifyCommand},
    users::UsersCommand,
};
use crate::{confirm::Confirm, exit::Outcome, output::Output};

const HINT: &str = "\
Examples:
  export GESTA_SERVER='kurrentdb://admin@events.example:2113?tlsCaFile=certs/ca.pem'
  gesta server users create ann --group sales
  gesta server users groups ann --add editors --remove sales
  gesta server acl set order-1 --read ann,sales --set-metadata '$admins'
  gesta server groups list
  gesta server groups replay order-1 mail
  gesta server projections create totals --file totals.js
  gesta server scavenge start
  gesta server verify start --reason weekly
  gesta server backup start monday --reason nightly
  gesta server stats

The password of the login is asked for at a terminal, or taken from GESTA_PASSWORD or
--password-file, which may be the file that `gesta serve --admin-password-file` has written.

Exit codes:
  0  success
  1  refused by the server, for example because the name exists; damage was found
  2  usage error, no answer, or the user may not do it
  3  not found";

const VERIFY_HINT: &str = "\
Examples:
  gesta server verify start --reason weekly
  gesta server verify show --wait

The server does the work: a command that is interrupted leaves it running, and `show` follows it.
One verification, backup or scavenge runs at a time.

Exit codes:
  0  sound, or running
  1  damaged, refused because other work runs, stopped, or failed
  2  usage error, no answer, or the user may not do it
  3  not found";

const BACKUP_HINT: &str = "\
Examples:
  gesta server backup start monday --reason nightly
  gesta server backup list
  gesta restore /mnt/backups/monday ./things-again

The server does the work: a command that is interrupted leaves it running, and `show` follows it.
One verification, backup or scavenge runs at a time. `gesta restore` needs the directory itself.

Exit codes:
  0  success, or running
  1  refused because other work runs, stopped, or failed; an earlier backup is unchanged
  2  usage error, no answer, or the user may not do it
  3  not found";

/// Manage users, rights, consumer groups and projections of a running `gesta serve`
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
    /// Show and change who has which right to a stream
    #[command(subcommand)]
    Acl(AclCommand),
    /// List, create and delete consumer groups, and replay parked events
    #[command(subcommand)]
    Groups(GroupsCommand),
    /// List, create, start, stop and delete projections, and show their results
    #[command(subcommand)]
    Projections(ScriptsCommand),
    /// Start, show and stop the scavenge of a store in a directory
    #[command(subcommand)]
    Scavenge(ScavengeCommand),
    /// Check every byte of a store in a directory while it is served
    #[command(subcommand, after_help = VERIFY_HINT)]
    Verify(VerifyCommand),
    /// Back up a store in a directory while it is served, and list its backups
    #[command(subcommand, after_help = BACKUP_HINT)]
    Backup(BackupCommand),
    /// Show the figures of the server
    Stats,
    /// End the server gracefully. Asks for confirmation
    Shutdown {
        #[command(flatten)]
        confirm: Confirm,
    },
}

impl ServerVerb {
    pub(crate) fn run(self, output: &mut Output) -> Result<Outcome> {
        // Before a password is asked for: the arguments of a verb may be wrong, too.
        match &self.verb {
            ServerCommand::Groups(verb) => verb.confirm()?,
            ServerCommand::Projections(verb) => verb.confirm()?,
            ServerCommand::Users(verb) => verb.confirm()?,
            ServerCommand::Acl(verb) => verb.confirm()?,
            ServerCommand::Shutdown { confirm } => confirm.ask("this ends the server")?,
            ServerCommand::Scavenge(_)
            | ServerCommand::Verify(_)
            | ServerCommand::Backup(_)
            | ServerCommand::Stats => {}
        }
        let client = self.target.client()?;
        match self.verb {
            ServerCommand::Users(verb) => verb.run(&client, output),
            ServerCommand::Acl(verb) => verb.run(&client, output),
            ServerCommand::Groups(verb) => verb.run(&client, output),
            ServerCommand::Projections(verb) => verb.run(&client, output),
            ServerCommand::Scavenge(verb) => verb.run(&client, output),
            ServerCommand::Verify(verb) => verb.run(&client, output),
            ServerCommand::Backup(verb) => verb.run(&client, output),
            ServerCommand::Shutdown { .. } => {
                wait(client.shut_down())?;
                done(output)
            }
            ServerCommand::Stats => {
                let stats = wait(client.stats())?;
                show(&stats, output)?;
                Ok(Outcome::Done)
            }
        }
    }
}
