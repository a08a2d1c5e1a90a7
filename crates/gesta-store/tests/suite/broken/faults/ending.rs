//! Faults of stream metadata, deletion and tombstones.

use gesta_store::{
    Append, Appended, Conflict, DeleteStream, Direction, EventId, EventStore, EventType,
    ExpectedRevision, Filter, NewEvent, Pages, ReadAll, ReadFrom, ReadStream, Revision,
    SetStreamMetadata, StoreError, StreamDescription, StreamMetadata, StreamName, StreamState,
    TombstoneStream, conformance::block_on, memory::MemoryStore,
};

use crate::broken::{Fault, FaultyStore, Outcome, changed, described, forced, pretended, single};

/// A store that changes the descriptions of streams.
fn describing(change: fn(&mut StreamDescription)) -> FaultyStore {
    FaultyStore {
        describe: Box::new(move |store, stream| {
            let mut known = described(store, &stream);
            change(&mut known);
            Ok(known)
        }),
        ..FaultyStore::correct()
    }
}

/// A store with this `set_stream_metadata`.
fn setting(set: fn(&MemoryStore, SetStreamMetadata) -> Outcome<Appended>) -> FaultyStore {
    FaultyStore { set_metadata: Box::new(set), ..FaultyStore::correct() }
}

fn deleting(delete: fn(&MemoryStore, DeleteStream) -> Outcome<Appended>) -> FaultyStore {
    FaultyStore { delete: Box::new(delete), ..FaultyStore::correct() }
}

fn tombstoning(end: fn(&MemoryStore, TombstoneStream) -> Outcome<Appended>) -> FaultyStore {
    FaultyStore { tombstone: Box::new(end), ..FaultyStore::correct() }
}

/// A store that shows the hidden events of some streams in their reads.
fn showing(meant: fn(&StreamDescription) -> bool) -> FaultyStore {
    FaultyStore {
        read_stream: Box::new(move |store, read| {
            if meant(&described(store, &read.stream)) {
                return unhidden(store, read);
            }
            store.read_stream(read)
        }),
        ..FaultyStore::correct()
    }
}

/// Reads all events of a stream, hidden or not, from either end.
fn unhidden(store: &MemoryStore, read: ReadStream) -> Pages {
    let all = match read.direction {
        Direction::Forwards => ReadAll::forwards(),
        Direction::Backwards => ReadAll::backwards(),
    };
    store.read_all(all.filter(Filter::Streams(vec![read.stream])).limit(read.limit))
}

fn conflict(
    stream: StreamName,
    expected: ExpectedRevision,
    head: Option<Revision>,
) -> Outcome<Appended> {
    Err(Conflict::Stream { stream, expected, head }.into())
}

pub(crate) fn metadata() -> Vec<Fault> {
    [kept(), hiding()].into_iter().flatten().collect()
}

fn kept() -> Vec<Fault> {
    vec![
        Fault::of("metadata_come_back_as_they_were_set", || {
            describing(|known| known.metadata.acl = None)
        }),
        Fault::of("unknown_metadata_come_back_unchanged", || FaultyStore {
            set_metadata: Box::new(|store, mut change| {
                change.metadata.custom.retain(|name, _| !name.starts_with('$'));
                block_on(store.set_stream_metadata(change))
            }),
            ..FaultyStore::correct()
        }),
        Fault::of("a_stream_without_metadata_has_the_default", || {
            describing(|known| {
                known.metadata_revision = known.metadata_revision.or(Some(Revision::FIRST));
            })
        }),
        Fault::of("a_description_follows_a_stream_through_its_life", || {
            describing(|known| {
                if known.state == StreamState::Deleted {
                    known.state = StreamState::Live;
                }
            })
        })
        .also("metadata_set_on_a_deleted_stream_keep_it_deleted", "asks whether it is deleted"),
        Fault::of("setting_metadata_answers_with_their_revision", || {
            setting(|store, change| {
                let answer = block_on(store.set_stream_metadata(change))?;
                Ok(Appended::new(answer.position, vec![]))
            })
        }),
        Fault::of("setting_metadata_checks_where_they_are", || {
            setting(|store, mut change| {
                change.expected_metadata = ExpectedRevision::Any;
                block_on(store.set_stream_metadata(change))
            })
        })
        .also(
            "metadata_read_before_a_deletion_are_set_in_vain",
            "sets metadata that were read before",
        ),
        Fault::of("metadata_are_read_as_a_stream", || FaultyStore {
            read_stream: Box::new(|store, read| {
                if read.stream.is_system() {
                    return Pages::of(std::iter::empty());
                }
                store.read_stream(read)
            }),
            ..FaultyStore::correct()
        }),
    ]
}

