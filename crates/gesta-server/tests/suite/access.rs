//! The table of access, walked cell by cell over a real server.

use tonic::{Code, Request};

use crate::{
    client::{Credentials, Empty},
    secured::{Secured, basic},
};

/// All calls in `proto/`.
const METHODS: &[&str] = include!(concat!(env!("OUT_DIR"), "/methods.rs"));

/// The call after which the server answers no other one.
const SHUTDOWN: &str = "/event_store.client.operations.Operations/Shutdown";

/// Each path with the answers to a caller without credentials, a user, a member of `$ops` and one
/// of `$admins`: `?` asks for a user, `-` denies, `+` grants. Calls deny, as in the original.
#[rustfmt::skip]
const EXPECTED: &[(&str, &str)] = &[
    ("/event_store.client.streams.Streams/Read", "-+++"),
    ("/event_store.client.streams.Streams/Append", "-+++"),
    ("/event_store.client.streams.Streams/BatchAppend", "-+++"),
    ("/event_store.client.streams.Streams/Delete", "-+++"),
    ("/event_store.client.streams.Streams/Tombstone", "-+++"),
    ("/kurrentdb.protocol.v2.streams.StreamsService/AppendSession", "-+++"),
    ("/kurrentdb.protocol.v2.streams.StreamsService/AppendRecords", "-+++"),
    ("/event_store.client.persistent_subscriptions.PersistentSubscriptions/Create", "--++"),
    ("/event_store.client.persistent_subscriptions.PersistentSubscriptions/Update", "--++"),
    ("/event_store.client.persistent_subscriptions.PersistentSubscriptions/Delete", "--++"),
    ("/event_store.client.persistent_subscriptions.PersistentSubscriptions/Read", "-+++"),
    ("/event_store.client.persistent_subscriptions.PersistentSubscriptions/GetInfo", "-+++"),
    ("/event_store.client.persistent_subscriptions.PersistentSubscriptions/ReplayParked", "--++"),
    ("/event_store.client.persistent_subscriptions.PersistentSubscriptions/TruncateParked", "--++"),
    ("/event_store.client.persistent_subscriptions.PersistentSubscriptions/List", "-+++"),
    ("/event_store.client.persistent_subscriptions.PersistentSubscriptions/RestartSubsystem", "--++"),
    ("/event_store.client.projections.Projections/Create", "---+"),
    ("/event_store.client.projections.Projections/Update", "---+"),
    ("/event_store.client.projections.Projections/Delete", "---+"),
    ("/event_store.client.projections.Projections/Statistics", "--++"),
    ("/event_store.client.projections.Projections/Disable", "--++"),
    ("/event_store.client.projections.Projections/Enable", "--++"),
    ("/event_store.client.projections.Projections/Reset", "--++"),
    ("/event_store.client.projections.Projections/State", "---+"),
    ("/event_store.client.projections.Projections/Result", "---+"),
    ("/event_store.client.projections.Projections/RestartSubsystem", "--++"),
    ("/event_store.client.users.Users/Create", "---+"),
    ("/event_store.client.users.Users/Update", "---+"),
    ("/event_store.client.users.Users/Delete", "---+"),
    ("/event_store.client.users.Users/Disable", "---+"),
    ("/event_store.client.users.Users/Enable", "---+"),
    // Without a login these are about all users.
    ("/event_store.client.users.Users/Details", "---+"),
    ("/event_store.client.users.Users/ChangePassword", "-+++"),
    ("/event_store.client.users.Users/ResetPassword", "---+"),
    ("/event_store.client.operations.Operations/StartScavenge", "--++"),
    ("/event_store.client.operations.Operations/StopScavenge", "--++"),
    (SHUTDOWN, "--++"),
    ("/event_store.client.operations.Operations/MergeIndexes", "--++"),
    ("/event_store.client.operations.Operations/ResignNode", "--++"),
    ("/event_store.client.operations.Operations/SetNodePriority", "--++"),
    ("/event_store.client.operations.Operations/RestartPersistentSubscriptions", "--++"),
    ("/event_store.client.monitoring.Monitoring/Stats", "--++"),
    ("/gesta.client.appends.Appends/Find", "-+++"),
    ("/event_store.client.server_features.ServerFeatures/GetSupportedMethods", "++++"),
    ("/event_store.client.gossip.Gossip/Read", "++++"),
    ("/health/live", "++++"),
    ("/health/ready", "++++"),
    ("/ping", "++++"),
    ("/info", "++++"),
    ("/gossip", "++++"),
    ("/stats", "?-++"),
    ("/metrics", "?-++"),
];

