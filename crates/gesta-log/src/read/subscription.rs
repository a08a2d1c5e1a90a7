//! Subscriptions: a place in the log and a waker on its head.
//!
//! Always holds: no events are queued for a subscriber; one that does not read costs nothing but
//! this struct.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::Stream;
use gesta_store::{
    Delivery, Direction, Invalid, Page, Position, Revision, StoreError, StreamName, Subscribe,
    SubscribeTo,
};

use super::{Reader, Selection, all::Found};
use crate::mutations::mutated;

/// See the module.
#[derive(Debug)]
pub(crate) struct LogSubscription {
    reader: Reader,
    to: To,
    /// Up to where the subscriber knows that it missed nothing.
    store_error: Position,
    /// Whether the head was reached and not lost again.
    live: bool,
    ended: bool,
    refused: Option<StoreError>,
    /// By which it waits.
    number: u64,
}

#[derive(Debug)]
enum To {
    All { selection: Selection, after: Position },
    Stream { name: StreamName, after: Option<Revision> },
}

impl LogSubscription {
    pub(crate) fn new(reader: Reader, subscribe: Subscribe) -> Self {
        let refused = refusal(&reader, &subscribe);
        let (to, store_error) = match subscribe.to {
            SubscribeTo::All { after, filter, visibility } => {
                let selection = Selection::new(filter, visibility, Direction::Forwards);
                (To::All { selection, after }, after)
            }
            SubscribeTo::Stream { stream, after } => {
                (To::Stream { name: stream, after }, Position::START)
            }
        };
        let number = reader.published.new_subscription();
        Self { reader, to, store_error, live: false, ended: false, refused, number }
    }

    /// The next delivery, if there is one now.
    fn now(&mut self) -> Result<Option<Delivery>, StoreError> {
        let head = self.reader.published.head();
        let page = self.advance(head)?;
        if let Some(last) = page.last() {
            self.store_error = last.position;
            return Ok(Some(Delivery::Events(page)));
        }
        if self.behind(head) {
            // A long stretch without a match: say how far, and let others run.
            return Ok(Some(self.checkpoint()));
        }
        if !self.live {
            self.live = true;
            self.store_error = head;
            return Ok(Some(Delivery::CaughtUp(head)));
        }
        let store_error = std::mem::replace(&mut self.store_error, head);
        let filtered = matches!(self.to, To::All { .. });
        Ok((filtered && store_error < head).then_some(Delivery::Checkpoint(head)))
    }

    /// Moves the place forward over at most a page of events up to the head.
    fn advance(&mut self, head: Position) -> Result<Page, StoreError> {
        let (page, behind) = match &mut self.to {
            To::All { selection, after } => {
                if *after >= head {
                    self.reader.end_at_damage(*after)?;
                    return Ok(Vec::new());
                }
                let Found { mut page, next, full } =
                    self.reader.page(selection, after.next(), u64::MAX)?;
                page.retain(|event| event.position <= head);
                let looked = next.map(|next| Position::new(next.number() - 1));
                // A page that is not full reached the head, unless it looked at only so many.
                *after = match looked {
                    Some(looked) => looked.min(head),
                    None => head,
                };
                (page, full && *after < head)
            }
            To::Stream { name, after } => loop {
                let at = after.map_or(Revision::FIRST, Revision::next);
                // Taken first: what comes meanwhile is for the next time.
                let last = self.reader.shown(name)?.map(|shown| shown.head());
                let (page, next) =
                    self.reader.stream_forwards(name, at, last.unwrap_or(at), u64::MAX)?;
                let passed = page.last().map(|event| event.revision);
                *after = next.and_then(Revision::previous).or(passed).max(*after);
                // A page of which everything is too old is not the end.
                if !page.is_empty() {
                    break (page, next.is_some());
                }
                if next.is_none() {
                    // What metadata hide is passed for good.
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

    /// Whether there are positions left before the head that were not looked at.
    fn behind(&self, head: Position) -> bool {
        match &self.to {
            To::All { after, .. } => *after < head,
            To::Stream { .. } => false,
        }
    }

    fn checkpoint(&mut self) -> Delivery {
        if let To::All { after, .. } = &self.to {
            self.store_error = *after;
        }
        Delivery::Checkpoint(self.store_error)
    }
}

/// Why a subscription cannot begin, if it cannot.
fn refusal(reader: &Reader, subscribe: &Subscribe) -> Option<StoreError> {
    let SubscribeTo::All { after, .. } = &subscribe.to else { return None };
    let position = *after;
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
        // Registered before looking, so that nothing is published in between unseen.
        let early = mutated!(PollBeforeRegistering).then(|| self.now());
        let open = self.reader.published.register(self.number, cx.waker());
        match early.unwrap_or_else(|| self.now()) {
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
