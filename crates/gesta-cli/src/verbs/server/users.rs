//! `gesta server users`.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use gesta_server::admin::{AdminClient, NewUser};

use super::{
    calls::{done, rows, wait},
    password,
};
use crate::{
    confirm::Confirm,
    events::Printable,
    exit::{Outcome, Refusal},
    output::Output,
    table::Table,
};

#[derive(Subcommand, Debug)]
pub(super) enum UsersCommand {
    /// List users with their groups
    List,
    /// Create a user. The password is asked for, or taken from GESTA_NEW_PASSWORD or a file
    Create {
        /// Name with which the user logs in
        login: String,
        /// Name for people; the login if it is left out
        #[arg(long, value_name = "NAME")]
        full_name: Option<String>,
        /// Group of which the user becomes a member; may be repeated
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
        #[command(flatten)]
        password: NewPassword,
    },
    /// Change the groups of a user
    Groups {
        /// Login of the user
        login: String,
        #[command(flatten)]
        change: GroupChange,
    },
    /// Set the password of a user
    Password {
        /// Login of the user
        login: String,
        #[command(flatten)]
        password: NewPassword,
    },
    /// Let a user log in again
    Enable {
        /// Login of the user
        login: String,
    },
    /// Let a user log in no more
    Disable {
        /// Login of the user
        login: String,
    },
    /// Delete a user. Asks for confirmation
    Delete {
        /// Login of the user
        login: String,
        #[command(flatten)]
        confirm: Confirm,
    },
}

/// Groups to join and to leave.
#[derive(Args, Debug)]
#[group(required = true, multiple = true)]
pub(super) struct GroupChange {
    /// Group of which the user becomes a member; may be repeated
    #[arg(long, value_name = "GROUP")]
    add: Vec<String>,
    /// Group of which the user is no member any more; may be repeated
    #[arg(long, value_name = "GROUP")]
    remove: Vec<String>,
}

impl GroupChange {
    /// Returns the groups after the change, in the order in which the user joined them.
    fn apply(&self, mut groups: Vec<String>) -> Result<Vec<String>> {
        if let Some(both) = self.add.iter().find(|group| self.remove.contains(group)) {
            let message = format!("{} cannot be added and removed", Printable(both));
            return Err(Refusal::usage("contradiction", message).into());
        }
        groups.retain(|group| !self.remove.contains(group));
        for group in &self.add {
            if !groups.contains(group) {
                groups.push(group.clone());
            }
        }
        Ok(groups)
    }
}

#[derive(Args, Debug)]
pub(super) struct NewPassword {
    /// File with the new password
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
}

const USERS: Table = Table(&[
    ("LOGIN", "login", 16),
    ("GROUPS", "groups", 24),
    ("DISABLED", "isDisabled", 8),
    ("NAME", "fullName", 0),
]);

impl UsersCommand {
    /// Asks for a confirmation if the command needs one.
    pub(super) fn confirm(&self) -> Result<()> {
        match self {
            Self::Delete { login, confirm } => {
                confirm.ask(&format!("this deletes the user {}", Printable(login)))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn run(self, client: &AdminClient, output: &mut Output) -> Result<Outcome> {
        match self {
            Self::List => {
                USERS.show(&rows(&wait(client.users())?)?, output)?;
                return Ok(Outcome::Done);
            }
            Self::Create { login, full_name, groups, password } => {
                let secret = password::new(&login, password.new_password_file.as_deref())?;
                let mut user = NewUser::new(&login, &secret);
                user.groups = groups;
                user.full_name = full_name.unwrap_or(login);
                wait(client.create_user(user))?;
            }
            Self::Groups { login, change } => {
                let mut user = wait(client.user_named(&login))?;
                user.groups = change.apply(user.groups)?;
                wait(client.update_user(user))?;
            }
            Self::Password { login, password } => {
                let secret = password::new(&login, password.new_password_file.as_deref())?;
                wait(client.reset_password(&login, &secret))?;
            }
            Self::Enable { login } => wait(client.enable_user(&login))?,
            Self::Disable { login } => wait(client.disable_user(&login))?,
            Self::Delete { login, .. } => wait(client.delete_user(&login))?,
        }
        done(output)
    }
}
