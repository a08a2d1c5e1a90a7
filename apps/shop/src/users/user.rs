//! The user: what is remembered of one, and when the shop says no.

use gesta::prelude::*;

use super::{Email, UserEvent};
use crate::id::UserId;

/// One user.
#[derive(Debug, Default)]
pub struct User {
    pub(super) profile: Profile,
    pub(super) welcomed: bool,
    deleted: bool,
}

/// What can be updated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Profile {
    pub(super) first_name: String,
    pub(super) last_name: String,
    pub(super) email: Option<Email>,
}

impl User {
    /// Nothing more happens to a user who was deleted.
    pub(super) fn there(&self) -> Result<&Self, UserRejection> {
        if self.deleted { Err(UserRejection::Deleted) } else { Ok(self) }
    }
}

impl Aggregate for User {
    const CATEGORY: &'static str = "user";
    type Id = UserId;
    type Event = UserEvent;

    fn evolve(&mut self, event: &UserEvent) {
        match event {
            UserEvent::Created(created) => {
                self.profile = Profile {
                    first_name: created.first_name.clone(),
                    last_name: created.last_name.clone(),
                    email: created.email.clone(),
                };
            }
            UserEvent::Updated(updated) => {
                self.profile = Profile {
                    first_name: updated.first_name.clone(),
                    last_name: updated.last_name.clone(),
                    email: updated.email.clone(),
                };
            }
            UserEvent::Welcomed(_) => self.welcomed = true,
            UserEvent::Deleted(_) => self.deleted = true,
        }
    }
}

/// Why nothing happens to a user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Rejection)]
pub enum UserRejection {
    /// The address is another user's.
    #[error("another user has the address {email}")]
    #[rejection(code = "email-taken")]
    EmailTaken {
        /// The address.
        email: Email,
    },
    /// The user was deleted.
    #[error("the user was deleted")]
    #[rejection(code = "user-deleted")]
    Deleted,
}
