//! The service `StreamsService`, the second version of the streams: appends to several streams.
//!
//! Owns: the dispatch. Invariant: one call is one append of the contract, so all of its records are
//! recorded or none. Not here: reads, which the second version does not have.

mod append_records;
mod append_session;
mod asked;
mod checks;
mod failed_check;
mod joint_append;
mod refusals;

use tonic::{Request, Response, Status, Streaming};

use crate::{
    access::Sender,
    node::Node,
    proto::streams_v2::{
        AppendRecordsRequest, AppendRecordsResponse, AppendRequest, AppendSessionResponse,
        streams_service_server::{StreamsService, StreamsServiceServer},
    },
};

/// Maximum size of one message of a client, in bytes: the largest append and what is around it.
const MESSAGE_BYTES_MAX: usize = 48 << 20;

/// The service over one store.
pub(crate) struct StreamsServiceV2 {
    node: Node,
}

/// Returns the service of this node.
pub(crate) fn service(node: Node) -> StreamsServiceServer<StreamsServiceV2> {
    StreamsServiceServer::new(StreamsServiceV2 { node })
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
}

#[tonic::async_trait]
impl StreamsService for StreamsServiceV2 {
    async fn append_session(
        &self,
        request: Request<Streaming<AppendRequest>>,
    ) -> Result<Response<AppendSessionResponse>, Status> {
        let sender = Sender::of(request.extensions());
        let messages = request.into_inner();
        append_session::append_session(&self.node, &sender, messages).await.map(Response::new)
    }

    async fn append_records(
        &self,
        request: Request<AppendRecordsRequest>,
    ) -> Result<Response<AppendRecordsResponse>, Status> {
        let sender = Sender::of(request.extensions());
        let request = request.into_inner();
        append_records::append_records(&self.node, &sender, request).await.map(Response::new)
    }
}
