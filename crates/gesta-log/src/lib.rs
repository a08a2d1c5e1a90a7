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

mod ahead;
mod answers;
mod backup;
mod clock;
mod disk;
mod drive;
mod engine;
mod filing;
mod format;
#[cfg(all(test, gesta_shuttle))]
mod hand_offs;
mod index;
mod mailbox;
mod options;
pub mod planted;
mod published;
mod read;
mod recovery;
mod restored;
mod scan;
mod scavenge;
mod store;
mod sync;
mod transfer;
mod url;
mod verify;
mod writer;

pub use backup::{BackupError, BackupReport, RestoreReport, backup, restore};
pub use clock::{Clock, Rng, SystemClock, SystemRng};
pub use disk::{Access, Cache, Disk, Done, FileDisk, Lane, LockError, Operation};
pub use engine::{Engine, Turn};
pub use format::{BorrowedEvent, Tags};
pub use options::{OpenError, OpenReport, Options, RecordedTime, Torn, Unmarked};
pub use recovery::Progress;
pub use scavenge::{ScavengeError, ScavengeOptions, ScavengeReport};
pub use store::{EventPlace, LogStore};
pub use transfer::{
    ImportError, ImportReport, ImportWriter, Scavenged, ScavengedEvent, StoreExport, StoredAppend,
};
pub use url::{InvalidUrl, directory_of_url};
pub use verify::verify;

/// What the fuzzer gets at, in a build for it alone (`fuzz/`).
#[cfg(fuzzing)]
pub mod fuzzing {
    pub use crate::format::hostile::frame;
}
