//! Events of users.
//!
//! Invariants: an event that takes or frees an e-mail address carries that address as a tag; names
//! and addresses are marked as personal.

use gesta::prelude::*;

use super::Email;
use crate::id::UserId;

/// Tag of the events that take or free an e-mail address.
pub(super) const EMAIL: TagKey<Email> = TagKey::new("email");

/// A user was created.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "user-created")]
#[serde(rename_all = "camelCase")]
pub struct UserCreated {
    /// Id of the user.
    pub user_id: UserId,
    /// The given name.
    #[event(personal)]
    pub first_name: String,
    /// The family name.
    #[event(personal)]
    pub last_name: String,
    /// E-mail address, now taken by this user.
    #[event(tag = EMAIL, personal)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Email>,
}

/// A user's names or e-mail address changed.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "user-updated")]
#[serde(rename_all = "camelCase")]
pub struct UserUpdated {
    /// Id of the user.
    pub user_id: UserId,
    /// The given name.
    #[event(personal)]
    pub first_name: String,
    /// The family name.
    #[event(personal)]
    pub last_name: String,
    /// E-mail address after the change.
    #[event(tag = EMAIL, personal)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Email>,
    /// Previous e-mail address, if it is free again.
    #[event(tag = EMAIL, personal)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freed_email: Option<Email>,
}

/// A user was welcomed.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "user-welcomed")]
#[serde(rename_all = "camelCase")]
pub struct UserWelcomed {
    /// Id of the user.
    pub user_id: UserId,
}

/// A user was deleted.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "user-deleted")]
#[serde(rename_all = "camelCase")]
pub struct UserDeleted {
    /// Id of the user.
    pub user_id: UserId,
    /// E-mail address that is free again.
    #[event(tag = EMAIL, personal)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freed_email: Option<Email>,
}

/// The events of a user.
#[derive(EventSet, Clone, Debug, PartialEq)]
pub enum UserEvent {
    /// The user was created.
    Created(UserCreated),
    /// The user was changed.
    Updated(UserUpdated),
    /// The user was welcomed.
    Welcomed(UserWelcomed),
    /// The user was deleted.
    Deleted(UserDeleted),
}
