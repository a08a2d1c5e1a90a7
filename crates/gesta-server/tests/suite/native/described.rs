//! The OpenAPI document, compared with the answers of a server, and the page.

use jsonschema::Validator;
use serde_json::{Value, json};

use super::http_client::{Answer, Api, JSON};
use crate::scene::{Scene, scenarios};

scenarios!(
    every_answer_is_as_the_document_describes_it,
    every_example_of_a_body_is_accepted,
    the_page_shows_every_path,
);

/// A schema within the document, which its references need.
fn validator(document: &Value, schema: &Value) -> Validator {
    let mut schema = schema.clone();
    schema["components"] = document["components"].clone();
    jsonschema::draft202012::new(&schema).unwrap()
}

fn check(document: &Value, pattern: &str, answer: &Answer) {
    let (method, path) = pattern.split_once(' ').unwrap();
    let operation = &document["paths"][path][method.to_lowercase()];
    let described = &operation["responses"][answer.status.to_string()];
    assert!(described.is_object(), "{pattern}: {} is not described: {answer:?}", answer.status);
    if answer.status == 204 {
        assert!(described.get("content").is_none() && answer.body.is_empty(), "{pattern}");
        return;
    }
    let media_type = answer.header("content-type").unwrap();
    let schema = &described["content"][media_type]["schema"];
    assert!(schema.is_object(), "{pattern}: {media_type} is not described");
    let body = answer.json();
    if let Err(error) = validator(document, schema).validate(&body) {
        panic!("{pattern}: {error}: {body}");
    }
}

/// Requests about scavenges, verifications and backups.
const UPKEEP: [(&str, &str); 9] = [
    ("GET /v1/scavenge", "/v1/scavenge"),
    ("POST /v1/scavenge", "/v1/scavenge"),
    ("GET /v1/verify", "/v1/verify"),
    ("POST /v1/verify", "/v1/verify"),
    ("DELETE /v1/verify/{id}", "/v1/verify/0190a0de-7f51-7c9f-8b6b-111111111111"),
    ("GET /v1/backup", "/v1/backup"),
    ("POST /v1/backup", "/v1/backup?name=monday"),
    ("POST /v1/backup", "/v1/backup?name=../monday"),
    ("DELETE /v1/backup/{id}", "/v1/backup/0190a0de-7f51-7c9f-8b6b-111111111111"),
];