fn hiding() -> Vec<Fault> {
    vec![
        Fault::of("max_count_shows_only_the_last_events", || {
            showing(|known| known.metadata.max_count.is_some())
        })
        .also("metadata_read_before_a_deletion_are_set_in_vain", "sets a count that hides nothing")
        .also(
            "metadata_set_after_a_revival_keep_what_was_deleted_hidden",
            "sets a count that hides nothing",
        )
        .also("metadata_set_on_a_deleted_stream_keep_it_deleted", "sets a count that hides nothing")
        .also("metadata_that_delete_are_kept_like_a_deletion", "sets a count that hides nothing"),
        Fault::of("truncate_before_hides_what_is_before", || {
            showing(|known| {
                known.state == StreamState::Live && known.metadata.truncate_before.is_some()
            })
        })
        .also("a_read_of_hidden_events_begins_at_the_first_shown", "hides by truncation")
        .also("a_revived_stream_goes_on_counting", "what was deleted is truncated")
        .also(
            "metadata_set_after_a_revival_keep_what_was_deleted_hidden",
            "what was deleted is truncated",
        )
        .also("metadata_set_on_a_deleted_stream_keep_it_deleted", "what was deleted is truncated")
        .also("metadata_that_delete_are_kept_like_a_deletion", "what was deleted is truncated"),
        Fault::of("max_age_hides_what_is_older", || {
            showing(|known| known.metadata.max_age.is_some())
        })
        .also(
            "a_visible_read_leaves_out_what_metadata_hide",
            "waits until a read of the stream is empty",
        ),
        Fault::of("a_read_of_hidden_events_begins_at_the_first_shown", || FaultyStore {
            read_stream: Box::new(|store, read| {
                let hidden = described(store, &read.stream).metadata.truncate_before;
                match (read.direction, read.from) {
                    (Direction::Forwards, ReadFrom::At(from)) if hidden > Some(from) => {
                        Pages::of(std::iter::empty())
                    }
                    _ => store.read_stream(read),
                }
            }),
            ..FaultyStore::correct()
        }),
        Fault::of("what_metadata_hide_stays_in_the_whole_store", || FaultyStore {
            read_all: Box::new(|store, read| {
                changed(store.read_all(read), |mut events| {
                    events.retain(|event| {
                        let known = described(store, &event.stream);
                        known.head.is_some_and(|head| {
                            known.metadata.first_visible(head) <= event.revision
                        })
                    });
                    events
                })
            }),
            ..FaultyStore::correct()
        }),
    ]
}

pub(crate) fn deletion() -> Vec<Fault> {
    [deleted(), deletes(), stays_deleted(), tombstoned(), tombstones()]
        .into_iter()
        .flatten()
        .collect()
}

fn refusing_deleted(meant: fn(ExpectedRevision) -> bool) -> FaultyStore {
    FaultyStore {
        append: Box::new(move |store, append| {
            if let Some(part) = single(&append).filter(|part| meant(part.expected))
                && described(store, &part.stream).state == StreamState::Deleted
            {
                return conflict(part.stream.clone(), part.expected, None);
            }
            block_on(store.append(append))
        }),
        ..FaultyStore::correct()
    }
}

