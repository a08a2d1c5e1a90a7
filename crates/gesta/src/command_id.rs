//! Command ids, by which retries are recognized.
//!
//! Owns: [`CommandId`], its scope, and the derivation of event ids from both. Invariant: ids of
//! different scopes never have the same event ids. Not here: handling of repeated ids (the
//! pipeline's idempotency step).

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
/// assert_eq!(request.unscoped_event_id(0), EventId::derived_from("request-42", 0));
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

    /// Returns the id of the `ordinal`-th event, from 0, of a command whose id is unique in the
    /// store ([`CommandIdScope::Store`]).
    #[must_use]
    pub fn unscoped_event_id(&self, ordinal: u64) -> EventId {
        EventId::derived_from(&self.0, ordinal)
    }

    /// Returns the id of the `ordinal`-th event of a command, from 0.
    pub(crate) fn event_id_within(
        &self,
        scope: &CommandIdScope,
        actor: Option<&str>,
        command: &str,
        ordinal: u64,
    ) -> EventId {
        let id = &self.0;
        // Each part after its length, so that no two scopes have one text. Control characters keep
        // the text apart from every unscoped id.
        let scoped = match scope {
            CommandIdScope::Store => return self.unscoped_event_id(ordinal),
            CommandIdScope::ActorAndCommand => {
                let actor = actor.unwrap_or_default();
                format!("{}\0{actor}{}\0{command}{id}", actor.len(), command.len())
            }
            CommandIdScope::Named(name) => format!("\0{}\0{name}{id}", name.len()),
        };
        EventId::derived_from(&scoped, ordinal)
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

/// The executions among which a command id is unique: two equal ids of one scope are one command.
///
/// ```
/// use gesta::{CommandIdScope, Gesta, prelude::*};
/// # #[derive(Event, Serialize, Deserialize, Clone)]
/// # #[event(name = "door-opened")]
/// # struct DoorOpened;
/// # #[derive(EventSet, Clone)]
/// # enum DoorEvent {
/// #     Opened(DoorOpened),
/// # }
/// # #[derive(Default)]
/// # struct Door;
/// # impl Aggregate for Door {
/// #     const CATEGORY: &'static str = "door";
/// #     type Id = u32;
/// #     type Event = DoorEvent;
/// #     fn evolve(&mut self, _: &DoorEvent) {}
/// # }
/// # #[derive(Command, Serialize, Deserialize)]
/// # #[command(name = "open-door", on = Door, either)]
/// # struct OpenDoor {
/// #     #[command(id)]
/// #     door: u32,
/// # }
/// # impl Decide for OpenDoor {
/// #     type Rejection = std::convert::Infallible;
/// #     fn decide(&self, _: &Door) -> Decision<Self> { Ok(DoorOpened.into()) }
/// # }
///
/// # gesta::store::conformance::block_on(async {
/// let gesta = Gesta::at("memory:").open().await?;
/// let open = || gesta.execute(OpenDoor { door: 7 }).command_id("1");
/// // Two actors that chose the same id sent two commands.
/// assert_ne!(open().actor("ann").await?, open().actor("ben").await?);
/// // Two programs of one tenant sent the same one.
/// let tenant = || CommandIdScope::named("tenant-3");
/// let first = open().actor("api").scope(tenant()).await?;
/// let second = open().actor("web").scope(tenant()).await?;
/// assert_eq!(second.position, first.position);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).expect("the door opens");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CommandIdScope {
    /// The executions of one command by one actor.
    #[default]
    ActorAndCommand,
    /// All commands of all actors: the id is unique in the store, such as a UUID. Another payload
    /// or another command under the id is refused.
    Store,
    /// The scope of this name, such as a tenant or a client.
    Named(Arc<str>),
}

impl CommandIdScope {
    /// Creates the scope of a name.
    #[must_use]
    pub fn named(name: impl Into<Arc<str>>) -> Self {
        Self::Named(name.into())
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_of_different_scopes_have_different_event_ids() {
        let id = CommandId::new("1").unwrap();
        let of = |scope, actor, command| id.event_id_within(&scope, actor, command, 0);
        let within = |actor, command| of(CommandIdScope::ActorAndCommand, actor, command);
        let ids = [
            within(None, "pay"),
            within(Some("ann"), "pay"),
            within(Some("ben"), "pay"),
            within(Some("ann"), "ship"),
            within(Some("annp"), "ay"),
            of(CommandIdScope::Store, Some("ann"), "pay"),
            of(CommandIdScope::named("ann"), Some("ann"), "pay"),
            of(CommandIdScope::named("a"), Some("ann"), "pay"),
        ];
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
        assert_eq!(within(Some("ann"), "pay"), ids[1]);
        let store = |actor| of(CommandIdScope::Store, Some(actor), "pay");
        assert_eq!(store("ann"), store("ben"));
        let named = |actor| of(CommandIdScope::named("tenant"), Some(actor), "pay");
        assert_eq!(named("ann"), named("ben"));
    }
}
