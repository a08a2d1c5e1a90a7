//! Subscriptions: a cursor in the log and a waker on its head.
//!
//! Deliveries that are in memory are read by the thread that polls. Otherwise an I/O thread reads
//! them, and one page ahead while the subscriber works on the last one.
//!
//! Invariants:
//! - At most one page waits for a subscriber. One that has caught up costs only this struct.
//! - A refused attempt changes nothing: the cursor moves only with a complete delivery.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use gesta_store::{
    Delivery, Direction, Invalid, Page, Position, RecordedAt, Revision, StoreError, StreamName,
    Subscribe, SubscribeFrom, SubscribeTo,
};

use super::{Reader, Selection, all::PageRead, io_threads::IoAnswer, visible::before};
use crate::{disk::waiting, mutations::mutated};

/// A subscription to the whole store or to one stream.
#[derive(Debug)]
pub(crate) struct LogSubscription {
    source: Arc<SubscribedEvents>,
    cursor: Cursor,
    on_the_way: Option<DeliveryOnTheWay>,
    ended: bool,
    refused: Option<StoreError>,
    /// The key of its waker in [`Published`](crate::published::Published).
    number: u64,
}

/// The events that a subscription delivers.
#[derive(Debug)]
struct SubscribedEvents {
    reader: Reader,
    to: Target,
}

#[derive(Debug)]
enum Target {
    All(Selection),
    Stream(StreamName),
}

/// Progress of a subscription.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    after: After,
    /// The time at which the subscription starts, until its first event is found.
    since: Option<Since>,
    /// The position up to which the subscriber knows that it has received everything.
    reported: Position,
    /// True while the subscription has caught up and did not fall behind again.
    live: bool,
}

/// The start of a subscription at a time.
#[derive(Clone, Copy, Debug)]
enum Since {
    /// The place in the log was not looked up yet.
    Unplaced(RecordedAt),
    /// No event recorded at or after the time was found yet: earlier ones are passed over.
    Waiting(RecordedAt),
}

#[derive(Clone, Copy, Debug)]
enum After {
    Position(Position),
    Revision(Option<Revision>),
}

/// The result of looking for a delivery.
#[derive(Debug)]
struct Attempt {
    /// `None` if there is nothing to deliver up to `head`.
    delivery: Result<Option<Delivery>, StoreError>,
    /// After the delivery.
    cursor: Cursor,
    /// The head before the attempt.
    head: Position,
}

/// A delivery that an I/O thread reads.
#[derive(Debug)]
struct DeliveryOnTheWay {
    answer: IoAnswer<Attempt>,
    /// For one that is read ahead: the number of changes of stream metadata before.
    ahead_at: Option<u64>,
}

impl SubscribedEvents {
    /// Looks for the next delivery after a cursor.
    fn attempt(&self, mut cursor: Cursor) -> Attempt {
        // Read before the events. What is published after it is left to the next poll, which the
        // registered waker brings about.
        let head = self.reader.published.head();
        let delivery = self.delivery(&mut cursor, head);
        Attempt { delivery, cursor, head }
    }

    fn delivery(
        &self,
        cursor: &mut Cursor,
        head: Position,
    ) -> Result<Option<Delivery>, StoreError> {
        if let Some(Since::Unplaced(time)) = cursor.since {
            self.start_at(cursor, time, head)?;
            cursor.since = Some(Since::Waiting(time));
        }
        let page = self.advance_since(cursor, head)?;
        if let Some(last) = page.last() {
            cursor.reported = last.position;
            return Ok(Some(Delivery::Events(page)));
        }
        if let Some(after) = cursor.behind(head) {
            // Many events without a match: report progress, and return to the executor.
            cursor.reported = after;
            return Ok(Some(Delivery::Checkpoint(after)));
        }
        if !cursor.live {
            cursor.live = true;
            cursor.reported = head;
            return Ok(Some(Delivery::CaughtUp(head)));
        }
        // Also where nothing matched, so that the checkpoint of a filtered subscription follows the
        // head.
        let reported = std::mem::replace(&mut cursor.reported, head);
        let filtered = matches!(self.to, Target::All(_));
        Ok((filtered && reported < head).then_some(Delivery::Checkpoint(head)))
    }

    /// Moves a cursor before the first event recorded at or after a time, or to the head.
    fn start_at(
        &self,
        cursor: &mut Cursor,
        time: RecordedAt,
        head: Position,
    ) -> Result<(), StoreError> {
        match (&self.to, &mut cursor.after) {
            (Target::Stream(name), After::Revision(after)) => {
                // Read before the search, as the head.
                let last = self.reader.visible(name)?.map(|visible| visible.head());
                let first = self.reader.revision_at(name, time, Direction::Forwards)?;
                *after = first.map_or(last, Revision::previous);
            }
            (_, after) => {
                let first = self.reader.position_at(time, Direction::Forwards)?;
                let place = first.map_or(head, |first| before(first).min(head));
                *after = After::Position(place);
                cursor.reported = place;
            }
        }
        Ok(())
    }

