//! Short ways to make scripts and events.

use gesta_scripts::{Outputs, Script, ScriptError, ScriptEvent, ScriptLimits};

/// A script with its initial state.
pub(crate) fn script(source: &str) -> Script {
    let mut script = Script::compile(source, ScriptLimits::default()).unwrap();
    script.load(None, None).unwrap();
    script
}

/// The error of a script that is refused.
pub(crate) fn refused(source: &str) -> String {
    Script::compile(source, ScriptLimits::default()).unwrap_err().to_string()
}

pub(crate) fn event<'a>(event_type: &'a str, data: &'a str) -> ScriptEvent<'a> {
    ScriptEvent {
        stream: "order-1",
        event_type,
        id: "00000000-0000-0000-0000-000000000007",
        revision: 7,
        is_json: true,
        data,
        metadata: r#"{"by":"ann"}"#,
        link_metadata: None,
        created_millis: 1_700_000_000_000,
    }
}

/// Handles an event without a partition.
pub(crate) fn handle(script: &mut Script, event: &ScriptEvent<'_>) -> Result<Outputs, ScriptError> {
    script.handle(event, "")
}

/// The state after one event of the type `happened`.
pub(crate) fn state_after(source: &str, data: &str) -> String {
    let mut script = script(source);
    handle(&mut script, &event("happened", data)).unwrap();
    script.state().unwrap()
}

/// The result of an expression, as a handler computes it.
pub(crate) fn evaluated(expression: &str) -> Result<String, ScriptError> {
    let source =
        format!("fromAll().when({{ $any: (s, e) => {{ return {{ value: {expression} }}; }} }})");
    let mut script = script(&source);
    handle(&mut script, &event("happened", "{}"))?;
    let state = script.state()?;
    Ok(state.strip_prefix(r#"{"value":"#).unwrap_or("}").trim_end_matches('}').to_owned())
}
