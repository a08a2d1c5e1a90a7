//! Events that a script gets, and events that it emits.

use serde::Deserialize;

/// An event as handlers see it.
///
/// ```
/// use gesta_scripts::ScriptEvent;
///
/// let event = ScriptEvent { event_type: "paid", stream: "order-1", ..ScriptEvent::default() };
/// assert!(!event.is_json);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScriptEvent<'a> {
    /// The stream that the event belongs to.
    pub stream: &'a str,
    /// Kind of the event.
    pub event_type: &'a str,
    /// Identity of the event, as text.
    pub id: &'a str,
    /// Place in its stream, from 0.
    pub revision: u64,
    /// The data are JSON.
    pub is_json: bool,
    /// The data as text.
    pub data: &'a str,
    /// The metadata as text. May be empty.
    pub metadata: &'a str,
    /// The metadata of the link by which the event was found.
    pub link_metadata: Option<&'a str>,
    /// Time of the event, in milliseconds since 1970-01-01T00:00Z.
    pub created_millis: i64,
}

/// An event that a handler emitted.
///
/// ```
/// use gesta_scripts::{Script, ScriptEvent, ScriptLimits};
///
/// let script =
///     "fromAll().when({ paid(s, e) { emit('invoices', 'due', { of: e.streamId }) } })";
/// let mut script = Script::compile(script, ScriptLimits::default())?;
/// script.load(None, None)?;
/// let paid = ScriptEvent { event_type: "paid", stream: "order-1", ..ScriptEvent::default() };
/// let outputs = script.handle(&paid, "")?;
/// assert_eq!(outputs.emitted[0].stream, "invoices");
/// assert_eq!(outputs.emitted[0].data, r#"{"of":"order-1"}"#);
/// # Ok::<(), gesta_scripts::ScriptError>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Emitted {
    /// The stream that the event is for.
    pub stream: String,
    /// Kind of the event; `$>` for a link, `$@` for a link to a stream.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The data as text.
    pub data: String,
    /// The data are JSON.
    pub is_json: bool,
    /// Metadata that the script gave, as JSON.
    pub metadata: Option<String>,
}

/// Everything that a handler did besides its state.
///
/// ```
/// use gesta_scripts::{Script, ScriptEvent, ScriptLimits};
///
/// let script = "fromAll().when({ paid: (s, e) => log('paid', e.streamId) })";
/// let mut script = Script::compile(script, ScriptLimits::default())?;
/// script.load(None, None)?;
/// let paid = ScriptEvent { event_type: "paid", stream: "order-1", ..ScriptEvent::default() };
/// assert_eq!(script.handle(&paid, "")?.lines, ["paid order-1"]);
/// # Ok::<(), gesta_scripts::ScriptError>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Outputs {
    /// Emitted events, in order.
    pub emitted: Vec<Emitted>,
    /// Lines of the script's log: at most 100 for one event, of at most 1,000 characters.
    pub lines: Vec<String>,
}
