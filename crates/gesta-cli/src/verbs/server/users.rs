//! `gesta server users`.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use gesta_server::admin::{AdminClient, NewUser};

use super::{
    calls::{done, rows, wait},
    password,
};
use crate::{confirm::Confirm, events::Printable, exit::Outcome, output::Output, table::Table};

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
