//! The top level of a script: selections, partitions and options.

use gesta_scripts::{Partitions, Script, ScriptLimits, Selection};

use crate::support::{event, refused, script};

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_script_selects_all_streams_or_categories() {
    let table = [
        ("fromAll()", Selection::All, names(&[])),
        ("fromStream('a-1')", Selection::Streams(&[]), names(&["a-1"])),
        ("fromStreams('a-1', 'b-1')", Selection::Streams(&[]), names(&["a-1", "b-1"])),
        ("fromStreams(['a-1', 'b-1'])", Selection::Streams(&[]), names(&["a-1", "b-1"])),
        ("fromCategory('a')", Selection::Categories(&[]), names(&["a"])),
        ("fromCategories('a', 'b')", Selection::Categories(&[]), names(&["a", "b"])),
    ];
    for (from, kind, expected) in table {
        let script = script(&format!("{from}.when({{ $any: (s, e) => s }})"));
        let expected = match kind {
            Selection::All => Selection::All,
            Selection::Streams(_) => Selection::Streams(&expected),
            Selection::Categories(_) => Selection::Categories(&expected),
        };
        assert_eq!(script.definition().selection(), expected, "{from}");
    }
}

#[test]
fn a_script_says_which_types_it_handles() {
    let some = script("fromAll().when({ paid: (s, e) => s, shipped: (s, e) => s })");
    assert_eq!(some.definition().handlers, ["paid", "shipped"]);
    assert!(some.definition().handles("paid") && !some.definition().handles("placed"));
    let all = script("fromAll().when({ $init: () => 0, $any: (s, e) => s })");
    assert!(all.definition().handles("placed") && !all.definition().has_handler("placed"));
    assert!(all.definition().handlers.is_empty(), "`$init` is no event type");
}

#[test]
fn a_state_is_one_or_one_for_each_stream_or_key() {
    let table = [
        ("", Partitions::None),
        (".foreachStream()", Partitions::ByStream),
        (".partitionBy(e => e.data.country)", Partitions::ByKey),
    ];
    for (partitions, expected) in table {
        let script = script(&format!("fromAll(){partitions}.when({{ $any: (s, e) => s }})"));
        assert_eq!(script.definition().partitions, expected);
    }
}

#[test]
fn a_key_is_text_and_an_event_may_have_none() {
    let source = "fromAll().partitionBy(e => e.data.key).when({ $any: (s, e) => s })";
    let mut script = script(source);
    for (data, key) in
        [(r#"{"key":"de"}"#, "de"), (r#"{"key":49}"#, "49"), (r#"{"key":null}"#, ""), ("{}", "")]
    {
        assert_eq!(script.partition(&event("paid", data)).unwrap(), key, "{data}");
    }
}

#[test]
fn options_are_taken_and_unknown_ones_refused() {
    let source = "options({ resultStreamName: 'totals', $includeLinks: true, reorderEvents: true, \
                  processingLag: 500 }); fromAll().when({ $any: (s, e) => s }).outputState()";
    let script = script(source);
    let definition = script.definition();
    assert_eq!(definition.result_stream.as_deref(), Some("totals"));
    assert!(definition.includes_links && definition.outputs_state);
    let text = refused("options({ colour: 'red' }); fromAll().when({})");
    assert!(text.contains("there is no option `colour`"), "{text}");
}

#[test]
fn output_to_names_the_result_streams() {
    let script = script("fromAll().foreachStream().when({}).outputTo('totals', 'total-{0}')");
    let definition = script.definition();
    assert_eq!(definition.result_stream.as_deref(), Some("totals"));
    assert_eq!(definition.partition_result_stream.as_deref(), Some("total-{0}"));
    assert!(definition.outputs_state);
}

#[test]
fn a_script_that_defines_no_projection_is_refused_with_the_reason() {
    let table = [
        ("", "the script selects no events"),
        ("fromAll()", "`when` is missing"),
        ("fromAll(); fromStream('a')", "selects its events once"),
        ("fromAll().foreachStream().partitionBy(e => 1).when({})", "partitions its events once"),
        ("fromAll().when({ paid: 1 })", "the handler `paid` needs a function; got number"),
        ("fromAll().when({}); fromAll().when({})", "selects its events once"),
        ("fromAll().when({ $deleted: s => s })", "`$deleted` needs `foreachStream`"),
        ("fromStream()", "fromStream needs a string"),
        ("fromStreams([])", "fromStreams needs a name"),
        ("fromAll().when({}).transformBy(7)", "transformBy needs a function"),
        ("fromAll().when(", "SyntaxError"),
        ("fromNowhere()", "fromNowhere"),
        ("emit('a', 'b', {})", "works in handlers only"),
    ];
    for (source, reason) in table {
        let text = refused(source);
        assert!(text.contains(reason), "{source}: {text}");
    }
}

#[test]
fn an_error_names_its_line() {
    let text = refused("fromAll().when({\n\n  paid: nothing\n})");
    assert!(text.contains("projection:3"), "{text}");
}

#[test]
fn a_script_of_more_than_a_mebibyte_is_refused() {
    let source = format!("fromAll().when({{}}) //{}", " ".repeat(ScriptLimits::SCRIPT_BYTES_MAX));
    let refused = Script::compile(&source, ScriptLimits::default()).unwrap_err();
    assert!(refused.to_string().starts_with("the script has 1048"), "{refused}");
}
