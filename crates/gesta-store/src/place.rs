//! Places: of an event in its stream and in the store, and what a writer expects of a stream.
//!
//! Owns: [`Revision`], [`Position`], [`Incarnation`], [`ExpectedRevision`]. Always holds: a
//! position is for comparing; its distance to another says nothing on stores that do not count.

use std::fmt;

use uuid::Uuid;

/// An event's place in its stream: 0, 1, 2, … without gaps.
///
/// ```
/// use gesta_store::Revision;
///
/// assert_eq!(Revision::FIRST.next(), Revision::new(1));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(u64);

impl Revision {
    /// The place of a stream's first event.
    pub const FIRST: Self = Self(0);
    /// Beyond every event that a stream can have.
    pub const MAX: Self = Self(u64::MAX);

    /// The place with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The place after this one; [`Revision::MAX`] stays where it is.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The place before this one; none before the first.
    #[must_use]
    pub const fn previous(self) -> Option<Self> {
        match self.0.checked_sub(1) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }
}

/// An event's place in the whole store, in commit order. Compare only.
///
/// The first event is at 1 or later; [`Position::START`] precedes all events.
///
/// ```
/// use gesta_store::Position;
///
/// assert!(Position::START < Position::new(1));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Position(u64);

impl Position {
    /// Before every event.
    pub const START: Self = Self(0);
    /// Beyond every event.
    pub const MAX: Self = Self(u64::MAX);

    /// The place with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The smallest position that is greater; [`Position::MAX`] stays where it is.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// One life of a store between losses of what may have been seen, or restores.
///
/// An ordinary crash keeps it. A consumer that kept a checkpoint under another incarnation may be
/// ahead of what the store still has; see [`Subscribe::resume`](crate::Subscribe::resume).
///
/// ```
/// use gesta_store::Incarnation;
/// use uuid::Uuid;
///
/// let life = Incarnation::new(Uuid::nil());
/// assert_eq!(life.to_string().parse::<Uuid>()?, life.as_uuid());
/// # Ok::<(), uuid::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Incarnation(Uuid);

impl Incarnation {
    /// The incarnation with this id.
    #[must_use]
    pub const fn new(id: Uuid) -> Self {
        Self(id)
    }

    /// The id.
    #[must_use]
    pub const fn as_uuid(self) -> Uuid {
        self.0
    }
}

/// Where a store ends: the last position that readers may see, and in which life.
///
/// ```
/// use gesta_store::{EventStore, Position, memory::MemoryStore};
///
/// # gesta_store::conformance::block_on(async {
/// let head = MemoryStore::new().head().await?;
/// assert_eq!(head.position, Position::START, "nothing was appended yet");
/// # Ok::<(), gesta_store::StoreError>(())
/// # }).expect("a memory store answers");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The last event's position; [`Position::START`] in an empty store.
    pub position: Position,
    /// The store's present life.
    pub incarnation: Incarnation,
}

/// The position that a projection or process has durably handled, and in which life of the store.
///
/// ```
/// use gesta_store::{Checkpoint, Incarnation, Position};
/// use uuid::Uuid;
///
/// let done = Checkpoint { position: Position::new(7), incarnation: Incarnation::new(Uuid::nil()) };
/// assert!(done.position > Position::START);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Everything up to here, this position included, is handled.
    pub position: Position,
    /// The life of the store that the position belongs to.
    pub incarnation: Incarnation,
}

/// The writer's condition on one stream.
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
    /// The stream has no events, or was deleted.
    NoStream,
    /// The stream has at least one event and is not deleted.
    StreamExists,
    /// The stream's head is this revision. Holds on a deleted stream too, for revisions go on.
    Exact(Revision),
}

impl ExpectedRevision {
    /// Whether the expectation holds on a stream that is not deleted and has this head.
    #[must_use]
    pub fn admits(self, head: Option<Revision>) -> bool {
        match self {
            Self::Any => true,
            Self::NoStream => head.is_none(),
            Self::StreamExists => head.is_some(),
            Self::Exact(revision) => head == Some(revision),
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

macro_rules! shown_as_inner {
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
shown_as_inner!(Revision, Position, Incarnation);
