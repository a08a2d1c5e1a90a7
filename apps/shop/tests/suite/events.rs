//! Stored forms of all events.

use gesta::testing::assert_events_locked;
use shop::registry;

#[test]
fn no_event_changes_its_stored_form_without_a_new_version() {
    let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/events.lock");
    assert_events_locked(lock, &registry::with_examples());
}

#[test]
fn every_event_has_an_example() {
    let registry = registry::with_examples();
    let without: Vec<_> =
        registry.names().filter(|name| registry.examples(name).is_empty()).collect();
    assert_eq!(without, [""; 0]);
}
