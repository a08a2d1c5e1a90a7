//! A user, as queries return it.

use gesta::{Aggregate as _, Recorded, Revision};
use gesta_http::Schema;
use serde::{Deserialize, Serialize};

use super::{User, UserEvent};
use crate::{id::UserId, read_models::first_revision};

/// A user.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Schema)]
#[serde(rename_all = "camelCase")]
pub struct UserDetails {
    /// Id of the user.
    pub user_id: UserId,
    /// The given name.
    pub first_name: String,
    /// The family name.
    pub last_name: String,
    /// E-mail address; absent if the user has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// True once the welcome has been sent.
    pub welcomed: bool,
    /// Revision of the user's stream, for the ETag.
    #[serde(skip, default = "first_revision")]
    pub revision: Revision,
}

/// Returns whether an event has a revision of the user. A welcome has one only if it is in the
/// user's own stream, as earlier versions wrote it.
pub(super) fn is_of_user(recorded: &Recorded<UserEvent>) -> bool {
    recorded.stream.category().is_some_and(|it| it.as_str() == User::CATEGORY)
}
