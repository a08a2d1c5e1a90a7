//! The engine: an append-only log with an inverted index over it, in one directory.
//!
//! Owns: the log's format (exact in `docs/format.md`), group commit, recovery, reads and
//! subscriptions of [`LogStore`]. Always holds:
//! - an acknowledged append is durable: it was written and synced before the answer;
//! - an append is adopted whole or not at all;
//! - the log alone is the truth, and the index is derived from it;
//! - damage is found and named; nothing is cut away silently, and an old segment is never written
//!   to again: scavenging puts a new file in its place.
//!
//! Not here: typed events, retries, an async runtime, a network. The engine goes outside only
//! through [`Disk`], [`Clock`] and [`Rng`].

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
pub use disk::{Access, Cache, Disk, Done, FileDisk, Lane, LockError, Operation};
pub use format::{BorrowedEvent, Tags};
pub use maintenance::{
    backup::{BackupError, BackupReport, RestoreReport, backup, restore},
    scavenge::{ScavengeError, ScavengeOptions, ScavengeReport},
    transfer::{
        ImportError, ImportReport, ImportWriter, Scavenged, ScavengedEvent, StoreExport,
        StoredAppend,
    },
    verify::verify,
};
pub use options::{OpenError, OpenReport, Options, RecordedTime, Torn, Unmarked};
pub use recovery::Progress;
pub use store::{Engine, EventPlace, InvalidUrl, LogStore, directory_of_url};

/// What the fuzzer gets at, in a build for it alone (`fuzz/`).
#[cfg(fuzzing)]
pub mod fuzzing {
    pub use crate::format::hostile::frame;
}
