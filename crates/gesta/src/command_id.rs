//! Command ids, by which retries are recognized.
//!
//! Owns: [`CommandId`], and the derivation of event ids from it. Not here: handling of repeated ids
//! (the pipeline's idempotency step).

use std::{fmt, sync::Arc};

use gesta_store::{CausationId, CorrelationId, EventId, InvalidName};
use serde::{Deserialize, Serialize};

/// The id of a command, chosen by its sender. Sending it again marks a retry.
///
/// Follows the rules of correlation ids and causation ids, since it serves as both.
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
    /// Maximum length in bytes of UTF-8.
    pub const BYTES_MAX: usize = CausationId::BYTES_MAX;

    /// Validates a text as a command id.
    ///
    /// # Errors
    /// [`InvalidName`] if the text is empty, too long or contains a control character.
    pub fn new(text: impl Into<Arc<str>>) -> Result<Self, InvalidName> {
        let text = text.into();
        check("command id", &text)?;
        Ok(Self(text))
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the id of the command's `ordinal`-th event, from 0.
    #[must_use]
    pub fn event_id(&self, ordinal: u64) -> EventId {
        EventId::derived_from(&self.0, ordinal)
    }

    /// Returns the correlation id of a conversation that this command starts.
    #[must_use]
    pub fn begins(&self) -> CorrelationId {
        CorrelationId::stored(self.0.clone()).expect("a command id is a correlation id")
    }

    /// Returns the causation id of events caused by this command.
    #[must_use]
    pub fn causes(&self) -> CausationId {
        CausationId::stored(self.0.clone()).expect("a command id is a causation id")
    }
}

/// Validates a name of the framework by the store's rules.
pub(crate) fn check(what: &'static str, text: &str) -> Result<(), InvalidName> {
    InvalidName::check(what, text, CommandId::BYTES_MAX)
}

impl TryFrom<String> for CommandId {
    type Error = InvalidName;

    /// Accepts stored command ids, which earlier versions checked less strictly.
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
