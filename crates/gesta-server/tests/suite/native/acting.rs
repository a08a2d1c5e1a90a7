//! Changes over HTTP of what the server does: groups, projections and users.

use serde_json::{Value, json};

use super::http_client::{Answer, Api};
use crate::{
    client::{PATIENCE, groups::read_req::nack::Action},
    group_client::{GroupClient, GroupConsumer, info, info_when, of_stream, place, settings},
    scene::{Scene, scenarios},
    secured::{Secured, basic},
};

scenarios!(
    parked_events_are_replayed_and_discarded,
    a_deleted_group_is_gone,
    a_group_is_made_and_changed_setting_by_setting,
    a_group_that_cannot_be_used_is_refused,
    a_projection_is_made_changed_stopped_begun_again_and_deleted,
    a_wrong_change_says_what_is_wrong,
    an_insecure_server_has_no_users,
);

const MAIL: (&str, &str) = ("order-1", "mail");
const COUNT: &str = "fromStream('order-1').when({ $init: () => ({ n: 0 }), \
                     a(s) { s.n += 1 } })";
const COUNT_TWICE: &str = "fromStream('order-1').when({ $init: () => ({ n: 0 }), \
                           a(s) { s.n += 2 } })";

impl Api {
    async fn post(self, path: &str) -> Answer {
        self.send(&format!("POST {path}"), "", b"").await
    }

    /// Makes a change that succeeds.
    async fn change(self, line: &str, body: &Value) {
        let answer = match body {
            Value::Null => self.send(line, "", b"").await,
            body => self.json(line, body).await,
        };
        assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{line}: {answer:?}");
    }

    /// Waits for a state of the projection `count`.
    async fn counts_to(self, n: u64) {
        let reached = tokio::time::timeout(PATIENCE, async {
            loop {
                let answer = self.get("/v1/projections/count/state").await.done();
                if answer["state"]["n"] == n {
                    return answer;
                }
                tokio::task::yield_now().await;
            }
        });
        let answer = reached.await.unwrap_or_else(|_| panic!("the count gets to {n} in time"));
        assert_eq!(answer, json!({ "partition": "", "state": { "n": n }, "result": { "n": n } }));
    }

    async fn status_of_count(self) -> Value {
        let listed = self.get("/v1/projections").await.done();
        let projections = listed["projections"].as_array().unwrap();
        let count = projections.iter().find(|one| one["name"] == "count");
        count.map_or(Value::Null, |count| count["status"].clone())
    }
}

/// Makes a group that has parked the first two events of its stream.
async fn park_two(scene: &Scene) -> GroupClient {
    let api = Api::of(scene);
    for _ in 0..2 {
        api.grow(MAIL.0, "a", &[]).await;
    }
    let mut groups = scene.groups().await;
    groups.create(of_stream(MAIL.0, MAIL.1, settings())).await.unwrap();
    let mut consumer = GroupConsumer::connect(&mut groups, MAIL, 10).await.unwrap();
    for number in 1..=2 {
        let event = consumer.next().await;
        consumer.nack(&event, Action::Park).await;
        // One after the other, so that their order is known.
        info_when(&mut groups, MAIL, |info| info.parked_message_count == number).await;
    }
    groups
}

async fn parked_events_are_replayed_and_discarded(scene: Scene) {
    let mut groups = park_two(&scene).await;
    let api = Api::of(&scene);
    api.change("POST /v1/groups/order-1/mail/replay-parked?stopAt=1", &Value::Null).await;
    let mut consumer = GroupConsumer::connect(&mut groups, MAIL, 10).await.unwrap();
    let event = consumer.next().await;
    assert_eq!(place(&event), "0@order-1");
    consumer.ack(&[&event]).await;
    info_when(&mut groups, MAIL, |info| info.parked_message_count == 1).await;
    api.change("POST /v1/groups/order-1/mail/truncate-parked", &Value::Null).await;
    info_when(&mut groups, MAIL, |info| info.parked_message_count == 0).await;
    let listed = api.get("/v1/groups").await.done();
    assert_eq!(listed["groups"][0]["parked"], 0);
}

