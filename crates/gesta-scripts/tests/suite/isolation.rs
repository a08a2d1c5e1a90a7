//! A script reaches nothing outside, and depends on nothing but its events.

use crate::support::{evaluated, event, handle, script};

#[test]
fn there_are_no_host_objects() {
    for name in [
        "require",
        "process",
        "fetch",
        "XMLHttpRequest",
        "setTimeout",
        "setInterval",
        "std",
        "os",
        "console",
        "print",
        "performance",
        "Atomics",
        "SharedArrayBuffer",
        "Proxy",
        "WeakRef",
        "navigator",
        "Worker",
        "Deno",
        "Bun",
    ] {
        assert_eq!(evaluated(&format!("typeof {name}")).unwrap(), r#""undefined""#, "{name}");
    }
}

#[test]
fn a_module_cannot_be_loaded() {
    let state = evaluated("typeof import('fs')");
    // The promise of a module never settles, because there is no loader.
    assert!(state.is_err() || state.unwrap() == r#""object""#);
    assert!(evaluated("eval('require(\"fs\")')").is_err());
}

#[test]
fn the_clock_is_that_of_the_event() {
    assert_eq!(evaluated("Date.now()").unwrap(), "1700000000000");
    assert_eq!(evaluated("new Date().getTime()").unwrap(), "1700000000000");
    assert_eq!(evaluated("new Date(5).getTime()").unwrap(), "5");
    assert_eq!(evaluated("new Date('2020-01-01T00:00:00Z').getTime()").unwrap(), "1577836800000");
    assert_eq!(evaluated("new (new Date(5).constructor)().getTime()").unwrap(), "1700000000000");
    assert_eq!(evaluated("new Date() instanceof Date").unwrap(), "true");
}

#[test]
fn there_is_no_randomness() {
    let refused = evaluated("Math.random()").unwrap_err().to_string();
    assert!(refused.contains("the same events must give the same results"), "{refused}");
}

#[test]
fn scripts_do_not_see_each_other() {
    let mut first = script("globalThis.seen = 1; fromAll().when({ $any: () => globalThis.seen })");
    let mut second = script("fromAll().when({ $any: () => typeof globalThis.seen })");
    handle(&mut first, &event("happened", "{}")).unwrap();
    handle(&mut second, &event("happened", "{}")).unwrap();
    assert_eq!(first.state().unwrap(), "1");
    assert_eq!(second.state().unwrap(), r#""undefined""#);
}

#[test]
fn the_words_of_the_language_cannot_be_replaced() {
    let source = "emit = () => {}; fromAll().when({ $any(s, e) { emit('a', 'b', 1) } })";
    let outputs = handle(&mut script(source), &event("happened", "{}")).unwrap();
    assert_eq!(outputs.emitted.len(), 1);
}
