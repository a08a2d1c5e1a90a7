//! The read model of users: one row per user.

use gesta::{Aggregate as _, Apply, ApplyError, Projection, Recorded, Revision, StreamName};
use gesta_http::Schema;
use serde::Serialize;

use super::{User, UserEvent, UserUpdated};
use crate::{
    id::UserId,
    sql::{self, params},
};

const TABLES: &str = "
    create table users (
        user_id text primary key,
        first_name text not null,
        last_name text not null,
        email text,
        welcomed integer not null,
        revision integer not null
    ) strict, without rowid;
";

/// The projection that maintains the table of users.
#[derive(Debug)]
pub struct Users;

impl Projection for Users {
    const NAME: &'static str = "users";
    type Event = UserEvent;
}

impl Apply<sql::Tx> for Users {
    async fn prepare(&self, tx: &mut sql::Tx) -> Result<(), ApplyError> {
        Ok(tx.create(TABLES).await?)
    }

    async fn apply(
        &self,
        tx: &mut sql::Tx,
        events: &[Recorded<UserEvent>],
    ) -> Result<(), ApplyError> {
        for event in events {
            apply_one(tx, event).await?;
        }
        Ok(())
    }

    async fn forget(&self, tx: &mut sql::Tx, stream: &StreamName) -> Result<(), ApplyError> {
        let Some(id) = sql::id_of(stream, User::CATEGORY) else { return Ok(()) };
        tx.execute("delete from users where user_id = ?1", params![id]).await?;
        Ok(())
    }
}

async fn apply_one(tx: &mut sql::Tx, recorded: &Recorded<UserEvent>) -> Result<(), ApplyError> {
    let revision = recorded.revision.number();
    match &recorded.event {
        UserEvent::Created(created) => {
            let values = params![
                created.user_id.as_str(),
                &created.first_name,
                &created.last_name,
                sql::text(created.email.as_ref()),
                revision,
            ];
            tx.execute("insert into users values (?1, ?2, ?3, ?4, 0, ?5)", values).await
        }
        UserEvent::Updated(updated) => update(tx, revision, updated).await,
        UserEvent::Welcomed(welcomed) => {
            // Only a welcome in the user's own stream, as earlier versions wrote it, has a revision
            // of the user.
            let of_user =
                recorded.stream.category().is_some_and(|it| it.as_str() == User::CATEGORY);
            tx.execute(
                "update users set welcomed = 1, revision = case when ?3 then ?2 else revision end
                 where user_id = ?1",
                params![welcomed.user_id.as_str(), revision, of_user],
            )
            .await
        }
        // No row and no tombstone: queries answer as for a user who never existed.
        UserEvent::Deleted(deleted) => {
            let values = params![deleted.user_id.as_str()];
            tx.execute("delete from users where user_id = ?1", values).await
        }
    }?;
    Ok(())
}

async fn update(tx: &mut sql::Tx, revision: u64, updated: &UserUpdated) -> sql::Result<()> {
    tx.execute(
        "update users set first_name = ?2, last_name = ?3, email = ?4, revision = ?5
         where user_id = ?1",
        params![
            updated.user_id.as_str(),
            &updated.first_name,
            &updated.last_name,
            sql::text(updated.email.as_ref()),
            revision,
        ],
    )
    .await
}

/// A user.
#[derive(Serialize, Clone, Debug, PartialEq, Schema)]
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
    #[serde(skip)]
    pub revision: Revision,
}
