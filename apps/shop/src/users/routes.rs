//! Users over HTTP.

use gesta_http::{ApiRoute, Repeated, RequestFields, Schema, Schemas};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Value, json};

use super::{CreateUser, DeleteUser, Email, FindUser, ListUsers, UpdateUser};
use crate::{
    http::values::{Id, Text, ids_of},
    id::UserId,
    samples,
};

pub(crate) fn routes() -> [ApiRoute; 5] {
    [
        ApiRoute::post("/v1/users", "Creates a user")
            .create(NewUser::into_command)
            .rejects(&["email-taken"]),
        ApiRoute::get("/v1/users", "Lists users, by id")
            .list("users", |search: UserSearch, (), page| ListUsers {
                ids: ids_of(search.user_id),
                page,
            })
            .finds_many("findUser", "userId"),
        ApiRoute::get("/v1/users/{userId}", "Returns a user")
            .find_versioned("user", |Id(user_id)| FindUser { user_id }, |user| user.revision)
            .example("userId", samples::USER),
        ApiRoute::put("/v1/users/{userId}", "Replaces a user's names and e-mail address")
            .update(UserChange::into_command)
            .example("userId", samples::USER)
            .rejects(&["email-taken", "user-deleted"]),
        ApiRoute::delete("/v1/users/{userId}", "Deletes a user")
            .update(|(), Id(user_id), _| Ok(DeleteUser { user_id }))
            .example("userId", samples::USER_TO_DELETE),
    ]
}

/// Search for users.
#[derive(RequestFields)]
struct UserSearch {
    /// Only users with these ids.
    user_id: Option<Repeated<Id<UserId>>>,
}

/// The user to create.
#[derive(RequestFields)]
#[request(command = CreateUser)]
struct NewUser {
    /// Id of the new user; generated if left out.
    #[request(new_id)]
    user_id: Option<Id<UserId>>,
    /// The given name.
    #[request(example = "Cleo")]
    first_name: Text,
    /// The family name.
    #[request(example = "Park")]
    last_name: Text,
    /// E-mail address; no other user may have it.
    #[request(example = "cleo.park@example.org")]
    email: Option<PlainEmail>,
}

/// New values of a user.
#[derive(RequestFields)]
#[request(command = UpdateUser, path(user_id: Id<UserId>))]
struct UserChange {
    /// The given name.
    #[request(example = "Ann")]
    first_name: Text,
    /// The family name.
    #[request(example = "Lee")]
    last_name: Text,
    /// E-mail address; no other user may have it. If left out, the user has none.
    #[request(example = "ann.lee@example.org")]
    email: Option<PlainEmail>,
}

/// An e-mail address in visible ASCII.
struct PlainEmail(Email);

impl<'de> Deserialize<'de> for PlainEmail {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // The same rule as the pattern of the schema.
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(D::Error::custom(
                "must be an e-mail address in visible ASCII, such as ann@example.org",
            ));
        }
        Email::new(&text).map(Self).map_err(D::Error::custom)
    }
}

impl From<PlainEmail> for Email {
    fn from(email: PlainEmail) -> Self {
        email.0
    }
}

impl Schema for PlainEmail {
    fn schema(_: &mut Schemas) -> Value {
        json!({
            "type": "string",
            "maxLength": Email::BYTES_MAX,
            "pattern": "^[!-?A-~]+@[!-?A-~]+$",
        })
    }
}
