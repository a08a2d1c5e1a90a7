//! The stream of messages of one `Read`.
//!
//! Invariants: the stream holds at most one page that the client has not taken, and looks for the
//! next one when the connection takes more. The page of a read, not of a subscription, has its part
//! of the server's memory. It has no task of its own: an event reaches the connection by one
//! wake-up. It ends when the client goes away; a subscription also ends when the server does.

use std::{
    collections::HashMap,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    vec,
};

use futures_util::{Stream, StreamExt as _, stream};
use gesta_store::{RecordedEvent, StoreError};
use prost::Message;
use tonic::Status;
use tracing::{Instrument as _, Span};

use super::{
    links::resolve,
    messages::{Found, Rendering},
};
use crate::{
    access::{Caller, Right, StoreView},
    call_log::LoggedCall,
    node::{Node, OpenSubscription},
    outgoing::{NoRoom, PageRoom, PageTurn},
    proto::streams::ReadResp,
    spans::{delivery_span, record_failure},
    wire::status,
};

/// The messages of a read.
pub(in crate::streams) type Responses =
    Pin<Box<dyn Stream<Item = Result<ReadResp, Status>> + Send>>;

/// The call, as log lines name it.
const CALL: LoggedCall =
    LoggedCall { path: "/event_store.client.streams.Streams/Read", peer: None };

/// The sender of a read, and the form in which they want events.
pub(super) struct Reader {
    pub(super) node: Node,
    pub(super) caller: Caller,
    pub(super) rendering: Rendering,
    pub(super) room: PageRoom,
}

/// The messages of a read, and what looks for further ones.
struct Responding {
    /// `None` after its end.
    answer: Option<AnsweringFuture>,
    /// Error that ended it, until the client has it.
    failure: Option<Ended>,
    slot: Slot,
    batch: vec::IntoIter<ReadResp>,
    /// `None` before the first message.
    log: Option<(Node, Span)>,
}

type AnsweringFuture = Pin<Box<dyn Future<Output = Result<(), Ended>> + Send>>;

/// The messages that the connection takes next. Both sides are polled by one task, so that nothing
/// needs a wake-up.
type Slot = Arc<Mutex<Option<Vec<ReadResp>>>>;

/// The side of a read that looks for messages.
pub(super) struct Answers {
    pub(super) node: Node,
    caller: Caller,
    rendering: Rendering,
    room: PageRoom,
    slot: Slot,
    /// The span of the call, which its deliveries are below.
    span: Span,
}

/// The error that ends a read.
pub(super) struct Ended(Status);

impl From<StoreError> for Ended {
    fn from(error: StoreError) -> Self {
        Self(status(&error))
    }
}

impl From<Status> for Ended {
    fn from(status: Status) -> Self {
        Self(status)
    }
}

impl From<NoRoom> for Ended {
    fn from(full: NoRoom) -> Self {
        Self(Status::resource_exhausted(full.to_string()))
    }
}

impl Answers {
    /// Begins to answer, and waits for the first message: a read that fails without one fails as a
    /// call, where some clients look for the error.
    pub(super) async fn begin<Task, Answering>(
        reader: Reader,
        task: Task,
    ) -> Result<Responses, Status>
    where
        Task: FnOnce(Self) -> Answering,
        Answering: Future<Output = Result<(), Ended>> + Send + 'static,
    {
        let Reader { node, caller, rendering, room } = reader;
        let (log, span) = (node.clone(), Span::current());
        let slot = Slot::default();
        let side =
            Self { node, caller, rendering, room, slot: Arc::clone(&slot), span: span.clone() };
        let answer: AnsweringFuture = Box::pin(task(side).instrument(span.clone()));
        let batch = Vec::new().into_iter();
        let mut responding =
            Responding { answer: Some(answer), failure: None, slot, batch, log: None };
        let first = responding.next().await.transpose()?;
        // A failure before the first message is logged as one of the call.
        responding.log = Some((log, span));
        Ok(Box::pin(stream::iter(first.map(Ok)).chain(responding)))
    }

    /// Waits for the turn to read a page. A read takes one before it looks for events.
    pub(super) async fn turn(&self) -> Result<PageTurn, Ended> {
        Ok(self.room.turn().await?)
    }

    /// Sends a page that was read in this turn, once there is memory for it.
    pub(super) async fn send_page(&self, turn: PageTurn, page: Vec<ReadResp>) -> Result<(), Ended> {
        let bytes: usize = page.iter().map(Message::encoded_len).sum();
        // The store reads a page ahead.
        self.room.keep(turn, bytes.saturating_mul(2)).await?;
        self.send(page).await
    }

