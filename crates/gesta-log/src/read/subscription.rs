//! Subscriptions: a cursor in the log and a waker on its head.
//!
//! Invariant: no events are queued for a subscriber. One that does not read costs only this struct.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::Stream;
use gesta_store::{
    Delivery, Direction, Invalid, Page, Position, Revision, StoreError, StreamName, Subscribe,
    SubscribeTo,
};

use super::{Reader, Selection, all::PageRead};
use crate::mutations::mutated;

/// A subscription to the whole store or to one stream.
#[derive(Debug)]
pub(crate) struct LogSubscription {
    reader: Reader,
    to: Target,
    /// The position up to which the subscriber knows that it has received everything.
    reported: Position,
    /// True while the subscription has caught up and did not fall behind again.
    live: bool,
    ended: bool,
    refused: Option<StoreError>,
    /// The key of its waker in [`Published`](crate::published::Published).
    number: u64,
}

#[derive(Debug)]
enum Target {
    All { selection: Selection, after: Position },
    Stream { name: StreamName, after: Option<Revision> },
}

impl LogSubscription {
    pub(crate) fn new(reader: Reader, subscribe: Subscribe) -> Self {
        let refused = refusal(&reader, &subscribe);
        let (to, reported) = match subscribe.to {
            SubscribeTo::All { after, filter, visibility } => {
                let selection = Selection::new(filter, visibility, Direction::Forwards);
                (Target::All { selection, after }, after)
            }
            SubscribeTo::Stream { stream, after } => {
                (Target::Stream { name: stream, after }, Position::START)
            }
        };
        let number = reader.published.new_subscription();
        Self { reader, to, reported, live: false, ended: false, refused, number }
    }

    /// Returns the next delivery, if there is one without waiting.
    fn poll_delivery(&mut self) -> Result<Option<Delivery>, StoreError> {
        // Read before the events. What is published after it is left to the next poll, which the
        // registered waker brings about.
        let head = self.reader.published.head();
        let page = self.advance(head)?;
        if let Some(last) = page.last() {
            self.reported = last.position;
            return Ok(Some(Delivery::Events(page)));
        }
        if self.behind(head) {
            // Many events without a match: report progress, and return to the executor.
            return Ok(Some(self.checkpoint()));
        }
        if !self.live {
            self.live = true;
            self.reported = head;
            return Ok(Some(Delivery::CaughtUp(head)));
        }
        // Also where nothing matched, so that the checkpoint of a filtered subscription follows the
        // head.
        let reported = std::mem::replace(&mut self.reported, head);
        let filtered = matches!(self.to, Target::All { .. });
        Ok((filtered && reported < head).then_some(Delivery::Checkpoint(head)))
    }

    /// Reads at most a page of events up to the head, and moves the cursor past them.
    fn advance(&mut self, head: Position) -> Result<Page, StoreError> {
        let (page, behind) = match &mut self.to {
            Target::All { selection, after } => {
                if *after >= head {
                    // Waiting would never end if damage destroyed the next events.
                    self.reader.end_at_damage(*after)?;
                    return Ok(Vec::new());
                }
                let PageRead { mut page, next, full } =
                    self.reader.page(selection, after.next(), u64::MAX)?;
                // Later ones are left to the next poll: no report of `head` may follow an event
                // after it.
                page.retain(|event| event.position <= head);
                let looked = next.map(|next| Position::new(next.number() - 1));
                // Without a place to continue, the read has reached the head.
                *after = match looked {
                    Some(looked) => looked.min(head),
                    None => head,
                };
                (page, full && *after < head)
            }
            Target::Stream { name, after } => loop {
                let at = after.map_or(Revision::FIRST, Revision::next);
                // Read the head before the events: later ones are delivered by the next poll.
                let last = self.reader.visible(name)?.map(|visible| visible.head());
                let (page, next) =
                    self.reader.stream_forwards(name, at, last.unwrap_or(at), u64::MAX)?;
                let passed = page.last().map(|event| event.revision);
                *after = next.and_then(Revision::previous).or(passed).max(*after);
                // An empty page is not the end: all of its events may have expired.
                if !page.is_empty() {
                    break (page, next.is_some());
                }
                if next.is_none() {
                    // Hidden events stay skipped, even if later metadata reveal them.
                    if !mutated!(SubscriberMovesBack) {
                        *after = last.max(*after);
                    }
                    self.reader.stream_end_at_damage(name)?;
                    break (page, false);
                }
            },
        };
        self.live &= !behind;
        Ok(page)
    }

    /// Returns whether there are unread positions before the head.
    fn behind(&self, head: Position) -> bool {
        match &self.to {
            Target::All { after, .. } => *after < head,
            Target::Stream { .. } => false,
        }
    }

    fn checkpoint(&mut self) -> Delivery {
        if let Target::All { after, .. } = &self.to {
            self.reported = *after;
        }
        Delivery::Checkpoint(self.reported)
    }
}

/// Returns the error for a subscription whose start is not in this log.
fn refusal(reader: &Reader, subscribe: &Subscribe) -> Option<StoreError> {
    let SubscribeTo::All { after, .. } = &subscribe.to else { return None };
    let position = *after;
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
        self.reader.published.unregister(self.number);
    }
}

impl Stream for LogSubscription {
    type Item = Result<Delivery, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some(refused) = self.refused.take() {
            self.ended = true;
            return Poll::Ready(Some(Err(refused)));
        }
        // Register before polling: a group published in between wakes the subscription.
        let early = mutated!(PollBeforeRegistering).then(|| self.poll_delivery());
        let open = self.reader.published.register(self.number, cx.waker());
        match early.unwrap_or_else(|| self.poll_delivery()) {
            Ok(Some(delivery)) => Poll::Ready(Some(Ok(delivery))),
            Ok(None) if open => Poll::Pending,
            Ok(None) => {
                self.ended = true;
                let reason = "the store was closed".to_owned();
                Poll::Ready(Some(Err(StoreError::Stopped { reason })))
            }
            Err(error) => {
                self.ended = true;
                Poll::Ready(Some(Err(error)))
            }
        }
    }
}
