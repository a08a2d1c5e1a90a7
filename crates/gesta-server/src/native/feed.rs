//! A subscription on its way to a client, whatever carries it.
//!
//! Owns: [`Feed`], with its start and its items. Invariants: rights are checked when it begins; a
//! feed ends with a problem, also when the server stops; waiting for the next items may be given up
//! without losing any; a page is held only with its part of the server's memory, and a feed that
//! waits for memory has neither a page nor a subscription of the store. Not here: the forms of
//! items ([`sse`](super::sse), [`socket`](super::socket)).

use gesta_store::{
    Delivery, Incarnation, Position, RecordedAt, RecordedEvent, Revision, StoreError, StreamName,
    StreamState, Subscribe, SubscribeTo, Subscription,
};

use super::{
    page::event_bytes,
    problem::{Problem, ProblemCode},
    read_all::check_reached,
    rights::{check_all, check_right},
    selection::Selected,
};
use crate::{
    access::{Caller, Right},
    node::{Node, OpenSubscription},
    outgoing::{OutgoingPart, ReaderRoom},
    streams::is_of_index,
};

/// Memory for a page of unknown size, and for the page that the store reads ahead.
pub(super) const PAGE_BYTES_MIN: usize = 8 << 20;

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

/// The next items of a feed, and their part of the server's memory.
pub(super) struct FeedPage {
    pub(super) items: Vec<FeedItem>,
    /// `None` for a page without events.
    pub(super) part: Option<OutgoingPart>,
}

/// An open subscription.
pub(super) struct Feed {
    node: Node,
    caller: Caller,
    room: ReaderRoom,
    /// The target, with the place at which the feed begins.
    begin: Subscribe,
    /// The incarnation of later places.
    incarnation: Option<Incarnation>,
    /// `None` while the feed waits for memory.
    subscription: Option<Subscription>,
    /// Memory for the next page.
    part: Option<OutgoingPart>,
    /// Bytes of the last page.
    page_bytes: usize,
    /// The feed is at the head, where no page waits in the store.
    is_live: bool,
    /// The last place that the client was told: a revision in a feed of a stream, else a position.
    place: Option<u64>,
    is_of_stream: bool,
    _open: OpenSubscription,
}

impl Feed {
    /// Begins a feed, whose pages have their memory from a connection's share.
    pub(super) async fn begin(
        node: Node,
        caller: Caller,
        room: ReaderRoom,
        (target, start): (FeedTarget, FeedStart),
    ) -> Result<Self, Problem> {
        let is_of_stream = matches!(target, FeedTarget::Stream(_));
        let FeedBegin { request, place, incarnation } = match target {
            FeedTarget::Stream(stream) => of_stream(&node, &caller, stream, start).await?,
            FeedTarget::All { selected, incarnation } => {
                of_all(&node, &caller, selected, (start, incarnation)).await?
            }
        };
        node.store()
            .capabilities()
            .check(request.capabilities())
            .map_err(|error| Problem::of_read(&error))?;
        let _open = OpenSubscription::count(node.clone());
        Ok(Self {
            node,
            caller,
            room,
            begin: request,
            incarnation,
            subscription: None,
            part: None,
            page_bytes: 0,
            is_live: false,
            place,
            is_of_stream,
            _open,
        })
    }

    /// Waits for the next items; there may be none. Everything that was returned before counts as
    /// sent. May be dropped without losing items.
    pub(super) async fn next(&mut self) -> Result<FeedPage, Problem> {
        let stopped = self.node.stopped();
        tokio::select! {
            // A busy store must not postpone the end.
            biased;
            () = stopped => {
                let detail = "the server is shutting down; subscribe again";
                Err(Problem::new(ProblemCode::Closing, detail))
            }
            page = self.next_page() => page.map_err(|error| Problem::of_read(&error)),
        }
    }

    async fn next_page(&mut self) -> Result<FeedPage, StoreError> {
        loop {
            self.reserve().await;
            let (node, begin) = (&self.node, &self.begin);
            let (place, incarnation) = (self.place, self.incarnation);
            let subscription = self.subscription.get_or_insert_with(|| {
                node.store().subscribe(continued(begin, place, incarnation))
            });
            let delivery = subscription.next().await;
            let delivery = delivery.unwrap_or_else(|| Err(StoreError::closed()))?;
            let item = match delivery {
                Delivery::Events(events) => match self.part_of(&events) {
                    Some(part) => {
                        // A feed that is dropped meanwhile reads the page again.
                        let subscription = self.subscription.take();
                        let items = self.shown(events).await?;
                        self.subscription = subscription;
                        return Ok(FeedPage { items, part: Some(part) });
                    }
                    // The events are read again when there is memory for them.
                    None => {
                        self.subscription = None;
                        self.is_live = false;
                        continue;
                    }
                },
                Delivery::CaughtUp(position) => {
                    self.is_live = true;
                    if !self.is_of_stream {
                        self.place = Some(position.number());
                    }
                    FeedItem::CaughtUp(self.place)
                }
                Delivery::Checkpoint(position) => {
                    self.place = Some(position.number());
                    FeedItem::Checkpoint(position.number())
                }
                _ => continue,
            };
            // Others have their turn before the next page.
            self.part = None;
            return Ok(FeedPage { items: vec![item], part: None });
        }
    }

