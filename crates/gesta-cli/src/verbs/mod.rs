//! What the program can be asked to do, a file each: what a verb takes, and how it answers.

mod append;
mod backup;
mod bench;
mod export;
mod import;
mod read;
mod restore;
mod scavenge;
mod stats;
mod streams;
mod subscribe;
mod verify;

pub(crate) use self::{
    append::Append, backup::Backup, bench::Bench, export::Export, import::Import, read::Read,
    restore::Restore, scavenge::Scavenge, stats::Stats, streams::Streams, subscribe::Subscribe,
    verify::Verify,
};