fn deleted() -> Vec<Fault> {
    vec![
        Fault::of("a_deleted_stream_reads_empty", || {
            showing(|known| known.state == StreamState::Deleted)
        })
        .also("deleting_checks_where_the_stream_is", "sees by reading that it was deleted")
        .also(
            "metadata_set_on_a_deleted_stream_keep_it_deleted",
            "sees by reading that it is deleted",
        )
        .also(
            "metadata_read_before_a_deletion_are_set_in_vain",
            "sees by reading that it is deleted",
        )
        .also("metadata_that_delete_are_kept_like_a_deletion", "sees by reading that it is deleted")
        .also("names_of_earlier_versions_come_back_unchanged", "deletes such streams")
        .also("the_longest_streams_can_be_deleted", "sees by reading that it is deleted"),
        Fault::of("a_revived_stream_goes_on_counting", || FaultyStore {
            append: Box::new(|store, append| {
                let known = append.streams.first().map(|part| described(store, &part.stream));
                let mut answer = block_on(store.append(append))?;
                let Some(known) = known.filter(|it| it.state == StreamState::Deleted) else {
                    return Ok(answer);
                };
                let restart = known.metadata.truncate_before.map_or(0, Revision::number);
                for (_, revision) in &mut answer.revisions {
                    *revision = Revision::new(revision.number() - restart);
                }
                Ok(answer)
            }),
            ..FaultyStore::correct()
        }),
        Fault::of("no_stream_holds_on_a_deleted_stream", || {
            refusing_deleted(|expected| expected == ExpectedRevision::NoStream)
        }),
        Fault::of("the_exact_head_holds_on_a_deleted_stream", || {
            refusing_deleted(|expected| matches!(expected, ExpectedRevision::Exact(_)))
        }),
        Fault::of("stream_exists_conflicts_on_a_deleted_stream", || FaultyStore {
            append: Box::new(|store, append| {
                let deleted = single(&append).is_some_and(|part| {
                    part.expected == ExpectedRevision::StreamExists
                        && described(store, &part.stream).state == StreamState::Deleted
                });
                if deleted { forced(store, append) } else { block_on(store.append(append)) }
            }),
            ..FaultyStore::correct()
        }),
    ]
}

fn deletes() -> Vec<Fault> {
    vec![
        Fault::of("deleting_checks_where_the_stream_is", || {
            deleting(|store, delete| {
                let delete = DeleteStream::new(delete.stream, ExpectedRevision::Any);
                block_on(store.delete_stream(delete))
            })
        }),
        Fault::of("deleting_nothing_answers_with_the_head", || {
            deleting(|store, delete| match described(store, &delete.stream).state {
                StreamState::Missing => conflict(delete.stream, delete.expected, None),
                _ => block_on(store.delete_stream(delete)),
            })
        }),
        Fault::of("deleting_keeps_the_other_metadata", || {
            deleting(|store, delete| {
                let stream = delete.stream.clone();
                let answer = block_on(store.delete_stream(delete))?;
                let known = described(store, &stream).metadata;
                if known.custom.is_empty() {
                    return Ok(answer);
                }
                let truncate_before = known.truncate_before;
                let metadata = StreamMetadata::default().truncate_before(truncate_before);
                let expected_metadata = ExpectedRevision::Any;
                let change = SetStreamMetadata::new(stream, expected_metadata, metadata);
                block_on(store.set_stream_metadata(change))
            })
        }),
    ]
}

/// A store that writes metadata as given, without the deletion, for some states of the stream.
fn literal(meant: fn(&StreamDescription, &StreamMetadata) -> bool) -> FaultyStore {
    FaultyStore {
        set_metadata: Box::new(move |store, change| {
            if !meant(&described(store, &change.stream), &change.metadata) {
                return block_on(store.set_stream_metadata(change));
            }
            let metadata_type = EventType::new(StreamMetadata::EVENT_TYPE)?;
            let event = NewEvent::json(EventId::random(), metadata_type, change.metadata.to_json());
            let stream = change.stream.metadata_stream()?;
            block_on(store.append(Append::to(stream, change.expected_metadata, [event])))
        }),
        ..FaultyStore::correct()
    }
}