async fn every_answer_is_as_the_document_describes_it(scene: Scene) {
    let api = Api::of(&scene);
    let document = api.get("/v1/openapi.json").await.done();
    let id = "0190a0de-7f51-7c9f-8b6b-111111111111";
    let event = json!({ "id": id, "type": "a", "tags": ["t:1"], "metadata": {} });
    let bytes = json!({ "type": "b", "dataBase64": "AA==", "metadataBase64": "AA==" });
    let append = json!({
        "streams": [{ "stream": "s-1", "expected": "no-stream", "events": [event, bytes] }],
    });
    let late = json!({ "streams": [{ "stream": "s-1", "expected": 7 }] });
    let condition = json!({
        "streams": [{ "stream": "s-1", "events": [{ "type": "a" }] }],
        "condition": { "noneMatching": [{ "types": ["a"] }], "after": 0 },
    });
    let query = json!({ "items": [{ "types": ["a"], "tags": ["t:1"] }] });
    let metadata = json!({ "metadata": { "$maxAge": 60 }, "expected": "any" });
    let projection = json!({ "name": "one", "query": "fromAll()" });
    let filter = json!({ "on": "stream", "prefixes": ["s-"] });
    let group = json!({ "source": "$all", "name": "mail", "filter": filter });
    for (pattern, path, body) in [
        ("POST /v1/append", "/v1/append", append),
        ("POST /v1/append", "/v1/append", late),
        ("POST /v1/append", "/v1/append", condition),
        ("POST /v1/append", "/v1/append", json!({ "streams": 1 })),
        ("GET /v1/streams/{stream}", "/v1/streams/s-1", Value::Null),
        ("GET /v1/streams/{stream}", "/v1/streams/$ce-s", Value::Null),
        ("GET /v1/streams/{stream}", "/v1/streams/none", Value::Null),
        ("GET /v1/streams/{stream}", "/v1/streams/s-1?limit=x", Value::Null),
        ("PUT /v1/streams/{stream}/metadata", "/v1/streams/s-1/metadata", metadata),
        ("GET /v1/streams/{stream}/metadata", "/v1/streams/s-1/metadata", Value::Null),
        ("GET /v1/streams/{stream}/subscribe", "/v1/streams/s-1/subscribe?after=9", Value::Null),
        ("GET /v1/streams", "/v1/streams?limit=1", Value::Null),
        ("GET /v1/categories", "/v1/categories", Value::Null),
        ("GET /v1/all", "/v1/all", Value::Null),
        ("GET /v1/all", "/v1/all?after=99", Value::Null),
        ("POST /v1/query", "/v1/query", query),
        ("GET /v1/subscribe", "/v1/subscribe?after=99", Value::Null),
        ("GET /v1/socket", "/v1/socket", Value::Null),
        ("GET /v1/events/{id}", &format!("/v1/events/{id}"), Value::Null),
        ("GET /v1/appends/{id}", &format!("/v1/appends/{id}"), Value::Null),
        ("GET /v1/head", "/v1/head", Value::Null),
        ("GET /v1/store", "/v1/store", Value::Null),
        ("GET /v1/server", "/v1/server", Value::Null),
        ("GET /v1/counts", "/v1/counts", Value::Null),
        ("POST /v1/groups", "/v1/groups", group),
        ("POST /v1/groups", "/v1/groups", json!({ "source": "s-1" })),
        ("GET /v1/groups", "/v1/groups", Value::Null),
        ("PUT /v1/groups/{source}/{group}", "/v1/groups/$all/mail", json!({ "maxRetryCount": 3 })),
        ("PUT /v1/groups/{source}/{group}", "/v1/groups/$all/none", json!({})),
        ("GET /v1/config", "/v1/config", Value::Null),
        ("DELETE /v1/scavenge/{id}", &format!("/v1/scavenge/{id}"), Value::Null),
        ("GET /v1/projections", "/v1/projections", Value::Null),
        ("POST /v1/projections", "/v1/projections", projection),
        ("POST /v1/projections", "/v1/projections", json!({ "query": "" })),
        ("PUT /v1/projections/{projection}", "/v1/projections/none", json!({ "query": "" })),
        ("GET /v1/projections/{projection}/state", "/v1/projections/one/state", Value::Null),
        ("DELETE /v1/projections/{projection}", "/v1/projections/one", Value::Null),
        ("GET /v1/users", "/v1/users", Value::Null),
        ("GET /v1/openapi.json", "/v1/openapi.json", Value::Null),
        ("DELETE /v1/streams/{stream}", "/v1/streams/s-1", Value::Null),
    ]
    .into_iter()
    .chain(UPKEEP.map(|(pattern, path)| (pattern, path, Value::Null)))
    {
        let (method, _) = pattern.split_once(' ').unwrap();
        let answer = api.json(&format!("{method} {path}"), &body).await;
        check(&document, pattern, &answer);
    }
}

async fn every_example_of_a_body_is_accepted(scene: Scene) {
    let api = Api::of(&scene);
    let document = api.get("/v1/openapi.json").await.done();
    let mut count = 0;
    // `POST` comes first: a change needs what it makes.
    let mut paths: Vec<_> = document["paths"].as_object().unwrap().iter().collect();
    paths.sort_by_key(|(path, _)| path.matches('{').count());
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().unwrap() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            let Some(name) = schema["$ref"].as_str() else { continue };
            let name = name.rsplit('/').next().unwrap();
            let example = &document["components"]["schemas"][name]["examples"][0];
            let described = validator(&document, schema);
            assert!(described.is_valid(example), "{name}: {example}");
            let place = path.replace("{stream}", "s-1").replace("{projection}", "orders-placed");
            let place = place.replace("{source}", "order-1").replace("{group}", "mail");
            let line = format!("{} {place}", method.to_uppercase());
            let answer = api.json(&line, example).await;
            match path.starts_with("/v1/users") {
                // A secured server takes them, as another test shows.
                true => drop(answer.refused(409, "no-users")),
                false => assert!(matches!(answer.status, 200 | 204), "{line}: {answer:?}"),
            }
            // A misspelled member is refused by both.
            let mut odd = example.clone();
            odd["colour"] = "red".into();
            assert!(!described.is_valid(&odd), "{name}");
            api.json(&line, &odd).await.refused(400, "invalid");
            count += 1;
        }
    }
    assert_eq!(count, 11);
}

async fn the_page_shows_every_path(scene: Scene) {
    let api = Api::of(&scene);
    let page = api.send("GET /v1/docs", JSON, b"").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let document = api.get("/v1/openapi.json").await.done();
    for path in document["paths"].as_object().unwrap().keys() {
        assert!(page.body.contains(path.as_str()), "{path}");
    }
}
