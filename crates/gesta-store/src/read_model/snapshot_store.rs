//! Snapshots: stored state at a revision of a stream.
//!
//! Snapshots are disposable: losing them costs time only. Not here: the encoding of the state, and
//! when snapshots are taken.

use std::fmt;

use bytes::Bytes;

use super::DatabaseFuture;
use crate::{Incarnation, Revision, StreamName};

/// A hash of everything that a snapshot depends on besides the events: the shape of the state, and
/// the version of the code that computed it. A snapshot with another fingerprint must not be used.
///
/// The upper half identifies the fold: the shapes and the code. The lower half may differ between
/// snapshots of one fold; the framework puts a hash of the last event there.
///
/// ```
/// use gesta_store::Fingerprint;
///
/// let (earlier, later) = (Fingerprint::new(0x7_0000_0001), Fingerprint::new(0x7_0000_0002));
/// assert_ne!(earlier, later);
/// assert_eq!(earlier.fold(), later.fold());
/// assert_eq!(Fingerprint::new(255).to_string(), "00000000000000ff");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// Creates a fingerprint from its number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// Returns the upper half, which identifies the fold.
    #[must_use]
    pub const fn fold(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The state of a stream at a revision.
///
/// ```
/// use gesta_store::{Fingerprint, Incarnation, Revision, Snapshot, StreamName};
/// use uuid::Uuid;
///
/// let snapshot = Snapshot::new(
///     StreamName::new("order-1")?,
///     Revision::new(99),
///     Incarnation::new(Uuid::nil()),
///     Fingerprint::new(1),
///     r#"{"status":"paid"}"#.into(),
/// );
/// assert_eq!(snapshot.revision.next(), Revision::new(100), "the next event to fold");
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The stream's name.
    pub stream: StreamName,
    /// The last event that the state includes. A state of events of several streams has a number
    /// here that grows from each snapshot to the next.
    pub revision: Revision,
    /// The incarnation of the store that the events were read from.
    pub incarnation: Incarnation,
    /// Hash of everything else that the state depends on, such as the shapes of its types.
    pub fingerprint: Fingerprint,
    /// The encoded state.
    pub state: Bytes,
}

impl Snapshot {
    /// Creates a snapshot of the state at a revision.
    #[must_use]
    pub const fn new(
        stream: StreamName,
        revision: Revision,
        incarnation: Incarnation,
        fingerprint: Fingerprint,
        state: Bytes,
    ) -> Self {
        Self { stream, revision, incarnation, fingerprint, state }
    }
}

impl Snapshot {
    /// Returns `true` if this snapshot is at a later revision than `other`, of the same
    /// [fold](Fingerprint::fold) and incarnation.
    #[must_use]
    pub fn is_newer_than(&self, other: &Self) -> bool {
        self.fingerprint.fold() == other.fingerprint.fold()
            && self.incarnation == other.incarnation
            && self.revision > other.revision
    }
}

/// A store of snapshots: the latest one of each stream.
///
/// ```
/// use gesta_store::{
///     Fingerprint, Incarnation, MemoryReadModels, Revision, Snapshot, SnapshotStore, StreamName,
/// };
/// use uuid::Uuid;
///
/// # gesta_store::conformance::block_on(async {
/// let store: &dyn SnapshotStore = &MemoryReadModels::new();
/// let order = StreamName::new("order-1").expect("a name");
/// let (incarnation, fingerprint) = (Incarnation::new(Uuid::nil()), Fingerprint::new(1));
/// let at = |revision| {
///     let revision = Revision::new(revision);
///     Snapshot::new(order.clone(), revision, incarnation, fingerprint, "{}".into())
/// };
/// store.save_snapshot(at(9)).await?;
/// store.save_snapshot(at(5)).await?;
/// let kept = store.load_snapshot(&at(0).stream).await?;
/// assert_eq!(kept, Some(at(9)), "an older snapshot does not replace a newer one");
/// # Ok::<(), gesta_store::DatabaseError>(())
/// # }).expect("a memory store keeps snapshots");
/// ```
pub trait SnapshotStore: Send + Sync + 'static {
    /// Returns the latest snapshot of a stream, of any fingerprint.
    fn load_snapshot<'a>(&'a self, stream: &'a StreamName) -> DatabaseFuture<'a, Option<Snapshot>>;

    /// Stores a snapshot, in place of the earlier one of its stream.
    ///
    /// Ignores a snapshot if the stored one [is newer](Snapshot::is_newer_than).
    fn save_snapshot(&self, snapshot: Snapshot) -> DatabaseFuture<'_, ()>;

    /// Deletes the snapshot of a stream. Has no effect if there is none.
    fn delete_snapshot<'a>(&'a self, stream: &'a StreamName) -> DatabaseFuture<'a, ()>;

    /// Names the place of the snapshots, for texts of errors: the address of a server, without
    /// secrets, or a directory. By default a text that says no more than what it is.
    fn place(&self) -> String {
        "the snapshot store".to_owned()
    }
}
