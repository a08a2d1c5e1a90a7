//! Faults of append conditions.

use gesta_store::{
    AppendCondition, Conflict, EventQuery, EventStore, Position, QueryItem, ReadAll, RecordedEvent,
    Revision, StoreError, StreamDescription, StreamState, conformance::block_on,
    memory::MemoryStore,
};

use super::appending::{appending, on_error};
use crate::broken::{Fault, FaultyStore, described, forced};

/// A store that replaces the condition of an append.
fn conditioned<F>(other: F) -> FaultyStore
where
    F: Fn(&MemoryStore, AppendCondition) -> Option<AppendCondition> + Send + Sync + 'static,
{
    appending(move |store, mut append| {
        let condition = append.condition.take().and_then(|condition| other(store, condition));
        append.condition = condition;
        block_on(store.append(append))
    })
}

/// A store that replaces the query of a condition.
fn understanding(other: fn(&QueryItem) -> QueryItem) -> FaultyStore {
    conditioned(move |_, condition| {
        let mut items = condition.none_matching.items().iter().map(other);
        let first = EventQuery::of(items.next().expect("a query has an item"));
        Some(AppendCondition { none_matching: items.fold(first, EventQuery::or), ..condition })
    })
}

pub(crate) fn faults() -> Vec<Fault> {
    [meanings(), together(), hiding()].into_iter().flatten().collect()
}

fn meanings() -> Vec<Fault> {
    vec![
        Fault::of("a_match_after_the_position_is_a_conflict", || {
            conditioned(|store, condition| {
                let head = block_on(store.head()).expect("a memory store has a head").position;
                let past = Position::START < condition.after && condition.after <= head;
                (!past).then_some(condition)
            })
        }),
        Fault::of("a_match_at_or_before_the_position_is_none", || {
            conditioned(|_, condition| {
                let after = Position::new(condition.after.number().saturating_sub(1));
                Some(AppendCondition { after, ..condition })
            })
        })
        .also("a_condition_beyond_the_head_is_rejected", "is one beyond, which becomes none"),
        Fault::of("a_condition_beyond_the_head_is_rejected", || {
            conditioned(|store, condition| {
                let head = block_on(store.head()).expect("a memory store has a head").position;
                Some(AppendCondition { after: condition.after.min(head), ..condition })
            })
        }),
        Fault::of("a_condition_means_any_of_the_types", || {
            understanding(|item| {
                let first = item.types().iter().take(1).cloned();
                QueryItem::every().of_types(first).tagged(item.tags().to_vec())
            })
        }),
        Fault::of("a_condition_means_all_of_the_tags", || {
            understanding(|item| {
                let first = item.tags().iter().take(1).cloned();
                QueryItem::every().of_types(item.types().to_vec()).tagged(first)
            })
        }),
        Fault::of("a_condition_means_a_type_and_its_tags_together", || {
            understanding(|item| match item.types() {
                [] => item.clone(),
                types => QueryItem::every().of_types(types.to_vec()),
            })
        }),
        Fault::of("a_condition_means_any_of_its_items", || {
            conditioned(|_, condition| {
                let first = condition.none_matching.items().first()?.clone();
                Some(AppendCondition { none_matching: EventQuery::of(first), ..condition })
            })
        }),
    ]
}

fn together() -> Vec<Fault> {
    vec![
        Fault::of("a_condition_does_not_mean_the_append_itself", || {
            appending(|store, append| {
                let own = append.condition.as_ref().is_some_and(|condition| {
                    let query = &condition.none_matching;
                    append.events().any(|event| query.matches(&event.event_type, &event.tags))
                });
                if own {
                    return Err(Conflict::Condition { matching: Position::new(1) }.into());
                }
                block_on(store.append(append))
            })
        })
        .also("a_repeat_with_a_condition_gets_the_first_answer", "its own event matches"),
        Fault::of("a_condition_holds_together_with_the_expectations", || {
            appending(|store, append| match &append.condition {
                Some(_) => forced(store, append),
                None => block_on(store.append(append)),
            })
        }),
    ]
}

fn event_at(store: &MemoryStore, position: Position) -> Option<RecordedEvent> {
    let read = store.read_all(ReadAll::forwards().from(position).limit(1));
    block_on(read.collect_events()).expect("a memory store can be read").pop()
}

/// A store whose conditions match hidden events of some streams.
fn seeing(meant: fn(&StreamDescription) -> bool) -> FaultyStore {
    appending(move |store, append| {
        if let Some(AppendCondition { none_matching, .. }) = &append.condition {
            let all = block_on(store.read_all(ReadAll::forwards()).collect_events())?;
            let counts = |event: &&RecordedEvent| {
                none_matching.matches(&event.event_type, &event.tags)
                    && meant(&described(store, &event.stream))
            };
            if let Some(event) = all.iter().find(counts) {
                return Err(Conflict::Condition { matching: event.position }.into());
            }
        }
        block_on(store.append(append))
    })
}

/// A store whose conditions ignore events of some streams.
fn overlooking(meant: fn(&StreamDescription) -> bool) -> FaultyStore {
    on_error(move |store, mut append, error| {
        let StoreError::Conflict(Conflict::Condition { matching }) = error else {
            return Err(error);
        };
        match event_at(store, matching) {
            Some(event) if meant(&described(store, &event.stream)) => {
                append.condition = None;
                block_on(store.append(append))
            }
            _ => Err(error),
        }
    })
}

fn hiding() -> Vec<Fault> {
    vec![
        Fault::of("a_condition_does_not_mean_streams_that_ended", || {
            seeing(|known| known.state == StreamState::Tombstoned)
        }),
        Fault::of("a_condition_does_not_mean_what_metadata_hide", || {
            seeing(|known| known.metadata.max_count.is_some())
        }),
        Fault::of("a_condition_means_what_is_shown_again", || {
            overlooking(|known| known.metadata.truncate_before == Some(Revision::FIRST))
        }),
        Fault::of("a_condition_means_what_has_revived_a_stream", || {
            overlooking(|known| {
                known.metadata.truncate_before.is_some() && known.head == Some(Revision::new(1))
            })
        })
        .also("a_condition_means_what_is_shown_again", "truncates a stream that has two events")
        .also("a_condition_does_not_mean_what_metadata_hide", "truncates such a stream, too"),
    ]
}