    /// Advances past events that were recorded before the subscription starts.
    fn advance_since(&self, cursor: &mut Cursor, head: Position) -> Result<Page, StoreError> {
        loop {
            let mut page = self.advance(cursor, head)?;
            let Some(Since::Waiting(time)) = cursor.since else { return Ok(page) };
            let early = page.iter().take_while(|event| event.recorded_at < time).count();
            page.drain(..early);
            if !page.is_empty() {
                cursor.since = None;
            }
            // Nothing was read, or something is left of it.
            if early == 0 || !page.is_empty() {
                return Ok(page);
            }
        }
    }

    /// Reads at most a page of events up to the head, and moves the cursor past them.
    fn advance(&self, cursor: &mut Cursor, head: Position) -> Result<Page, StoreError> {
        let (page, behind) = match (&self.to, &mut cursor.after) {
            (Target::All(selection), After::Position(after)) => {
                self.advance_all(selection, after, head)?
            }
            (Target::Stream(name), After::Revision(after)) => self.advance_stream(name, after)?,
            (Target::All(_), After::Revision(_)) | (Target::Stream(_), After::Position(_)) => {
                unreachable!("a cursor belongs to its own source")
            }
        };
        cursor.live &= !behind;
        Ok(page)
    }

    /// Reads a page. Also returns whether there are more events up to the head.
    fn advance_all(
        &self,
        selection: &Selection,
        after: &mut Position,
        head: Position,
    ) -> Result<(Page, bool), StoreError> {
        if *after >= head {
            // Waiting would never end if damage destroyed the next events.
            self.reader.end_at_damage(*after)?;
            return Ok((Vec::new(), false));
        }
        let PageRead { mut page, next, full } =
            self.reader.page(selection, after.next(), u64::MAX)?;
        // Later ones are left to the next poll: no report of `head` may follow an event after it.
        page.retain(|event| event.position <= head);
        let looked = next.map(|next| Position::new(next.number() - 1));
        // Without a place to continue, the read has reached the head.
        *after = match looked {
            Some(looked) => looked.min(head),
            None => head,
        };
        Ok((page, full && *after < head))
    }

    /// As [`advance_all`](Self::advance_all), for one stream.
    fn advance_stream(
        &self,
        name: &StreamName,
        after: &mut Option<Revision>,
    ) -> Result<(Page, bool), StoreError> {
        loop {
            let at = after.map_or(Revision::FIRST, Revision::next);
            // Read the head before the events: later ones are delivered by the next poll.
            let last = self.reader.visible(name)?.map(|visible| visible.head());
            let (page, next) =
                self.reader.stream_forwards(name, at, last.unwrap_or(at), u64::MAX)?;
            let passed = page.last().map(|event| event.revision);
            *after = next.and_then(Revision::previous).or(passed).max(*after);
            // An empty page is not the end: all of its events may have expired.
            if !page.is_empty() {
                return Ok((page, next.is_some()));
            }
            if next.is_none() {
                // Hidden events stay skipped, even if later metadata reveal them.
                if !mutated!(SubscriberMovesBack) {
                    *after = last.max(*after);
                }
                self.reader.stream_end_at_damage(name)?;
                return Ok((page, false));
            }
        }
    }
}

impl Cursor {
    /// Returns the cursor's position if there are unread positions before the head.
    fn behind(&self, head: Position) -> Option<Position> {
        match self.after {
            After::Position(after) => (after < head).then_some(after),
            After::Revision(_) => None,
        }
    }
}

impl LogSubscription {
    pub(crate) fn new(reader: Reader, subscribe: Subscribe) -> Self {
        let refused = refusal(&reader, &subscribe);
        let (to, after, since) = match subscribe.to {
            SubscribeTo::All { from, filter, visibility } => {
                let selection = Selection::new(filter, visibility, Direction::Forwards);
                let after = start(from).unwrap_or(Position::START);
                (Target::All(selection), After::Position(after), since(from))
            }
            SubscribeTo::Stream { stream, from } => {
                (Target::Stream(stream), After::Revision(start(from)), since(from))
            }
            // The store refuses targets that it does not know.
            _ => unreachable!("a subscription is to the whole store or to a stream"),
        };
        let number = reader.published.new_subscription();
        let source = Arc::new(SubscribedEvents { reader, to });
        let reported = match after {
            After::Position(after) => after,
            After::Revision(_) => Position::START,
        };
        let cursor = Cursor { after, since, reported, live: false };
        Self { source, cursor, on_the_way: None, ended: false, refused, number }
    }

    /// Looks for a delivery on this thread, if that needs no waiting.
    fn attempt_now(&self) -> Option<Attempt> {
        waiting::without_waiting(|| self.source.attempt(self.cursor))
    }

