//! Recorded operations of threads, with the times of their submissions and answers.

use std::{
    num::NonZeroU64,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use gesta_store::{
    Append, AppendCondition, Conflict, EventId, EventQuery, EventStore, EventType,
    ExpectedRevision, NewEvent, Position, QueryItem, ReadAll, ReadStream, Revision, StoreError,
    StreamMetadata, StreamName, Tag, conformance::block_on,
};

use crate::{draws::Draws, harness::name};

const STREAMS: u64 = 3;
const TAGS: u64 = 3;

/// Parameters of a history.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) seed: u64,
    pub(super) threads: u64,
    pub(super) operations_each: u64,
    /// Lets metadata hide events and show them again; streams are not read then.
    pub(super) hiding: bool,
}

/// Logical time, unique to each submission and answer.
type Moment = u64;

#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) offered: Moment,
    pub(super) answered: Moment,
    pub(super) what: Action,
}

/// Kind of an operation, with its result.
#[derive(Clone, Debug)]
pub(super) enum Action {
    Appended {
        append: Append,
        /// Position of the last event.
        position: Position,
        revisions: Vec<(StreamName, Revision)>,
    },
    Refused {
        append: Append,
        conflict: Conflict,
    },
    ReadStream {
        stream: StreamName,
        ids: Vec<EventId>,
    },
    ReadAll {
        ids: Vec<EventId>,
    },
    Head {
        position: Position,
    },
}

/// Operations in any order.
#[derive(Clone, Debug, Default)]
pub(super) struct History(pub(super) Vec<Operation>);

impl History {
    /// Appends operations that happened after all operations of this history.
    pub(super) fn extend(&mut self, later: Self) {
        let end = self.0.iter().map(|operation| operation.answered).max().map_or(0, |end| end + 1);
        self.0.extend(later.0.into_iter().map(|operation| Operation {
            offered: operation.offered + end,
            answered: operation.answered + end,
            ..operation
        }));
    }
}

/// Runs concurrent threads and records their operations.
pub(super) fn record(store: &dyn EventStore, load: &Load) -> History {
    let clock = AtomicU64::new(0);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..load.threads)
            .map(|thread| {
                let clock = &clock;
                scope.spawn(move || {
                    let draws = Draws(load.seed ^ thread.wrapping_mul(0xd129_0d3d_9e21_6a35));
                    let known = block_on(store.head()).unwrap().position;
                    let hiding = load.hiding;
                    let mut racer = Racer { store, clock, draws, known, hiding };
                    (0..load.operations_each).map(|_| racer.operate()).collect::<Vec<_>>()
                })
            })
            .collect();
        History(threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect())
    })
}

struct Racer<'a> {
    store: &'a dyn EventStore,
    clock: &'a AtomicU64,
    draws: Draws,
    /// Last position that this thread has read.
    known: Position,
    hiding: bool,
}

impl Racer<'_> {
    fn moment(&self) -> Moment {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    fn operate(&mut self) -> Operation {
        match self.draws.below(8) {
            0 if self.hiding => {
                let append = self.draw_metadata();
                self.timed(|racer| racer.append(append))
            }
            0 => self.timed(|racer| {
                let stream = racer.stream();
                let read = racer.store.read_stream(ReadStream::forwards(stream.clone()));
                Action::ReadStream { stream, ids: ids(read) }
            }),
            1 if self.draws.below(8) == 0 => self.timed(|racer| Action::ReadAll {
                ids: ids(racer.store.read_all(ReadAll::forwards())),
            }),
            1 => self.timed(|racer| Action::Head {
                position: block_on(racer.store.head()).unwrap().position,
            }),
            _ => {
                let append = self.draw_append();
                self.timed(|racer| racer.append(append))
            }
        }
    }

    fn timed(&mut self, act: impl FnOnce(&mut Self) -> Action) -> Operation {
        let offered = self.moment();
        let what = act(self);
        Operation { offered, answered: self.moment(), what }
    }

    fn append(&mut self, append: Append) -> Action {
        match block_on(self.store.append(append.clone())) {
            Ok(appended) => {
                self.known = self.known.max(appended.position);
                Action::Appended {
                    append,
                    position: appended.position,
                    revisions: appended.revisions,
                }
            }
            Err(StoreError::Conflict(conflict)) => Action::Refused { append, conflict },
            Err(other) => panic!("nothing else can happen: {other}"),
        }
    }

    fn stream(&mut self) -> StreamName {
        name(&format!("raced-{}", self.draws.below(STREAMS)))
    }

    fn tag(&mut self) -> Tag {
        Tag::of("raced", &self.draws.below(TAGS).to_string()).unwrap()
    }

    fn events(&mut self) -> Vec<NewEvent> {
        let event_type = EventType::new("raced").unwrap();
        let tag = self.tag();
        let event = || NewEvent::json(EventId::random(), event_type.clone(), "{}");
        (0..1 + self.draws.below(3)).map(|_| event().tagged([tag.clone()])).collect()
    }

    /// Draws metadata that hides much, little or nothing of a stream. It is appended
    /// unconditionally, so hidden events may become visible again.
    fn draw_metadata(&mut self) -> Append {
        let stream = self.stream();
        let head = block_on(self.store.describe_stream(&stream)).unwrap().head;
        let next = head.map_or(0, |head| head.number() + 1);
        let metadata = match self.draws.below(4) {
            0 => StreamMetadata::default(),
            1 => {
                let max_count = NonZeroU64::new(1 + self.draws.below(2));
                StreamMetadata::default().max_count(max_count)
            }
            _ => {
                let before = next.saturating_sub(self.draws.below(3));
                let truncate_before = Some(Revision::new(before));
                StreamMetadata::default().truncate_before(truncate_before)
            }
        };
        let event_type = EventType::new(StreamMetadata::EVENT_TYPE).unwrap();
        let event = NewEvent::json(EventId::random(), event_type, metadata.to_json());
        Append::to(stream.metadata_stream().unwrap(), ExpectedRevision::Any, [event])
    }

    /// Draws an append with an expectation or a condition that held when this thread last read.
    fn draw_append(&mut self) -> Append {
        let (stream, events) = (self.stream(), self.events());
        match self.draws.below(5) {
            0 => Append::to(stream, ExpectedRevision::Any, events),
            1 | 2 => Append::to(stream.clone(), self.expected(&stream), events),
            3 => {
                let other = self.stream();
                let append = Append::to(stream.clone(), self.expected(&stream), events);
                match other == stream {
                    true => append,
                    false if self.draws.below(2) == 0 => {
                        let expected = self.expected(&other);
                        append.expecting(other, expected)
                    }
                    false => {
                        let events = self.events();
                        append.and(other, ExpectedRevision::Any, events)
                    }
                }
            }
            _ => {
                let tag = self.tag();
                let after = match self.draws.below(2) {
                    0 => self.known,
                    _ => block_on(self.store.head()).unwrap().position,
                };
                let back = if self.hiding { self.draws.below(12) } else { 0 };
                let after = Position::new(after.number().saturating_sub(back));
                let tagged = EventQuery::of(QueryItem::every().tagged([tag]));
                Append::to(stream, ExpectedRevision::Any, events)
                    .with_condition(AppendCondition { none_matching: tagged, after })
            }
        }
    }

    fn expected(&self, stream: &StreamName) -> ExpectedRevision {
        let head = block_on(self.store.describe_stream(stream)).unwrap().head;
        head.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact)
    }
}

fn ids(pages: gesta_store::Pages) -> Vec<EventId> {
    block_on(pages.collect_events()).unwrap().into_iter().map(|event| event.id).collect()
}
