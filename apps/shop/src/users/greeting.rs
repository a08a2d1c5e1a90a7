//! The record that a user was welcomed.
//!
//! It has a stream of its own: the welcome follows soon after the user's creation, and a client may
//! still hold the user's revision from then. Earlier versions of the shop wrote the same event into
//! the user's stream, where it still counts.

use gesta::prelude::*;

use super::UserWelcomed;
use crate::id::UserId;

/// State of one user's welcome.
#[derive(Debug, Default, Serialize)]
pub struct Greeting {
    pub(super) sent: bool,
}

/// The events of a welcome.
#[derive(EventSet, Clone, Debug, PartialEq)]
pub enum GreetingEvent {
    /// The welcome was sent.
    Sent(UserWelcomed),
}

impl Aggregate for Greeting {
    const CATEGORY: &'static str = "welcome";
    // The user's id: the two streams of a user are found without a lookup.
    type Id = UserId;
    type Event = GreetingEvent;

    fn evolve(&mut self, event: &GreetingEvent) {
        match event {
            GreetingEvent::Sent(_) => self.sent = true,
        }
    }
}
