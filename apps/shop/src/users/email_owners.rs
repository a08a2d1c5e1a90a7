//! Owners of e-mail addresses.
//!
//! Owns: [`EmailOwners`], the consistency boundary of one address. The boundary reads every event
//! that carries the address, from the streams of all users.

use std::collections::BTreeMap;

use gesta::prelude::*;

use super::{Email, UserCreated, UserDeleted, UserUpdated, events::EMAIL};
use crate::id::UserId;

/// The events that take or free an e-mail address.
#[derive(EventSet, Clone, Debug, PartialEq)]
pub enum EmailEvent {
    /// A user was created, maybe with an address.
    Created(UserCreated),
    /// A user's address may have changed.
    Updated(UserUpdated),
    /// A user was deleted.
    Deleted(UserDeleted),
}

/// The owner of an e-mail address.
///
/// An event that carries the address may also carry a second one, so owners are kept by address.
#[derive(Debug, Default, Serialize)]
pub struct EmailOwners(BTreeMap<Email, UserId>);

impl EmailOwners {
    pub(super) fn is_owned_by_other(&self, email: &Email, user: &UserId) -> bool {
        self.0.get(email).is_some_and(|owner| owner != user)
    }
}

impl Aggregate for EmailOwners {
    const CATEGORY: &'static str = "email";
    type Id = Email;
    type Event = EmailEvent;

    fn evolve(&mut self, event: &EmailEvent) {
        let (taken, freed) = match event {
            EmailEvent::Created(created) => ((created.email.as_ref(), &created.user_id), None),
            EmailEvent::Updated(updated) => {
                ((updated.email.as_ref(), &updated.user_id), updated.freed_email.as_ref())
            }
            EmailEvent::Deleted(deleted) => {
                ((None, &deleted.user_id), deleted.freed_email.as_ref())
            }
        };
        // An update may free one address and claim another; either can be this boundary's.
        if let Some(freed) = freed {
            self.0.remove(freed);
        }
        if let (Some(email), user) = taken {
            self.0.insert(email.clone(), user.clone());
        }
    }

    fn reads(email: &Email) -> Reads<EmailEvent> {
        // By tag and not by stream: the events of an address are in the streams of many users.
        Selection::tagged(EMAIL, email).into()
    }
}
