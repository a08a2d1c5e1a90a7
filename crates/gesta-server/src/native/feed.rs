//! A subscription on its way to a client, whatever carries it.
//!
//! Owns: [`Feed`], with its start and its items. Invariants: rights are checked when it begins; a
//! feed ends with a problem, also when the server stops; waiting for the next items may be given up
//! without losing any. Not here: the forms of items ([`sse`](super::sse),
//! [`socket`](super::socket)).

use gesta_store::{
    Delivery, Incarnation, Position, RecordedAt, RecordedEvent, Revision, StoreError, StreamName,
    StreamState, Subscribe, Subscription,
};

use super::{
    problem::{Problem, ProblemCode},
    read_all::check_reached,
    rights::{check_all, check_right},
    selection::Selected,
};
use crate::{
    access::{Caller, Right},
    node::{Node, OpenSubscription},
    streams::is_of_index,
};

/// The place after which a feed begins.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum FeedStart {
    #[default]
    Beginning,
    After(u64),
    /// Events that are recorded from now on.
    End,
    Time(RecordedAt),
}

/// The events of a feed.
#[derive(Debug)]
pub(super) enum FeedTarget {
    Stream(StreamName),
    All { selected: Selected, incarnation: Option<Incarnation> },
}

/// One thing that a client learns.
#[derive(Debug)]
pub(super) enum FeedItem {
    Event(Box<RecordedEvent>),
    /// Further events are new. The place is the last one that was passed, if there is one.
    CaughtUp(Option<u64>),
    /// Nothing is selected up to this position.
    Checkpoint(u64),
}

/// An open subscription.
pub(super) struct Feed {
    node: Node,
    caller: Caller,
    subscription: Subscription,
    /// The last revision that the client knows, in a feed of a stream.
    last_revision: Option<u64>,
    is_of_stream: bool,
    _open: OpenSubscription,
}

impl Feed {
    /// Begins a feed.
    pub(super) async fn begin(
        node: Node,
        caller: Caller,
        target: FeedTarget,
        start: FeedStart,
    ) -> Result<Self, Problem> {
        let is_of_stream = matches!(target, FeedTarget::Stream(_));
        let mut last_revision = None;
        let subscribe = match target {
            FeedTarget::Stream(stream) => {
                let after = stream_start(&node, &caller, &stream, start).await?;
                last_revision = after;
                let request = Subscribe::to_stream(stream);
                match (after, start) {
                    (Some(revision), _) => request.after(Revision::new(revision)).into(),
                    (None, FeedStart::Time(time)) => request.from_time(time).into(),
                    (None, _) => Subscribe::from(request),
                }
            }
            FeedTarget::All { selected, incarnation } => {
                check_all(&node, &caller).await?;
                let Selected { filter, visibility } = selected;
                let request = Subscribe::to_all().filter(filter).visibility(visibility);
                let head = node.store().head().await;
                let head = head.map_err(|error| Problem::of_read(&error))?.position;
                let request = match start {
                    FeedStart::Beginning => request,
                    FeedStart::End => request.after(head),
                    FeedStart::Time(time) => request.from_time(time),
                    FeedStart::After(after) => {
                        // The store compares another incarnation's position itself.
                        if incarnation.is_none() {
                            check_reached(Position::new(after), head)?;
                        }
                        request.after(Position::new(after))
                    }
                };
                match incarnation {
                    Some(incarnation) => request.incarnation(incarnation).into(),
                    None => Subscribe::from(request),
                }
            }
        };
        node.store()
            .capabilities()
            .check(subscribe.capabilities())
            .map_err(|error| Problem::of_read(&error))?;
        let subscription = node.store().subscribe(subscribe);
        let _open = OpenSubscription::count(node.clone());
        Ok(Self { node, caller, subscription, last_revision, is_of_stream, _open })
    }

    /// Waits for the next items; there may be none. May be dropped without losing items.
    pub(super) async fn next(&mut self) -> Result<Vec<FeedItem>, Problem> {
        let delivery = tokio::select! {
            // A busy store must not postpone the end.
            biased;
            () = self.node.stopped() => {
                let detail = "the server is shutting down; subscribe again";
                return Err(Problem::new(ProblemCode::Closing, detail));
            }
            delivery = self.subscription.next() => delivery,
        };
        let delivery = delivery.unwrap_or_else(|| Err(StoreError::closed()));
        Ok(match delivery.map_err(|error| Problem::of_read(&error))? {
            Delivery::Events(events) => self.shown(events),
            Delivery::CaughtUp(_) if self.is_of_stream => {
                vec![FeedItem::CaughtUp(self.last_revision)]
            }
            Delivery::CaughtUp(position) => vec![FeedItem::CaughtUp(Some(position.number()))],
            Delivery::Checkpoint(position) => vec![FeedItem::Checkpoint(position.number())],
            _ => Vec::new(),
        })
    }

    /// Returns the events that the caller may see, and the place of others that were passed last.
    fn shown(&mut self, events: Vec<RecordedEvent>) -> Vec<FeedItem> {
        let last = events.last().map(|event| (event.position.number(), event.revision.number()));
        if self.is_of_stream {
            self.last_revision = last.map(|(_, revision)| revision).or(self.last_revision);
        }
        let access = self.node.access();
        let shown = events
            .into_iter()
            .filter(|event| self.is_of_stream || access.shows(&self.caller, &event.stream));
        let mut items: Vec<_> = shown.map(|event| FeedItem::Event(Box::new(event))).collect();
        self.node.counters().events_read.add(items.len() as u64);
        let is_last_shown = matches!(
            (items.last(), last),
            (Some(FeedItem::Event(event)), Some((position, _))) if event.position.number() == position
        );
        // The client would read what was left out again after a reconnect.
        if let Some((position, _)) = last.filter(|_| !is_last_shown) {
            items.push(FeedItem::Checkpoint(position));
        }
        items
    }
}

/// Checks a stream, and returns the revision after which the feed begins.
async fn stream_start(
    node: &Node,
    caller: &Caller,
    stream: &StreamName,
    start: FeedStart,
) -> Result<Option<u64>, Problem> {
    if is_of_index(stream) {
        let reason = "names a stream of the index; subscribe to the whole store with a `category`, \
                      a `type` or a `correlationId`";
        return Err(Problem::invalid("stream", reason));
    }
    check_right(node, caller, stream, Right::Read).await?;
    let described = node.store().describe_stream(stream).await;
    let described = described.map_err(|error| Problem::of_read(&error))?;
    if described.state == StreamState::Tombstoned {
        let stream = stream.clone();
        return Err(Problem::of_read(&StoreError::Deleted { stream }));
    }
    let head = described.head.map(|head| head.number());
    match start {
        FeedStart::Beginning | FeedStart::Time(_) => Ok(None),
        FeedStart::End => Ok(head),
        FeedStart::After(after) if head.is_none_or(|head| after > head) => {
            let detail = format!("the revision {after} is beyond the head of the stream");
            let problem = Problem::new(ProblemCode::PositionBeyondHead, detail);
            Err(problem.with("revision", head))
        }
        FeedStart::After(after) => Ok(Some(after)),
    }
}