fn stays_deleted() -> Vec<Fault> {
    vec![
        Fault::of("metadata_set_on_a_deleted_stream_keep_it_deleted", || {
            literal(|known, _| known.state == StreamState::Deleted)
        })
        .also("metadata_that_delete_are_kept_like_a_deletion", "sets some on such a stream")
        .also("metadata_read_before_a_deletion_are_set_in_vain", "sets some on such a stream"),
        Fault::of("metadata_set_after_a_revival_keep_what_was_deleted_hidden", || {
            literal(|known, metadata| {
                known.state == StreamState::Live && metadata.truncate_before.is_none()
            })
        }),
        Fault::of("metadata_that_delete_are_kept_like_a_deletion", || {
            literal(|known, metadata| {
                known.state == StreamState::Live
                    && metadata.truncate_before == Some(Revision::FIRST)
            })
        })
        .also(
            "metadata_set_after_a_revival_keep_what_was_deleted_hidden",
            "takes a truncation back, too",
        ),
        Fault::of("metadata_read_before_a_deletion_are_set_in_vain", || {
            setting(|store, mut change| {
                if described(store, &change.stream).state == StreamState::Deleted {
                    change.expected_metadata = ExpectedRevision::Any;
                }
                block_on(store.set_stream_metadata(change))
            })
        }),
    ]
}

fn tombstoned() -> Vec<Fault> {
    vec![
        Fault::of("a_tombstoned_stream_takes_no_events", || FaultyStore {
            append: Box::new(|store, append| {
                let expected = append.streams.first().map(|part| part.expected);
                match block_on(store.append(append)) {
                    Err(StoreError::Deleted { .. })
                        if expected == Some(ExpectedRevision::NoStream) =>
                    {
                        pretended(store)
                    }
                    outcome => outcome,
                }
            }),
            ..FaultyStore::correct()
        }),
        Fault::of("reading_a_tombstoned_stream_says_deleted", || {
            showing(|known| known.state == StreamState::Tombstoned)
        }),
        Fault::of("a_tombstoned_streams_events_stay_in_the_whole_store", || FaultyStore {
            read_all: Box::new(|store, read| {
                changed(store.read_all(read), |mut events| {
                    events.retain(|event| {
                        described(store, &event.stream).state != StreamState::Tombstoned
                    });
                    events
                })
            }),
            ..FaultyStore::correct()
        }),
        Fault::of("a_tombstoned_stream_takes_no_metadata", || {
            setting(|store, change| match block_on(store.set_stream_metadata(change)) {
                Err(StoreError::Deleted { .. }) => pretended(store),
                outcome => outcome,
            })
        }),
    ]
}

fn tombstones() -> Vec<Fault> {
    vec![
        Fault::of("a_tombstoned_stream_has_no_second_end", || {
            tombstoning(|store, end| match block_on(store.tombstone_stream(end)) {
                Err(StoreError::Deleted { .. }) => pretended(store),
                outcome => outcome,
            })
        }),
        Fault::of("tombstoning_checks_where_the_stream_is", || {
            tombstoning(|store, end| {
                let end = TombstoneStream::new(end.stream, ExpectedRevision::Any);
                block_on(store.tombstone_stream(end))
            })
        }),
        Fault::of("a_stream_that_never_was_can_be_tombstoned", || {
            tombstoning(|store, end| match described(store, &end.stream).state {
                StreamState::Missing => conflict(end.stream, end.expected, None),
                _ => block_on(store.tombstone_stream(end)),
            })
        }),
        Fault::of("a_deleted_stream_can_be_tombstoned", || {
            tombstoning(|store, end| match described(store, &end.stream).state {
                StreamState::Deleted => conflict(end.stream, end.expected, None),
                _ => block_on(store.tombstone_stream(end)),
            })
        })
        .also("a_description_follows_a_stream_through_its_life", "ends with both ends"),
    ]
}
