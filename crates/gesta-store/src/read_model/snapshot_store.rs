//! Snapshots: stored state at a revision, disposable.
//!
//! Always holds: losing any or all of them costs time and nothing else. Not here: what the bytes
//! mean, and when a snapshot is taken.

use std::fmt;

use bytes::Bytes;

use super::DatabaseAnswer;
use crate::{Incarnation, Revision, StreamName};

/// What a snapshot's state depends on beyond the events: the shape of the state and the version
/// of the code that folded it. A snapshot with another fingerprint is of no use.
///
/// ```
/// use gesta_store::Fingerprint;
///
/// assert_ne!(Fingerprint::new(1), Fingerprint::new(2));
/// assert_eq!(Fingerprint::new(255).to_string(), "00000000000000ff");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// The fingerprint with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The state of a stream as of a revision.
///
/// ```
/// use gesta_store::{Fingerprint, Incarnation, Revision, Snapshot, StreamName};
/// use uuid::Uuid;
///
/// let snapshot = Snapshot {
///     stream: StreamName::new("order-1")?,
///     revision: Revision::new(99),
///     incarnation: Incarnation::new(Uuid::nil()),
///     fingerprint: Fingerprint::new(1),
///     state: r#"{"status":"paid"}"#.into(),
/// };
/// assert_eq!(snapshot.revision.next(), Revision::new(100), "where folding goes on");
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Which stream.
    pub stream: StreamName,
    /// The last event that the state has folded.
    pub revision: Revision,
    /// The life of the store that the events were read in.
    pub incarnation: Incarnation,
    /// What else the state depends on.
    pub fingerprint: Fingerprint,
    /// The state.
    pub state: Bytes,
}

impl Snapshot {
    /// Whether this one, already kept, is further than another of the same state.
    #[must_use]
    pub fn outdates(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
            && self.incarnation == other.incarnation
            && self.revision > other.revision
    }
}

/// Where snapshots are kept: the latest one of each stream.
///
/// ```
/// use gesta_store::{
///     Fingerprint, Incarnation, MemoryReadModels, Revision, Snapshot, SnapshotStore, StreamName,
/// };
/// use uuid::Uuid;
///
/// # gesta_store::conformance::block_on(async {
/// let store: &dyn SnapshotStore = &MemoryReadModels::new();
/// let at = |revision| Snapshot {
///     stream: StreamName::new("order-1").expect("a name"),
///     revision: Revision::new(revision),
///     incarnation: Incarnation::new(Uuid::nil()),
///     fingerprint: Fingerprint::new(1),
///     state: "{}".into(),
/// };
/// store.save_snapshot(at(9)).await?;
/// store.save_snapshot(at(5)).await?;
/// let kept = store.load_snapshot(&at(0).stream).await?;
/// assert_eq!(kept, Some(at(9)), "an older one does not win");
/// # Ok::<(), gesta_store::DatabaseError>(())
/// # }).expect("a memory store keeps snapshots");
/// ```
pub trait SnapshotStore: Send + Sync + 'static {
    /// The latest snapshot of a stream, whatever its fingerprint.
    fn load_snapshot<'a>(&'a self, stream: &'a StreamName) -> DatabaseAnswer<'a, Option<Snapshot>>;

    /// Keeps a snapshot in place of an earlier one. One at an older revision is ignored, unless
    /// the fingerprint or the incarnation is another.
    fn save_snapshot(&self, snapshot: Snapshot) -> DatabaseAnswer<'_, ()>;

    /// Forgets a stream's snapshot, if there is one.
    fn delete_snapshot<'a>(&'a self, stream: &'a StreamName) -> DatabaseAnswer<'a, ()>;
}
