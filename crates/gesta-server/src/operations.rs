//! The service `Operations`: scavenges, the end of the server, and what a cluster would need.
//!
//! Owns: the calls. Invariants: no call waits for a scavenge that it starts, or for a server that
//! takes over; a call whose purpose is always met (merged indexes) is answered without doing
//! anything. Not here: the
//! scavenge ([`scavenges`](crate::scavenges)), and who may call ([`access`](crate::access)).

use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::{
    groups::Groups,
    node::Node,
    proto::{
        operations::{
            ScavengeResp, SetNodePriorityReq, StartScavengeReq, StopScavengeReq,
            operations_server::{Operations, OperationsServer},
            scavenge_resp::ScavengeResult,
        },
        shared::Empty,
    },
    scavenges::{NotStarted, ScavengeRequest, ScavengeStatus},
    wire::{refused, scavenge_not_found},
};

/// The service over one server.
pub(crate) struct OperationsService {
    node: Node,
    groups: Groups,
}

/// Returns the service of this node.
pub(crate) fn service(node: Node, groups: Groups) -> OperationsServer<OperationsService> {
    OperationsServer::new(OperationsService { node, groups })
}

#[tonic::async_trait]
impl Operations for OperationsService {
    /// Starts a scavenge of the whole store, on one thread: there are no chunks to begin at.
    async fn start_scavenge(
        &self,
        request: Request<StartScavengeReq>,
    ) -> Result<Response<ScavengeResp>, Status> {
        let options = request.into_inner().options.ok_or_else(without_options)?;
        for (name, number) in
            [("thread_count", options.thread_count), ("start_from_chunk", options.start_from_chunk)]
        {
            if number < 0 {
                return Err(refused(format!("`{name}` must be at least 0; got {number}")));
            }
        }
        let answered = |status: &ScavengeStatus, result: ScavengeResult| {
            let scavenge_id = status.id.to_string();
            Ok(Response::new(ScavengeResp { scavenge_id, scavenge_result: result.into() }))
        };
        match self.node.start_scavenge(ScavengeRequest::default()) {
            Ok(started) => answered(&started, ScavengeResult::Started),
            Err(NotStarted::UnderWay(running)) => answered(&running, ScavengeResult::InProgress),
            Err(NotStarted::Unsupported) => Err(Status::unimplemented(
                "only a store in a directory is scavenged; others keep hidden events",
            )),
            Err(NotStarted::Busy(what)) => {
                Err(Status::failed_precondition(format!("{what} is running; stop it, or wait")))
            }
            Err(NotStarted::Ending) => Err(Status::unavailable("the server is shutting down")),
        }
    }

    /// Ends a scavenge, and answers when it has ended. One that had ended before is answered
    /// alike.
    async fn stop_scavenge(
        &self,
        request: Request<StopScavengeReq>,
    ) -> Result<Response<ScavengeResp>, Status> {
        let asked = request.into_inner().options.ok_or_else(without_options)?.scavenge_id;
        let stopped = match asked.parse::<Uuid>() {
            Ok(id) => self.node.scavenges().stop(id).await,
            Err(_) => None,
        };
        let stopped = stopped.ok_or_else(|| scavenge_not_found(&asked))?;
        let (scavenge_id, result) = (stopped.id.to_string(), ScavengeResult::Stopped);
        Ok(Response::new(ScavengeResp { scavenge_id, scavenge_result: result.into() }))
    }

    async fn shutdown(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        tracing::info!("a client has asked for the end of the server");
        self.node.ask_for_end();
        done()
    }

    /// Does nothing: a store merges its indexes by itself.
    async fn merge_indexes(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        done()
    }

    /// Gives the leases of groups and projections back, so that another server of the store takes
    /// over. A server that is alone continues.
    async fn resign_node(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        tracing::info!("a client has asked this server to leave its work to another one");
        self.node.resign();
        done()
    }

    /// Keeps the number, which the list of nodes shows. There are no elections.
    async fn set_node_priority(
        &self,
        request: Request<SetNodePriorityReq>,
    ) -> Result<Response<Empty>, Status> {
        self.node.set_priority(request.into_inner().priority);
        done()
    }

    async fn restart_persistent_subscriptions(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<Empty>, Status> {
        self.groups.restart().await?;
        done()
    }
}

fn done() -> Result<Response<Empty>, Status> {
    Ok(Response::new(Empty {}))
}

fn without_options() -> Status {
    refused("the options are missing")
}