#[test]
fn every_call_is_in_the_expected_table_and_nothing_else() {
    let mut calls: Vec<_> =
        EXPECTED.iter().map(|(path, _)| *path).filter(|path| is_call(path)).collect();
    let mut methods = METHODS.to_vec();
    calls.sort_unstable();
    methods.sort_unstable();
    assert_eq!(calls, methods);
}

#[tokio::test]
async fn each_caller_may_use_what_the_table_says() {
    let scene = Secured::start().await;
    let callers = callers(&scene).await;
    let channel = scene.channel().await;
    for (path, expected) in EXPECTED.iter().filter(|(path, _)| *path != SHUTDOWN) {
        let mut answers = String::new();
        for credentials in &callers {
            answers.push(match is_call(path) {
                true => call(channel.clone(), path, credentials).await,
                false => match scene.get(path, credentials).await.0 {
                    200..300 => '+',
                    401 => '?',
                    403 => '-',
                    other => panic!("{path}: {other}"),
                },
            });
        }
        assert_eq!(answers, *expected, "{path}");
    }
}

/// Each method for administration, with the same answers.
const ADMINISTRATION: &[(&str, &str, &str)] = &[
    ("GET", "/admin/scavenge", "?-++"),
    ("POST", "/admin/scavenge", "?-++"),
    ("GET", "/admin/scavenge/1", "?-++"),
    ("DELETE", "/admin/scavenge/1", "?-++"),
    // The last one, because it ends the server.
    ("POST", "/admin/shutdown", "?-+"),
];

#[tokio::test]
async fn operators_alone_scavenge_and_end_the_server_over_http() {
    let scene = Secured::start().await;
    let callers = callers(&scene).await;
    for (method, path, expected) in ADMINISTRATION {
        let mut answers = String::new();
        for credentials in callers.iter().take(expected.len()) {
            answers.push(match scene.ask(method, path, credentials).await.0 {
                401 => '?',
                403 => '-',
                // There is no such scavenge, and a store in memory has none.
                202 | 404 | 501 => '+',
                other => panic!("{method} {path}: {other}"),
            });
        }
        assert_eq!(answers, *expected, "{method} {path}");
    }
    scene.ended().await;
}

#[tokio::test]
async fn operators_alone_end_the_server() {
    for (ordinal, expected) in "--++".chars().enumerate() {
        let scene = Secured::start().await;
        let caller = &callers(&scene).await[ordinal];
        assert_eq!(call(scene.channel().await, SHUTDOWN, caller).await, expected);
        if expected == '+' {
            scene.ended().await;
        }
    }
}

/// A caller without credentials, a user, a member of `$ops` and one of `$admins`.
async fn callers(scene: &Secured) -> [Credentials; 4] {
    scene.create_user("ann", &[]).await;
    [
        Credentials::default(),
        basic("ann", "changeit"),
        basic("ops", scene.passwords.ops()),
        basic("admin", scene.passwords.admin()),
    ]
}

#[tokio::test]
async fn a_path_outside_of_the_table_is_refused() {
    let scene = Secured::start().await;
    let admin = basic("admin", scene.passwords.admin());
    let (status, body) = scene.get("/streams/order-1", &admin).await;
    assert_eq!(status, 404);
    assert!(body.contains("AtomPub"), "{body}");
    // A call that does not say that it is gRPC could come from a web page.
    let call = "/event_store.client.streams.Streams/Read";
    assert_eq!(scene.get(call, &admin).await.0, 404);
}

fn is_call(path: &str) -> bool {
    ["/event_store.", "/kurrentdb.", "/gesta."].iter().any(|package| path.starts_with(package))
}

/// Sends an empty message, which the service refuses once the call was granted.
async fn call(
    channel: tonic::transport::Channel,
    path: &'static str,
    credentials: &Credentials,
) -> char {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let mut request = Request::new(Empty {});
    if let Some(value) = &credentials.0 {
        request.metadata_mut().insert("authorization", value.clone());
    }
    let codec = tonic_prost::ProstCodec::<Empty, Empty>::default();
    let path = tonic::codegen::http::uri::PathAndQuery::from_static(path);
    match client.unary(request, path, codec).await.map_err(|status| status.code()) {
        Err(Code::Unauthenticated) => '?',
        Err(Code::PermissionDenied) => '-',
        Ok(_) | Err(Code::InvalidArgument | Code::Internal | Code::FailedPrecondition) => '+',
        Err(other) => panic!("{other}"),
    }
}
