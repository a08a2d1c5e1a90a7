//! The table of access: every gRPC call and every HTTP path or method of one, and who may use it.
//!
//! Owns: [`ROWS`]; all checks of a secured server follow it. Invariant: a path without a row is
//! refused. Not here: the right to one stream ([`stream_rights`](super::stream_rights)), which a
//! row only asks for.

use super::caller::{ADMINS, Caller, OPS};

/// The users that may use a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permitted {
    /// Also callers without credentials, which are not looked at.
    Anyone,
    EveryUser,
    /// Members of one of these groups.
    Members(&'static [&'static str]),
    /// The user whom the request is about, and members of `$admins`. The service compares logins.
    OwnerOrAdmins,
    /// Users with a right to the stream of the request, which the service checks.
    ByStream,
}

/// The record of a call in the audit stream by the access check. Services record what is more than
/// the name of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recorded {
    No,
    /// Only a call whose caller says why.
    IfExplained,
    Yes,
}

/// One path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// The method of a path that has several, or changes something. Others take what their route
    /// takes.
    pub(crate) method: Option<&'static str>,
    /// The path, or its pattern.
    pub(crate) path: &'static str,
    pub(crate) operation: &'static str,
    pub(crate) resource: &'static str,
    pub(crate) permitted: Permitted,
    pub(crate) recorded: Recorded,
}

/// The answer of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Granted,
    /// The caller has to say who they are.
    NeedsUser,
    Denied,
}

const fn row(
    path: &'static str,
    operation: &'static str,
    resource: &'static str,
    permitted: Permitted,
) -> Row {
    Row { method: None, path, operation, resource, permitted, recorded: Recorded::No }
}

const fn on(
    method: &'static str,
    path: &'static str,
    operation: &'static str,
    resource: &'static str,
    permitted: Permitted,
) -> Row {
    Row { method: Some(method), ..row(path, operation, resource, permitted) }
}

impl Row {
    const fn recorded(self) -> Self {
        Self { recorded: Recorded::Yes, ..self }
    }

    const fn recorded_if_explained(self) -> Self {
        Self { recorded: Recorded::IfExplained, ..self }
    }

    /// Returns the act in words, such as `delete consumer groups`.
    pub(crate) fn act(&self) -> String {
        format!("{} {}", self.operation, self.resource)
    }

    /// Returns `true` for a gRPC call: its first part is the name of a package.
    pub(crate) fn is_grpc(&self) -> bool {
        self.path.split('/').nth(1).is_some_and(|service| service.contains('.'))
    }

    pub(crate) fn decide(&self, caller: &Caller) -> Decision {
        match (self.permitted, caller) {
            (Permitted::Anyone, _) => Decision::Granted,
            (_, Caller::Anonymous) => Decision::NeedsUser,
            (Permitted::EveryUser | Permitted::OwnerOrAdmins | Permitted::ByStream, _) => {
                Decision::Granted
            }
            (Permitted::Members(groups), _) if groups.iter().any(|group| caller.is(group)) => {
                Decision::Granted
            }
            (Permitted::Members(_), _) => Decision::Denied,
        }
    }
}

const ADMINISTRATORS: Permitted = Permitted::Members(&[ADMINS]);
const OPERATORS: Permitted = Permitted::Members(&[ADMINS, OPS]);
use Permitted::{Anyone, ByStream, EveryUser, OwnerOrAdmins};

