//! Bugs that someone could really write, to be switched on in separate builds.
//!
//! Always holds: in a default build none is ever on and none can be switched on. A gate that never
//! sees a bug proves nothing: the simulation must catch each bug of durability, and the schedules of
//! `hand_offs` each bug between threads, of which the simulation has none.

/// Lists the bugs once, by who must catch them, so that none is left out of its list.
macro_rules! bugs {
    ($($(#[$of:meta])+ $list:ident { $($(#[$what:meta])+ $name:ident,)+ })+) => {
        /// A bug that must be caught.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug {
            $($($(#[$what])+ $name,)+)+
        }

        impl Bug {
            $($(#[$of])+ pub const $list: &[Self] = &[$(Self::$name,)+];)+
        }
    };
}

bugs! {
    /// Those of durability, which the simulation must catch.
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

    /// Those of hand-offs between threads, which the schedules must catch.
    HAND_OFFS {
        /// Does not wake the engine's thread for what arrives while nobody drives.
        ThreadNotWoken,
        /// Does not wake the driver that sleeps.
        DriverNotWoken,
        /// Leaves the seat without a word though something lies in the mailbox.
        SeatLeftInSilence,
        /// Leaves the seat without saying when something is due.
        DueTimeForgotten,
        /// The driver sleeps without having looked once more.
        SleepWithoutALook,
        /// Rings no bell for threads that got their answers.
        BellForgotten,
        /// Rings the bell although whoever looked may not be asleep yet.
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

#[cfg(gesta_planted)]
mod switch {
    use std::cell::Cell;

    use super::Bug;

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
