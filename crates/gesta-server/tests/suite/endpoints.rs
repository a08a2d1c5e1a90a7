//! The calls that clients begin with, and the HTTP endpoints on the same port.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
};

use gossip::{gossip_client::GossipClient, member_info::VNodeState};
use server_features::server_features_client::ServerFeaturesClient;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::Code;

use crate::{client::*, native::http_client::Api, scene::Scene};

/// Sends a request by HTTP/1.1 and returns status and body.
pub(crate) async fn get(scene: &Scene, path: &str, headers: &str) -> (u16, String) {
    get_at(scene.address, path, headers).await
}

/// The same of a server at an address.
pub(crate) async fn get_at(address: SocketAddr, path: &str, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\n{headers}connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    let status = response.split(' ').nth(1).unwrap().parse().unwrap();
    let body = response.split_once("\r\n\r\n").unwrap().1.to_owned();
    (status, body)
}

pub(crate) const LOCAL: &str = "host: localhost:2113\r\n";

#[tokio::test]
async fn the_calls_of_the_server_are_listed_in_lower_case() {
    let scene = Scene::of_memory().await;
    let mut client = ServerFeaturesClient::new(scene.channel().await);
    let supported = client.get_supported_methods(Empty {}).await.unwrap().into_inner();
    assert_eq!(supported.event_store_server_version.split('.').count(), 3);
    let batch = supported.methods.iter().find(|method| method.method_name == "batchappend");
    let batch = batch.expect("appends in batches are advertised");
    assert_eq!(batch.service_name, "event_store.client.streams.streams");
    assert_eq!(batch.features, ["deadline_duration"]);
    let users = supported.methods.iter().any(|one| one.service_name.contains("users"));
    assert!(!users, "what does not work is not listed");
}

#[tokio::test]
async fn the_only_member_is_a_leader_at_the_address_that_the_client_uses() {
    let scene = Scene::of_memory().await;
    let mut client = GossipClient::new(scene.channel().await);
    let cluster = client.read(Empty {}).await.unwrap().into_inner();
    let [member] = cluster.members.as_slice() else { panic!("{cluster:?}") };
    assert_eq!(member.state(), VNodeState::Leader);
    assert!(member.is_alive);
    let end_point = member.http_end_point.as_ref().unwrap();
    assert_eq!(end_point.address, scene.address.ip().to_string());
    assert_eq!(end_point.port, u32::from(scene.address.port()));
}

#[tokio::test]
async fn a_call_that_the_server_lacks_is_unimplemented() {
    let scene = Scene::of_memory().await;
    let mut client = tonic::client::Grpc::new(scene.channel().await);
    client.ready().await.unwrap();
    let path = "/kurrentdb.protocol.v2.indexes.IndexesService/ListIndexes".parse().unwrap();
    let codec = tonic_prost::ProstCodec::<Empty, Empty>::default();
    let refused = client.unary(tonic::Request::new(Empty {}), path, codec).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented, "{refused}");
}

#[tokio::test]
async fn health_and_figures_answer_on_the_same_port() {
    let scene = Scene::of_memory().await;
    let mut client = scene.client().await;
    grow(&mut client, "order-1", 0..3).await;
    Read::all().run(&mut client).await.unwrap();
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(get(&scene, path, LOCAL).await.0, 204, "{path}");
    }
    for path in ["/ping", "/info", "/gossip", "/stats"] {
        let (status, body) = get(&scene, path, LOCAL).await;
        assert_eq!(status, 200, "{path}");
        serde_json::from_str::<serde_json::Value>(&body).unwrap();
    }
    let (_, metrics) = get(&scene, "/metrics", LOCAL).await;
    for line in [
        "gesta_server_events_appended_total 3",
        "gesta_server_events_read_total 3",
        "gesta_server_head_position 3",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}:\n{metrics}");
    }
}

#[tokio::test]
async fn a_subscription_whose_client_left_is_not_counted_as_open() {
    let scene = Scene::of_memory().await;
    let mut client = scene.client().await;
    let mut messages = Read::all().subscribing().open(&mut client).await.unwrap();
    messages.confirmed().await;
    let open = async |number: u64| {
        let line = format!("gesta_server_subscriptions_open {number}");
        // The server learns of the end by a message of its own.
        while !get(&scene, "/metrics", LOCAL).await.1.lines().any(|found| found == line) {}
    };
    open(1).await;
    drop(messages);
    tokio::time::timeout(PATIENCE, open(0)).await.expect("the subscription ends");
}

