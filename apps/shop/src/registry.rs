//! The registry of all events, by name and version.

mod examples;

use gesta::Registry;

use crate::{
    accounts::AccountEvent,
    catalogue::ProductEvent,
    orders::{Fulfilment, OrderEvent, credit_notes::CreditNoteEvent},
    users::{GreetingEvent, UserEvent, Welcome},
};

/// Returns a registry with every event and process of the shop.
///
/// ```
/// let registry = shop::registry::events();
/// registry.check()?;
/// assert!(registry.names().any(|name| name == "order-placed"));
/// # Ok::<(), gesta::DuplicateEventName>(())
/// ```
#[must_use]
pub fn events() -> Registry {
    Registry::of::<UserEvent>()
        .and::<GreetingEvent>()
        .and::<ProductEvent>()
        .and::<OrderEvent>()
        .and::<CreditNoteEvent>()
        .and::<AccountEvent>()
        .process::<Welcome>()
        .process::<Fulfilment>()
}

/// Returns the registry with an example of every event.
///
/// ```
/// let registry = shop::registry::with_examples();
/// assert!(registry.names().all(|name| !registry.examples(name).is_empty()));
/// ```
#[must_use]
pub fn with_examples() -> Registry {
    examples::added_to(events())
}
