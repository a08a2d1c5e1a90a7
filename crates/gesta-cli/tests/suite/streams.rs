//! `gesta streams`: listed streams and categories.

use gesta_store::{DeleteStream, EventStore as _, ExpectedRevision, StreamName};
use serde_json::json;

use crate::scene::{Scene, append};

#[test]
fn streams_are_listed_with_head_and_state() {
    let scene = Scene::of_two_orders();
    assert_eq!(
        scene.run(&["streams"]).stdout(),
        "    HEAD  STATE       STREAM\n\
         \x20      1  live        order-1\n\
         \x20      0  live        order-2\n"
    );
    assert_eq!(
        scene.run(&["streams", "--json"]).objects(),
        [
            json!({ "stream": "order-1", "head": 1, "state": "live" }),
            json!({ "stream": "order-2", "head": 0, "state": "live" }),
        ]
    );
}

#[test]
fn a_prefix_a_name_and_a_limit_choose_streams() {
    let scene = Scene::of_two_orders();
    append(&scene.open(), "account-1", "account-opened", "{}");
    for (arguments, expected) in [
        (&[][..], &["account-1", "order-1", "order-2"][..]),
        (&["--prefix", "order-"], &["order-1", "order-2"]),
        (&["--after", "account-1", "--limit", "1"], &["order-1"]),
        (&["--after", "order-2"], &[]),
        (&["--limit", "0"], &[]),
    ] {
        let listed = scene.run(&[&["streams", "--json"], arguments].concat()).objects();
        let names: Vec<_> = listed.iter().map(|line| line["stream"].as_str().unwrap()).collect();
        assert_eq!(names, expected, "{arguments:?}");
    }
}

#[test]
fn more_streams_than_one_page_are_listed_once_each() {
    let scene = Scene::empty();
    let store = scene.open();
    let lines: String = (0..1_001).map(|number| format!("order-{number:04}\n")).collect();
    for name in lines.lines() {
        append(&store, name, "order-placed", "{}");
    }
    drop(store);
    let listed = scene.run(&["streams"]);
    let names: Vec<_> =
        listed.stdout().lines().skip(1).map(|line| line.rsplit_once(' ').unwrap().1).collect();
    assert_eq!(names, lines.lines().collect::<Vec<_>>());
    assert_eq!(scene.run(&["streams", "--limit", "1000", "--json"]).objects().len(), 1_000);
}

#[test]
fn the_systems_streams_are_listed_when_asked_for() {
    let scene = Scene::of_two_orders();
    let delete = DeleteStream::new(StreamName::new("order-1").unwrap(), ExpectedRevision::Any);
    futures_executor::block_on(scene.open().delete_stream(delete)).unwrap();
    let names = |arguments: &[&str]| {
        let listed = scene.run(&[&["streams", "--json"], arguments].concat()).objects();
        listed.iter().map(|line| line["stream"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&[]), ["order-2"]);
    assert_eq!(names(&["--prefix", "$$"]), ["$$order-1"]);
}

#[test]
fn categories_are_listed() {
    let scene = Scene::of_two_orders();
    append(&scene.open(), "account-1", "account-opened", "{}");
    assert_eq!(scene.run(&["streams", "--categories"]).stdout(), "account\norder\n");
    let after = ["streams", "--categories", "--after", "account", "--json"];
    assert_eq!(scene.run(&after).objects(), [json!({ "category": "order" })]);
    let not_one = ["streams", "--categories", "--after", "account-1"];
    scene.run(&not_one).fails_with(2, "category account-1 has a `-`");
}

#[test]
fn a_list_of_nothing_says_so_to_people() {
    let scene = Scene::of_two_orders();
    let listed = scene.run(&["streams", "--prefix", "oder"]);
    assert_eq!((listed.code, listed.out.as_str(), listed.err.as_str()), (0, "", "no results\n"));
}
