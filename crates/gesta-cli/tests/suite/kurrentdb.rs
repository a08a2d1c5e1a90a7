//! Verbs on a store behind a server: `--store kurrentdb://…`.

use serde_json::Value;

use crate::scene::{RunOutput, Running, Scene, append, program, run};

/// A server of a scene's store. It ends with the test, before the directory of the store is gone.
struct Served {
    _server: Running,
    url: String,
    _scene: Option<Scene>,
}

impl Served {
    fn of(scene: Scene) -> Self {
        let store = format!("gesta:{}?index=event-id,streams", scene.path().display());
        Self { _scene: Some(scene), ..Self::start(&store) }
    }

    fn start(store: &str) -> Self {
        let listen = ["serve", "--json", "--insecure", "--listen", "127.0.0.1:0"];
        let mut command = program(&listen);
        command.env("GESTA_STORE", store);
        let server = Running::start(command);
        let started: Value = serde_json::from_str(&server.line()).unwrap();
        let url = format!("kurrentdb://{}?tls=false", started["address"].as_str().unwrap());
        Self { _server: server, url, _scene: None }
    }

    fn run(&self, arguments: &[&str]) -> RunOutput {
        let mut command = program(arguments);
        command.env("GESTA_STORE", &self.url);
        run(command)
    }
}

#[test]
fn a_served_store_is_read_and_changed_as_any_other() {
    let served = Served::of(Scene::of_two_orders());
    let types = |output: RunOutput| -> Vec<String> {
        let objects = output.objects();
        objects.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
    };
    let read = || types(served.run(&["read", "order-1", "--json"]));
    assert_eq!(read(), ["order-placed", "order-paid"]);
    let shipped = ["append", "order-1", "--type", "order-shipped", "--data", "{}", "--expect"];
    served.run(&[&shipped[..], &["0"]].concat()).fails_with(1, "is at revision 1");
    served.run(&[&shipped[..], &["1"]].concat()).stdout();
    assert_eq!(read(), ["order-placed", "order-paid", "order-shipped"]);
    let all = served.run(&["subscribe", "--all", "--category", "order", "--until-caught-up"]);
    assert_eq!(all.stdout().lines().count(), 4);
    served.run(&["truncate", "order-1", "--before", "2", "--yes"]).stdout();
    assert_eq!(read(), ["order-shipped"]);
    served.run(&["delete", "order-1", "--yes"]).stdout();
    served.run(&["tombstone", "order-2", "--yes"]).stdout();
    served.run(&["read", "order-2"]).fails_with(1, "tombstoned");
    assert!(served.run(&["stats"]).stdout().contains("head        position"));
}

#[test]
fn a_verb_that_needs_a_directory_says_where_to_run_it() {
    let served = Served::of(Scene::of_two_orders());
    for verb in ["verify", "scavenge"] {
        let refused = served.run(&[verb]);
        refused.fails_with(2, &format!("run `gesta {verb}` where the server runs"));
    }
    served.run(&["streams"]).fails_with(2, "gesta read '$streams'");
    served.run(&["read", "$streams"]).stdout();
    let unknown = served.run(&["read", "order-9"]);
    unknown.fails_with(3, "order-9 does not exist");
    // The hint leads to a command that works.
    assert!(unknown.err.contains("gesta read '$streams'"), "{unknown:?}");
    let plain = Scene::of_two_orders();
    let plain = Served::start(&format!("gesta:{}", plain.path().display()));
    plain.run(&["read", "$streams"]).fails_with(2, "?index=streams");
    served.run(&["export"]).fails_with(2, "where the server runs");
}

#[test]
fn a_server_that_is_not_there_is_named_without_its_password() {
    let mut command = program(&["read", "order-1"]);
    let url = "kurrentdb://ann:s3cret@127.0.0.1:1?tls=false&maxDiscoverAttempts=1";
    command.env("GESTA_STORE", url);
    let refused = run(command);
    assert!(refused.err.contains("kurrentdb://ann@127.0.0.1:1"), "{refused:?}");
    assert!(refused.code == 2 && !refused.err.contains("s3cret"), "{refused:?}");
}

fn copy(source: &str, target: &str, more: &[&str]) -> RunOutput {
    run(program(&[&["copy", source, target, "--json"], more].concat()))
}

fn object(output: &RunOutput) -> Value {
    assert_eq!(output.code, 0, "{output:?}");
    serde_json::from_str(output.out.lines().last().unwrap()).unwrap()
}

#[test]
fn events_are_copied_from_a_server_and_back() {
    let scene = Scene::of_two_orders();
    {
        let store = scene.open();
        append(&store, "order-3", "order-placed", "{}");
    }
    for verb in [&["delete", "order-1", "--yes"][..], &["tombstone", "order-3", "--yes"]] {
        scene.run(verb).stdout();
    }
    scene.run(&["append", "order-1", "--type", "order-placed", "--data", "{}"]).stdout();
    let served = Served::of(scene);
    let there = Scene::empty();
    // The directory is made by the copy.
    std::fs::remove_dir(there.path()).unwrap();
    let directory = format!("gesta:{}", there.path().display());
    let copied = object(&copy(&served.url, &directory, &[]));
    // Five events, a deletion and a tombstone.
    assert_eq!((&copied["copied"], &copied["events"]), (&7.into(), &7.into()));
    let again = object(&copy(&served.url, &directory, &[]));
    assert_eq!((&again["copied"], &again["events"]), (&0.into(), &7.into()));
    let read = |arguments: &[&str]| there.run(arguments).stdout().to_owned();
    assert_eq!(read(&["read", "order-1"]).lines().count(), 1);
    there.run(&["read", "order-3"]).fails_with(1, "tombstoned");

    let back = Served::start("memory:");
    assert_eq!(object(&copy(&directory, &back.url, &[]))["copied"], 7);
    assert_eq!(object(&copy(&served.url, &back.url, &["--verify-only"]))["events"], 7);
}

#[test]
fn a_copy_goes_on_where_it_stopped_and_notices_other_events() {
    let served = Served::of(Scene::of_two_orders());
    let there = Scene::empty();
    let directory = format!("gesta:{}", there.path().display());
    assert_eq!(object(&copy(&served.url, &directory, &[]))["copied"], 3);
    served.run(&["append", "order-2", "--type", "order-paid", "--data", "{}"]).stdout();
    assert_eq!(object(&copy(&served.url, &directory, &[]))["copied"], 1);
    there.run(&["append", "order-9", "--type", "order-placed", "--data", "{}"]).stdout();
    let refused = copy(&served.url, &directory, &[]);
    assert!(refused.code == 1 && refused.err.contains("order-9"), "{refused:?}");
}
