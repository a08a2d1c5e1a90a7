//! Consumer groups: the service `PersistentSubscriptions`.
//!
//! Owns: groups of a stream, of a stream that the index answers, or of the whole store; their
//! consumers, checkpoints and parked events; the streams in which all of that survives a restart.
//!
//! Invariants:
//! - An event is finished when it was acknowledged, skipped, or recorded as parked. A checkpoint
//!   never passes an event that is not finished, so every event is delivered at least once.
//! - A group is a state machine without I/O ([`machine`]); its task carries out what it wants
//!   ([`runner`]).
//! - A group runs on one server at a time. A second one is stopped by the revision of the
//!   checkpoint.
//!
//! Not here: reads and subscriptions without a group ([`streams`](crate::streams)).

mod calls;
mod checkpoint;
mod configuration;
mod errors;
mod group_filter;
mod machine;
mod name;
mod parked;
mod registry;
mod repeated;
mod runner;
mod settings;
mod source;

use tonic::{Request, Response, Status, Streaming};

pub(crate) use self::{
    calls::{
        GroupAct, GroupAsker, GroupStatus, GroupSummary, act_on_named, create_named,
        settings_of_named, summaries, update_named,
    },
    group_filter::{FilteredName, GroupFilter},
    registry::Groups,
    settings::{Contradiction, GroupSettings, StartFrom},
};
use crate::proto::{
    persistent_subscriptions::{
        CreateReq, CreateResp, DeleteReq, DeleteResp, GetInfoReq, GetInfoResp, ListReq, ListResp,
        ReadReq, ReplayParkedReq, ReplayParkedResp, TruncateParkedReq, TruncateParkedResp,
        UpdateReq, UpdateResp,
        persistent_subscriptions_server::{PersistentSubscriptions, PersistentSubscriptionsServer},
    },
    shared::Empty,
};

/// The service over the groups of one server.
pub(crate) struct GroupsService {
    groups: Groups,
}

/// Returns the service of these groups.
pub(crate) fn service(groups: Groups) -> PersistentSubscriptionsServer<GroupsService> {
    // An event may be larger than the default limit of a message.
    PersistentSubscriptionsServer::new(GroupsService { groups })
        .max_encoding_message_size(usize::MAX)
}

#[tonic::async_trait]
impl PersistentSubscriptions for GroupsService {
    type ReadStream = calls::GroupResponses;

    async fn create(&self, request: Request<CreateReq>) -> Result<Response<CreateResp>, Status> {
        let asker = calls::GroupAsker::of(&request);
        calls::create(&self.groups, &asker, request.into_inner()).await.map(Response::new)
    }

    async fn update(&self, request: Request<UpdateReq>) -> Result<Response<UpdateResp>, Status> {
        let asker = calls::GroupAsker::of(&request);
        calls::update(&self.groups, &asker, request.into_inner()).await.map(Response::new)
    }

    async fn delete(&self, request: Request<DeleteReq>) -> Result<Response<DeleteResp>, Status> {
        let asker = calls::GroupAsker::of(&request);
        calls::delete(&self.groups, &asker, request.into_inner()).await.map(Response::new)
    }

    async fn read(
        &self,
        request: Request<Streaming<ReadReq>>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        calls::read(&self.groups, request).await.map(Response::new)
    }

    async fn get_info(
        &self,
        request: Request<GetInfoReq>,
    ) -> Result<Response<GetInfoResp>, Status> {
        calls::get_info(&self.groups, request.into_inner()).await.map(Response::new)
    }

    async fn replay_parked(
        &self,
        request: Request<ReplayParkedReq>,
    ) -> Result<Response<ReplayParkedResp>, Status> {
        let asker = calls::GroupAsker::of(&request);
        calls::replay_parked(&self.groups, &asker, request.into_inner()).await.map(Response::new)
    }

    async fn truncate_parked(
        &self,
        request: Request<TruncateParkedReq>,
    ) -> Result<Response<TruncateParkedResp>, Status> {
        let asker = calls::GroupAsker::of(&request);
        calls::truncate_parked(&self.groups, &asker, request.into_inner()).await.map(Response::new)
    }

    async fn list(&self, request: Request<ListReq>) -> Result<Response<ListResp>, Status> {
        calls::list(&self.groups, request.into_inner()).await.map(Response::new)
    }

    async fn restart_subsystem(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        self.groups.restart().await?;
        Ok(Response::new(Empty {}))
    }
}
