//! Queries on users.

use gesta::{Answer, Query, QueryError, Revision};
use gesta_http::PageRequest;

use super::{UserDetails, Users};
use crate::{
    id::UserId,
    paging::{Page, fetch_limit},
    sql::{self, params},
};

/// Finds one user.
#[derive(Query, Clone, Debug)]
#[query(reads = Users, answer = Option<UserDetails>)]
pub struct FindUser {
    /// Id of the user.
    pub user_id: UserId,
}

impl Answer<sql::Reader> for FindUser {
    async fn answer(&self, rows: &mut sql::Reader) -> Result<Self::Answer, QueryError> {
        let sql = "select user_id, first_name, last_name, email, welcomed, revision from users
                   where user_id = ?1";
        Ok(rows.find(sql, params![self.user_id.as_str()], user).await?)
    }
}

/// Lists users by id.
#[derive(Query, Clone, Debug, Default)]
#[query(reads = Users, answer = Page<UserDetails>)]
pub struct ListUsers {
    /// Page to return.
    pub page: PageRequest<UserId>,
}

impl Answer<sql::Reader> for ListUsers {
    async fn answer(&self, rows: &mut sql::Reader) -> Result<Self::Answer, QueryError> {
        let sql = "select user_id, first_name, last_name, email, welcomed, revision from users
                   where user_id > ?1 order by user_id limit ?2";
        let after = self.page.after.as_ref().map_or("", UserId::as_str);
        let values = params![after, fetch_limit(self.page.limit)];
        let found = rows.query(sql, values, user).await?;
        Ok(Page::from_rows(found, self.page.limit, |user| user.user_id.to_string()))
    }
}

fn user(row: &dyn sql::Row) -> sql::Result<UserDetails> {
    Ok(UserDetails {
        user_id: sql::parsed(row, 0)?,
        first_name: row.get(1)?,
        last_name: row.get(2)?,
        email: row.optional(3)?,
        welcomed: row.get(4)?,
        revision: Revision::new(row.get(5)?),
    })
}