async fn a_deleted_group_is_gone(scene: Scene) {
    let mut groups = park_two(&scene).await;
    let api = Api::of(&scene);
    api.change("DELETE /v1/groups/order-1/mail", &Value::Null).await;
    assert!(info(&mut groups, MAIL.0, MAIL.1).await.is_err());
    assert_eq!(api.get("/v1/groups").await.done(), json!({ "groups": [] }));
    for path in ["/v1/groups/order-1/mail/replay-parked", "/v1/groups/$all/mail/truncate-parked"] {
        api.post(path).await.refused(404, "not-found");
    }
}

async fn a_group_is_made_and_changed_setting_by_setting(scene: Scene) {
    let api = Api::of(&scene);
    api.grow(MAIL.0, "a", &[]).await;
    let settings = json!({ "startFrom": "start", "strategy": "Pinned" });
    let body = json!({ "source": MAIL.0, "name": MAIL.1, "settings": settings });
    api.change("POST /v1/groups", &body).await;
    api.json("POST /v1/groups", &body).await.refused(409, "exists-already");
    let change = json!({ "maxRetryCount": 3, "strategy": "PinnedByCorrelation" });
    api.change("PUT /v1/groups/order-1/mail", &change).await;
    let listed = api.get("/v1/groups").await.done();
    let group = &listed["groups"][0];
    let kept = &group["settings"];
    assert_eq!((&kept["startFrom"], &kept["maxRetryCount"]), (&json!("start"), &json!(3)));
    assert_eq!((&kept["strategy"], &kept["readBatchSize"]), (&change["strategy"], &json!(20)));
    assert_eq!(group["filter"], Value::Null);
    // It delivers what was there before it.
    let mut groups = scene.groups().await;
    let mut consumer = GroupConsumer::connect(&mut groups, MAIL, 10).await.unwrap();
    assert_eq!(place(&consumer.next().await), "0@order-1");
    let filter = json!({ "on": "eventType", "regex": "^a$" });
    let of_all = json!({ "source": "$all", "name": "all", "filter": filter });
    api.change("POST /v1/groups", &of_all).await;
    let listed = api.get("/v1/groups").await.done();
    let filter = json!({ "on": "eventType", "regex": "^a$", "prefixes": [] });
    assert_eq!(listed["groups"][0]["filter"], filter, "{listed}");
}

async fn a_group_that_cannot_be_used_is_refused(scene: Scene) {
    let api = Api::of(&scene);
    let post = async |body: &Value| api.json("POST /v1/groups", body).await.refused(400, "invalid");
    let with = |name: &str, value: Value| {
        let mut body = json!({ "source": "order-1", "name": "mail" });
        body[name] = value;
        body
    };
    for (body, field) in [
        (json!({ "source": "order-1" }), "name"),
        (with("settings", json!({ "strategy": "Best" })), "strategy"),
        (with("settings", json!({ "readBatchSize": 600 })), "readBatchSize"),
        (with("settings", json!([])), "settings"),
        (with("filter", json!({ "on": "stream" })), "filter"),
        (with("filter", json!({ "on": "stream", "regex": "(" })), "filter"),
    ] {
        assert_eq!(post(&body).await["field"], field, "{body}");
    }
    let filtered = with("filter", json!({ "on": "stream", "prefixes": ["a"] }));
    let detail = "a group of one stream has no filter: only one of `$all` has";
    assert_eq!(post(&filtered).await["detail"], detail);
    post(&with("name", "".into())).await;
    let none = "PUT /v1/groups/order-1/none";
    api.json(none, &json!({})).await.refused(404, "not-found");
    assert_eq!(api.get("/v1/groups").await.done(), json!({ "groups": [] }));
}

