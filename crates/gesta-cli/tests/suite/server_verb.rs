//! `gesta server`: users, groups and projections of a running server.

use std::{fs, process::Command};

use serde_json::{Value, json};

use crate::{
    scene::{RunOutput, Running, Scene, program, run},
    serve_securely::{certificates, path, serve},
};

/// A command for an insecure server.
fn on(address: &str, arguments: &[&str]) -> RunOutput {
    let url = format!("kurrentdb://{address}?tls=false");
    run(program(&[&["server", "--json", "--server", &url], arguments].concat()))
}

fn insecure(scene: &Scene) -> (Running, String) {
    let arguments = ["serve", "--json", "--insecure", "--listen", "127.0.0.1:0"];
    let server = Running::start(scene.command(&arguments));
    let started: Value = serde_json::from_str(&server.line()).unwrap();
    (server, started["address"].as_str().unwrap().to_owned())
}

#[test]
fn users_are_managed_over_tls_and_their_passwords_are_no_arguments() {
    let (scene, certificates) = (Scene::empty(), certificates());
    let certificates = certificates.path();
    let first = certificates.join("passwords");
    let server = serve(&scene, certificates, &["--admin-password-file", path(&first)]);
    let started: Value = serde_json::from_str(&server.line()).unwrap();
    let port = started["address"].as_str().unwrap().rsplit_once(':').unwrap().1.to_owned();
    let passwords = fs::read_to_string(&first).unwrap();
    let admins = passwords.lines().find_map(|line| line.strip_prefix("admin ")).unwrap();
    let command = |login: &str, password: &str, arguments: &[&str]| {
        let ca = path(&certificates.join("ca.pem")).to_owned();
        let mut command = program(&["server", "--json"]);
        let url = format!("kurrentdb://{login}@localhost:{port}?tlsCaFile={ca}");
        command.args(arguments).env("GESTA_SERVER", url).env("GESTA_PASSWORD", password);
        command
    };
    let admin = |arguments: &[&str]| command("admin", admins, arguments);
    let with_new = |mut command: Command, password: &str| {
        command.env("GESTA_NEW_PASSWORD", password);
        run(command)
    };

    let create = ["users", "create", "ann", "--group", "sales", "--group", "$ops"];
    run(admin(&create)).fails_with(2, "there is no new password for ann");
    with_new(admin(&create), "short").fails_with(2, "8 to 1024 bytes");
    assert_eq!(with_new(admin(&create), "first-password").objects(), [json!({ "done": true })]);
    with_new(admin(&create), "first-password").fails_with(1, "exists");
    let users = run(admin(&["users", "list"])).objects();
    let ann = users.iter().find(|user| user["login"] == "ann").unwrap();
    assert_eq!(ann["groups"], json!(["sales", "$ops"]));

    let stats = |password: &str| run(command("ann", password, &["stats"]));
    assert!(stats("first-password").objects()[0]["appends_total"].is_number());
    stats("wrong-password").fails_with(2, "");
    let file = certificates.join("new");
    fs::write(&file, "second-password\n").unwrap();
    let change = ["users", "password", "ann", "--new-password-file", path(&file)];
    assert_eq!(run(admin(&change)).code, 0);
    assert_eq!(stats("second-password").code, 0);
    run(command("ann", "second-password", &["users", "list"])).fails_with(2, "may");

    run(admin(&["users", "delete", "ann"])).fails_with(2, "must be confirmed");
    assert_eq!(run(admin(&["users", "delete", "ann", "--yes"])).code, 0);
    run(admin(&["users", "disable", "ann"])).fails_with(3, "no user `ann`");
}

