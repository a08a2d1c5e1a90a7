//! Rights over HTTP: the table cell by cell, and the lists of streams.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::http_client::{Answer, JSON, send_over};
use crate::{
    client::Credentials,
    secured::{Secured, basic},
};

/// Each method and path with an example and the answers to a caller without credentials, a user, a
/// member of `$ops` and one of `$admins`: `?` asks for a user, `-` denies, `+` grants.
#[rustfmt::skip]
const EXPECTED: &[(&str, &str, &str)] = &[
    ("POST /v1/append", "/v1/append", "?+++"),
    ("GET /v1/streams", "/v1/streams", "?--+"),
    ("GET /v1/categories", "/v1/categories", "?--+"),
    ("GET /v1/streams/{stream}", "/v1/streams/order-1", "?+++"),
    ("DELETE /v1/streams/{stream}", "/v1/streams/order-2", "?+++"),
    ("GET /v1/streams/{stream}/metadata", "/v1/streams/order-1/metadata", "?+++"),
    ("PUT /v1/streams/{stream}/metadata", "/v1/streams/order-1/metadata", "?+++"),
    ("GET /v1/streams/{stream}/subscribe", "/v1/streams/order-1/subscribe?after=99", "?+++"),
    ("GET /v1/all", "/v1/all", "?--+"),
    ("POST /v1/query", "/v1/query", "?--+"),
    ("GET /v1/subscribe", "/v1/subscribe?after=99", "?--+"),
    ("GET /v1/socket", "/v1/socket", "?+++"),
    ("GET /v1/events/{id}", "/v1/events/0190a0de-7f51-7c9f-8b6b-111111111111", "?+++"),
    ("GET /v1/appends/{id}", "/v1/appends/0190a0de-7f51-7c9f-8b6b-111111111111", "?+++"),
    ("GET /v1/head", "/v1/head", "?+++"),
    ("GET /v1/store", "/v1/store", "?+++"),
    ("GET /v1/server", "/v1/server", "?+++"),
    ("GET /v1/counts", "/v1/counts", "?--+"),
    ("GET /v1/config", "/v1/config", "?-++"),
    ("GET /v1/scavenge", "/v1/scavenge", "?-++"),
    ("POST /v1/scavenge", "/v1/scavenge", "?-++"),
    ("DELETE /v1/scavenge/{id}", "/v1/scavenge/0190a0de-7f51-7c9f-8b6b-111111111111", "?-++"),
    ("GET /v1/verify", "/v1/verify", "?-++"),
    ("POST /v1/verify", "/v1/verify", "?-++"),
    ("DELETE /v1/verify/{id}", "/v1/verify/0190a0de-7f51-7c9f-8b6b-111111111111", "?-++"),
    ("GET /v1/backup", "/v1/backup", "?-++"),
    ("POST /v1/backup", "/v1/backup?name=monday", "?-++"),
    ("DELETE /v1/backup/{id}", "/v1/backup/0190a0de-7f51-7c9f-8b6b-111111111111", "?-++"),
    ("GET /v1/groups", "/v1/groups", "?+++"),
    ("POST /v1/groups", "/v1/groups", "?-++"),
    ("PUT /v1/groups/{source}/{group}", "/v1/groups/order-1/mail", "?-++"),
    ("DELETE /v1/groups/{source}/{group}", "/v1/groups/order-1/mail", "?-++"),
    ("POST /v1/groups/{source}/{group}/replay-parked", "/v1/groups/order-1/mail/replay-parked", "?-++"),
    ("POST /v1/groups/{source}/{group}/truncate-parked", "/v1/groups/$all/mail/truncate-parked", "?-++"),
    ("GET /v1/projections", "/v1/projections", "?-++"),
    ("POST /v1/projections", "/v1/projections", "?--+"),
    ("PUT /v1/projections/{projection}", "/v1/projections/one", "?--+"),
    ("DELETE /v1/projections/{projection}", "/v1/projections/one", "?--+"),
    ("POST /v1/projections/{projection}/enable", "/v1/projections/one/enable", "?-++"),
    ("POST /v1/projections/{projection}/disable", "/v1/projections/one/disable", "?-++"),
    ("POST /v1/projections/{projection}/reset", "/v1/projections/one/reset", "?-++"),
    ("GET /v1/projections/{projection}/state", "/v1/projections/one/state", "?--+"),
    ("GET /v1/users", "/v1/users", "?--+"),
    ("POST /v1/users", "/v1/users", "?--+"),
    ("GET /v1/users/{login}", "/v1/users/ann", "?+-+"),
    ("PUT /v1/users/{login}", "/v1/users/none", "?--+"),
    ("DELETE /v1/users/{login}", "/v1/users/none", "?--+"),
    ("POST /v1/users/{login}/enable", "/v1/users/none/enable", "?--+"),
    ("POST /v1/users/{login}/disable", "/v1/users/none/disable", "?--+"),
    ("POST /v1/users/{login}/change-password", "/v1/users/none/change-password", "?--+"),
    ("POST /v1/users/{login}/reset-password", "/v1/users/none/reset-password", "?--+"),
    ("GET /v1/openapi.json", "/v1/openapi.json", "++++"),
    ("GET /v1/docs", "/v1/docs", "++++"),
];