async fn a_projection_is_made_changed_stopped_begun_again_and_deleted(scene: Scene) {
    let api = Api::of(&scene);
    for _ in 0..2 {
        api.grow("order-1", "a", &[]).await;
    }
    let body = json!({ "name": "count", "query": COUNT });
    api.change("POST /v1/projections", &body).await;
    api.counts_to(2).await;
    api.json("POST /v1/projections", &body).await.refused(409, "exists-already");
    api.change("PUT /v1/projections/count", &json!({ "query": COUNT_TWICE })).await;
    api.grow("order-1", "a", &[]).await;
    api.counts_to(4).await;
    let running = api.delete("/v1/projections/count").await.refused(409, "not-now");
    let detail = "the projection `count` is running; disable it before you delete it";
    assert_eq!(running["detail"], detail);
    api.change("POST /v1/projections/count/disable", &Value::Null).await;
    assert_eq!(api.status_of_count().await, "Stopped");
    api.change("POST /v1/projections/count/reset", &Value::Null).await;
    api.change("POST /v1/projections/count/enable", &Value::Null).await;
    api.counts_to(6).await;
    api.change("POST /v1/projections/count/disable?abort=true", &Value::Null).await;
    assert_eq!(api.status_of_count().await, "Aborted/Stopped");
    api.change("DELETE /v1/projections/count?checkpoints=true&emittedStreams=true", &Value::Null)
        .await;
    assert_eq!(api.status_of_count().await, Value::Null);
    api.get("/v1/projections/count/state").await.refused(404, "not-found");
}

async fn a_wrong_change_says_what_is_wrong(scene: Scene) {
    let api = Api::of(&scene);
    let transient = json!({ "name": "t", "query": COUNT, "mode": "transient", "emits": true });
    let refused = api.json("POST /v1/projections", &transient).await.refused(400, "invalid");
    assert_eq!(refused["field"], "mode");
    let tracks = json!({ "name": "t", "query": COUNT, "tracksStreams": true });
    let refused = api.json("POST /v1/projections", &tracks).await.refused(400, "invalid");
    assert_eq!(refused["detail"], "`track_emitted_streams` needs `emit_enabled`");
    let unnamed = json!({ "query": COUNT });
    let refused = api.json("POST /v1/projections", &unnamed).await.refused(400, "invalid");
    assert_eq!(refused["field"], "name");
    let unknown = json!({ "query": COUNT });
    api.json("PUT /v1/projections/none", &unknown).await.refused(404, "not-found");
    api.json("PUT /v1/projections/$streams", &unknown).await.refused(409, "not-now");
    let long = format!("/v1/projections/none/reset?reason={}", "r".repeat(1_001));
    assert_eq!(api.post(&long).await.refused(400, "invalid")["field"], "reason");
    let odd = "/v1/groups/order-1/mail/replay-parked?stopAt=-1";
    assert_eq!(api.post(odd).await.refused(400, "invalid")["field"], "stopAt");
}

async fn an_insecure_server_has_no_users(scene: Scene) {
    let api = Api::of(&scene);
    let body = json!({ "login": "ann", "password": "a long secret" });
    api.json("POST /v1/users", &body).await.refused(409, "no-users");
    api.get("/v1/users").await.refused(409, "no-users");
    api.post("/v1/users/ann/disable").await.refused(409, "no-users");
}

