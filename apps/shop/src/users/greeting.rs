//! The record that a user was welcomed.
//!
//! Its stream is not the user's: the welcome happens by itself soon after a user was created, and
//! whoever created the user may still hold the revision from then. Earlier versions of the shop
//! wrote the same event into the user's stream, where it still counts.

use gesta::prelude::*;

use super::UserWelcomed;
use crate::id::UserId;

/// The welcome of one user.
#[derive(Debug, Default)]
pub struct Greeting {
    pub(super) given: bool,
}

/// The events of a welcome.
#[derive(EventSet, Clone, Debug, PartialEq)]
pub enum GreetingEvent {
    /// The welcome went out.
    Given(UserWelcomed),
}

impl Aggregate for Greeting {
    const CATEGORY: &'static str = "welcome";
    type Id = UserId;
    type Event = GreetingEvent;

    fn evolve(&mut self, event: &GreetingEvent) {
        match event {
            GreetingEvent::Given(_) => self.given = true,
        }
    }
}