const HOST: &str = "host: events.example\r\n";

impl Secured {
    pub(crate) async fn send(&self, line: &str, who: &Credentials, body: &Value) -> Answer {
        let stream = self.connect(b"http/1.1", None).await.unwrap();
        let authorization = who.0.as_ref().map_or_else(String::new, |value| {
            format!("authorization: {}\r\n", value.to_str().unwrap())
        });
        let headers = format!("{HOST}{authorization}{JSON}");
        send_over(stream, line, &headers, body.to_string().as_bytes()).await
    }
}

fn body_for(pattern: &str) -> Value {
    match pattern {
        "POST /v1/append" => {
            json!({ "streams": [{ "stream": "order-1", "events": [{ "type": "a" }] }] })
        }
        "POST /v1/query" => json!({ "items": [{ "types": ["a"] }] }),
        "PUT /v1/streams/{stream}/metadata" => json!({ "metadata": {} }),
        "POST /v1/users/{login}/change-password" => {
            json!({ "currentPassword": "a long secret", "password": "a longer secret" })
        }
        _ => Value::Null,
    }
}

#[tokio::test]
async fn each_caller_may_use_what_the_table_says() {
    let scene = Secured::start().await;
    scene.create_user("ann", &[]).await;
    let callers = [
        Credentials::default(),
        basic("ann", "changeit"),
        basic("ops", scene.passwords.ops()),
        basic("admin", scene.passwords.admin()),
    ];
    for (pattern, path, expected) in EXPECTED {
        let (method, _) = pattern.split_once(' ').unwrap();
        let mut answers = String::new();
        for caller in &callers {
            let answer = scene.send(&format!("{method} {path}"), caller, &body_for(pattern)).await;
            answers.push(match answer.status {
                401 => '?',
                403 => '-',
                _ => '+',
            });
        }
        assert_eq!(answers, *expected, "{pattern}");
    }
}

#[tokio::test]
async fn a_caller_learns_what_they_may_use() {
    let scene = Secured::start().await;
    scene.create_user("ann", &[]).await;
    let callers = [
        basic("ann", "changeit"),
        basic("ops", scene.passwords.ops()),
        basic("admin", scene.passwords.admin()),
    ];
    for (at, caller) in callers.iter().enumerate() {
        let server = scene.send("GET /v1/server", caller, &Value::Null).await.done();
        let told = server["operations"].as_array().unwrap().iter();
        let told: BTreeSet<_> = told.map(|one| one.as_str().unwrap()).collect();
        for (pattern, _, expected) in EXPECTED {
            let is_granted = &expected[at + 1..at + 2] == "+";
            // The right to a stream, and whose user it is, are decided by the request.
            let is_told = told.contains(pattern);
            assert!(is_told || !is_granted, "{pattern} is missing: {told:?}");
            let by_user = pattern.contains("groups") || pattern.contains("projections");
            assert!(!by_user || is_told == is_granted, "{pattern}: {is_told}");
        }
    }
}

#[tokio::test]
async fn a_stream_tells_the_rights_to_it() {
    let scene = Secured::start().await;
    scene.create_user("ann", &[]).await;
    let (ann, admin) = (basic("ann", "changeit"), basic("admin", scene.passwords.admin()));
    let metadata = json!({ "metadata": { "$acl": { "$w": "ann", "$d": [], "$mw": [] } } });
    scene.send("PUT /v1/streams/order-1/metadata", &admin, &metadata).await.done();
    for (who, stream, expected) in [
        (&ann, "order-1", json!(["read", "append", "read-metadata"])),
        (&ann, "order-2", json!(["read", "append", "delete", "read-metadata", "set-metadata"])),
        (&admin, "order-1", json!(["read", "append", "delete", "read-metadata", "set-metadata"])),
        (&admin, "$audit", json!(["read", "read-metadata"])),
    ] {
        let line = format!("GET /v1/streams/{stream}/metadata");
        let described = scene.send(&line, who, &Value::Null).await.done();
        assert_eq!(described["rights"], expected, "{stream}");
    }
}

