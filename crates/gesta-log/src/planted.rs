//! Durability bugs that someone could really write, to be switched on in one separate build.
//!
//! Always holds: in a default build none is ever on and none can be switched on. The
//! simulation must catch each of them; a gate that never sees a bug proves nothing.

/// A bug that the simulation must catch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Answers when the group is written, before it is synced.
    AcknowledgeBeforeSync,
    /// Does not make the name of a new segment durable.
    NoDirectorySync,
    /// Shows the events of a torn frame that happen to be whole.
    HalfAFrameVisible,
    /// Takes every bad frame for a torn tail.
    TruncateAtFirstBadFrame,
    /// Syncs again after a failed sync and believes the answer.
    RetryAFailedSync,
    /// Answers a conflict at once though it depends on an append that is not durable yet.
    ConflictFromAnAppendInFlight,
    /// Names the predecessor's length in an opening frame before that length is durable.
    OpeningFrameBeforePredecessor,
    /// Removes runs before the one that replaces them is durable.
    RunUnlinkedEarly,
}

#[cfg(gesta_planted)]
mod switch {
    use std::cell::Cell;

    use super::Bug;

    impl Bug {
        /// All of them.
        pub const ALL: [Self; 8] = [
            Self::AcknowledgeBeforeSync,
            Self::NoDirectorySync,
            Self::HalfAFrameVisible,
            Self::TruncateAtFirstBadFrame,
            Self::RetryAFailedSync,
            Self::ConflictFromAnAppendInFlight,
            Self::OpeningFrameBeforePredecessor,
            Self::RunUnlinkedEarly,
        ];
    }

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Switches a bug on, or all off, for engines that run on this thread.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    pub(crate) fn is(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// Makes what is switched on here also be switched on where the result is called.
    pub fn carry() -> impl FnOnce() + Send {
        let here = PLANTED.get();
        move || plant(here)
    }
}

#[cfg(gesta_planted)]
pub(crate) use switch::is;
#[cfg(gesta_planted)]
pub use switch::{carry, plant};

/// Whether this bug is switched on: never.
#[cfg(not(gesta_planted))]
pub(crate) const fn is(_: Bug) -> bool {
    false
}

/// Carries nothing to another thread, for nothing is ever on.
#[cfg(not(gesta_planted))]
#[must_use]
pub const fn carry() -> fn() {
    || {}
}
