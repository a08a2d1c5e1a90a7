//! Revisions, positions and checkpoints, and the expectations of a writer.
//!
//! Owns: [`Revision`], [`Position`], [`Incarnation`], [`Checkpoint`], [`ExpectedRevision`].
//! Positions are for comparison: the difference of two positions has a meaning only in a store with
//! [`Capability::DensePositions`](crate::Capability::DensePositions).

use std::fmt;

use uuid::Uuid;

/// The place of an event in its stream: 0, 1, 2, … without gaps.
///
/// ```
/// use gesta_store::Revision;
///
/// assert_eq!(Revision::FIRST.next(), Revision::new(1));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(u64);

impl Revision {
    /// The revision of a stream's first event.
    pub const FIRST: Self = Self(0);
    /// Greater than the revision of any event.
    pub const MAX: Self = Self(u64::MAX);

    /// Creates a revision from its number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// Returns the next revision; saturates at [`Revision::MAX`].
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Returns the previous revision, or `None` for [`Revision::FIRST`].
    #[must_use]
    pub const fn previous(self) -> Option<Self> {
        match self.0.checked_sub(1) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }
}

/// The place of an event in the whole store, in commit order.
///
/// The first event is at position 1 or later. Compare positions only; see
/// [`Capability::DensePositions`](crate::Capability::DensePositions).
///
/// ```
/// use gesta_store::Position;
///
/// assert!(Position::START < Position::new(1));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Position(u64);

impl Position {
    /// Precedes every event.
    pub const START: Self = Self(0);
    /// Greater than the position of any event.
    pub const MAX: Self = Self(u64::MAX);

    /// Creates a position from its number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// Returns the smallest greater position; saturates at [`Position::MAX`].
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// Identity of one life of a store. Changes when events that readers may have seen are lost, and
/// when the store is restored from a backup.
///
/// A crash and a restart keep it. A consumer with a checkpoint of another incarnation may be ahead
/// of the store; see [`SubscribeToAll::resume`](crate::SubscribeToAll::resume).
///
/// ```
/// use gesta_store::Incarnation;
/// use uuid::Uuid;
///
/// let incarnation = Incarnation::new(Uuid::nil());
/// assert_eq!(incarnation.to_string().parse::<Uuid>()?, incarnation.as_uuid());
/// # Ok::<(), uuid::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Incarnation(Uuid);

impl Incarnation {
    /// Creates an incarnation from its id.
    #[must_use]
    pub const fn new(id: Uuid) -> Self {
        Self(id)
    }

    /// Returns the id.
    #[must_use]
    pub const fn as_uuid(self) -> Uuid {
        self.0
    }
}

/// The end of a store: the last position that is visible to readers.
///
/// ```
/// use gesta_store::{EventStore, Position, memory::MemoryStore};
///
/// # gesta_store::conformance::block_on(async {
/// let head = MemoryStore::new().head().await?;
/// assert_eq!(head.position, Position::START, "the store is empty");
/// # Ok::<(), gesta_store::StoreError>(())
/// # }).expect("a memory store answers");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Position of the last event, or [`Position::START`] in an empty store.
    pub position: Position,
    /// The current incarnation of the store.
    pub incarnation: Incarnation,
}

/// The position up to which a consumer has durably handled all events.
///
/// ```
/// use gesta_store::{Checkpoint, Incarnation, Position};
/// use uuid::Uuid;
///
/// let incarnation = Incarnation::new(Uuid::nil());
/// let checkpoint = Checkpoint { position: Position::new(7), incarnation };
/// assert!(checkpoint.position > Position::START);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The last handled position, inclusive.
    pub position: Position,
    /// The incarnation of the store that the position belongs to.
    pub incarnation: Incarnation,
}

/// The condition of a writer on one stream.
///
/// ```
/// use gesta_store::{ExpectedRevision, Revision};
///
/// let third = ExpectedRevision::Exact(Revision::new(2));
/// assert!(third.admits(Some(Revision::new(2))));
/// assert!(!third.admits(None));
/// assert!(ExpectedRevision::NoStream.admits(None));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedRevision {
    /// No condition.
    Any,
    /// The stream has no events, or is deleted.
    NoStream,
    /// The stream has at least one event and is not deleted.
    StreamExists,
    /// The stream's head is this revision. Holds on a deleted stream as well, whose revisions
    /// continue.
    Exact(Revision),
}

impl ExpectedRevision {
    /// Returns `true` if the expectation holds for a stream with this head. `head` is `None` for a
    /// stream that has no events.
    ///
    /// For a deleted stream, pass `None` unless the expectation is [`ExpectedRevision::Exact`].
    #[must_use]
    pub fn admits(self, head: Option<Revision>) -> bool {
        match self {
            Self::Any => true,
            Self::NoStream => head.is_none(),
            Self::StreamExists => head.is_some(),
            Self::Exact(revision) => head == Some(revision),
        }
    }

    /// Returns `true` if an append with this expectation can have recorded its first event of the
    /// stream at a revision. A repeat is recognized by that, however the stream has changed since
    /// ([`EventStore::append`](crate::EventStore::append)).
    #[must_use]
    pub fn could_begin_at(self, first: Revision) -> bool {
        match self {
            Self::Exact(before) => before.next() == first,
            Self::Any | Self::NoStream | Self::StreamExists => true,
        }
    }
}

impl fmt::Display for ExpectedRevision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any revision"),
            Self::NoStream => f.write_str("no stream"),
            Self::StreamExists => f.write_str("an existing stream"),
            Self::Exact(revision) => write!(f, "revision {revision}"),
        }
    }
}

macro_rules! delegate_formatting {
    ($($name:ident),+) => { $(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )+ };
}
delegate_formatting!(Revision, Position, Incarnation);
