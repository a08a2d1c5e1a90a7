//! `gesta server acl`.

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use gesta_server::admin::{AdminClient, StreamAcl};
use serde::Serialize;

use super::calls::{done, show, wait};
use crate::{
    confirm::Confirm,
    events::Printable,
    exit::{Outcome, Refusal},
    output::{Output, Style},
};

#[derive(Subcommand, Debug)]
pub(super) enum AclCommand {
    /// Show who has which right to a stream
    Show {
        /// The stream, which need not exist. `$all` is the whole store, `$ce-order` a category
        stream: String,
    },
    /// Give rights to a stream; the others stay
    Set {
        /// The stream, which need not exist. `$all` is the whole store, `$ce-order` a category
        stream: String,
        #[command(flatten)]
        rights: GivenRights,
    },
    /// Remove the list of a stream, which then has the defaults. Asks for confirmation
    Clear {
        /// The stream
        stream: String,
        #[command(flatten)]
        confirm: Confirm,
    },
}

/// Rights with their logins and groups.
#[derive(Args, Debug)]
#[group(required = true, multiple = true)]
pub(super) struct GivenRights {
    /// Logins and groups that read events, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    read: Option<Vec<String>>,
    /// Logins and groups that append events
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    append: Option<Vec<String>>,
    /// Logins and groups that delete the stream
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    delete: Option<Vec<String>>,
    /// Logins and groups that read the metadata and this list
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    read_metadata: Option<Vec<String>>,
    /// Logins and groups that change the metadata and this list
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    set_metadata: Option<Vec<String>>,
    /// Right that gets the default of the server again; may be repeated
    #[arg(long = "default", value_name = "RIGHT")]
    defaults: Vec<RightName>,
}

/// A right, by the name of its option.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum RightName {
    Read,
    Append,
    Delete,
    ReadMetadata,
    SetMetadata,
}

/// The list of a stream as it is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownAcl {
    read: ShownNames,
    append: ShownNames,
    delete: ShownNames,
    read_metadata: ShownNames,
    set_metadata: ShownNames,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum ShownNames {
    Names(Vec<String>),
    Default(&'static str),
}

impl From<Option<Vec<String>>> for ShownNames {
    fn from(names: Option<Vec<String>>) -> Self {
        match names {
            // The rule of servers for a right without names.
            Some(names) if names.is_empty() => Self::Names(vec!["$admins".to_owned()]),
            Some(names) => Self::Names(names),
            None => Self::Default("default"),
        }
    }
}

impl GivenRights {
    fn apply(self, acl: &mut StreamAcl) -> Result<()> {
        let given = [
            (self.read, &mut acl.read),
            (self.append, &mut acl.append),
            (self.delete, &mut acl.delete),
            (self.read_metadata, &mut acl.read_metadata),
            (self.set_metadata, &mut acl.set_metadata),
        ];
        for (names, right) in given {
            let Some(names) = names else { continue };
            if names.iter().any(String::is_empty) {
                let message = "a name is empty; write logins and groups, such as `ann,$admins`";
                return Err(Refusal::usage("empty-name", message).into());
            }
            *right = Some(names);
        }
        for right in self.defaults {
            *match right {
                RightName::Read => &mut acl.read,
                RightName::Append => &mut acl.append,
                RightName::Delete => &mut acl.delete,
                RightName::ReadMetadata => &mut acl.read_metadata,
                RightName::SetMetadata => &mut acl.set_metadata,
            } = None;
        }
        Ok(())
    }
}

impl AclCommand {
    /// Asks for a confirmation if the command needs one.
    pub(super) fn confirm(&self) -> Result<()> {
        match self {
            Self::Clear { stream, confirm } => {
                confirm.ask(&format!("this removes the list of rights of {}", Printable(stream)))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn run(self, client: &AdminClient, output: &mut Output) -> Result<Outcome> {
        match self {
            Self::Show { stream } => {
                let acl = wait(client.stream_acl(&stream))?;
                let StreamAcl { read, append, delete, read_metadata, set_metadata, .. } = acl;
                let shown = ShownAcl {
                    read: read.into(),
                    append: append.into(),
                    delete: delete.into(),
                    read_metadata: read_metadata.into(),
                    set_metadata: set_metadata.into(),
                };
                show(&shown, output)?;
                return Ok(Outcome::Done);
            }
            Self::Set { stream, rights } => {
                let mut acl = wait(client.stream_acl(&stream))?;
                rights.apply(&mut acl)?;
                let is_open = acl.set_metadata.is_none() && !stream.starts_with('$');
                wait(client.set_stream_acl(&stream, acl))?;
                if is_open && output.style() == Style::Text {
                    output.line(
                        "note: by default every user may change this list; --set-metadata says \
                         who may",
                    )?;
                }
            }
            Self::Clear { stream, .. } => {
                wait(client.set_stream_acl(&stream, StreamAcl::default()))?;
            }
        }
        done(output)
    }
}
