//! The service `gesta.client.appends.Appends`: what the protocol of KurrentDB lacks for stores of
//! Gesta.
//!
//! Owns: the call that finds an append by its first event. Invariant: a caller who may not read
//! every stream of an append learns no name and no place of it. Not here: the list of calls, which
//! has this one only over a store that finds appends ([`discovery`](crate::discovery)).

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
    wire::{access_denied, identifier, status, uuid_of},
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
            let may_read = self.node.access().may(&caller, stream, Right::Read).await;
            if !may_read.map_err(|error| status(&error))? {
                // Neither a name that the caller did not know, nor "not found": a writer would
                // append again.
                let text = "the append that begins with this event has a stream that you may not \
                            read";
                return Err(access_denied(text));
            }
        }
        let heads = found.revisions.iter().map(|(stream, revision)| Head {
            stream_identifier: Some(identifier(stream)),
            revision: revision.number(),
        });
        let found = Found { position: found.position.number(), heads: heads.collect() };
        Ok(Response::new(FindResp { found: Some(found) }))
    }
}
