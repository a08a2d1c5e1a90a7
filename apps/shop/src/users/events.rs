//! What happens to users.
//!
//! Always holds: an event that takes or frees an e-mail address carries that address as a tag.

use gesta::prelude::*;

use super::Email;
use crate::id::UserId;

/// A user was created.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "user-created")]
#[serde(rename_all = "camelCase")]
pub struct UserCreated {
    /// Which one.
    pub user_id: UserId,
    /// The given name.
    pub first_name: String,
    /// The family name.
    pub last_name: String,
    /// The address, which is now theirs.
    #[event(tag = "email")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Email>,
}

/// A user's names and address are now these.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "user-updated")]
#[serde(rename_all = "camelCase")]
pub struct UserUpdated {
    /// Which one.
    pub user_id: UserId,
    /// The given name.
    pub first_name: String,
    /// The family name.
    pub last_name: String,
    /// The address.
    #[event(tag = "email")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Email>,
    /// The address that is free again.
    #[event(tag = "email")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freed_email: Option<Email>,
}

/// A user was welcomed.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "user-welcomed")]
#[serde(rename_all = "camelCase")]
pub struct UserWelcomed {
    /// Which one.
    pub user_id: UserId,
}

/// A user was deleted.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "user-deleted")]
#[serde(rename_all = "camelCase")]
pub struct UserDeleted {
    /// Which one.
    pub user_id: UserId,
    /// The address that is free again.
    #[event(tag = "email")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freed_email: Option<Email>,
}

/// Everything that happens to a user.
#[derive(EventSet, Clone, Debug, PartialEq)]
pub enum UserEvent {
    /// Created.
    Created(UserCreated),
    /// Updated.
    Updated(UserUpdated),
    /// Welcomed.
    Welcomed(UserWelcomed),
    /// Deleted.
    Deleted(UserDeleted),
}