#[rustfmt::skip]
pub(crate) const ROWS: &[Row] = &[
    row("/event_store.client.streams.Streams/Read", "read", "streams", ByStream),
    row("/event_store.client.streams.Streams/Append", "append", "streams", ByStream),
    row("/event_store.client.streams.Streams/BatchAppend", "append", "streams", ByStream),
    row("/event_store.client.streams.Streams/Delete", "delete", "streams", ByStream),
    row("/event_store.client.streams.Streams/Tombstone", "delete", "streams", ByStream),
    row("/kurrentdb.protocol.v2.streams.StreamsService/AppendSession", "append", "streams", ByStream),
    row("/kurrentdb.protocol.v2.streams.StreamsService/AppendRecords", "append", "streams", ByStream),
    row("/event_store.client.persistent_subscriptions.PersistentSubscriptions/Create", "create", "consumer groups", OPERATORS).recorded(),
    row("/event_store.client.persistent_subscriptions.PersistentSubscriptions/Update", "update", "consumer groups", OPERATORS).recorded(),
    row("/event_store.client.persistent_subscriptions.PersistentSubscriptions/Delete", "delete", "consumer groups", OPERATORS).recorded(),
    row("/event_store.client.persistent_subscriptions.PersistentSubscriptions/Read", "read", "consumer groups", ByStream),
    row("/event_store.client.persistent_subscriptions.PersistentSubscriptions/GetInfo", "read", "consumer groups", EveryUser),
    row("/event_store.client.persistent_subscriptions.PersistentSubscriptions/ReplayParked", "replay parked events of", "consumer groups", OPERATORS).recorded(),
    row("/event_store.client.persistent_subscriptions.PersistentSubscriptions/TruncateParked", "truncate parked events of", "consumer groups", OPERATORS).recorded(),
    row("/event_store.client.persistent_subscriptions.PersistentSubscriptions/List", "read", "consumer groups", EveryUser),
    row("/event_store.client.persistent_subscriptions.PersistentSubscriptions/RestartSubsystem", "restart", "consumer groups", OPERATORS).recorded(),
    row("/event_store.client.projections.Projections/Create", "create", "projections", ADMINISTRATORS).recorded(),
    row("/event_store.client.projections.Projections/Update", "update", "projections", ADMINISTRATORS).recorded(),
    row("/event_store.client.projections.Projections/Delete", "delete", "projections", ADMINISTRATORS).recorded(),
    row("/event_store.client.projections.Projections/Statistics", "read statistics of", "projections", OPERATORS),
    row("/event_store.client.projections.Projections/Disable", "disable", "projections", OPERATORS).recorded(),
    row("/event_store.client.projections.Projections/Enable", "enable", "projections", OPERATORS).recorded(),
    row("/event_store.client.projections.Projections/Reset", "reset", "projections", OPERATORS).recorded(),
    row("/event_store.client.projections.Projections/State", "read states of", "projections", ADMINISTRATORS),
    row("/event_store.client.projections.Projections/Result", "read results of", "projections", ADMINISTRATORS),
    row("/event_store.client.projections.Projections/RestartSubsystem", "restart", "projections", OPERATORS).recorded(),
    row("/event_store.client.users.Users/Create", "create", "users", ADMINISTRATORS),
    row("/event_store.client.users.Users/Update", "update", "users", ADMINISTRATORS),
    row("/event_store.client.users.Users/Delete", "delete", "users", ADMINISTRATORS),
    row("/event_store.client.users.Users/Disable", "disable", "users", ADMINISTRATORS),
    row("/event_store.client.users.Users/Enable", "enable", "users", ADMINISTRATORS),
    row("/event_store.client.users.Users/Details", "read", "users", OwnerOrAdmins),
    row("/event_store.client.users.Users/ChangePassword", "change the password of", "users", OwnerOrAdmins),
    row("/event_store.client.users.Users/ResetPassword", "reset the password of", "users", ADMINISTRATORS),
    row("/event_store.client.operations.Operations/StartScavenge", "scavenge", "the store", OPERATORS).recorded(),
    row("/event_store.client.operations.Operations/StopScavenge", "stop scavenges of", "the store", OPERATORS).recorded(),
    row("/event_store.client.operations.Operations/Shutdown", "shut down", "the server", OPERATORS).recorded(),
    row("/event_store.client.operations.Operations/MergeIndexes", "merge indexes of", "the store", OPERATORS).recorded(),
    row("/event_store.client.operations.Operations/ResignNode", "resign", "the server", OPERATORS).recorded(),
    row("/event_store.client.operations.Operations/SetNodePriority", "set the priority of", "the server", OPERATORS).recorded(),
    row("/event_store.client.operations.Operations/RestartPersistentSubscriptions", "restart", "consumer groups", OPERATORS).recorded(),
    row("/event_store.client.monitoring.Monitoring/Stats", "read", "figures", OPERATORS),
    row("/gesta.client.appends.Appends/Find", "find", "appends", ByStream),
    row("/event_store.client.server_features.ServerFeatures/GetSupportedMethods", "read", "features", Anyone),
    row("/event_store.client.gossip.Gossip/Read", "read", "members", Anyone),
    row("/health/live", "read", "health", Anyone),
    row("/health/ready", "read", "health", Anyone),
    row("/ping", "read", "health", Anyone),
    row("/info", "read", "features", Anyone),
    row("/gossip", "read", "members", Anyone),
    on("GET", "/admin/scavenge", "read scavenges of", "the store", OPERATORS),
    on("POST", "/admin/scavenge", "scavenge", "the store", OPERATORS).recorded(),
    on("GET", "/admin/scavenge/{id}", "read scavenges of", "the store", OPERATORS),
    on("DELETE", "/admin/scavenge/{id}", "stop scavenges of", "the store", OPERATORS).recorded(),
    on("POST", "/admin/shutdown", "shut down", "the server", OPERATORS).recorded(),
    row("/", "open", "the console", Anyone),
    row("/console", "open", "the console", Anyone),
    row("/console/", "open", "the console", Anyone),
    row("/console/program", "open", "the console", Anyone),
    row("/console/{*file}", "open", "the console", Anyone),
    row("/stats", "read", "figures", OPERATORS),
    row("/metrics", "read", "figures", OPERATORS),
    on("POST", "/v1/append", "append to", "streams", ByStream).recorded_if_explained(),
    on("GET", "/v1/streams", "list", "streams", ByStream),
    on("GET", "/v1/categories", "list", "categories", ByStream),
    on("GET", "/v1/streams/{stream}", "read", "streams", ByStream),
    on("DELETE", "/v1/streams/{stream}", "delete", "streams", ByStream).recorded_if_explained(),
    on("GET", "/v1/streams/{stream}/metadata", "read metadata of", "streams", ByStream),
    on("PUT", "/v1/streams/{stream}/metadata", "set metadata of", "streams", ByStream).recorded_if_explained(),
    on("GET", "/v1/streams/{stream}/subscribe", "subscribe to", "streams", ByStream),
    on("GET", "/v1/all", "read", "streams", ByStream),
    on("POST", "/v1/query", "query", "streams", ByStream),
    on("GET", "/v1/subscribe", "subscribe to", "streams", ByStream),
    on("GET", "/v1/socket", "subscribe to", "streams", ByStream),
    on("GET", "/v1/events/{id}", "read", "streams", ByStream),
    on("GET", "/v1/appends/{id}", "read", "streams", ByStream),
    on("GET", "/v1/head", "read", "the head", EveryUser),
    on("GET", "/v1/store", "read", "features", EveryUser),
    on("GET", "/v1/server", "read", "features", EveryUser),
    on("GET", "/v1/counts", "count", "streams", ByStream),
    on("GET", "/v1/config", "read settings of", "the server", OPERATORS),
    on("GET", "/v1/scavenge", "read scavenges of", "the store", OPERATORS),
    on("POST", "/v1/scavenge", "scavenge", "the store", OPERATORS).recorded(),
    on("DELETE", "/v1/scavenge/{id}", "stop scavenges of", "the store", OPERATORS).recorded(),
    on("GET", "/v1/verify", "read verifications of", "the store", OPERATORS),
    on("POST", "/v1/verify", "verify", "the store", OPERATORS).recorded(),
    on("DELETE", "/v1/verify/{id}", "stop verifications of", "the store", OPERATORS).recorded(),
    on("GET", "/v1/backup", "read backups of", "the store", OPERATORS),
    on("POST", "/v1/backup", "back up", "the store", OPERATORS).recorded(),
    on("DELETE", "/v1/backup/{id}", "stop backups of", "the store", OPERATORS).recorded(),
    on("GET", "/v1/groups", "read", "consumer groups", EveryUser),
    on("POST", "/v1/groups", "create", "consumer groups", OPERATORS).recorded(),
    on("PUT", "/v1/groups/{source}/{group}", "update", "consumer groups", OPERATORS).recorded(),
    on("DELETE", "/v1/groups/{source}/{group}", "delete", "consumer groups", OPERATORS).recorded(),
    on("POST", "/v1/groups/{source}/{group}/replay-parked", "replay parked events of", "consumer groups", OPERATORS).recorded(),
    on("POST", "/v1/groups/{source}/{group}/truncate-parked", "truncate parked events of", "consumer groups", OPERATORS).recorded(),
    on("GET", "/v1/projections", "read statistics of", "projections", OPERATORS),
    on("POST", "/v1/projections", "create", "projections", ADMINISTRATORS).recorded(),
    on("PUT", "/v1/projections/{projection}", "update", "projections", ADMINISTRATORS).recorded(),
    on("DELETE", "/v1/projections/{projection}", "delete", "projections", ADMINISTRATORS).recorded(),
    on("POST", "/v1/projections/{projection}/enable", "enable", "projections", OPERATORS).recorded(),
    on("POST", "/v1/projections/{projection}/disable", "disable", "projections", OPERATORS).recorded(),
    on("POST", "/v1/projections/{projection}/reset", "reset", "projections", OPERATORS).recorded(),
    on("GET", "/v1/projections/{projection}/state", "read states of", "projections", ADMINISTRATORS),
    on("GET", "/v1/users", "list", "users", ADMINISTRATORS),
    on("POST", "/v1/users", "create", "users", ADMINISTRATORS),
    on("GET", "/v1/users/{login}", "read", "users", OwnerOrAdmins),
    on("PUT", "/v1/users/{login}", "update", "users", ADMINISTRATORS),
    on("DELETE", "/v1/users/{login}", "delete", "users", ADMINISTRATORS),
    on("POST", "/v1/users/{login}/enable", "enable", "users", ADMINISTRATORS),
    on("POST", "/v1/users/{login}/disable", "disable", "users", ADMINISTRATORS),
    on("POST", "/v1/users/{login}/change-password", "change the password of", "users", OwnerOrAdmins),
    on("POST", "/v1/users/{login}/reset-password", "reset the password of", "users", ADMINISTRATORS),
    on("GET", "/v1/openapi.json", "read", "features", Anyone),
    on("GET", "/v1/docs", "read", "features", Anyone),
];

/// Returns the row of a path, or of the pattern that it has.
pub(crate) fn row_of(method: &str, path: &str) -> Option<&'static Row> {
    // `HEAD` is answered as `GET` without the body.
    let method = if method == "HEAD" { "GET" } else { method };
    ROWS.iter().find(|row| row.path == path && row.method.is_none_or(|its| its == method))
}

/// Returns `true` if a path has a row, whatever the method.
pub(crate) fn has_row(path: &str) -> bool {
    ROWS.iter().any(|row| row.path == path)
}
