//! The service `gesta.client.appends.Appends`: what the protocol of KurrentDB lacks for stores of
//! Gesta.
//!
//! Owns: the call that finds an append by its first event. Invariant: a caller learns of an append
//! only who may read every stream of it. Not here: the list of calls, which has this one only over
//! a store that finds appends ([`discovery`](crate::discovery)).

use gesta_store::EventId;
use tonic::{Request, Response, Status};

use crate::{
    access::{Caller, Right},
    node::Node,
    proto::appends::{
        FindReq, FindResp,
        appends_server::{Appends, AppendsServer},
        find_resp::{Found, Head},
    },
    wire::{identifier, status, uuid_of},
};

/// The service over one store.
pub(crate) struct AppendsService {
    node: Node,
}

/// Returns the service of this node.
pub(crate) fn service(node: Node) -> AppendsServer<AppendsService> {
    AppendsServer::new(AppendsService { node })
}

#[tonic::async_trait]
impl Appends for AppendsService {
    async fn find(&self, request: Request<FindReq>) -> Result<Response<FindResp>, Status> {
        let caller = Caller::of(request.extensions());
        let FindReq { first_event_id } = request.into_inner();
        let first_event = EventId::from(uuid_of(first_event_id.as_ref(), "event id")?);
        let found = self.node.store().find_append(first_event).await;
        let Some(found) = found.map_err(|error| status(&error))? else {
            return Ok(Response::new(FindResp { found: None }));
        };
        for (stream, _) in &found.revisions {
            self.node.access().check_stream(&caller, stream, Right::Read).await?;
        }
        let heads = found.revisions.iter().map(|(stream, revision)| Head {
            stream_identifier: Some(identifier(stream)),
            revision: revision.number(),
        });
        let found = Found { position: found.position.number(), heads: heads.collect() };
        Ok(Response::new(FindResp { found: Some(found) }))
    }
}
