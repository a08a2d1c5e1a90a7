//! The stream of messages of one `Read`, and the task that fills it.
//!
//! Invariants: the task holds at most one page that the client has not taken. It ends when the
//! client goes away; a subscription also ends when the server does.

use std::{future::Future, pin::Pin};

use futures_util::{Stream, StreamExt as _, stream};
use gesta_store::{RecordedEvent, StoreError};
use tokio::sync::mpsc;
use tonic::Status;

use super::{
    links::resolve,
    messages::{Found, Rendering},
};
use crate::{node::Node, proto::streams::ReadResp, wire::status};

/// The messages of a read.
pub(in crate::streams) type Responses =
    Pin<Box<dyn Stream<Item = Result<ReadResp, Status>> + Send>>;
type Batch = Result<Vec<ReadResp>, Status>;

/// The reader's side of a task that answers.
pub(super) struct Answers {
    pub(super) node: Node,
    rendering: Rendering,
    messages: mpsc::Sender<Batch>,
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
    /// Starts a task that answers, and returns what it sends.
    pub(super) fn begin<Task, Answer>(node: Node, rendering: Rendering, task: Task) -> Responses
    where
        Task: FnOnce(Self) -> Answer,
        Answer: Future<Output = Result<(), Ended>> + Send + 'static,
    {
        let (messages, batches) = mpsc::channel(1);
        let last = messages.clone();
        let answer = task(Self { node, rendering, messages });
        tokio::spawn(async move {
            let ended = tokio::select! {
                ended = answer => ended,
                () = last.closed() => return,
            };
            if let Err(Ended::Failed(status)) = ended {
                // The client may be gone, too.
                let _ = last.send(Err(status)).await;
            }
        });
        Box::pin(responses(batches))
    }

    /// Sends messages; waits until the client has taken those before.
    pub(super) async fn send(&self, batch: Vec<ReadResp>) -> Result<(), Ended> {
        if batch.is_empty() {
            return Ok(());
        }
        self.messages.send(Ok(batch)).await.map_err(|_| Ended::ClientLeft)
    }

    /// Translates events, with their targets if the reader asked for them.
    pub(super) async fn events(&self, events: Vec<RecordedEvent>) -> Result<Vec<ReadResp>, Ended> {
        self.node.counters().events_read.add(events.len() as u64);
        let mut messages = Vec::with_capacity(events.len());
        for event in events {
            let found = match self.rendering.resolves_links {
                true => resolve(self.node.store(), event).await?,
                false => Found::Event(event),
            };
            messages.push(self.rendering.event(&found));
        }
        Ok(messages)
    }

    /// Translates links that the index made.
    pub(super) fn links(&self, links: &[Found]) -> Vec<ReadResp> {
        self.node.counters().events_read.add(links.len() as u64);
        links.iter().map(|link| self.rendering.event(link)).collect()
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

/// A subscription, counted until it ends for whatever reason.
struct OpenSubscription(Node);

impl OpenSubscription {
    fn count(node: Node) -> Self {
        node.counters().subscriptions.add(1);
        Self(node)
    }
}

impl Drop for OpenSubscription {
    fn drop(&mut self) {
        self.0.counters().subscriptions_ended.add(1);
    }
}

fn responses(batches: mpsc::Receiver<Batch>) -> impl Stream<Item = Result<ReadResp, Status>> {
    let batches = stream::unfold(batches, |mut batches| async move {
        let batch = batches.recv().await?;
        Some((batch, batches))
    });
    batches.flat_map(|batch| {
        stream::iter(match batch {
            Ok(messages) => messages.into_iter().map(Ok).collect(),
            Err(status) => vec![Err(status)],
        })
    })
}