    /// Gets memory for the next page, unless the feed is at the head: most pages there are small,
    /// and a feed that waits for events must not hold memory.
    async fn reserve(&mut self) {
        if self.is_live || self.part.is_some() {
            return;
        }
        let bytes = with_page_ahead(self.page_bytes).max(PAGE_BYTES_MIN);
        self.part = self.room.try_reserve(bytes);
        if self.part.is_none() {
            // The store may have read a page ahead, which must not wait here.
            self.subscription = None;
            self.part = Some(self.room.reserve(bytes).await);
        }
    }

    /// Returns memory for a page that was read, or `None` if there is too little.
    fn part_of(&mut self, events: &[RecordedEvent]) -> Option<OutgoingPart> {
        self.page_bytes = events.iter().map(event_bytes).sum();
        let reserved = self.part.take().filter(|part| part.covers(self.page_bytes));
        reserved.or_else(|| self.room.try_reserve(with_page_ahead(self.page_bytes)))
    }

    /// Returns the events that the caller may see, and the place of others that were passed last.
    async fn shown(&mut self, events: Vec<RecordedEvent>) -> Result<Vec<FeedItem>, StoreError> {
        let last = events.last().map(|event| (event.position.number(), event.revision.number()));
        let place = last.map(|(position, revision)| match self.is_of_stream {
            true => revision,
            false => position,
        });
        let shown = match self.is_of_stream {
            true => events,
            false => self.node.access().view(&self.caller).of_page(events).await?,
        };
        self.place = place.or(self.place);
        let shown = shown.into_iter();
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
        Ok(items)
    }
}

/// Returns the subscription from a later place.
fn continued(begin: &Subscribe, place: Option<u64>, incarnation: Option<Incarnation>) -> Subscribe {
    match (&begin.to, place) {
        (SubscribeTo::Stream { stream, .. }, Some(revision)) => {
            Subscribe::to_stream(stream.clone()).after(Revision::new(revision)).into()
        }
        (SubscribeTo::All { filter, visibility, .. }, Some(position)) => {
            let request = Subscribe::to_all().filter(filter.clone()).visibility(*visibility);
            let request = request.after(Position::new(position));
            match incarnation {
                Some(incarnation) => request.incarnation(incarnation).into(),
                None => request.into(),
            }
        }
        _ => begin.clone(),
    }
}

/// Returns the size of a page with the one that the store reads ahead.
const fn with_page_ahead(page_bytes: usize) -> usize {
    page_bytes.saturating_mul(2)
}

/// The begin of a feed.
struct FeedBegin {
    request: Subscribe,
    /// The place that the client knows, in a feed of a stream.
    place: Option<u64>,
    /// The incarnation of places that the client will be told.
    incarnation: Option<Incarnation>,
}

async fn of_stream(
    node: &Node,
    caller: &Caller,
    stream: StreamName,
    start: FeedStart,
) -> Result<FeedBegin, Problem> {
    let place = stream_start(node, caller, &stream, start).await?;
    let request = Subscribe::to_stream(stream);
    let request = match (place, start) {
        (Some(revision), _) => request.after(Revision::new(revision)),
        (None, FeedStart::Time(time)) => request.from_time(time),
        (None, _) => request,
    };
    Ok(FeedBegin { request: request.into(), place, incarnation: None })
}

async fn of_all(
    node: &Node,
    caller: &Caller,
    selected: Selected,
    (start, asked): (FeedStart, Option<Incarnation>),
) -> Result<FeedBegin, Problem> {
    check_all(node, caller).await?;
    let Selected { filter, visibility } = selected;
    let request = Subscribe::to_all().filter(filter).visibility(visibility);
    let head = node.store().head().await.map_err(|error| Problem::of_read(&error))?;
    let request = match start {
        FeedStart::Beginning => request,
        FeedStart::End => request.after(head.position),
        FeedStart::Time(time) => request.from_time(time),
        FeedStart::After(after) => {
            // The store compares another incarnation's position itself.
            if asked.is_none() {
                check_reached(Position::new(after), head.position)?;
            }
            request.after(Position::new(after))
        }
    };
    let request = match asked {
        Some(incarnation) => request.incarnation(incarnation),
        None => request,
    };
    if asked.is_some_and(|asked| asked != head.incarnation) {
        check_incarnation(node, request.clone().into()).await?;
    }
    let incarnation = Some(head.incarnation);
    Ok(FeedBegin { request: request.into(), place: None, incarnation })
}

/// Refuses a place that the store has lost. Only the store knows which places of another
/// incarnation it still has: the first delivery, or its error, comes without a new event.
async fn check_incarnation(node: &Node, request: Subscribe) -> Result<(), Problem> {
    match node.store().subscribe(request).next().await {
        Some(Err(error)) => Err(Problem::of_read(&error)),
        Some(Ok(_)) | None => Ok(()),
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
