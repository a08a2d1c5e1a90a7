//! Faults of expectations on one stream and on several.

use std::collections::HashSet;

use gesta_store::{
    Append, Conflict, EventStore,
    ExpectedRevision::{Any, Exact, NoStream, StreamExists},
    Invalid, Limits, Revision, StoreError, StreamAppend, StreamState,
    conformance::block_on,
};

use super::appending::{appending, head_of, on_error, overlooking, refusing, state_of};
use crate::broken::{Fault, described, forced, pretended, single};

pub(crate) fn faults() -> Vec<Fault> {
    let faults = [existence(), exact_revisions(), several_streams(), several_parts()];
    faults.into_iter().flatten().collect()
}

fn existence() -> Vec<Fault> {
    vec![
        Fault::of("any_holds_on_a_missing_a_live_and_a_deleted_stream", || {
            refusing(|store, part| {
                part.expected == Any && state_of(store, part) == StreamState::Deleted
            })
        })
        .also("a_description_follows_a_stream_through_its_life", "revives the stream")
        .also("a_condition_means_what_has_revived_a_stream", "revives the stream")
        .also("a_revived_stream_goes_on_counting", "revives the stream")
        .also("a_stream_keeps_its_ordinal_and_gets_no_second_one", "revives the stream")
        .also("streams_that_ended_are_not_listed", "revives a stream")
        .also("a_visible_read_leaves_out_streams_that_ended", "revives the stream")
        .also("a_visible_subscription_calls_nothing_back", "revives the stream")
        .also("metadata_set_after_a_revival_keep_what_was_deleted_hidden", "revives the stream")
        .also("metadata_set_on_a_deleted_stream_keep_it_deleted", "revives the stream")
        .also("metadata_that_delete_are_kept_like_a_deletion", "revives the stream"),
        Fault::of("no_stream_holds_where_there_are_no_events", || {
            refusing(|store, part| {
                let known = described(store, &part.stream);
                let named =
                    known.state == StreamState::Missing && known.metadata_revision.is_some();
                part.expected == NoStream && named
            })
        }),
        Fault::of("no_stream_conflicts_where_there_are_events", || {
            overlooking(|expected, head, _| expected == NoStream && head == Some(0))
        }),
        Fault::of("stream_exists_holds_where_there_are_events", || {
            refusing(|store, part| part.expected == StreamExists && head_of(store, part) == Some(0))
        }),
        Fault::of("stream_exists_conflicts_where_there_are_none", || {
            on_error(|store, append, error| match &error {
                StoreError::Conflict(Conflict::Stream {
                    stream, expected: StreamExists, ..
                }) if append.condition.is_none()
                    && described(store, stream).state == StreamState::Missing =>
                {
                    forced(store, append)
                }
                _ => Err(error),
            })
        })
        .also("a_conflict_names_the_stream_the_expectation_and_the_head", "needs the conflict"),
    ]
}

fn exact_revisions() -> Vec<Fault> {
    vec![
        Fault::of("an_exact_revision_holds_at_the_head", || {
            refusing(|store, part| {
                part.expected == Exact(Revision::new(3)) && head_of(store, part) == Some(3)
            })
        }),
        Fault::of("an_exact_revision_conflicts_before_the_head", || {
            overlooking(|expected, head, _| {
                head.is_some_and(|head| head >= 2 && expected == Exact(Revision::new(head - 1)))
            })
        }),
        Fault::of("an_exact_revision_conflicts_beyond_the_head", || {
            overlooking(|expected, head, _| {
                expected == Exact(Revision::new(head.map_or(0, |head| head + 1)))
            })
        }),
        Fault::of("a_conflict_names_the_stream_the_expectation_and_the_head", || {
            on_error(|_, _, error| match error {
                StoreError::Conflict(Conflict::Stream { stream, expected, .. }) => {
                    Err(Conflict::Stream { stream, expected, head: None }.into())
                }
                other => Err(other),
            })
        }),
        Fault::of("a_conflict_appends_nothing", || {
            on_error(|store, append, error| {
                if single(&append).is_some_and(|part| part.events.len() > 1) {
                    drop(forced(store, append));
                }
                Err(error)
            })
        }),
        Fault::of("a_check_without_events_holds_or_conflicts", || {
            appending(|store, append| match append.streams.as_slice() {
                [check] if check.events.is_empty() => pretended(store),
                _ => block_on(store.append(append)),
            })
        })
        .also("an_append_without_events_is_never_a_repeat", "needs a check that fails"),
    ]
}

