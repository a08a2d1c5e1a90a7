//! `gesta serve`: a store for KurrentDB clients. The protocol has tests of its own.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use serde_json::{Value, json};

use crate::scene::{Running, Scene, program, run};

const ANYWHERE: [&str; 5] = ["serve", "--json", "--insecure", "--listen", "127.0.0.1:0"];

/// Sends a request and returns the JSON of the answer.
fn send(address: &str, line: &str, body: &str) -> Value {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let request = format!(
        "{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    serde_json::from_str(response.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// Asks the server for its figures.
fn stats(address: &str) -> Value {
    send(address, "GET /stats", "")
}

#[test]
fn a_store_is_served_until_a_signal_ends_the_server_and_closes_the_store() {
    let scene = Scene::of_two_orders();
    let mut server = Running::start(scene.command(&ANYWHERE));
    let started: Value = serde_json::from_str(&server.line()).unwrap();
    let address = started["address"].as_str().unwrap();
    assert_eq!(stats(address)["head_position"], 3);
    // The server has the store: nothing else may append.
    let append = ["append", "order-1", "--type", "order-shipped", "--data", "{}"];
    scene.run(&append).fails_with(2, "has gesta:");

    assert_eq!(server.terminate(), Some(0));
    assert!(TcpStream::connect(address).is_err());
    assert_eq!(scene.run(&append).code, 0);
}

#[test]
fn an_event_that_was_appended_by_http_is_in_the_store() {
    let scene = Scene::of_two_orders();
    let mut server = Running::start(scene.command(&ANYWHERE));
    let started: Value = serde_json::from_str(&server.line()).unwrap();
    let body = r#"{"streams":[{"stream":"order-9","expected":"no-stream",
        "events":[{"type":"order-placed","data":{"by":"http"}}]}]}"#;
    let appended = send(started["address"].as_str().unwrap(), "POST /v1/append", body);
    assert_eq!(appended["position"], 4, "{appended}");
    assert_eq!(server.terminate(), Some(0));
    let read = scene.run(&["read", "order-9"]);
    assert!(read.stdout().contains("order-placed"), "{read:?}");
}

#[test]
fn operators_read_the_settings_of_the_running_server_and_their_sources() {
    let scene = Scene::of_two_orders();
    let mut command = scene.command(&[&ANYWHERE[..], &["--environment", "<b>test</b>"]].concat());
    command.env("GESTA_DRAIN_SECONDS", "1");
    let server = Running::start(command);
    let started: Value = serde_json::from_str(&server.line()).unwrap();
    let told = send(started["address"].as_str().unwrap(), "GET /v1/config", "");
    let settings = told["settings"].as_array().unwrap();
    let named = |name: &str| settings.iter().find(|setting| setting["name"] == name).unwrap();
    let environment = named("environment");
    assert_eq!(environment["values"], json!(["<b>test</b>"]));
    assert_eq!(environment["source"], "option --environment");
    assert_eq!(named("drain-seconds")["source"], "environment GESTA_DRAIN_SECONDS");
    assert_eq!(named("max-connections")["source"], "default");
    assert_eq!(named("tls-cert")["values"], json!([]));
}

#[test]
fn a_store_in_memory_can_be_served() {
    let scene = Scene::empty();
    let mut command = scene.command(&ANYWHERE);
    command.env("GESTA_STORE", "memory:");
    let server = Running::start(command);
    let started: Value = serde_json::from_str(&server.line()).unwrap();
    assert_eq!(stats(started["address"].as_str().unwrap())["head_position"], 0);
}

#[test]
fn localhost_is_an_address_to_listen_on_and_other_names_are_refused_with_what_to_write() {
    let scene = Scene::of_two_orders();
    let serve = ["serve", "--json", "--insecure", "--listen"];
    let mut server = Running::start(scene.command(&[&serve[..], &["localhost:0"]].concat()));
    let started: Value = serde_json::from_str(&server.line()).unwrap();
    let address = started["address"].as_str().unwrap();
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    assert_eq!(stats(address)["head_position"], 3);
    assert_eq!(server.terminate(), Some(0));
    let refused = scene.run(&["serve", "--insecure", "--listen", "events.example:2113"]);
    refused.fails_with(2, "write 127.0.0.1:2113 for this machine");
}

#[test]
fn a_server_without_protection_has_to_be_asked_for() {
    let scene = Scene::of_two_orders();
    let refused = scene.run(&["serve", "--listen", "127.0.0.1:0"]);
    refused.fails_with(2, "add --insecure");
}

#[test]
fn a_server_without_protection_refuses_a_public_address() {
    let scene = Scene::of_two_orders();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:2113"] {
        let refused = scene.run(&["serve", "--insecure", "--listen", address]);
        refused.fails_with(2, "neither TLS nor users");
        let checked = scene.run(&["serve", "--insecure", "--check-config", "--listen", address]);
        checked.fails_with(2, "neither TLS nor users");
    }
}

#[test]
fn a_directory_that_is_missing_or_served_is_told_with_what_to_do() {
    let scene = Scene::of_two_orders();
    let nowhere = scene.path().join("no-such");
    let store = format!("gesta:{}", nowhere.display());
    let serve = ["serve", "--insecure", "--listen", "127.0.0.1:0", "--store", &store];
    for more in [&["--check-config"][..], &[]] {
        let refused = run(program(&[&serve[..], more].concat()));
        refused.fails_with(2, "the directory does not exist");
        assert!(refused.err.contains(&format!("mkdir '{}'", nowhere.display())), "{refused:?}");
    }
    let server = Running::start(scene.command(&ANYWHERE));
    // It has the store open when it says so.
    server.line();
    let second = scene.run(&["serve", "--insecure", "--listen", "127.0.0.1:0"]);
    second.fails_with(2, "cannot serve gesta:");
    // The settings of a server that runs are right.
    scene.run(&["serve", "--insecure", "--check-config"]).stdout();
    #[cfg(feature = "kurrentdb")]
    {
        let served = "kurrentdb://127.0.0.1:1?tls=false";
        run(program(&["serve", "--insecure", "--check-config", "--store", served]))
            .fails_with(2, "is served already");
    }
}

#[test]
fn a_log_without_lines_is_refused() {
    let scene = Scene::of_two_orders();
    for levels in ["nonsense=", "nonsense=debug", "gesta=loud", "loud"] {
        let refused = scene.run(&["serve", "--insecure", "--check-config", "--log", levels]);
        refused.fails_with(2, "--log");
    }
    for levels in ["debug", "warn,gesta=debug", "gesta_server::serve=trace,off"] {
        scene.run(&["serve", "--insecure", "--check-config", "--log", levels]).stdout();
    }
}

#[test]
fn a_server_for_no_connections_is_refused() {
    let scene = Scene::of_two_orders();
    let refused = scene.run(&["serve", "--insecure", "--max-connections", "0"]);
    refused.fails_with(2, "--max-connections");
}
