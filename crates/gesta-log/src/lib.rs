//! The engine: an append-only log with an inverted index over it, in one directory.
//!
//! Owns: the log's format (specified in `docs/format.md`), group commit, recovery, reads and
//! subscriptions of [`LogStore`].
//!
//! Invariants:
//! - An acknowledged append is durable: it was written and synced before the answer.
//! - An append is recovered as a whole or not at all.
//! - The log alone is the truth; the index is derived from it.
//! - Damage is detected and reported. Nothing is truncated silently, and a sealed segment is never
//!   written to again; scavenging replaces its file.
//!
//! Not here: typed events, retries, an async runtime, a network. The engine reaches the outside
//! only through [`Disk`], [`Clock`] and [`Rng`].

#[cfg(not(unix))]
compile_error!(
    "gesta-log runs on Linux and macOS: its durability relies on syncs of files and directories, \
     and on renames, as POSIX file systems have them"
);

mod clock;
mod commit;
mod disk;
mod format;
mod index;
mod maintenance;
#[doc(hidden)]
pub mod mutations;
mod options;
mod published;
mod read;
mod recovery;
mod segment;
#[cfg(all(test, gesta_shuttle))]
mod shuttle_tests;
mod store;
mod sync;

pub use clock::{Clock, Rng, SystemClock, SystemRng};
pub use commit::EnginePoll;
pub use disk::{
    Access, Cache, Disk, Done, FileDisk, Lane, LockError, Operation, finish_dropped_stores,
};
pub use format::{BorrowedEvent, Tags};
pub use maintenance::{
    backup::{
        BackupError, BackupReport, BackupSummary, RestoreReport, backup, backup_summary,
        backup_while, restore,
    },
    scavenge::{ScavengeError, ScavengeOptions, ScavengeReport},
    transfer::{
        ImportError, ImportReport, ImportWriter, Scavenged, ScavengedEvent, StoreExport,
        StoredAppend,
    },
    verify::{verify, verify_while},
};
pub use options::{
    IndexedIds, InvalidIndexedIds, OpenError, OpenReport, Options, RecordedTime, Torn, Unmarked,
};
pub use recovery::Progress;
pub use store::{Engine, EventPlace, InvalidUrl, LogStore, directory_of_url, options_of_url};

/// Entry points of the fuzz targets (`fuzz/`), in fuzzing builds only.
#[cfg(fuzzing)]
pub mod fuzzing {
    pub use crate::format::hostile::frame;
}

// The example of the README is compiled, and run if it needs no server.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
