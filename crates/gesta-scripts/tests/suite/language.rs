//! Handlers and their states.

use gesta_scripts::{ScriptEvent, StreamDeletion};

use crate::support::{event, handle, script, state_after};

#[test]
fn the_first_state_is_an_empty_object_or_what_init_makes() {
    assert_eq!(script("fromAll().when({})").state().unwrap(), "{}");
    assert_eq!(
        script("fromAll().when({ $init: () => ({ n: 1 }) })").state().unwrap(),
        r#"{"n":1}"#
    );
    assert_eq!(script("fromAll().when({ $init: () => 5 })").state().unwrap(), "5");
}

#[test]
fn a_handler_changes_the_state_or_returns_a_new_one() {
    let changing = "fromAll().when({ $init: () => ({ n: 0 }), happened(s, e) { s.n += 1 } })";
    assert_eq!(state_after(changing, "{}"), r#"{"n":1}"#);
    let returning = "fromAll().when({ $init: () => 1, happened: (s, e) => s + e.data.by })";
    assert_eq!(state_after(returning, r#"{"by":4}"#), "5");
}

#[test]
fn a_handler_of_the_type_comes_before_any() {
    let source = "fromAll().when({ $init: () => [], \
                  paid(s) { s.push('paid') }, $any(s, e) { s.push('any ' + e.eventType) } })";
    let mut script = script(source);
    handle(&mut script, &event("paid", "{}")).unwrap();
    handle(&mut script, &event("shipped", "{}")).unwrap();
    assert_eq!(script.state().unwrap(), r#"["paid","any shipped"]"#);
}

#[test]
fn an_event_type_with_the_name_of_a_special_handler_is_for_any() {
    let source = "fromAll().when({ $init: () => 'first', $any: (s, e) => 'any' })";
    let mut script = script(source);
    handle(&mut script, &event("$init", "{}")).unwrap();
    assert_eq!(script.state().unwrap(), r#""any""#);
}

#[test]
fn an_event_has_its_fields() {
    let source = "fromAll().when({ $any: (s, e) => [e.streamId, e.eventType, e.sequenceNumber, \
                  e.eventId, e.isJson, e.bodyRaw, e.data.n, e.body.n, e.metadata.by, \
                  e.metadataRaw, e.category, e.created, e.linkMetadata === undefined] })";
    let state = state_after(source, r#"{"n":3}"#);
    let expected = r#"["order-1","happened",7,"00000000-0000-0000-0000-000000000007",true,"{\"n\":3}",3,3,"ann","{\"by\":\"ann\"}","order","2023-11-14T22:13:20.000Z",true]"#;
    assert_eq!(state, expected);
}

#[test]
fn data_that_are_no_json_have_their_raw_text_only() {
    let mut script =
        script("fromAll().when({ $any: (s, e) => [e.bodyRaw, e.data === undefined] })");
    handle(&mut script, &event("happened", "no json")).unwrap();
    assert_eq!(script.state().unwrap(), r#"["no json",true]"#);
    let bytes = ScriptEvent { is_json: false, ..event("happened", "{}") };
    handle(&mut script, &bytes).unwrap();
    assert_eq!(script.state().unwrap(), r#"["{}",true]"#);
}

#[test]
fn an_event_that_came_by_a_link_has_the_metadata_of_the_link() {
    let mut script = script("fromAll().when({ $any: (s, e) => e.linkMetadata.why })");
    let linked = ScriptEvent { link_metadata: Some(r#"{"why":"audit"}"#), ..event("paid", "{}") };
    handle(&mut script, &linked).unwrap();
    assert_eq!(script.state().unwrap(), r#""audit""#);
}

#[test]
fn an_event_can_be_part_of_the_state() {
    let state = state_after("fromAll().when({ $any: (s, e) => ({ last: e }) })", r#"{"n":3}"#);
    assert!(state.contains(r#""streamId":"order-1""#) && state.contains(r#""data":{"n":3}"#));
}

#[test]
fn a_state_that_was_saved_is_loaded_again() {
    let mut script = script("fromAll().when({ $init: () => ({ n: 0 }), $any(s) { s.n += 1 } })");
    script.load(Some(r#"{"n":41}"#), None).unwrap();
    handle(&mut script, &event("happened", "{}")).unwrap();
    assert_eq!(script.state().unwrap(), r#"{"n":42}"#);
    script.load(None, None).unwrap();
    assert_eq!(script.state().unwrap(), r#"{"n":0}"#);
    assert!(script.load(Some("{"), None).is_err());
}

#[test]
fn partitions_share_a_second_state() {
    let source = "fromAll().foreachStream().when({ $init: () => ({ n: 0 }), \
                  $initShared: () => ({ all: 0 }), \
                  $any(s, e) { s[0].n += 1; s[1].all += 1; return s } })";
    let mut script = script(source);
    assert!(script.definition().has_shared_state);
    script.handle(&event("happened", "{}"), "order-1").unwrap();
    let shared = script.shared().unwrap();
    script.load(None, shared.as_deref()).unwrap();
    script.handle(&event("happened", "{}"), "order-2").unwrap();
    assert_eq!(script.state().unwrap(), r#"{"n":1}"#);
    assert_eq!(script.shared().unwrap().as_deref(), Some(r#"{"all":2}"#));
}

#[test]
fn a_handler_knows_the_partition() {
    let mut script = script("fromAll().foreachStream().when({ $any: (s, e) => e.partition })");
    script.handle(&event("happened", "{}"), "order-9").unwrap();
    assert_eq!(script.state().unwrap(), r#""order-9""#);
}

#[test]
fn a_deleted_stream_is_told_to_its_partition() {
    let source = "fromAll().foreachStream().when({ $init: () => ({}), \
                  $deleted(s, e) { s.gone = [e.streamId, e.partition, e.isSoftDelete] } })";
    let mut script = script(source);
    let mut deletion = StreamDeletion { stream: "order-1", is_tombstone: false, deleted_millis: 0 };
    script.deleted(&deletion).unwrap();
    assert_eq!(script.state().unwrap(), r#"{"gone":["order-1","order-1",true]}"#);
    deletion.is_tombstone = true;
    script.deleted(&deletion).unwrap();
    assert_eq!(script.state().unwrap(), r#"{"gone":["order-1","order-1",false]}"#);
}

#[test]
fn a_result_is_the_state_after_its_transformations() {
    let source = "fromAll().when({ $init: () => ({ n: 0 }), $any(s) { s.n += 1 } }) \
                  .filterBy(s => s.n > 1).transformBy(s => ({ doubled: s.n * 2 })).outputState()";
    let mut script = script(source);
    handle(&mut script, &event("happened", "{}")).unwrap();
    assert_eq!(script.result().unwrap(), None, "the filter leaves nothing");
    handle(&mut script, &event("happened", "{}")).unwrap();
    assert_eq!(script.result().unwrap().as_deref(), Some(r#"{"doubled":4}"#));
    assert_eq!(script.state().unwrap(), r#"{"n":2}"#, "the state stays");
}

#[test]
fn a_handler_that_throws_fails_with_its_message() {
    let mut script = script("fromAll().when({\n paid(s, e) { e.data.amount.value += 1 } })");
    let failed = handle(&mut script, &event("paid", "{}")).unwrap_err().to_string();
    assert!(failed.starts_with("TypeError:") && failed.contains("projection:2"), "{failed}");
    let thrown = state_error("fromAll().when({ $any() { throw 'no object' } })");
    assert_eq!(thrown, "no object");
}

fn state_error(source: &str) -> String {
    handle(&mut script(source), &event("happened", "{}")).unwrap_err().to_string()
}
