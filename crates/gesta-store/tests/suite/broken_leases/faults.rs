//! The faults: for each clause of leases, one that breaks it.

use super::Faulty;

/// A fault, and the clauses that fail on it.
pub(super) struct LeaseFault {
    pub(super) fault: Faulty,
    pub(super) breaks: &'static str,
    /// Other clauses that must fail.
    pub(super) also: &'static [&'static str],
}

/// A fault that only one clause notices.
const fn fault(fault: Faulty, breaks: &'static str) -> LeaseFault {
    LeaseFault { fault, breaks, also: &[] }
}

impl LeaseFault {
    /// Adds other clauses that must fail, with the reason.
    const fn also(self, also: &'static [&'static str], because: &'static str) -> Self {
        assert!(!because.is_empty(), "an exception has a reason");
        Self { also, ..self }
    }
}

pub(super) const FAULTS: &[LeaseFault] = &[
    fault(Faulty::AnswersWithoutNode, "a_free_lease_is_granted_as_asked").also(
        &[
            "names_come_back_as_they_were_given",
            "one_of_many_nodes_gets_the_lease",
            "the_list_has_the_leases_in_force_by_name",
        ],
        "compare the node of the answer with others",
    ),
    fault(Faulty::RefusesInOwnName, "a_lease_in_force_is_refused_to_other_nodes").also(
        &[
            "a_late_release_leaves_the_next_lease_alone",
            "a_lease_expires_after_its_term",
            "a_lease_is_in_force_until_its_term_is_over",
            "a_renewal_begins_the_term_anew",
            "one_of_many_nodes_gets_the_lease",
        ],
        "see by a refusal who has the lease",
    ),
    fault(Faulty::EndsEarly, "a_lease_is_in_force_until_its_term_is_over"),
    fault(Faulty::NeverExpires, "a_lease_expires_after_its_term").also(
        &[
            "a_dropped_call_harms_nothing",
            "a_late_release_leaves_the_next_lease_alone",
            "a_lease_that_moved_cannot_be_renewed",
            "a_paused_node_cannot_write_with_its_old_lease",
            "an_expired_lease_cannot_be_renewed",
            "renewals_do_not_add_up",
            "the_list_leaves_out_leases_that_are_over",
            "tokens_grow_after_a_long_pause",
            "tokens_grow_with_each_lease",
        ],
        "let a lease expire",
    ),
    fault(Faulty::RenewsNothing, "a_renewal_begins_the_term_anew"),
    fault(Faulty::RenewalsAddUp, "renewals_do_not_add_up")
        .also(&["a_dropped_call_harms_nothing"], "lets a renewed lease expire"),
    fault(Faulty::RenewalCounts, "a_renewal_keeps_the_token")
        .also(&["a_renewal_begins_the_term_anew", "renewals_do_not_add_up"], "renew twice"),
    fault(Faulty::RevivesExpired, "an_expired_lease_cannot_be_renewed"),
    fault(Faulty::RenewsAnyToken, "a_lease_that_moved_cannot_be_renewed")
        .also(&["a_node_that_asks_again_gets_a_later_lease"], "renews the earlier lease"),
    fault(Faulty::ReleasesNothing, "a_released_lease_is_free_at_once").also(
        &[
            "a_released_lease_cannot_be_renewed",
            "leases_of_other_names_are_independent",
            "the_list_leaves_out_leases_that_are_over",
        ],
        "release a lease in force",
    ),
    fault(Faulty::RevivesReleased, "a_released_lease_cannot_be_renewed"),
    fault(Faulty::ReleasesOnce, "releasing_again_has_no_effect"),
    fault(Faulty::ReleasesAnyToken, "a_late_release_leaves_the_next_lease_alone")
        .also(&["a_node_that_asks_again_gets_a_later_lease"], "releases the earlier lease"),
    fault(Faulty::RefusesItsHolder, "a_node_that_asks_again_gets_a_later_lease")
        .also(&["a_dropped_call_harms_nothing"], "asks again after a lost answer"),
    fault(Faulty::ForgetsReleased, "tokens_grow_with_each_lease"),
    fault(Faulty::ForgetsInAYear, "tokens_grow_after_a_long_pause"),
    fault(Faulty::OneForAll, "leases_of_other_names_are_independent").also(
        &[
            "names_come_back_as_they_were_given",
            "the_list_has_the_leases_in_force_by_name",
            "the_list_leaves_out_leases_that_are_over",
        ],
        "have leases of several names",
    ),
    fault(Faulty::LooksAndThenGrants, "one_of_many_nodes_gets_the_lease"),
    fault(Faulty::ListsBackwards, "the_list_has_the_leases_in_force_by_name")
        .also(&["names_come_back_as_they_were_given"], "lists several names"),
    fault(Faulty::ListsAll, "the_list_leaves_out_leases_that_are_over").also(
        &["an_expired_lease_cannot_be_renewed", "tokens_grow_after_a_long_pause"],
        "see by the list that a lease is over",
    ),
    fault(Faulty::LowersNames, "names_come_back_as_they_were_given"),
    fault(Faulty::GrantsAnyTerm, "a_term_out_of_range_is_refused"),
    fault(Faulty::KeepsLockOfDropped, "a_dropped_call_harms_nothing"),
    fault(Faulty::CountsPerNode, "a_paused_node_cannot_write_with_its_old_lease").also(
        &[
            "a_late_release_leaves_the_next_lease_alone",
            "a_lease_that_moved_cannot_be_renewed",
            "tokens_grow_after_a_long_pause",
            "tokens_grow_with_each_lease",
        ],
        "compare the tokens of two nodes",
    ),
];
