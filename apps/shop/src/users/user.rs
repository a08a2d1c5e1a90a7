//! The user aggregate and its rejections.

use gesta::prelude::*;

use super::{Email, UserEvent};
use crate::id::UserId;

/// State of one user.
#[derive(Debug, Default, Serialize)]
pub struct User {
    pub(super) profile: Profile,
    pub(super) welcomed: bool,
    deleted: bool,
}

/// The fields that an update replaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Profile {
    pub(super) first_name: String,
    pub(super) last_name: String,
    pub(super) email: Option<Email>,
}

impl User {
    pub(super) fn existing(&self) -> Result<&Self, UserRejection> {
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
            // Only in streams of earlier versions; the welcome has a stream of its own now.
            UserEvent::Welcomed(_) => self.welcomed = true,
            UserEvent::Deleted(_) => self.deleted = true,
        }
    }
}

/// Business reasons to refuse a command on users.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Rejection)]
pub enum UserRejection {
    /// Another user has the address.
    #[error("e-mail address {email} belongs to another user")]
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
