//! What the program can be asked to do, a file each: what a verb takes, and how it answers.

mod append;
mod bench;
mod export;
mod import;
mod read;
mod streams;
mod subscribe;
mod verify;

pub(crate) use self::{
    append::Append, bench::Bench, export::Export, import::Import, read::Read, streams::Streams,
    subscribe::Subscribe, verify::Verify,
};
