//! The definition of a projection, as the top level of its script makes it.

use serde::Deserialize;

/// The events that a projection handles, and its outputs.
///
/// ```
/// use gesta_scripts::{Partitions, Script, ScriptLimits, Selection};
///
/// let script = "fromCategory('order').foreachStream().when({ $any: (s, e) => s })";
/// let script = Script::compile(script, ScriptLimits::default())?;
/// assert_eq!(script.definition().selection(), Selection::Categories(&["order".to_owned()]));
/// assert_eq!(script.definition().partitions, Partitions::ByStream);
/// # Ok::<(), gesta_scripts::ScriptError>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Definition {
    from: From,
    names: Vec<String>,
    /// The division of the state.
    pub partitions: Partitions,
    /// Event types with a handler of their own.
    pub handlers: Vec<String>,
    /// There is a handler for all other types, `$any`.
    pub handles_any: bool,
    /// There is a handler for deleted streams, `$deleted`.
    pub handles_deleted: bool,
    /// All partitions share a second state, which `$initShared` makes.
    pub has_shared_state: bool,
    /// Each change of the result is an event of a result stream.
    pub outputs_state: bool,
    /// Name of the result stream, if the script sets it.
    pub result_stream: Option<String>,
    /// Names of the result streams of partitions, if the script sets them; `{0}` stands for the
    /// partition.
    pub partition_result_stream: Option<String>,
    /// Link events are events, too.
    pub includes_links: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum From {
    All,
    Streams,
    Categories,
}

/// The events that a script selects.
///
/// ```
/// use gesta_scripts::{Script, ScriptLimits, Selection};
///
/// let script = "fromAll().when({ $any: (s, e) => s })";
/// let script = Script::compile(script, ScriptLimits::default())?;
/// assert_eq!(script.definition().selection(), Selection::All);
/// # Ok::<(), gesta_scripts::ScriptError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection<'a> {
    /// Every event of the store.
    All,
    /// The events of these streams.
    Streams(&'a [String]),
    /// The events of the streams of these categories.
    Categories(&'a [String]),
}

/// The division of a projection's state.
///
/// ```
/// use gesta_scripts::{Partitions, Script, ScriptLimits};
///
/// let script = "fromAll().partitionBy(e => e.data.country).when({ $any: (s, e) => s })";
/// let script = Script::compile(script, ScriptLimits::default())?;
/// assert_eq!(script.definition().partitions, Partitions::ByKey);
/// # Ok::<(), gesta_scripts::ScriptError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Partitions {
    /// One state.
    #[serde(rename = "none")]
    None,
    /// A state for each stream.
    #[serde(rename = "stream")]
    ByStream,
    /// A state for each key that the script computes.
    #[serde(rename = "key")]
    ByKey,
}

impl Definition {
    /// Returns the events that the script selects.
    #[must_use]
    pub fn selection(&self) -> Selection<'_> {
        match self.from {
            From::All => Selection::All,
            From::Streams => Selection::Streams(&self.names),
            From::Categories => Selection::Categories(&self.names),
        }
    }

    /// Returns `true` if a handler is called for events of this type.
    #[must_use]
    pub fn handles(&self, event_type: &str) -> bool {
        self.handles_any || self.has_handler(event_type)
    }

    /// Returns `true` if the type has a handler of its own.
    #[must_use]
    pub fn has_handler(&self, event_type: &str) -> bool {
        self.handlers.iter().any(|handler| handler == event_type)
    }
}
