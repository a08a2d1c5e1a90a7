//! Users over HTTP.

use gesta::Revision;
use gesta_http::{
    Commands, Created, Cursor, JsonBody, PageLimit, Paged, PathOf, Problem, Queries, QueryOf,
    QueryResponse, Route, Schema, Schemas, UpdateCommands, Updated, Versioned, delete, get, post,
    put, request, response,
};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Value, json};

use super::{CreateUser, DeleteUser, Email, FindUser, ListUsers, UpdateUser, UserDetails};
use crate::{
    http::{
        page_size, paged,
        values::{Id, Text},
    },
    id::UserId,
};

/// Scope of this list's cursors; a cursor of another list is refused.
const LIST: &str = "users";

pub(crate) fn routes() -> [Route; 5] {
    [
        post("/v1/users", create_user, "Creates a user").rejects(&["email-taken"]),
        get("/v1/users", list_users, "Lists users, by id").rejects(&["unknown-cursor"]),
        get("/v1/users/{userId}", find_user, "Returns a user"),
        put("/v1/users/{userId}", update_user, "Replaces a user's names and e-mail address")
            .rejects(&["email-taken", "user-deleted"]),
        delete("/v1/users/{userId}", delete_user, "Deletes a user"),
    ]
}

request! {
    /// Path of a user.
    struct UserPath {
        /// Id of the user.
        user_id: Id<UserId>,
    }
}

request! {
    /// The user to create.
    struct NewUser {
        /// Id of the new user; generated if left out.
        user_id: Option<Id<UserId>>,
        /// The given name.
        first_name: Text,
        /// The family name.
        last_name: Text,
        /// E-mail address; no other user may have it.
        email: Option<PlainEmail>,
    }
}

async fn create_user(
    commands: Commands,
    JsonBody(user): JsonBody<NewUser>,
) -> Result<Created, Problem> {
    // Generated at the edge: a decision must give the same result when it is repeated.
    let user_id = user.user_id.map_or_else(|| commands.new_id().into(), |id| id.0);
    let create = CreateUser {
        user_id: user_id.clone(),
        first_name: user.first_name.0,
        last_name: user.last_name.0,
        email: user.email.map(|email| email.0),
    };
    commands.create(create, user_id, "/v1/users").await
}

request! {
    /// New values of a user.
    struct UserChange {
        /// The given name.
        first_name: Text,
        /// The family name.
        last_name: Text,
        /// E-mail address; no other user may have it. If left out, the user has none.
        email: Option<PlainEmail>,
    }
}

async fn update_user(
    commands: UpdateCommands,
    path: PathOf<UserPath>,
    JsonBody(user): JsonBody<UserChange>,
) -> Result<Updated, Problem> {
    let update = UpdateUser {
        user_id: path.user_id.0.clone(),
        first_name: user.first_name.0,
        last_name: user.last_name.0,
        email: user.email.map(|email| email.0),
    };
    commands.execute(update).await
}

async fn delete_user(commands: UpdateCommands, path: PathOf<UserPath>) -> Result<Updated, Problem> {
    commands.execute(DeleteUser { user_id: path.user_id.0.clone() }).await
}

async fn find_user(
    queries: Queries,
    path: PathOf<UserPath>,
) -> Result<Versioned<UserDetails>, Problem> {
    let found = queries.ask(FindUser { user_id: path.user_id.0.clone() }).await?.found("user")?;
    // The row's revision, not the store's current one: the ETag must belong to these values.
    let revision = Revision::new(found.value().revision);
    Ok(found.at(revision))
}

request! {
    /// Page of users to return.
    struct UserList {
        /// Value of `next` from the previous page.
        cursor: Option<Cursor>,
        /// Maximum number of entries per page.
        limit: Option<PageLimit>,
    }
}

async fn list_users(
    queries: Queries,
    list: QueryOf<UserList>,
) -> Result<QueryResponse<Paged<UserDetails>>, Problem> {
    let after = list.cursor.as_ref().map(|cursor| cursor.at(LIST, |id| UserId::new(id).ok()));
    let size = page_size(list.limit);
    let users = queries.ask(ListUsers { after: after.transpose()?, size }).await?;
    Ok(users.map(|page| paged(LIST, page)))
}

response! {
    /// A user.
    UserDetails {
        /// Id of the user.
        user_id: UserId,
        /// The given name.
        first_name: String,
        /// The family name.
        last_name: String,
        /// E-mail address; absent if the user has none.
        email: Option<String>,
        /// True once the welcome has been sent.
        welcomed: bool,
    }
}

/// An e-mail address in visible ASCII.
#[derive(Clone, Debug)]
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

impl Schema for PlainEmail {
    fn schema(_: &mut Schemas) -> Value {
        json!({
            "type": "string",
            "maxLength": Email::BYTES_MAX,
            "pattern": "^[!-?A-~]+@[!-?A-~]+$",
        })
    }
}
