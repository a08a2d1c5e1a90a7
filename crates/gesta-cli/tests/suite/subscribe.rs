//! `gesta subscribe`: existing and new events.

use crate::scene::{Running, Scene, append};

#[test]
fn a_subscription_until_caught_up_shows_what_there_is_and_ends() {
    let scene = Scene::of_two_orders();
    for (arguments, expected) in [
        (&["--all"][..], &[1, 2, 3][..]),
        (&["--all", "--after", "1"], &[2, 3]),
        (&["--all", "--after", "3"], &[]),
        (&["--all", "--type", "order-paid"], &[3]),
        (&["order-1"], &[1, 3]),
        (&["order-1", "--after", "0"], &[3]),
        (&["order-9"], &[]),
    ] {
        let asked = [&["subscribe", "--until-caught-up", "--json"], arguments].concat();
        let shown = scene.run(&asked).objects();
        let positions: Vec<_> =
            shown.iter().map(|event| event["position"].as_u64().unwrap()).collect();
        assert_eq!(positions, expected, "{arguments:?}");
    }
}

#[test]
fn a_subscription_shows_a_line_as_a_read_does() {
    let scene = Scene::of_two_orders();
    let read = scene.run(&["read", "--all"]);
    let shown = scene.run(&["subscribe", "--all", "--until-caught-up"]);
    assert_eq!(shown.stdout(), read.stdout());
}

#[test]
fn a_subscription_shows_what_another_process_appends_while_it_waits() {
    let scene = Scene::of_two_orders();
    let store = scene.open();
    let shown = Running::start(scene.command(&["subscribe", "--all", "--after", "2"]));
    assert!(shown.line().ends_with("order-1@1  order-paid  {}"));
    for number in 0..3 {
        append(&store, "order-3", "order-placed", "{}");
        assert!(shown.line().contains(&format!("order-3@{number}")));
    }
}

#[test]
fn a_subscription_outlives_the_program_that_appends() {
    let scene = Scene::of_two_orders();
    let shown = Running::start(scene.command(&["subscribe", "order-4", "--json"]));
    for number in 0..3 {
        let placed = ["append", "order-4", "--type", "order-placed", "--data", "{}"];
        scene.run(&placed).stdout();
        assert!(shown.line().contains(&format!("\"revision\":{number},")));
    }
}

#[test]
fn a_subscription_waits_for_the_first_event_of_all() {
    let scene = Scene::empty();
    let store = scene.open();
    let shown = Running::start(scene.command(&["subscribe", "--all"]));
    append(&store, "order-1", "order-placed", "{}");
    assert!(shown.line().ends_with("order-1@0  order-placed  {}"));
}

#[test]
fn a_place_that_the_store_has_not_reached_is_refused() {
    let scene = Scene::of_two_orders();
    let refused = scene.run(&["subscribe", "--all", "--after", "99"]);
    refused.fails_with(2, "position 99 is beyond the head 3");
}
