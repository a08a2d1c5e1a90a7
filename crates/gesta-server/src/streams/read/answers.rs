//! The stream of messages of one `Read`.
//!
//! Invariants: the stream holds at most one page that the client has not taken, and looks for the
//! next one when the connection takes more. It has no task of its own: an event reaches the
//! connection by one wake-up. It ends when the client goes away; a subscription also ends when the
//! server does.

use std::{
    collections::HashMap,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
    vec,
};

use futures_util::{Stream, StreamExt as _, stream};
use gesta_store::{RecordedEvent, StoreError};
use tonic::Status;
use tracing::{Instrument as _, Span};

use super::{
    links::resolve,
    messages::{Found, Rendering},
};
use crate::{
    access::{Caller, Right},
    call_log::LoggedCall,
    node::{Node, OpenSubscription},
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
}

/// The messages of a read, and what looks for further ones.
struct Responding {
    /// `None` after its end.
    answer: Option<AnsweringFuture>,
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
        let Reader { node, caller, rendering } = reader;
        let (log, span) = (node.clone(), Span::current());
        let slot = Slot::default();
        let side = Self { node, caller, rendering, slot: Arc::clone(&slot), span: span.clone() };
        let answer: AnsweringFuture = Box::pin(task(side).instrument(span.clone()));
        let batch = Vec::new().into_iter();
        let mut responding = Responding { answer: Some(answer), slot, batch, log: None };
        let first = responding.next().await.transpose()?;
        // A failure before the first message is logged as one of the call.
        responding.log = Some((log, span));
        Ok(Box::pin(stream::iter(first.map(Ok)).chain(responding)))
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

    /// Returns `true` if a read of the whole store leaves no event out.
    pub(super) fn shows_everything(&self) -> bool {
        self.node.access().shows_everything(&self.caller)
    }

    /// Leaves out the events of streams that no list opens to the reader of the whole store.
    pub(super) fn shown(&self, mut events: Vec<RecordedEvent>) -> Vec<RecordedEvent> {
        let access = self.node.access();
        events.retain(|event| access.shows(&self.caller, &event.stream));
        events
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
        let Self { answer, slot, batch, log } = self.get_mut();
        loop {
            if let Some(message) = batch.next() {
                return Poll::Ready(Some(Ok(message)));
            }
            let Some(running) = answer else { return Poll::Ready(None) };
            let polled = running.as_mut().poll(cx);
            let sent = slot.lock().expect("no holder panics").take();
            if let Some(sent) = sent {
                *batch = sent.into_iter();
                continue;
            }
            let ended = ready!(polled);
            *answer = None;
            return Poll::Ready(ended.err().map(|Ended(status)| {
                if let Some((node, span)) = log {
                    node.log_failure(CALL, &status);
                    record_failure(span, status.message());
                }
                Err(status)
            }));
        }
    }
}
