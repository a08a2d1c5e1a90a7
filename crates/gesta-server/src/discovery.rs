//! Answers to a client before its first call: the calls that the server has, and the servers
//! of the store.
//!
//! Owns: the services `ServerFeatures` and `Gossip`, and [`METHODS`], the list of calls. Invariant:
//! only calls that work are listed, so that a client that has another way takes it.

use axum::http::uri::Authority;
use gesta_store::Capability;
use tonic::{Request, Response, Status};

use crate::{
    address::ServerAddress,
    members::Members,
    node::{Node, PROTOCOL_VERSION, wall_now},
    proto::{
        gossip::{
            ClusterInfo, EndPoint, MemberInfo,
            gossip_server::{Gossip, GossipServer},
            member_info::VNodeState,
        },
        server_features::{
            SupportedMethod, SupportedMethods,
            server_features_server::{ServerFeatures, ServerFeaturesServer},
        },
        shared::Empty,
    },
    wire::IdForm,
};

const STREAMS: &str = "event_store.client.streams.streams";
const STREAMS_V2: &str = "kurrentdb.protocol.v2.streams.streamsservice";
const GROUPS: &str = "event_store.client.persistent_subscriptions.persistentsubscriptions";
/// A group reads a stream or the whole store.
const SOURCES: &[&str] = &["stream", "all"];
const PROJECTIONS: &str = "event_store.client.projections.projections";
const USERS: &str = "event_store.client.users.users";
const OPERATIONS: &str = "event_store.client.operations.operations";
const START_SCAVENGE: &str = "startscavenge";
const STOP_SCAVENGE: &str = "stopscavenge";
const APPENDS: &str = "gesta.client.appends.appends";

/// Service, call and features of what the server has.
const METHODS: &[(&str, &str, &[&str])] = &[
    (STREAMS, "read", &["position", "events"]),
    (STREAMS, "append", &[]),
    (STREAMS, "batchappend", &["deadline_duration"]),
    (STREAMS, "delete", &[]),
    (STREAMS, "tombstone", &[]),
    (GROUPS, "create", SOURCES),
    (GROUPS, "update", SOURCES),
    (GROUPS, "delete", SOURCES),
    (GROUPS, "read", SOURCES),
    (GROUPS, "getinfo", SOURCES),
    (GROUPS, "replayparked", SOURCES),
    (GROUPS, "truncateparked", SOURCES),
    (GROUPS, "list", SOURCES),
    (GROUPS, "restartsubsystem", SOURCES),
    (PROJECTIONS, "create", &["track_emitted_streams"]),
    (PROJECTIONS, "update", &[]),
    (PROJECTIONS, "delete", &[]),
    (PROJECTIONS, "statistics", &[]),
    (PROJECTIONS, "disable", &[]),
    (PROJECTIONS, "enable", &[]),
    (PROJECTIONS, "reset", &[]),
    (PROJECTIONS, "state", &[]),
    (PROJECTIONS, "result", &[]),
    (PROJECTIONS, "restartsubsystem", &[]),
    (STREAMS_V2, "appendsession", &[]),
    (STREAMS_V2, "appendrecords", &[]),
    (USERS, "create", &[]),
    (USERS, "update", &[]),
    (USERS, "delete", &[]),
    (USERS, "disable", &[]),
    (USERS, "enable", &[]),
    (USERS, "details", &[]),
    (USERS, "changepassword", &[]),
    (USERS, "resetpassword", &[]),
    (OPERATIONS, START_SCAVENGE, &[]),
    (OPERATIONS, STOP_SCAVENGE, &[]),
    (OPERATIONS, "shutdown", &[]),
    (OPERATIONS, "mergeindexes", &[]),
    (OPERATIONS, "resignnode", &[]),
    (OPERATIONS, "setnodepriority", &[]),
    (OPERATIONS, "restartpersistentsubscriptions", &[]),
    ("event_store.client.monitoring.monitoring", "stats", &[]),
    (APPENDS, "find", &[]),
    ("event_store.client.gossip.gossip", "read", &[]),
    ("event_store.client.server_features.serverfeatures", "getsupportedmethods", &[]),
];

/// The service that lists the calls.
pub(crate) struct Features {
    node: Node,
}

/// The service that lists the servers of the store.
pub(crate) struct GossipService {
    members: Members,
}

pub(crate) fn features(node: Node) -> ServerFeaturesServer<Features> {
    ServerFeaturesServer::new(Features { node })
}

pub(crate) fn gossip(members: Members) -> GossipServer<GossipService> {
    GossipServer::new(GossipService { members })
}

#[tonic::async_trait]
impl ServerFeatures for Features {
    async fn get_supported_methods(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<SupportedMethods>, Status> {
        // An insecure server has no users, and most stores are not scavenged.
        let has_users = self.node.access().guard().is_some();
        let finds_appends = self.node.store().capabilities().has(Capability::FindAppend);
        let is_scavenged = self.node.scavenges().are_supported();
        let methods = METHODS.iter().filter(|(service, method, _)| match (*service, *method) {
            (USERS, _) => has_users,
            (OPERATIONS, START_SCAVENGE | STOP_SCAVENGE) => is_scavenged,
            (APPENDS, _) => finds_appends,
            _ => true,
        });
        let methods = methods.map(|(service, method, features)| SupportedMethod {
            method_name: (*method).to_owned(),
            service_name: (*service).to_owned(),
            features: features.iter().map(|feature| (*feature).to_owned()).collect(),
        });
        Ok(Response::new(SupportedMethods {
            methods: methods.collect(),
            event_store_server_version: PROTOCOL_VERSION.to_owned(),
        }))
    }
}

#[tonic::async_trait]
impl Gossip for GossipService {
    async fn read(&self, request: Request<Empty>) -> Result<Response<ClusterInfo>, Status> {
        let used = ServerAddress::used_by(request.extensions().get::<Authority>());
        let time_stamp = i64::try_from(wall_now().micros() * 10).unwrap_or(i64::MAX);
        let members = self.members.list(used).await.into_iter().map(|member| MemberInfo {
            instance_id: Some(IdForm::Halves.of(member.id)),
            time_stamp,
            state: match member.is_leader {
                true => VNodeState::Leader.into(),
                false => VNodeState::Follower.into(),
            },
            is_alive: true,
            http_end_point: Some(EndPoint {
                address: member.address.host().to_owned(),
                port: member.address.port().into(),
            }),
        });
        Ok(Response::new(ClusterInfo { members: members.collect() }))
    }
}