#[tokio::test]
async fn the_old_interface_is_refused_with_the_reason() {
    let scene = Scene::of_memory().await;
    let (status, body) = get(&scene, "/streams/order-1", LOCAL).await;
    assert_eq!(status, 404);
    assert!(body.contains("AtomPub"), "{body}");
}

#[tokio::test]
async fn a_web_page_reaches_neither_endpoints_by_a_foreign_name_nor_grpc() {
    let scene = Scene::of_memory().await;
    assert_eq!(get(&scene, "/stats", "host: evil.example\r\n").await.0, 403);
    let two_hosts = format!("{LOCAL}host: evil.example\r\n");
    assert_eq!(get(&scene, "/stats", &two_hosts).await.0, 403);
    assert_eq!(get(&scene, "http://evil.example/stats", LOCAL).await.0, 403);
    assert_eq!(get(&scene, "http://localhost:2113/stats", LOCAL).await.0, 200);
    let grpc = format!("{LOCAL}content-type: application/grpc\r\n");
    let path = "/event_store.client.streams.Streams/Read";
    assert_eq!(get(&scene, path, &grpc).await.0, 505);
}

#[tokio::test]
async fn a_public_address_is_refused_with_the_reason() {
    let refused = gesta_server::Server::bind_loopback("0.0.0.0:0".parse().unwrap()).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("neither TLS nor users"), "{refused}");
}

#[tokio::test]
async fn a_full_server_refuses_calls_with_the_reason_and_shows_its_figures() {
    let mut scene = Scene::of_memory().await;
    scene.restart_with_at_most(1).await;
    let mut first = scene.client().await;
    assert_eq!(grow(&mut first, "order-1", [1]).await, 0);

    let mut second = scene.client().await;
    let refused = Read::all().run(&mut second).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().starts_with("all 1 connections"), "{refused}");
    let (status, text) = get(&scene, "/nothing", LOCAL).await;
    assert_eq!((status, text.starts_with("all 1 connections")), (503, true), "{text}");
    let native = Api::of(&scene).get("/v1/head").await;
    let problem = native.refused(503, "overloaded");
    assert!(problem["detail"].as_str().unwrap().starts_with("all 1 connections"), "{problem}");
    assert_eq!(native.header("retry-after"), Some("1"));
    let (status, figures) = get(&scene, "/metrics", LOCAL).await;
    assert_eq!(status, 200);
    for line in ["gesta_server_connections_max 1\n", "gesta_server_connections_refused_total 4\n"] {
        assert!(figures.contains(line), "{line}{figures}");
    }
    assert_eq!(grow(&mut first, "order-1", [2]).await, 1, "others are served");
}

/// Checks a text by the rules of Prometheus' text format, and returns the names of its samples.
fn checked_metrics(text: &str) -> HashSet<&str> {
    let (mut described, mut kinds, mut samples) = (HashSet::new(), HashMap::new(), HashSet::new());
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(described.insert(name) && help.ends_with('.'), "{line}");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(described.contains(name) && kinds.insert(name, kind).is_none(), "{line}");
            assert!(matches!(kind, "counter" | "gauge"), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let name = sample.split('{').next().unwrap();
            let is_part = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            assert!(name.bytes().all(is_part) && kinds.contains_key(name), "{line}");
            assert!(samples.insert(name), "{line}");
            value.parse::<f64>().unwrap();
        }
    }
    assert_eq!(samples.len(), kinds.len(), "each figure has a sample");
    samples
}

#[tokio::test]
async fn figures_are_in_the_format_of_prometheus_with_memory_and_versions() {
    let scene = Scene::of_memory().await;
    let (_, text) = get(&scene, "/metrics", LOCAL).await;
    let samples = checked_metrics(&text);
    for name in ["resident_memory_bytes", "connections_open", "uptime_seconds", "build_info"] {
        assert!(samples.contains(format!("gesta_server_{name}").as_str()), "{name}:\n{text}");
    }
    let version = "gesta_server_build_info{version=\"";
    assert!(text.lines().any(|line| line.starts_with(version) && line.ends_with(" 1")), "{text}");
}
