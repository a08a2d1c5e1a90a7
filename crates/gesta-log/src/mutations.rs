//! Mutations: realistic bugs that can be enabled in builds with `--cfg gesta_planted`.
//!
//! They test the tests: the simulation must catch each bug of durability, and the schedules in
//! `shuttle_tests` each bug between threads. Invariant: a default build contains none of them.

/// Declares the mutations once, grouped by the suite that must catch them.
macro_rules! bugs {
    ($($(#[$of:meta])+ $list:ident { $($(#[$what:meta])+ $name:ident,)+ })+) => {
        /// A bug that the tests must catch.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutation {
            $($($(#[$what])+ $name,)+)+
        }

        impl Mutation {
            $($(#[$of])+ pub const $list: &[Self] = &[$(Self::$name,)+];)+
        }
    };
}

bugs! {
    /// Bugs of durability, which the simulation must catch.
    DURABILITY {
        /// Answers when the group is written, before it is synced.
        AcknowledgeBeforeSync,
        /// Answers and publishes when the group is handed to the disk.
        AcknowledgeWhenSubmitted,
        /// When a group lands, answers those too whose appends are in the one that is being filled.
        AcknowledgeTheNextGroup,
        /// Shows readers the events of a group that is on its way.
        ShownAhead,
        /// Shows readers a group whose write failed.
        PublishWhatFailed,
        /// Tells those whose write failed that nothing was appended, though it may have been.
        FailureToldAsDefinite,
        /// Does not look at what the disk says about a write.
        FailedWriteTakenForDone,
        /// Stops for good when the next segment cannot be made, though nothing of an append was written.
        ShortageTakenForTheEnd,
        /// Goes on making a segment though there was no room for its zeros.
        DiskFullTakenForDone,
        /// Syncs again after a failed sync and believes the answer.
        RetryAFailedSync,
        /// After a failed write, goes on behind it.
        GoOnAfterAFailedWrite,
        /// After a failed write, writes the next group to the same place.
        WriteAgainInPlace,
        /// Answers a conflict at once though it depends on an append that is not durable yet.
        ConflictFromAnAppendInFlight,
        /// Answers a repeat at once though its first try is not durable yet.
        RepeatFromAnAppendInFlight,
        /// Lets a check pass at once though it depends on an append that is not durable yet.
        CheckFromAnAppendInFlight,
        /// Compares expected revisions with what is published only, not with what is on its way.
        ExpectationBlindToTheFlight,
        /// Evaluates conditions over what is published only.
        ConditionBlindToTheFlight,
        /// Looks for the first try of a repeat in what is published only.
        RepeatBlindToTheFlight,
        /// Takes what a caller saw in the index for what is there now.
        StaleLookBelieved,
        /// Lets a group continue the chain of what is durable, not of what is in flight before it.
        ChainFromBeforeTheFlight,
        /// Gives a group the positions of the group in flight before it.
        PositionFromBeforeTheFlight,
        /// Names the predecessor's length in an opening frame before that length is durable.
        OpeningFrameBeforePredecessor,
        /// Does not make the name of a new segment durable.
        NoDirectorySync,
        /// Gives a new segment its name before its header and zeros are durable.
        NoSyncBeforeName,
        /// Makes a new segment under its final name.
        NoTemporaryName,
        /// Marks as durable what precedes a frame in its own group.
        DurableMarkTooHigh,
        /// Marks nothing as durable but the segment's header.
        DurableMarkTooLow,
        /// Shows the events of a torn frame that happen to be whole.
        HalfAFrameVisible,
        /// Takes the appends of a frame for one.
        AppendsRunTogether,
        /// Takes every bad frame for a torn tail.
        TruncateAtFirstBadFrame,
        /// Adopts what lies behind a write that did not arrive.
        AdoptPastAHole,
        /// After damage, goes on with whatever frame comes next, though nothing says that it belongs.
        ResumeAnywhere,
        /// Adopts what the last segment holds without syncing it first.
        AdoptWithoutSync,
        /// Adopts what the page cache says of the last segment, which may be a lie.
        AdoptFromTheCache,
        /// Names as the predecessor's length no more than its last mark says.
        AdoptUpToTheMark,
        /// Names the whole file as the predecessor's length.
        AdoptTheTornTail,
        /// Begins a new incarnation whenever the store is opened.
        NewIncarnationEachTime,
        /// Removes runs of the index before the one that replaces them is durable.
        RunUnlinkedEarly,
        /// Names a run of the index before it is durable.
        RunNamedBeforeSync,
        /// Believes a block of the index whatever its checksum says.
        NoChecksumOfABlock,
        /// Believes a record whatever its checksum says.
        NoChecksumOfARecord,
        /// Believes the header of a frame whatever its checksum says.
        NoChecksumOfAHeader,
        /// Writes a mark right behind the frame that it covers.
        MarkInTheSectorBefore,
        /// Does not know that a close frame is due.
        NoCloseFrame,
        /// Does not write the close frame that is due.
        CloseFrameForgotten,
        /// Writes zeros over what a crash cut short.
        ZerosOverTheTornTail,
        /// Says nothing of a segment whose beginning is gone.
        LostOpeningUntold,
        /// Tells a retry for certain that nothing was appended, though its first try is in doubt.
        RetryInDoubtToldAsDefinite,
        /// Goes back in a stream when metadata show what they hid.
        SubscriberGoesBack,
        /// Gives a rewritten segment the old one's name before it is durable.
        ScavengeWithoutSync,
        /// Scavenges the first event of a stream that is still shown.
        ScavengeOneTooMany,
        /// Forgets how many events a stream had once it has none left.
        ScavengeForgetsRevisions,
        /// Believes a run whose segments were rewritten since.
        RewrittenRunBelieved,
    }

    /// Bugs between threads, which the schedules must catch.
    HAND_OFFS {
        /// Does not wake the engine's thread for what arrives while nobody drives.
        ThreadNotWoken,
        /// Does not wake the driver that sleeps.
        DriverNotWoken,
        /// Leaves the seat without a word though something lies in the mailbox.
        SeatLeftInSilence,
        /// Leaves the seat without saying when something is due.
        DueTimeForgotten,
        /// The driver sleeps without having precheck once more.
        SleepWithoutALook,
        /// Rings no bell for threads that got their answers.
        BellForgotten,
        /// Rings the bell although whoever precheck may not be asleep yet.
        BellRungTooEarly,
        /// Answers before readers can see what was appended.
        AnswerBeforePublication,
        /// A subscriber looks first and says then that it waits.
        LookBeforeRegistering,
        /// Wakes no subscriber when the store is closed.
        ClosedInSilence,
        /// Does not tell readers that a segment was rewritten while they looked for its events.
        ReplacedInSilence,
        /// Does not wake who files segments when there will be no more.
        FilingNotToldOfTheEnd,
        /// Puts a group's events into the index while another thread publishes the group.
        AheadBesideThePublisher,
        /// Does not wake who puts groups into the index when there will be no more.
        HelperNotToldOfTheEnd,
    }
}

/// Whether the mutation is enabled on this thread; `false` in a default build.
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
    pub fn plant(mutation: Option<Mutation>) {
        ENABLED.set(mutation);
    }

    pub(crate) fn is(mutation: Mutation) -> bool {
        ENABLED.get() == Some(mutation)
    }

    /// Returns a function that enables this thread's mutation on the thread that calls it.
    pub fn carry() -> impl FnOnce() + Send {
        let enabled = ENABLED.get();
        move || plant(enabled)
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
pub use switch::{carry, plant};

#[cfg(not(gesta_planted))]
pub(crate) const fn is(_: Mutation) -> bool {
    false
}

/// Returns a function that does nothing: a default build has no mutations.
#[cfg(not(gesta_planted))]
#[must_use]
pub const fn carry() -> fn() {
    || {}
}