    /// Lets an I/O thread look for a delivery.
    fn hand_over(&mut self, ahead_at: Option<u64>) {
        let (source, cursor) = (Arc::clone(&self.source), self.cursor);
        let answer = self.source.reader.io_threads.run(move || source.attempt(cursor));
        self.on_the_way = Some(DeliveryOnTheWay { answer, ahead_at });
    }

    fn published_head(&self) -> Position {
        self.source.reader.published.head()
    }

    fn metadata_changes(&self) -> u64 {
        self.source.reader.published.index().stream_meta_changes()
    }

    /// Takes the attempt of an I/O thread. `None` if it has to be repeated.
    fn poll_on_the_way(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Attempt, StoreError>>> {
        let Some(DeliveryOnTheWay { answer, ahead_at }) = &mut self.on_the_way else {
            return Poll::Ready(None);
        };
        let answer = ready!(Pin::new(answer).poll(cx));
        let ahead_at = *ahead_at;
        self.on_the_way = None;
        // Events that were read ahead may have been hidden since.
        let stale = ahead_at.is_some_and(|changes| changes != self.metadata_changes());
        Poll::Ready((!stale).then_some(answer))
    }

    /// Moves the cursor after a delivery. While the subscriber works on events that came from an
    /// I/O thread, that reads the next ones.
    fn deliver(&mut self, attempt: Attempt, handed_over: bool) -> Option<Poll<Delivered>> {
        self.cursor = attempt.cursor;
        match attempt.delivery {
            Ok(Some(delivery)) => {
                if handed_over && self.cursor.behind(attempt.head).is_some() {
                    let changes = self.metadata_changes();
                    self.hand_over(Some(changes));
                }
                Some(Poll::Ready(Some(Ok(delivery))))
            }
            // Published since, before the waker was registered again: look again.
            Ok(None) if handed_over && self.published_head() != attempt.head => None,
            Ok(None) => Some(Poll::Pending),
            Err(error) => Some(Poll::Ready(Some(Err(self.end(error))))),
        }
    }

    fn end(&mut self, error: StoreError) -> StoreError {
        self.ended = true;
        error
    }
}

/// The item of a subscription.
type Delivered = Option<Result<Delivery, StoreError>>;

/// Returns the place after which a subscription starts, or `None` for the first event. The store
/// refuses starts that it does not know.
fn start<Place>(from: SubscribeFrom<Place>) -> Option<Place> {
    match from {
        SubscribeFrom::After(place) => Some(place),
        _ => None,
    }
}

/// Returns the time at which a subscription starts, if it starts at one.
fn since<Place>(from: SubscribeFrom<Place>) -> Option<Since> {
    match from {
        SubscribeFrom::Time(time) => Some(Since::Unplaced(time)),
        _ => None,
    }
}

/// Returns the error for a subscription whose start is not in this log.
fn refusal(reader: &Reader, subscribe: &Subscribe) -> Option<StoreError> {
    let SubscribeTo::All { from, .. } = &subscribe.to else { return None };
    let position = start(*from)?;
    // A checkpoint of another incarnation is valid only where both have the same events.
    if let Some(incarnation) = subscribe.incarnation {
        let shared = reader.published.common_prefix_end(incarnation).unwrap_or(Position::START);
        if position > shared {
            return Some(Invalid::OtherIncarnation { position, incarnation }.into());
        }
    }
    let head = reader.published.head();
    (position > head).then(|| Invalid::BeyondHead { position, head }.into())
}

impl Drop for LogSubscription {
    fn drop(&mut self) {
        self.source.reader.published.unregister(self.number);
    }
}

impl Stream for LogSubscription {
    type Item = Result<Delivery, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(refused) = self.refused.take() {
            return Poll::Ready(Some(Err(self.end(refused))));
        }
        while !self.ended {
            let handed_over = ready!(self.poll_on_the_way(cx));
            // Register before looking: a group published in between wakes the subscription.
            let early = mutated!(PollBeforeRegistering).then(|| self.attempt_now()).flatten();
            let open = self.source.reader.published.register(self.number, cx.waker());
            let (attempt, was_handed_over) = match (handed_over, early) {
                (Some(Ok(attempt)), _) => (attempt, true),
                (Some(Err(error)), _) => return Poll::Ready(Some(Err(self.end(error)))),
                (None, Some(attempt)) => (attempt, false),
                (None, None) => match self.attempt_now() {
                    Some(attempt) => (attempt, false),
                    None => {
                        self.hand_over(None);
                        continue;
                    }
                },
            };
            match self.deliver(attempt, was_handed_over) {
                Some(Poll::Pending) if open => return Poll::Pending,
                Some(Poll::Pending) => {
                    let reason = "the store was closed".to_owned();
                    return Poll::Ready(Some(Err(self.end(StoreError::Stopped { reason }))));
                }
                Some(ready) => return ready,
                None => {}
            }
        }
        Poll::Ready(None)
    }
}
