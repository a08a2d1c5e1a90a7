//! The service `Streams`: one file for each call. Its second version is in [`v2`].
//!
//! Owns: the dispatch. Not here: translations of values ([`wire`](crate::wire)).

mod append;
mod append_answer;
mod batch_append;
mod delete;
mod metadata_append;
mod new_append;
mod read;
mod repeated;
mod run_append;
mod store_append;
mod v2;

use std::pin::Pin;

use futures_util::Stream;
use tonic::{Request, Response, Status, Streaming};

pub(crate) use self::{
    read::{
        Found, LINK_TYPE, SystemStream, is_of_index, last_ordinal, linked_place, requested_filter,
        resolve, visible_event,
    },
    run_append::run_append,
};
use crate::{
    access::{Caller, Sender},
    node::Node,
    outgoing::PageRoom,
    proto::streams::{
        AppendReq, AppendResp, BatchAppendReq, BatchAppendResp, DeleteReq, DeleteResp, ReadReq,
        ReadResp, TombstoneReq, TombstoneResp,
        streams_server::{Streams, StreamsServer},
    },
};

/// Maximum size of one message of a client, in bytes: the largest event and what is around it.
const MESSAGE_BYTES_MAX: usize = 17 << 20;

/// The service over one store.
pub(crate) struct StreamsService {
    node: Node,
}

/// Returns the service of this node.
pub(crate) fn service(node: Node) -> StreamsServer<StreamsService> {
    StreamsServer::new(StreamsService { node })
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(usize::MAX)
}

pub(crate) use v2::service as service_v2;

type Messages<Message> = Pin<Box<dyn Stream<Item = Result<Message, Status>> + Send>>;

#[tonic::async_trait]
impl Streams for StreamsService {
    type ReadStream = Messages<ReadResp>;
    type BatchAppendStream = Messages<BatchAppendResp>;

    async fn read(&self, request: Request<ReadReq>) -> Result<Response<Self::ReadStream>, Status> {
        let caller = Caller::of(request.extensions());
        let room = request.extensions().get().cloned();
        let room = PageRoom::new(room.unwrap_or_else(|| self.node.outgoing().of_reader()));
        let message = request.into_inner();
        loop {
            let sender = (caller.clone(), room.clone());
            let answer = read::read(&self.node, sender, message.clone()).await;
            if answer.is_ok() || !room.is_to_be_read_again().await {
                return answer;
            }
        }
    }

    async fn append(
        &self,
        request: Request<Streaming<AppendReq>>,
    ) -> Result<Response<AppendResp>, Status> {
        let sender = Sender::of(request.extensions());
        append::append(&self.node, sender, request.into_inner()).await.map(Response::new)
    }

    async fn delete(&self, request: Request<DeleteReq>) -> Result<Response<DeleteResp>, Status> {
        let sender = Sender::of(request.extensions());
        delete::delete(&self.node, &sender, request.into_inner()).await.map(Response::new)
    }

    async fn tombstone(
        &self,
        request: Request<TombstoneReq>,
    ) -> Result<Response<TombstoneResp>, Status> {
        let sender = Sender::of(request.extensions());
        delete::tombstone(&self.node, &sender, request.into_inner()).await.map(Response::new)
    }

    async fn batch_append(
        &self,
        request: Request<Streaming<BatchAppendReq>>,
    ) -> Result<Response<Self::BatchAppendStream>, Status> {
        let sender = Sender::of(request.extensions());
        Ok(Response::new(batch_append::answers(self.node.clone(), sender, request.into_inner())))
    }
}