#[test]
fn a_group_is_created_listed_and_deleted() {
    let scene = Scene::of_two_orders();
    let (_server, address) = insecure(&scene);
    let on = |arguments: &[&str]| on(&address, arguments);
    let create = ["groups", "create", "order-1", "mail", "--from-start", "--strategy", "pinned"];
    assert_eq!(on(&create).objects(), [json!({ "done": true })]);
    on(&create).fails_with(1, "exists");
    let listed = on(&["groups", "list"]).objects();
    assert_eq!((&listed[0]["source"], &listed[0]["name"]), (&"order-1".into(), &"mail".into()));
    assert_eq!(on(&["groups", "show", "order-1", "mail"]).objects()[0]["strategy"], "Pinned");
    assert_eq!(on(&["groups", "replay", "order-1", "mail"]).code, 0);
    assert_eq!(on(&["groups", "delete", "order-1", "mail", "--yes"]).code, 0);
    on(&["groups", "show", "order-1", "mail"]).fails_with(3, "does not exist");
}

#[test]
fn a_projection_is_created_from_a_file_and_its_state_is_shown() {
    let scene = Scene::of_two_orders();
    let (_server, address) = insecure(&scene);
    let on = |arguments: &[&str]| on(&address, arguments);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("totals.js");
    let script = "fromCategory('order').when({ $init: () => ({ paid: 0 }), \
                  'order-paid': (s) => { s.paid++; return s; } })";
    fs::write(&file, script).unwrap();
    assert_eq!(on(&["projections", "create", "totals", "--file", path(&file)]).code, 0);
    while on(&["projections", "state", "totals"]).objects() != [json!({ "paid": 1 })] {}
    let listed = on(&["projections", "list"]).objects();
    assert!(listed.iter().any(|one| one["name"] == "totals" && one["status"] == "Running"));
    on(&["projections", "delete", "totals", "--yes"]).fails_with(1, "totals");
    assert_eq!(on(&["projections", "disable", "totals"]).code, 0);
    assert_eq!(on(&["projections", "delete", "totals", "--yes"]).code, 0);
    on(&["projections", "state", "totals"]).fails_with(3, "totals");
}

#[test]
fn a_store_is_scavenged_while_it_is_served_and_the_server_ends_when_it_is_asked_to() {
    let scene = Scene::of_two_orders();
    let (_server, address) = insecure(&scene);
    let on = |arguments: &[&str]| on(&address, arguments);
    on(&["scavenge", "show"]).fails_with(3, "no such scavenge");
    let started = on(&["scavenge", "start", "--threshold", "0"]).objects().remove(0);
    let id = started["scavengeId"].as_str().unwrap();
    let last = loop {
        let last = on(&["scavenge", "show"]).objects().remove(0);
        if last["state"] != "running" {
            break last;
        }
    };
    assert_eq!((&last["scavengeId"], &last["state"]), (&id.into(), &"completed".into()));
    assert_eq!(on(&["scavenge", "stop", id]).objects()[0]["scavengeId"], id);
    on(&["scavenge", "stop", "other"]).fails_with(3, "no such scavenge");

    on(&["shutdown"]).fails_with(2, "must be confirmed");
    assert_eq!(on(&["shutdown", "--yes"]).code, 0);
    while on(&["stats"]).code == 0 {}
}

#[test]
fn a_server_that_is_not_there_is_told_with_what_to_check() {
    let scene = Scene::of_two_orders();
    let (mut server, address) = insecure(&scene);
    assert_eq!(server.terminate(), Some(0));
    let gone = on(&address, &["stats"]);
    gone.fails_with(2, "cannot connect to");
    assert_eq!(gone.error()["code"], "unreachable");
    run(program(&["server", "stats"])).fails_with(2, "GESTA_SERVER");
    let secret = "kurrentdb://ann:secret@localhost?tsl=false";
    let refused = run(program(&["server", "--server", secret, "stats"]));
    refused.fails_with(2, "no option `tsl`");
    assert!(!refused.err.contains("secret"), "{refused:?}");
    let missing = "kurrentdb://localhost?tlsCaFile=no-such.pem";
    run(program(&["server", "--server", missing, "stats"])).fails_with(2, "no-such.pem");
}
