//! Mutations: realistic bugs that can be enabled in builds with `--cfg gesta_planted`.
//!
//! They test the tests: the simulation must catch each bug of durability, and the schedules in
//! `shuttle_tests` each bug between threads. Invariant: a default build contains none of them.

/// Declares the mutations once, grouped by the suite that must catch them.
macro_rules! mutations {
    ($($(#[$list_doc:meta])+ $list:ident { $($(#[$doc:meta])+ $name:ident,)+ })+) => {
        /// A bug that the tests must catch.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutation {
            $($($(#[$doc])+ $name,)+)+
        }

        impl Mutation {
            $($(#[$list_doc])+ pub const $list: &[Self] = &[$(Self::$name,)+];)+
        }
    };
}

mutations! {
    /// Bugs of durability, which the simulation must catch.
    DURABILITY {
        /// Answers when the group is written, before it is synced.
        AcknowledgeBeforeSync,
        /// Answers and publishes when the group is handed to the disk.
        AcknowledgeWhenSubmitted,
        /// On completion of a group, also answers the appends of the group that is being filled.
        AcknowledgeNextGroup,
        /// Publishes a group while its write is in flight.
        PublishBeforeWrite,
        /// Publishes a group whose write failed.
        PublishFailedWrite,
        /// Reports a failed write as a definite failure, though its outcome is unknown.
        FailureReportedAsDefinite,
        /// Ignores the result of a write.
        FailedWriteIgnored,
        /// Stops the store when the next segment cannot be created, though no append was written.
        ShortageIsFatal,
        /// Continues preallocation though the device had no room for the zeros.
        DiskFullIgnored,
        /// Syncs again after a failed sync and trusts the result.
        RetryFailedSync,
        /// Continues after a failed write, at the offset after it.
        ContinueAfterFailedWrite,
        /// Writes the next group over a failed write.
        OverwriteAfterFailedWrite,
        /// Answers a conflict immediately though it depends on an append in flight.
        ConflictFromInFlightAppend,
        /// Answers a repeat immediately though its first attempt is in flight.
        RepeatFromInFlightAppend,
        /// Lets a check pass immediately though it depends on an append in flight.
        CheckFromInFlightAppend,
        /// Compares expected revisions with published events only, not with those in flight.
        ExpectationIgnoresInFlight,
        /// Evaluates conditions against published events only.
        ConditionIgnoresInFlight,
        /// Looks up repeats among published appends only.
        RepeatIgnoresInFlight,
        /// Answers a repeat as if it was recorded now.
        RepeatRecordedNow,
        /// Takes an event id of another stream for a repeat.
        IdOfAnyStreamRepeats,
        /// Trusts a precheck though events were published after it.
        StalePrecheckTrusted,
        /// Continues the chain from the last durable group instead of the group in flight.
        ChainSkipsInFlight,
        /// Assigns a group the positions of the group in flight.
        PositionSkipsInFlight,
        /// Writes an opening frame before the predecessor's length is durable.
        OpeningFrameBeforePredecessor,
        /// Does not sync the directory after it creates a segment.
        NoDirectorySync,
        /// Renames a new segment before its header and zeros are durable.
        NoSyncBeforeName,
        /// Creates a new segment under its final name.
        NoTemporaryName,
        /// Includes earlier frames of the same group in the durable mark.
        DurableMarkTooHigh,
        /// Leaves the durable mark at the segment's header.
        DurableMarkTooLow,
        /// Adopts the intact events of a torn frame.
        PartialFrameVisible,
        /// Decodes the appends of a frame as one append.
        AppendsMerged,
        /// Recovery compares a part of an append with the part before it only.
        EarlierPartsForgotten,
        /// Treats every bad frame as a torn tail.
        TruncateAtFirstBadFrame,
        /// Adopts frames after a write that was lost.
        AdoptPastHole,
        /// Resumes after damage at any valid frame, even without evidence that it is durable.
        ResumeAnywhere,
        /// Adopts the last segment without syncing it first.
        AdoptWithoutSync,
        /// Adopts the last segment from the page cache, which may differ from the device.
        AdoptFromPageCache,
        /// Records the predecessor's durable mark as its adopted length.
        AdoptUpToMark,
        /// Includes the torn tail in the predecessor's adopted length.
        AdoptTornTail,
        /// Begins a new incarnation at each opening.
        NewIncarnationEachOpen,
        /// Removes the inputs of a merge before its output is durable.
        RunUnlinkedEarly,
        /// Adds a run to the manifest before the run is durable.
        RunNamedBeforeSync,
        /// Skips the checksum of an index block.
        BlockChecksumIgnored,
        /// Skips the checksum of a record.
        RecordChecksumIgnored,
        /// Skips the checksum of a frame header.
        HeaderChecksumIgnored,
        /// Writes a mark into the same sector as the frame that it covers.
        MarkInSameSector,
        /// Does not schedule the close frame.
        CloseFrameNotScheduled,
        /// Skips the write of a close frame that is due.
        CloseFrameNotWritten,
        /// Overwrites the torn tail with zeros.
        TornTailZeroed,
        /// Does not report a segment whose opening frame is lost.
        LostOpeningNotReported,
        /// Reports a retry as a definite failure, though the outcome of its first attempt is
        /// unknown.
        UncertainRetryReportedAsDefinite,
        /// Moves a subscription back when metadata reveal hidden events.
        SubscriberMovesBack,
        /// Renames a rewritten segment before it is durable.
        ScavengeWithoutSync,
        /// Scavenges the first visible event of a stream as well.
        ScavengeOneTooMany,
        /// Forgets the head of a stream all of whose events are scavenged.
        ScavengeForgetsRevisions,
        /// Drops the postings of scavenged events from their categories, whose ordinals then move.
        ScavengeMovesOrdinals,
        /// Trusts a run though its segments were rewritten.
        StaleRunTrusted,
    }

    /// Concurrency bugs, which the schedules must catch.
    CONCURRENCY {
        /// Does not wake the writer thread for appends that arrive while there is no leader.
        WriterNotWoken,
        /// Does not wake a parked leader.
        LeaderNotWoken,
        /// Releases leadership without waking the writer thread though work is queued.
        LeadershipReleasedSilently,
        /// Releases leadership without passing on the next deadline.
        DeadlineForgotten,
        /// Parks the leader without checking the queue once more.
        ParkWithoutRecheck,
        /// Does not wake the threads whose appends are answered.
        WaitersNotWoken,
        /// Wakes a waiter that may not be parked yet, so the wake-up is lost.
        WaitersWokenTooEarly,
        /// Answers appends before they are published.
        AnswerBeforePublication,
        /// Polls a subscription before its waker is registered.
        PollBeforeRegistering,
        /// Does not wake subscribers when the store closes.
        SubscribersNotWokenOnClose,
        /// Does not count the replacement of a segment, so readers do not retry.
        ReplacementNotCounted,
        /// Does not wake the compactor when the store closes.
        CompactorNotWokenOnClose,
        /// Stages a group's events while another thread publishes the group.
        StageDuringPublish,
        /// Does not wake the index worker when the store closes.
        IndexWorkerNotWokenOnClose,
    }
}

/// Returns whether the mutation is enabled on this thread; `false` in a default build.
macro_rules! mutated {
    ($mutation:ident) => {
        $crate::mutations::is($crate::mutations::Mutation::$mutation)
    };
}

/// Runs the statements if the mutation is enabled. A default build does not contain them.
macro_rules! mutate {
    ($mutation:ident => $wrong:expr) => {
        #[cfg(gesta_planted)]
        {
            if $crate::mutations::mutated!($mutation) {
                $wrong;
            }
        }
    };
}

pub(crate) use {mutate, mutated};

#[cfg(gesta_planted)]
mod switch {
    use std::cell::Cell;

    use super::Mutation;

    thread_local! {
        static ENABLED: Cell<Option<Mutation>> = const { Cell::new(None) };
    }

    /// Enables a mutation, or disables all, for engines that run on this thread.
    pub fn enable(mutation: Option<Mutation>) {
        ENABLED.set(mutation);
    }

    pub(crate) fn is(mutation: Mutation) -> bool {
        ENABLED.get() == Some(mutation)
    }

    /// Returns a function that enables this thread's mutation on the thread that calls it.
    pub fn propagate() -> impl FnOnce() + Send {
        let enabled = ENABLED.get();
        move || enable(enabled)
    }

    impl Mutation {
        pub(crate) fn enabled() -> Option<Self> {
            ENABLED.get()
        }
    }
}

#[cfg(gesta_planted)]
pub(crate) use switch::is;
#[cfg(gesta_planted)]
pub use switch::{enable, propagate};

#[cfg(not(gesta_planted))]
pub(crate) const fn is(_: Mutation) -> bool {
    false
}

/// Returns a function that does nothing: a default build has no mutations.
#[cfg(not(gesta_planted))]
#[must_use]
pub const fn propagate() -> fn() {
    || {}
}