fn several_streams() -> Vec<Fault> {
    vec![
        Fault::of("events_of_several_streams_are_appended_in_their_order", || {
            appending(|store, mut append| {
                let order: Vec<_> = append.streams.iter().map(|part| part.stream.clone()).collect();
                append.streams.sort_by(|one, other| one.stream.cmp(&other.stream));
                let mut answer = block_on(store.append(append))?;
                answer.revisions.sort_by_key(|(name, _)| order.iter().position(|n| n == name));
                Ok(answer)
            })
        })
        .also("events_of_a_stream_are_recorded_where_its_parts_stand", "has several streams")
        .also("a_repeat_of_several_parts_of_a_stream_gets_the_first_answer", "has two, too"),
        Fault::of("the_answer_names_each_stream_that_got_events", || {
            appending(|store, append| {
                let mut answer = block_on(store.append(append))?;
                answer.revisions.truncate(1);
                Ok(answer)
            })
        })
        .also("events_of_a_stream_are_recorded_where_its_parts_stand", "compares the answer"),
        Fault::of("one_failing_expectation_appends_nothing_anywhere", || {
            on_error(|store, mut append, error| {
                let conflict = matches!(error, StoreError::Conflict(_));
                if conflict
                    && append.streams.iter().filter(|part| !part.events.is_empty()).count() > 1
                {
                    append.streams.truncate(1);
                    drop(forced(store, append));
                }
                Err(error)
            })
        }),
        Fault::of("a_failing_check_beside_events_appends_nothing", || {
            appending(|store, mut append| {
                if append.events().next().is_some() {
                    append.streams.retain(|part| !part.events.is_empty());
                }
                block_on(store.append(append))
            })
        })
        .also("several_expectations_of_a_stream_hold_together", "checks beside events"),
    ]
}

/// Faults with several parts of one stream.
fn several_parts() -> Vec<Fault> {
    vec![
        Fault::of("several_expectations_of_a_stream_hold_together", || {
            // The first one counts.
            appending(|store, mut append| {
                let mut checked = HashSet::new();
                append
                    .streams
                    .retain(|part| !part.events.is_empty() || checked.insert(part.stream.clone()));
                block_on(store.append(append))
            })
        }),
        Fault::of("events_of_a_stream_are_recorded_where_its_parts_stand", || {
            appending(|store, append| {
                append.check(&Limits::DEFAULT)?;
                block_on(store.append(by_stream(append)))
            })
        })
        .also("a_repeat_of_several_parts_of_a_stream_gets_the_first_answer", "sorts the events"),
        Fault::of("a_later_part_with_an_expectation_is_rejected", || {
            on_error(|store, append, error| match error {
                StoreError::Rejected(Invalid::StreamTwice { .. }) => forced(store, append),
                other => Err(other),
            })
        }),
    ]
}

/// Puts the events of each stream into its first part.
fn by_stream(mut append: Append) -> Append {
    let mut streams: Vec<StreamAppend> = Vec::new();
    for part in append.streams {
        let same = streams.iter_mut().find(|known| known.stream == part.stream);
        match same.filter(|_| !part.events.is_empty()) {
            Some(known) => known.events.extend(part.events),
            None => streams.push(part),
        }
    }
    append.streams = streams;
    append
}
