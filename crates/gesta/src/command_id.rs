//! Command ids: what makes a retry the same command.
//!
//! Owns: [`CommandId`], and the ids of the events that a command brings about. Not here: what
//! happens when an id comes again (the pipeline's idempotency layer).

use std::{fmt, sync::Arc};

use gesta_store::{CausationId, CorrelationId, EventId, InvalidName};
use serde::{Deserialize, Serialize};

/// The id of a command, chosen by who gives it; giving it again is how a retry is known.
///
/// It is also a correlation id and a causation id, and what they may be, it may be.
///
/// ```
/// use gesta::{CommandId, EventId};
///
/// let request = CommandId::new("request-42")?;
/// assert_eq!(request.event_id(0), EventId::derived_from("request-42", 0));
/// assert!(CommandId::new("").is_err());
/// # Ok::<(), gesta::InvalidName>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CommandId(Arc<str>);

impl CommandId {
    /// The longest command id, in bytes of UTF-8.
    pub const BYTES_MAX: usize = CausationId::BYTES_MAX;

    /// Checks the text and makes it a command id.
    ///
    /// # Errors
    /// [`InvalidName`] when the text is empty, too long or has a zero byte.
    pub fn new(text: impl Into<Arc<str>>) -> Result<Self, InvalidName> {
        let text = text.into();
        check("command id", &text)?;
        Ok(Self(text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of the `ordinal`-th event that the command brings about.
    #[must_use]
    pub fn event_id(&self, ordinal: u64) -> EventId {
        EventId::derived_from(&self.0, ordinal)
    }

    /// The conversation that the command begins, where none is named.
    #[must_use]
    pub fn begins(&self) -> CorrelationId {
        CorrelationId::stored(self.0.clone()).expect("a command id is a correlation id")
    }

    /// The command as the cause of something.
    #[must_use]
    pub fn causes(&self) -> CausationId {
        CausationId::stored(self.0.clone()).expect("a command id is a causation id")
    }
}

/// What the framework's own names may be: the rule of the store's.
pub(crate) fn check(what: &'static str, text: &str) -> Result<(), InvalidName> {
    InvalidName::check(what, text, CommandId::BYTES_MAX)
}

impl TryFrom<String> for CommandId {
    type Error = InvalidName;

    /// Of a command id that is stored, which an earlier version may have let pass.
    fn try_from(text: String) -> Result<Self, InvalidName> {
        let text: Arc<str> = CausationId::stored(text)?.as_str().into();
        Ok(Self(text))
    }
}

impl From<CommandId> for String {
    fn from(id: CommandId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}
