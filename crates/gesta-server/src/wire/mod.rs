//! Values of the protocol and of the contract, translated into each other.
//!
//! Owns: names, ids, expectations, events and errors in both forms. Invariant: a translation
//! depends on its argument alone; no store is asked. Not here: the calls
//! ([`streams`](crate::streams)).

mod batch_status;
mod details;
mod envelope;
mod errors;
mod expected;
mod ids;
mod new_event;
mod new_record;
mod recorded;
mod stream_names;

pub(crate) use self::{
    batch_status::{batch_status, of_plain, timed_out},
    details::detailed,
    errors::{
        access_denied, is_archived, is_outcome_unknown, login_status, missing, refused,
        scavenge_not_found, status, user_conflict, user_not_found, version_number, with_trailers,
        wrong_expected_version,
    },
    expected::{ExpectedOption, expected_of_number},
    ids::{IdForm, uuid_of},
    new_event::{Proposal, correlation_in, new_event, related},
    new_record::{new_record, record_id},
    recorded::recorded_event,
    stream_names::{identifier, name_to_read, name_to_write, text_to_read, text_to_write},
};
