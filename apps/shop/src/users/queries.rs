//! Queries on users.

use gesta::{Answer, Query, QueryError};

use super::{UserDetails, Users};
use crate::{
    id::UserId,
    paging::{Page, PageSize},
    sql::{self, params},
};

/// Finds one user.
#[derive(Clone, Debug)]
pub struct FindUser {
    /// Id of the user.
    pub user_id: UserId,
}

impl Query for FindUser {
    type Reads = Users;
    type Answer = Option<UserDetails>;
}

impl Answer<sql::Reader> for FindUser {
    async fn answer(&self, rows: &mut sql::Reader) -> Result<Option<UserDetails>, QueryError> {
        let sql = "select user_id, first_name, last_name, email, welcomed, revision from users
                   where user_id = ?1";
        Ok(rows.find(sql, [self.user_id.as_str()], user)?)
    }
}

/// Lists users by id.
#[derive(Clone, Debug, Default)]
pub struct ListUsers {
    /// Last id of the previous page.
    pub after: Option<UserId>,
    /// Maximum number of rows per page.
    pub size: PageSize,
}

impl Query for ListUsers {
    type Reads = Users;
    type Answer = Page<UserDetails>;
}

impl Answer<sql::Reader> for ListUsers {
    async fn answer(&self, rows: &mut sql::Reader) -> Result<Page<UserDetails>, QueryError> {
        let sql = "select user_id, first_name, last_name, email, welcomed, revision from users
                   where user_id > ?1 order by user_id limit ?2";
        let after = self.after.as_ref().map_or("", UserId::as_str);
        let found = rows.query(sql, params![after, self.size.fetch_limit()], user)?;
        Ok(Page::from_rows(found, self.size, |user| user.user_id.to_string()))
    }
}

fn user(row: &sql::Row<'_>) -> sql::Result<UserDetails> {
    Ok(UserDetails {
        user_id: sql::parsed(row, 0)?,
        first_name: row.get(1)?,
        last_name: row.get(2)?,
        email: row.get(3)?,
        welcomed: row.get(4)?,
        revision: row.get(5)?,
    })
}
