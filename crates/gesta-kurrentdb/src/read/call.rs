//! One call of `Read`, whose answer is a stream of messages.
//!
//! Invariant: the wait for the first byte of an answer is bounded; afterwards pings of the
//! connection notice a server that is gone.

use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::timeout;
use tonic::Streaming;

use crate::{
    cluster::{CallKind, Lease},
    core::{Core, MESSAGE_BYTES_MAX},
    failure::Failure,
    proto::streams::{ReadReq, ReadResp, read_resp::Content, streams_client::StreamsClient},
};

/// Messages that are taken at once, and their bytes.
const BATCH_MESSAGES_MAX: usize = 512;
const BATCH_BYTES_MAX: usize = 1 << 20;

/// The answer to a read.
pub(crate) struct Messages {
    messages: Streaming<ReadResp>,
    _lease: Lease,
}

/// Messages that have come.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) contents: Vec<Content>,
    /// The answer has come to its end, or has failed, after these.
    pub(crate) ended: Option<Result<(), Failure>>,
}

impl Messages {
    pub(crate) async fn open(core: &Core, request: ReadReq) -> Result<Self, Failure> {
        let lease = core.cluster.lease(CallKind::Lasting).await?;
        let origin = lease.link.origin();
        let mut client = StreamsClient::with_origin(lease.link.clone(), origin)
            .max_decoding_message_size(MESSAGE_BYTES_MAX);
        let limit = core.cluster.url().deadline;
        match timeout(limit, client.read(request)).await {
            Ok(Ok(answer)) => Ok(Self { messages: answer.into_inner(), _lease: lease }),
            Ok(Err(status)) => Err(core.cluster.failed(status).await),
            Err(_) => Err(Failure::TimedOut(limit)),
        }
    }

    /// Waits for messages, at most for a time, and takes those that are there. An empty batch says
    /// that the time is over.
    pub(crate) async fn next(&mut self, core: &Core, wait_max: Option<Duration>) -> Batch {
        let first = match wait_max {
            Some(wait_max) => match timeout(wait_max, self.messages.message()).await {
                Ok(first) => first,
                Err(_) => return Batch::default(),
            },
            None => self.messages.message().await,
        };
        let mut batch = Batch::default();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(message) = next.take() {
            match message {
                Ok(Some(message)) => {
                    bytes += size_of_event(&message);
                    batch.contents.extend(message.content);
                }
                Ok(None) => batch.ended = Some(Ok(())),
                Err(status) => batch.ended = Some(Err(core.cluster.failed(status).await)),
            }
            let is_full = batch.contents.len() >= BATCH_MESSAGES_MAX || bytes >= BATCH_BYTES_MAX;
            if batch.ended.is_none() && !is_full {
                next = self.messages.message().now_or_never();
            }
        }
        batch
    }
}

fn size_of_event(message: &ReadResp) -> usize {
    match &message.content {
        Some(Content::Event(read)) => {
            let event = read.event.as_ref().or(read.link.as_ref());
            event.map_or(0, |event| event.data.len() + event.custom_metadata.len())
        }
        _ => 0,
    }
}
