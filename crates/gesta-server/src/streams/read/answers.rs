//! The stream of messages of one `Read`, and the task that fills it.
//!
//! Invariants: the task holds at most one page that the client has not taken. It ends when the
//! client goes away; a subscription also ends when the server does.

use std::{collections::HashMap, future::Future, pin::Pin};

use futures_util::{Stream, StreamExt as _, stream};
use gesta_store::{RecordedEvent, StoreError};
use tokio::sync::mpsc;
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
type Batch = Result<Vec<ReadResp>, Status>;

/// The call, as log lines name it.
const CALL: LoggedCall =
    LoggedCall { path: "/event_store.client.streams.Streams/Read", peer: None };

/// The sender of a read, and the form in which they want events.
pub(super) struct Reader {
    pub(super) node: Node,
    pub(super) caller: Caller,
    pub(super) rendering: Rendering,
}

/// The reader's side of a task that answers.
pub(super) struct Answers {
    pub(super) node: Node,
    caller: Caller,
    rendering: Rendering,
    messages: mpsc::Sender<Batch>,
    /// The span of the call, which its deliveries are below.
    span: Span,
}

/// The reason for which a task ends early.
pub(super) enum Ended {
    /// The client is gone.
    ClientLeft,
    Failed(Status),
}

impl From<StoreError> for Ended {
    fn from(error: StoreError) -> Self {
        Self::Failed(status(&error))
    }
}

impl From<Status> for Ended {
    fn from(status: Status) -> Self {
        Self::Failed(status)
    }
}

impl Answers {
    /// Starts a task that answers, and returns what it sends. Waits for the first message, so that
    /// a read that fails without one fails as a call: some clients look for the error there.
    pub(super) async fn begin<Task, Answer>(reader: Reader, task: Task) -> Result<Responses, Status>
    where
        Task: FnOnce(Self) -> Answer,
        Answer: Future<Output = Result<(), Ended>> + Send + 'static,
    {
        let Reader { node, caller, rendering } = reader;
        let (log, span) = (node.clone(), Span::current());
        let (messages, mut batches) = mpsc::channel(1);
        let last = messages.clone();
        let answer = task(Self { node, caller, rendering, messages, span: span.clone() });
        let answering = async move {
            let ended = tokio::select! {
                ended = answer => ended,
                () = last.closed() => return,
            };
            if let Err(Ended::Failed(status)) = ended {
                // The client may be gone, too.
                let _ = last.send(Err(status)).await;
            }
        };
        tokio::spawn(answering.instrument(span.clone()));
        let first = batches.recv().await.transpose()?;
        Ok(Box::pin(responses(first, batches, (log, span))))
    }

    /// Sends messages; waits until the client has taken those before.
    pub(super) async fn send(&self, batch: Vec<ReadResp>) -> Result<(), Ended> {
        if batch.is_empty() {
            return Ok(());
        }
        let delivery = delivery_span(&self.span, batch.len());
        let sent = self.messages.send(Ok(batch)).instrument(delivery).await;
        sent.map_err(|_| Ended::ClientLeft)
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

fn responses(
    first: Option<Vec<ReadResp>>,
    batches: mpsc::Receiver<Batch>,
    (node, span): (Node, Span),
) -> impl Stream<Item = Result<ReadResp, Status>> {
    let later = stream::unfold(batches, |mut batches| async move {
        let batch = batches.recv().await?;
        Some((batch, batches))
    });
    // A failure before the first message is logged as one of the call.
    let later = later.inspect(move |batch| {
        if let Err(status) = batch {
            node.log_failure(CALL, status);
            record_failure(&span, status.message());
        }
    });
    stream::iter(first.map(Ok)).chain(later).flat_map(|batch| {
        stream::iter(match batch {
            Ok(messages) => messages.into_iter().map(Ok).collect(),
            Err(status) => vec![Err(status)],
        })
    })
}
