//! Queries on users.

use gesta::{Answer, Query, QueryError, Revision};
use gesta_http::PageRequest;

use super::{UserDetails, Users, rows as user_rows};
use crate::{
    id::UserId,
    paging::{Page, fetch_limit, ids_after},
    read_models::Reader,
    sql::{self, SqlReader, params},
};

/// Finds one user.
#[derive(Query, Clone, Debug)]
#[query(reads = Users, answer = Option<UserDetails>)]
pub struct FindUser {
    /// Id of the user.
    pub user_id: UserId,
}

impl Answer<Reader> for FindUser {
    async fn answer(&self, rows: &mut Reader) -> Result<Self::Answer, QueryError> {
        let sql = "select user_id, first_name, last_name, email, welcomed, revision from users
                   where user_id = ?1";
        match rows {
            Reader::Sql(rows) => Ok(rows.find(sql, params![self.user_id.as_str()], user).await?),
            Reader::Rows(rows) => Ok(user_rows::find(rows, self.user_id.as_str()).await?),
        }
    }
}

/// Lists users by id, optionally only some.
#[derive(Query, Clone, Debug, Default)]
#[query(reads = Users, answer = Page<UserDetails>)]
pub struct ListUsers {
    /// Ids of the users to list. Without any, all are listed.
    pub ids: Vec<UserId>,
    /// Page to return.
    pub page: PageRequest<UserId>,
}

impl Answer<Reader> for ListUsers {
    async fn answer(&self, rows: &mut Reader) -> Result<Self::Answer, QueryError> {
        let (after, limit) = (self.page.after.as_ref(), fetch_limit(self.page.limit));
        let after = after.map_or("", UserId::as_str);
        let found = match rows {
            Reader::Sql(rows) => self.select(rows, after, limit).await?,
            Reader::Rows(rows) if self.ids.is_empty() => {
                user_rows::list(rows, after, limit).await?
            }
            Reader::Rows(rows) => {
                let ids = ids_after(self.ids.iter().map(UserId::as_str), after);
                user_rows::find_many(rows, &ids, limit).await?
            }
        };
        Ok(Page::from_rows(found, self.page.limit, |user| user.user_id.to_string()))
    }
}

impl ListUsers {
    async fn select(
        &self,
        rows: &mut SqlReader,
        after: &str,
        limit: u32,
    ) -> sql::Result<Vec<UserDetails>> {
        let sql = format!(
            "select user_id, first_name, last_name, email, welcomed, revision from users
             where user_id > ?1 and {} order by user_id limit ?2",
            sql::one_of("user_id", 3, self.ids.len()),
        );
        let mut values = params![after, limit].to_vec();
        values.extend(self.ids.iter().map(|id| id.as_str().into()));
        rows.query(&sql, &values, user).await
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
