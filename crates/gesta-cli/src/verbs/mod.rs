//! Subcommands, one per file: arguments, action and output.

mod append;
#[cfg(feature = "postgres")]
mod archive;
mod backup;
mod bench;
mod capabilities;
#[cfg(feature = "server")]
mod certs;
mod clock;
mod copy;
mod dead_letters;
mod delete;
mod export;
mod import;
mod journal;
mod metadata;
mod processes;
mod projections;
mod reactors;
mod read;
mod restore;
mod scavenge;
#[cfg(feature = "server")]
mod serve;
#[cfg(feature = "server")]
mod server;
mod stats;
mod streams;
mod subscribe;
mod tombstone;
mod truncate;
mod verify;

#[cfg(feature = "postgres")]
pub(crate) use self::archive::Archive;
pub(crate) use self::{
    append::Append, backup::Backup, bench::Bench, capabilities::Capabilities, clock::Clock,
    copy::Copy, dead_letters::DeadLetters, delete::Delete, export::Export, import::Import,
    metadata::Metadata, processes::Processes, projections::Projections, reactors::Reactors,
    read::Read, restore::Restore, scavenge::Scavenge, stats::Stats, streams::Streams,
    subscribe::Subscribe, tombstone::Tombstone, truncate::Truncate, verify::Verify,
};
#[cfg(feature = "server")]
pub(crate) use self::{certs::Certs, serve::Serve, server::ServerVerb};
