//! The faults: for each clause of read models, one that breaks it.

use super::BrokenReadModel as Broken;

/// A fault, and the clauses that fail on it.
pub(super) struct ReadModelFault {
    pub(super) fault: Broken,
    pub(super) breaks: &'static str,
    /// Other clauses that must fail.
    pub(super) also: &'static [&'static str],
}

/// A fault that only one clause notices.
const fn fault(fault: Broken, breaks: &'static str) -> ReadModelFault {
    ReadModelFault { fault, breaks, also: &[] }
}

impl ReadModelFault {
    /// Adds other clauses that must fail, with the reason.
    const fn also(self, also: &'static [&'static str], because: &'static str) -> Self {
        assert!(!because.is_empty(), "an exception has a reason");
        Self { also, ..self }
    }
}

pub(super) const FAULTS: &[ReadModelFault] = &[
    fault(Broken::ListsBackwards, "read_models_are_listed_by_build").also(
        &[
            "a_retired_read_model_is_filled_again_and_switched_back_to",
            "a_switch_that_keeps_retires_the_one_before_and_drops_all_others",
        ],
        "compare a list of two",
    ),
    fault(Broken::GivesNumbersAgain, "build_numbers_are_not_given_again").also(
        &["a_quarantined_read_model_is_no_longer_there"],
        "creates a read model after another one is gone",
    ),
    fault(Broken::KeepsOthers, "a_switch_leaves_one_live_read_model"),
    fault(
        Broken::DropsOnKeeping,
        "a_switch_that_keeps_retires_the_one_before_and_drops_all_others",
    )
    .also(
        &["a_retired_read_model_is_filled_again_and_switched_back_to"],
        "needs a retired read model",
    ),
    fault(Broken::ResumesNothing, "a_retired_read_model_is_filled_again_and_switched_back_to"),
    fault(Broken::QuarantinesNothing, "a_quarantined_read_model_is_no_longer_there"),
    fault(Broken::HasLettersOfDropped, "a_dropped_read_model_is_refused_by_every_call"),
    fault(Broken::CutsReaders, "readers_of_a_dropped_read_model_finish"),
    fault(Broken::ListsNoCheckpoint, "a_commit_shows_rows_checkpoint_and_dead_letters_together"),
    fault(Broken::CommitsOnRollback, "what_was_not_committed_never_happened")
        .also(&["a_property_is_of_its_transaction"], "rolls a property back"),
    fault(Broken::AdvancesFromAnywhere, "a_checkpoint_that_another_writer_moved_refuses_to_move"),
    fault(Broken::RefusesToWait, "a_transaction_waits_for_the_one_before").also(
        &[
            "a_dropped_wait_leaves_the_turn_to_the_next",
            "partitions_that_change_one_row_at_the_same_time_lose_no_change",
            "transactions_that_waited_see_what_was_committed_before",
        ],
        "wait for a transaction",
    ),
    fault(Broken::RemembersDroppedWaits, "a_dropped_wait_leaves_the_turn_to_the_next"),
    fault(Broken::ReadsFromBeforeTheWait, "transactions_that_waited_see_what_was_committed_before")
        .also(
            &[
                "a_transaction_waits_for_the_one_before",
                "partitions_that_change_one_row_at_the_same_time_lose_no_change",
            ],
            "read after a wait",
        ),
    fault(Broken::ReadsTheLatest, "a_reader_sees_one_moment"),
    fault(Broken::ReadersWait, "a_reader_does_not_wait_for_an_open_transaction"),
    fault(Broken::OneTransactionForAll, "transactions_of_other_read_models_do_not_wait").also(
        &[
            "a_dropped_wait_leaves_the_turn_to_the_next",
            "a_transaction_waits_for_the_one_before",
            "partitions_that_change_one_row_at_the_same_time_lose_no_change",
            "transactions_that_waited_see_what_was_committed_before",
        ],
        "the second transaction is refused instead of waiting without end",
    ),
    fault(Broken::LosesTokens, "a_transaction_of_an_earlier_lease_is_refused").also(
        &["a_partition_refuses_the_earlier_leases_of_its_own_only"],
        "compares the tokens of a partition",
    ),
    fault(Broken::FollowsTheFastest, "the_lowest_partition_is_the_checkpoint_of_the_read_model"),
    fault(
        Broken::PartitionsAdvanceFromAnywhere,
        "a_partition_that_another_writer_moved_refuses_to_move",
    ),
    fault(
        Broken::PartitionsReadFromBefore,
        "partitions_that_change_one_row_at_the_same_time_lose_no_change",
    ),
    fault(Broken::OneTokenForAll, "a_partition_refuses_the_earlier_leases_of_its_own_only"),
    fault(Broken::RefusesWork, "work_has_transactions_and_readers"),
    fault(Broken::ListsCommittedRows, "a_transaction_reads_its_own_rows"),
    fault(Broken::LosesReplacements, "a_commit_replaces_hundreds_of_rows"),
    fault(Broken::PagesFromTheStart, "rows_are_listed_in_order_by_prefix_and_page")
        .also(&["keys_come_back_as_they_were_given"], "lists the keys after one"),
    fault(Broken::RoundsNumbers, "values_come_back_as_they_were_given"),
    fault(Broken::LowersKeys, "keys_come_back_as_they_were_given"),
    fault(Broken::CutsErrors, "a_dead_letter_survives_as_it_was"),
    fault(
        Broken::ReportsAnyDeletion,
        "only_the_first_of_two_deletions_of_a_dead_letter_reports_it",
    )
    .also(&["read_models_keep_apart"], "deletes the letter of another read model"),
    fault(Broken::PropertiesOutliveRollback, "a_property_is_of_its_transaction"),
    fault(Broken::MixesDeadLetters, "read_models_keep_apart"),
    fault(Broken::SkipsFirstRow, "a_visitor_gets_each_row_once_or_is_refused"),
    fault(Broken::ConsumersGoBack, "a_consumers_checkpoint_never_goes_back_in_one_incarnation"),
    fault(Broken::ConsumersIgnoreCase, "consumers_keep_apart"),
    fault(Broken::OlderSnapshotsWin, "an_older_snapshot_does_not_win").also(
        &["an_older_snapshot_with_another_last_event_does_not_win"],
        "saves an older snapshot too",
    ),
    fault(Broken::ComparesLastEvents, "an_older_snapshot_with_another_last_event_does_not_win"),
    fault(Broken::SnapshotsAreText, "a_snapshot_comes_back_as_it_was"),
    fault(Broken::DeletesAllSnapshots, "snapshots_of_streams_keep_apart"),
];