#[tokio::test]
async fn users_are_made_changed_disabled_and_deleted() {
    let scene = Secured::start().await;
    let admin = basic("admin", scene.passwords.admin());
    let nothing = Value::Null;
    let change = async |line: &str, body: &Value| {
        let answer = scene.send(line, &admin, body).await;
        assert_eq!(answer.status, 204, "{line}: {answer:?}");
    };
    let ann = json!({ "login": "ann", "fullName": "Ann", "password": "a long secret" });
    change("POST /v1/users", &ann).await;
    scene.send("POST /v1/users", &admin, &ann).await.refused(409, "exists-already");
    let own = basic("ann", "a long secret");
    let shown = scene.send("GET /v1/users/ann", &own, &nothing).await.done();
    assert_eq!((&shown["fullName"], &shown["groups"]), (&json!("Ann"), &json!([])));
    change("PUT /v1/users/ann", &json!({ "fullName": "Ann Miller", "groups": ["$ops"] })).await;
    let wrong = json!({ "currentPassword": "wrong", "password": "another secret" });
    scene.send("POST /v1/users/ann/change-password", &own, &wrong).await.refused(403, "denied");
    let right = json!({ "currentPassword": "a long secret", "password": "another secret" });
    assert_eq!(scene.send("POST /v1/users/ann/change-password", &own, &right).await.status, 204);
    let own = basic("ann", "another secret");
    scene.send("GET /v1/users/ann", &own, &nothing).await.done();
    change("POST /v1/users/ann/reset-password", &json!({ "password": "a third secret" })).await;
    let own = basic("ann", "a third secret");
    change("POST /v1/users/ann/disable", &nothing).await;
    scene.send("GET /v1/head", &own, &nothing).await.refused(401, "unauthenticated");
    change("POST /v1/users/ann/enable", &nothing).await;
    scene.send("GET /v1/head", &own, &nothing).await.done();
    let listed = scene.send("GET /v1/users", &admin, &nothing).await.done();
    let logins: Vec<_> =
        listed["users"].as_array().unwrap().iter().map(|one| &one["login"]).collect();
    assert_eq!(logins, ["admin", "ann", "ops"]);
    assert!(!listed.to_string().contains("argon2"), "{listed}");
    change("DELETE /v1/users/ann", &nothing).await;
    scene.send("GET /v1/users/ann", &admin, &nothing).await.refused(404, "not-found");
    scene.send("DELETE /v1/users/admin", &admin, &nothing).await.refused(409, "not-now");
}

#[tokio::test]
async fn each_change_is_recorded_with_who_made_it_and_why() {
    let scene = Secured::start().await;
    let admin = basic("admin", scene.passwords.admin());
    let event = json!({ "stream": "order-1", "events": [{ "type": "a" }] });
    let append = json!({ "streams": [event] });
    scene.send("POST /v1/append", &admin, &append).await.done();
    let body = json!({ "name": "count", "query": COUNT });
    let ann = json!({ "login": "ann", "password": "a long secret" });
    for (line, body) in [
        ("POST /v1/projections?reason=asked%20by%20sales", &body),
        ("POST /v1/projections/count/disable", &Value::Null),
        ("POST /v1/groups/order-1/none/replay-parked?reason=mended", &Value::Null),
        ("POST /v1/users?reason=new", &ann),
        ("POST /v1/append?reason=mended", &append),
        ("DELETE /v1/streams/order-1?reason=a%20test", &Value::Null),
        ("DELETE /v1/streams/order-1", &Value::Null),
    ] {
        scene.send(line, &admin, body).await;
    }
    let audit = scene.send("GET /v1/streams/$audit", &admin, &Value::Null).await.done();
    let records: Vec<_> = audit["events"].as_array().unwrap()[1..]
        .iter()
        .map(|event| (event["type"].as_str().unwrap(), event["data"].clone()))
        .collect();
    let by = |mut record: Value| {
        record["by"] = "admin".into();
        record["from"] = "127.0.0.1".into();
        record
    };
    let expected = [
        (
            "$call",
            json!({ "operation": "create projections",
            "path": "/v1/projections", "projection": "count",
            "reason": "asked by sales", "outcome": "done" }),
        ),
        (
            "$call",
            json!({ "operation": "disable projections",
            "path": "/v1/projections/{projection}/disable", "projection": "count",
            "outcome": "done" }),
        ),
        (
            "$call",
            json!({ "operation": "replay parked events of consumer groups",
            "path": "/v1/groups/{source}/{group}/replay-parked",
            "group": "order-1::none", "reason": "mended", "outcome": "refused: 404 Not Found" }),
        ),
        ("$user-created", json!({ "user": "ann", "groups": [], "reason": "new" })),
        (
            "$call",
            json!({ "operation": "append to streams", "path": "/v1/append",
            "stream": "order-1", "reason": "mended", "outcome": "done" }),
        ),
        (
            "$call",
            json!({ "operation": "delete streams",
            "path": "/v1/streams/{stream}", "stream": "order-1",
            "reason": "a test", "outcome": "done" }),
        ),
    ];
    let expected: Vec<_> = expected.into_iter().map(|(act, record)| (act, by(record))).collect();
    assert_eq!(records, expected);
}