#[tokio::test]
async fn every_operation_of_the_document_is_in_the_expected_table() {
    let scene = Secured::start().await;
    let nobody = Credentials::default();
    let document = scene.send("GET /v1/openapi.json", &nobody, &Value::Null).await.done();
    let mut operations = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            operations.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    let expected = EXPECTED.iter().map(|(pattern, ..)| (*pattern).to_owned());
    assert_eq!(operations, expected.collect());
}

#[tokio::test]
async fn a_caller_without_a_user_is_asked_for_one_in_the_form_of_a_problem() {
    let scene = Secured::start().await;
    let nobody = Credentials::default();
    let asked = scene.send("GET /v1/head", &nobody, &Value::Null).await;
    assert!(asked.header("www-authenticate").is_some(), "{asked:?}");
    asked.refused(401, "unauthenticated");
    let wrong = basic("admin", "wrong");
    scene.send("GET /v1/head", &wrong, &Value::Null).await.refused(401, "unauthenticated");
    // A method or a path without a row does not reach a handler.
    scene.send("DELETE /v1/head", &nobody, &Value::Null).await.refused(405, "method-not-allowed");
    scene.send("GET /v1/nothing", &nobody, &Value::Null).await.refused(404, "no-such-route");
}

#[tokio::test]
async fn a_socket_is_opened_over_tls_for_users_only() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let scene = Secured::start().await;
    let handshake = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
        sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let admin = basic("admin", scene.passwords.admin());
    for (who, status) in [(Credentials::default(), "401"), (admin, "101")] {
        let mut stream = scene.connect(b"http/1.1", None).await.unwrap();
        let authorization = who.0.map_or_else(String::new, |value| {
            format!("authorization: {}\r\n", value.to_str().unwrap())
        });
        let head = format!("GET /v1/socket HTTP/1.1\r\n{HOST}{authorization}{handshake}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer[9..], status.as_bytes());
    }
}

