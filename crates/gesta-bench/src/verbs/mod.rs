//! Subcommands, one per file: arguments, action and result.

mod append;
mod check;
mod framework;
mod read;
mod record;
mod subscribe;

pub(crate) use self::{
    append::Append, check::Check, framework::Framework, read::Read, record::Record,
    subscribe::Subscribe,
};
