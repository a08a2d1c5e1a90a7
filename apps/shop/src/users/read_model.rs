//! The read model of users: one row per user.

use gesta::{Aggregate as _, Apply, ApplyError, Projection, Recorded, StreamName};

use super::{User, UserEvent, UserUpdated, details::is_of_user, rows};
use crate::{
    read_models::{self, Tx},
    sql::{self, SqlTx, params},
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

impl Apply<Tx> for Users {
    async fn prepare(&self, tx: &mut Tx) -> Result<(), ApplyError> {
        match tx {
            Tx::Sql(tx) => Ok(tx.create(TABLES).await?),
            Tx::Rows(_) => Ok(()),
        }
    }

    async fn apply(&self, tx: &mut Tx, events: &[Recorded<UserEvent>]) -> Result<(), ApplyError> {
        for event in events {
            match tx {
                Tx::Sql(tx) => apply_one(tx, event).await?,
                Tx::Rows(tx) => rows::apply_one(tx, event).await?,
            }
        }
        Ok(())
    }

    async fn forget(&self, tx: &mut Tx, stream: &StreamName) -> Result<(), ApplyError> {
        let Some(id) = read_models::id_of(stream, User::CATEGORY) else { return Ok(()) };
        match tx {
            Tx::Sql(tx) => {
                tx.execute("delete from users where user_id = ?1", params![id]).await?;
                Ok(())
            }
            Tx::Rows(tx) => rows::forget(tx, id).await,
        }
    }
}

async fn apply_one(tx: &mut SqlTx, recorded: &Recorded<UserEvent>) -> Result<(), ApplyError> {
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
            tx.execute(
                "update users set welcomed = 1, revision = case when ?3 then ?2 else revision end
                 where user_id = ?1",
                params![welcomed.user_id.as_str(), revision, is_of_user(recorded)],
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

async fn update(tx: &mut SqlTx, revision: u64, updated: &UserUpdated) -> sql::Result<()> {
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
