//! The AsyncAPI document of the shop, checked against the official JSON schema of AsyncAPI.
//!
//! The schema is in a package of npm, which is installed below the target directory. A test without
//! it says so on standard error, and fails under `CI=true`.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use axum::{
    body::{Body, to_bytes},
    http::Request,
};
use gesta_http::GestaState;
use gesta_services::{e2e::target, skip};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::Client;
use crate::opened;

const PACKAGE: &str = "@asyncapi/specs@6.11.1";
const SCHEMA: &str = "node_modules/@asyncapi/specs/schemas/3.0.0.json";

/// Returns the official schema, or says that it cannot be had.
fn official_schema() -> Option<Value> {
    let directory: PathBuf = target().unwrap().join("npm");
    let file = directory.join(SCHEMA);
    if !file.exists() {
        fs::create_dir_all(&directory).unwrap();
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]);
        let installed = npm.arg(&directory).arg(PACKAGE).stdin(Stdio::null()).status();
        if !installed.is_ok_and(|status| status.success()) {
            skip("the schema of AsyncAPI", &format!("npm does not install {PACKAGE}"));
            return None;
        }
    }
    Some(serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap())
}

/// The document that the shop serves with every interface that this build has.
async fn served() -> Value {
    let state = GestaState::new(opened::in_memory().await);
    let api = shop::http::api();
    #[cfg(feature = "graphql")]
    let api = shop::http::graphql(api);
    let request = Request::get("/asyncapi.json").body(Body::empty()).unwrap();
    let answer = api.router(state).oneshot(request).await.unwrap();
    let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    serde_json::from_slice(&body).unwrap()
}

#[tokio::test]
async fn the_document_is_one_of_asyncapi() {
    let Some(schema) = official_schema() else { return };
    let validator = jsonschema::draft7::new(&schema).unwrap();
    let document = served().await;
    let odd: Vec<_> = validator
        .iter_errors(&document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(odd.is_empty(), "{odd:#?}");
    let mut broken = document;
    broken["channels"]["events"]["address"] = json!(7);
    assert!(!validator.is_valid(&broken), "the schema refuses what is wrong");
}

#[tokio::test]
async fn every_reference_leads_somewhere() {
    let document = served().await;
    let is_described = !document["channels"]["graphql"].is_null();
    assert_eq!(is_described, cfg!(feature = "graphql"));
    let mut references = 0;
    check(&document, &document, &mut references);
    assert!(references > 100, "{references}");
}

fn check(document: &Value, part: &Value, references: &mut usize) {
    match part {
        Value::Object(members) => {
            if let Some(reference) = members.get("$ref") {
                let pointer = reference.as_str().unwrap().trim_start_matches('#');
                assert!(document.pointer(pointer).is_some(), "{reference}");
                *references += 1;
            }
            members.values().for_each(|part| check(document, part, references));
        }
        Value::Array(parts) => parts.iter().for_each(|part| check(document, part, references)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_feed_sends_has_the_schema_of_its_message() {
    let client = Client::new().await;
    let served = client.get("/asyncapi.json").ok().await.json;
    assert_eq!(served, shop::http::api().async_document());
    client.post("/v1/users", super::ann()).ok().await;
    let feed = client.get("/v1/events?follow=false").into_request();
    let body = client.raw(feed).await.into_body();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    let mut events = 0;
    for data in body.lines().filter_map(|line| line.strip_prefix("data: ")) {
        let event: Value = serde_json::from_str(data).unwrap();
        if event.get("type").is_none() {
            let progress = &served["components"]["messages"]["feedCaughtUp"]["payload"];
            assert!(jsonschema::draft202012::new(progress).unwrap().is_valid(&event), "{event}");
            continue;
        }
        let name = format!("event.{}.v{}", event["type"].as_str().unwrap(), event["schemaVersion"]);
        let payload = &served["components"]["messages"][&name]["payload"];
        let schema = json!({ "allOf": [payload], "components": served["components"] });
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        let odd: Vec<_> = validator.iter_errors(&event).map(|error| error.to_string()).collect();
        assert!(payload.is_object() && odd.is_empty(), "{event}: {odd:?}");
        events += 1;
    }
    assert!(events > 0, "{body}");
}