#[tokio::test]
async fn lists_of_streams_hold_for_each_endpoint() {
    let scene = Secured::start().await;
    scene.create_user("ann", &[]).await;
    let (ann, admin) = (basic("ann", "changeit"), basic("admin", scene.passwords.admin()));
    let append = |stream: &str| {
        let id = "0190a0de-7f51-7c9f-8b6b-111111111111";
        json!({ "streams": [{ "stream": stream, "events": [{ "id": id, "type": "a" }] }] })
    };
    scene.send("POST /v1/append", &admin, &append("secret-1")).await.done();
    let list = json!({ "metadata": { "$acl": {
        "$r": "$admins", "$w": "$admins", "$d": "$admins", "$mr": "$admins", "$mw": "$admins",
    } } });
    scene.send("PUT /v1/streams/secret-1/metadata", &admin, &list).await.done();
    for (line, body) in [
        ("POST /v1/append", append("secret-1")),
        ("GET /v1/streams/secret-1", Value::Null),
        ("GET /v1/streams/secret-1/metadata", Value::Null),
        ("PUT /v1/streams/secret-1/metadata", json!({ "metadata": {} })),
        ("GET /v1/streams/secret-1/subscribe", Value::Null),
        ("DELETE /v1/streams/secret-1", Value::Null),
        ("GET /v1/streams/$audit", Value::Null),
        ("GET /v1/streams/$user-admin", Value::Null),
        ("GET /v1/streams/$ce-secret", Value::Null),
    ] {
        scene.send(line, &ann, &body).await.refused(403, "denied");
    }
    let check = json!({ "streams": [
        { "stream": "mine-1", "events": [{ "type": "a" }] },
        { "stream": "secret-1", "expected": 0 },
    ] });
    scene.send("POST /v1/append", &ann, &check).await.refused(403, "denied");
    // A condition tells of events in streams that the caller may not read.
    let condition = json!({
        "streams": [{ "stream": "mine-1", "events": [{ "type": "a" }] }],
        "condition": { "noneMatching": [{ "types": ["a"] }], "after": 0 },
    });
    scene.send("POST /v1/append", &ann, &condition).await.refused(403, "denied");
    let id = "/v1/events/0190a0de-7f51-7c9f-8b6b-111111111111";
    let by_id = scene.send(&format!("GET {id}"), &ann, &Value::Null).await;
    by_id.refused(404, "event-not-found");
    let append_id = id.replace("events", "appends");
    let by_id = scene.send(&format!("GET {append_id}"), &ann, &Value::Null).await;
    by_id.refused(404, "event-not-found");
    let by_id = scene.send(&format!("GET {append_id}"), &admin, &Value::Null).await.done();
    assert_eq!(by_id["streams"], json!([{ "stream": "secret-1", "revision": 0 }]));
    scene.send(&format!("GET {id}"), &admin, &Value::Null).await.done();
    scene.send("POST /v1/append", &ann, &append("mine-1")).await.done();
    let found = scene.send(&format!("GET {id}"), &ann, &Value::Null).await.done();
    assert_eq!(found["events"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_reader_of_the_whole_store_sees_of_the_systems_streams_what_they_may_read() {
    let scene = Secured::start().await;
    scene.create_user("ann", &[]).await;
    let (ann, admin) = (basic("ann", "changeit"), basic("admin", scene.passwords.admin()));
    let append = |stream: &str| json!({ "streams": [{ "stream": stream, "events": [{ "type": "a", "tags": ["t:1"] }] }] });
    for stream in ["order-1", "$board", "$secret"] {
        scene.send("POST /v1/append", &admin, &append(stream)).await.done();
    }
    let open = json!({ "metadata": { "$acl": { "$r": "ann" } } });
    for stream in ["$all", "$board", "$streams"] {
        let line = format!("PUT /v1/streams/{stream}/metadata");
        scene.send(&line, &admin, &open).await.done();
    }
    let closed = json!({ "metadata": { "$acl": { "$mr": "$admins" } } });
    scene.send("PUT /v1/streams/order-1/metadata", &admin, &closed).await.done();

    let query = json!({ "items": [{ "types": ["a"] }] });
    let streams = async |line: &str, who: &Credentials| {
        let page = scene.send(line, who, &query).await.done();
        assert_eq!(page["end"], true, "{page}");
        let names = page["events"].as_array().unwrap().iter();
        names.map(|event| event["stream"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    let all = streams("GET /v1/all?limit=1000", &admin).await;
    for name in ["$users", "$user-ann", "$audit", "$$$all", "$$order-1", "$secret"] {
        assert!(all.contains(name), "{name} is missing in {all:?}");
    }
    let seen = BTreeSet::from(["$board".to_owned(), "order-1".to_owned()]);
    for line in [
        "GET /v1/all?limit=1000",
        "GET /v1/all?direction=backwards&limit=1000",
        "GET /v1/all?typePattern=.&limit=1000",
        "GET /v1/all?streamPrefix=$&streamPrefix=order&limit=1000",
        "POST /v1/query",
    ] {
        assert_eq!(streams(line, &ann).await, seen, "{line}");
    }
    let only = "GET /v1/all?stream=$users&stream=$audit&stream=$$order-1&hidden=true";
    assert!(streams(only, &ann).await.is_empty());
    assert!(streams(only, &admin).await.len() >= 3);
    // A condition tells of no event that its sender does not see.
    let guarded = |types: &[&str]| {
        json!({
            "streams": [{ "stream": "mine-1", "events": [{ "type": "b" }] }],
            "condition": { "noneMatching": [{ "types": types }], "after": 0 },
        })
    };
    let oracle = guarded(&["b", "$user-created"]);
    scene.send("POST /v1/append", &ann, &oracle).await.refused(403, "denied");
    scene.send("POST /v1/append", &admin, &oracle).await.refused(409, "condition-failed");
    scene.send("POST /v1/append", &ann, &guarded(&["b"])).await.done();
    let names = async |line: &str, who: &Credentials| {
        let page = scene.send(line, who, &Value::Null).await.done();
        page["names"].clone()
    };
    assert_eq!(names("GET /v1/streams", &ann).await, json!(["mine-1", "order-1"]));
    for line in ["GET /v1/streams?prefix=$", "GET /v1/streams?prefix=$&limit=1"] {
        assert_eq!(names(line, &ann).await, json!(["$board"]), "{line}");
    }
    let names_of_users = names("GET /v1/streams?prefix=$user-", &admin).await;
    assert!(names_of_users.as_array().unwrap().contains(&json!("$user-ann")));

    let audit = scene.send("GET /v1/streams/$audit", &admin, &Value::Null).await.done();
    let changes = audit["events"].as_array().unwrap().iter();
    let changes = changes.filter(|event| event["type"] == "$rights-changed");
    assert_eq!(changes.count(), 4);
}