    /// Sends messages; waits until the connection has taken all of them.
    pub(super) async fn send(&self, batch: Vec<ReadResp>) -> Result<(), Ended> {
        if batch.is_empty() {
            return Ok(());
        }
        let delivery = delivery_span(&self.span, batch.len());
        *self.slot.lock().expect("no holder panics") = Some(batch);
        // The connection polls again when it has taken the messages.
        let taken = poll_fn(|_| match *self.slot.lock().expect("no holder panics") {
            Some(_) => Poll::Pending,
            None => Poll::Ready(()),
        });
        taken.instrument(delivery).await;
        Ok(())
    }

    /// Returns what the reader sees of the whole store.
    pub(super) fn view(&self) -> StoreView<'_> {
        self.node.access().view(&self.caller)
    }

    /// Translates events, with their targets if the reader asked for them.
    pub(super) async fn events(&self, events: Vec<RecordedEvent>) -> Result<Vec<ReadResp>, Ended> {
        self.node.counters().events_read.add(events.len() as u64);
        let mut found = Vec::with_capacity(events.len());
        for event in events {
            found.push(match self.rendering.resolves_links {
                true => resolve(self.node.store(), event).await?,
                false => Found::Event(event),
            });
        }
        self.rendered(found).await
    }

    /// Translates links that the index made.
    pub(super) async fn links(&self, links: Vec<Found>) -> Result<Vec<ReadResp>, Ended> {
        self.node.counters().events_read.add(links.len() as u64);
        self.rendered(links).await
    }

    /// Translates events, without the targets of links that the reader may not read: whoever may
    /// write a link could read everything by it.
    async fn rendered(&self, found: Vec<Found>) -> Result<Vec<ReadResp>, Ended> {
        let mut rights = HashMap::new();
        let mut messages = Vec::with_capacity(found.len());
        for mut found in found {
            if let Found::Link { target, .. } = &mut found
                && let Some(event) = target
            {
                let may_read = match rights.get(&event.stream) {
                    Some(may_read) => *may_read,
                    None => {
                        let access = self.node.access();
                        let may_read = access.may(&self.caller, &event.stream, Right::Read).await?;
                        rights.insert(event.stream.clone(), may_read);
                        may_read
                    }
                };
                if !may_read {
                    *target = None;
                }
            }
            messages.push(self.rendering.event(&found));
        }
        Ok(messages)
    }

    pub(super) fn resolves_links(&self) -> bool {
        self.rendering.resolves_links
    }

    /// Ends a subscription when the server stops.
    pub(super) async fn until_stopped(
        &self,
        subscription: impl Future<Output = Result<(), Ended>>,
    ) -> Result<(), Ended> {
        let _open = OpenSubscription::count(self.node.clone());
        tokio::select! {
            ended = subscription => ended,
            () = self.node.stopped() => {
                Err(Status::unavailable("the server is shutting down; subscribe again").into())
            }
        }
    }
}

impl Stream for Responding {
    type Item = Result<ReadResp, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { answer, failure, slot, batch, log } = self.get_mut();
        loop {
            if let Some(message) = batch.next() {
                return Poll::Ready(Some(Ok(message)));
            }
            if let Some(running) = answer
                && let Poll::Ready(ended) = running.as_mut().poll(cx)
            {
                *answer = None;
                *failure = ended.err();
            }
            // An answer that ends with its server may have sent something right before.
            if let Some(sent) = slot.lock().expect("no holder panics").take() {
                *batch = sent.into_iter();
                continue;
            }
            if answer.is_some() {
                return Poll::Pending;
            }
            return Poll::Ready(failure.take().map(|Ended(status)| {
                if let Some((node, span)) = log {
                    node.log_failure(CALL, &status);
                    record_failure(span, status.message());
                }
                Err(status)
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_that_were_sent_right_before_the_end_come_before_it() {
        let slot = Slot::default();
        let sent = Arc::clone(&slot);
        let answer: AnsweringFuture = Box::pin(async move {
            *sent.lock().unwrap() = Some(vec![ReadResp::default()]);
            Err(Status::unavailable("the server is shutting down").into())
        });
        let batch = Vec::new().into_iter();
        let responding = Responding { answer: Some(answer), failure: None, slot, batch, log: None };
        let all: Vec<_> = responding.collect().await;
        assert!(matches!(all.as_slice(), [Ok(_), Err(_)]), "{all:?}");
    }
}
