//! Events that a script emits, and its log.

use gesta_scripts::{Emitted, ScriptEvent};

use crate::support::{event, handle, script};

fn emitted(handler: &str) -> Vec<Emitted> {
    let source = format!("fromAll().when({{ happened(s, e) {{ {handler} }} }})");
    handle(&mut script(&source), &event("happened", r#"{"n":3}"#)).unwrap().emitted
}

fn parts(emitted: &Emitted) -> (&str, &str, &str, bool, Option<&str>) {
    let Emitted { stream, event_type, data, is_json, metadata, .. } = emitted;
    (stream, event_type, data, *is_json, metadata.as_deref())
}

#[test]
fn an_emitted_event_has_stream_type_data_and_metadata() {
    let events = emitted("emit('totals', 'grown', { by: e.data.n }, { why: 'test' })");
    let expected = ("totals", "grown", r#"{"by":3}"#, true, Some(r#"{"why":"test"}"#));
    assert_eq!(parts(&events[0]), expected);
    assert_eq!(parts(&emitted("emit('totals', 'grown')")[0]).2, "null");
}

#[test]
fn a_link_names_the_place_of_its_event() {
    let expected = ("audit", "$>", "7@order-1", false, None);
    assert_eq!(parts(&emitted("linkTo('audit', e)")[0]), expected);
    let expected = ("audit", "$>", "7@order-1", false, Some(r#"{"a":1}"#));
    assert_eq!(parts(&emitted("linkTo('audit', e, { a: 1 })")[0]), expected);
}

#[test]
fn a_link_to_a_stream_names_the_stream() {
    let expected = ("all-orders", "$@", "order-1", false, None);
    assert_eq!(parts(&emitted("linkStreamTo('all-orders', e.streamId)")[0]), expected);
}

#[test]
fn a_copy_has_type_and_data_of_its_event() {
    let expected = ("copies", "happened", r#"{"n":3}"#, true, None);
    assert_eq!(parts(&emitted("copyTo('copies', e)")[0]), expected);
    let mut script = script("fromAll().when({ $any(s, e) { copyTo('copies', e) } })");
    let bytes = ScriptEvent { is_json: false, ..event("happened", "raw") };
    let outputs = handle(&mut script, &bytes).unwrap();
    assert_eq!(parts(&outputs.emitted[0]), ("copies", "happened", "raw", false, None));
}

#[test]
fn events_are_emitted_in_order_and_once() {
    let source = "fromAll().when({ $any(s, e) { emit('a', 'x', 1); emit('b', 'y', 2); \
                  emit('a', 'z', 3) } })";
    let mut script = script(source);
    for _ in 0..2 {
        let outputs = handle(&mut script, &event("happened", "{}")).unwrap();
        let types: Vec<_> = outputs.emitted.iter().map(|event| event.event_type.as_str()).collect();
        assert_eq!(types, ["x", "y", "z"]);
    }
}

#[test]
fn an_event_without_a_stream_or_a_type_is_refused() {
    for handler in ["emit('', 'a', {})", "emit('a', '', {})", "emit(null, 'a')", "linkTo('a')"] {
        let source = format!("fromAll().when({{ happened(s, e) {{ {handler} }} }})");
        handle(&mut script(&source), &event("happened", "{}")).unwrap_err();
    }
}

#[test]
fn the_log_of_an_event_is_bounded() {
    let source = "fromAll().when({ $any() { log('n', 1, { a: 2 }); \
                  for (let i = 0; i < 1000; i++) log('x'.repeat(5000)) } })";
    let lines = handle(&mut script(source), &event("happened", "{}")).unwrap().lines;
    assert_eq!(lines[0], r#"n 1 {"a":2}"#);
    assert_eq!(lines.len(), 100);
    assert!(lines[1..].iter().all(|line| line.len() == 1000));
}
