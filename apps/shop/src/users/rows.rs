//! The read model of users as rows, one by id.

use gesta::{ApplyError, ReadTypedRows as _, Recorded, Revision, TypedRows as _, store::Rows as _};
use serde::{Deserialize, Serialize};

use super::{
    UserEvent,
    details::{UserDetails, is_of_user},
};
use crate::{
    id::UserId,
    rows::{RowsReader, RowsTx, page},
};

/// Key: id of the user.
const USERS: &str = "users";

#[derive(Serialize, Deserialize)]
struct UserRow {
    user: UserDetails,
    revision: u64,
}

impl UserRow {
    fn details(self) -> UserDetails {
        UserDetails { revision: Revision::new(self.revision), ..self.user }
    }
}

pub(super) async fn apply_one(
    tx: &mut RowsTx,
    recorded: &Recorded<UserEvent>,
) -> Result<(), ApplyError> {
    let revision = recorded.revision.number();
    match &recorded.event {
        UserEvent::Created(created) => {
            let user = UserDetails {
                user_id: created.user_id.clone(),
                first_name: created.first_name.clone(),
                last_name: created.last_name.clone(),
                email: created.email.as_ref().map(ToString::to_string),
                welcomed: false,
                revision: recorded.revision,
            };
            tx.put(USERS, created.user_id.as_str(), &UserRow { user, revision }).await
        }
        UserEvent::Updated(updated) => {
            change(tx, &updated.user_id, |row| {
                row.user.first_name.clone_from(&updated.first_name);
                row.user.last_name.clone_from(&updated.last_name);
                row.user.email = updated.email.as_ref().map(ToString::to_string);
                row.revision = revision;
            })
            .await
        }
        UserEvent::Welcomed(welcomed) => {
            change(tx, &welcomed.user_id, |row| {
                row.user.welcomed = true;
                if is_of_user(recorded) {
                    row.revision = revision;
                }
            })
            .await
        }
        UserEvent::Deleted(deleted) => forget(tx, deleted.user_id.as_str()).await,
    }
}

/// Changes a user's row, if there is one.
async fn change(
    tx: &mut RowsTx,
    user: &UserId,
    change: impl FnOnce(&mut UserRow) + Send,
) -> Result<(), ApplyError> {
    let Some(mut row) = tx.get::<UserRow>(USERS, user.as_str()).await? else { return Ok(()) };
    change(&mut row);
    tx.put(USERS, user.as_str(), &row).await
}

pub(super) async fn forget(tx: &mut RowsTx, user: &str) -> Result<(), ApplyError> {
    Ok(tx.delete(USERS, user).await?)
}

pub(super) async fn find(
    rows: &mut RowsReader,
    user: &str,
) -> Result<Option<UserDetails>, ApplyError> {
    Ok(rows.get::<UserRow>(USERS, user).await?.map(UserRow::details))
}

/// Lists users after an id.
pub(super) async fn list(
    rows: &mut RowsReader,
    after: &str,
    limit: u32,
) -> Result<Vec<UserDetails>, ApplyError> {
    let found: Vec<(_, UserRow)> = rows.list(page(USERS, "", after, limit)).await?;
    Ok(found.into_iter().map(|(_, row)| row.details()).collect())
}

/// Finds several users by their ids, at most `limit` of them.
pub(super) async fn find_many(
    rows: &mut RowsReader,
    ids: &[&str],
    limit: u32,
) -> Result<Vec<UserDetails>, ApplyError> {
    let found: Vec<Option<UserRow>> = rows.get_many(USERS, ids).await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    Ok(found.into_iter().flatten().take(limit).map(UserRow::details).collect())
}
