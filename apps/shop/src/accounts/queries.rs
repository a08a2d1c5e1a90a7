//! Queries on accounts.

use gesta::{Answer, Query, QueryError, Revision};
use gesta_http::PageRequest;

use super::{AccountBalance, Accounts, Transaction};
use crate::{
    id::AccountId,
    paging::{Page, fetch_limit},
    sql::{self, params},
};

/// Finds one account with its balance.
#[derive(Query, Clone, Debug)]
#[query(reads = Accounts, answer = Option<AccountBalance>)]
pub struct FindAccount {
    /// Id of the account.
    pub account_id: AccountId,
}

impl Answer<sql::Reader> for FindAccount {
    async fn answer(&self, rows: &mut sql::Reader) -> Result<Self::Answer, QueryError> {
        // The first event opens the account and every later one is a transaction, so the highest
        // number is the revision.
        let sql = "select account_id, currency, balance,
                       (select coalesce(max(number), 0) from transactions where account_id = ?1)
                   from accounts where account_id = ?1";
        let account = params![self.account_id.as_str()];
        let found = rows.find(sql, account, |row| {
            Ok(AccountBalance {
                account_id: sql::parsed(row, 0)?,
                currency: sql::parsed(row, 1)?,
                balance: sql::money(row, 2)?,
                revision: Revision::new(row.get(3)?),
            })
        });
        Ok(found.await?)
    }
}

/// Lists the transactions of an account, newest first; `None` if the account does not exist.
#[derive(Query, Clone, Debug)]
#[query(reads = Accounts, answer = Option<Page<Transaction>>)]
pub struct ListTransactions {
    /// Id of the account.
    pub account_id: AccountId,
    /// Page to return.
    pub page: PageRequest<u32>,
}

impl Answer<sql::Reader> for ListTransactions {
    async fn answer(&self, rows: &mut sql::Reader) -> Result<Self::Answer, QueryError> {
        let account = self.account_id.as_str();
        // Distinguishes an account without transactions from one that does not exist.
        let sql = "select 1 from accounts where account_id = ?1";
        if rows.find(sql, params![account], |_| Ok(())).await?.is_none() {
            return Ok(None);
        }
        let sql = "select number, type, amount, balance, reference, counterparty, occurred_at
                   from transactions where account_id = ?1 and number < ?2
                   order by number desc limit ?3";
        // By key and not by offset: a new transaction does not move the rows of later pages.
        let before = self.page.after.map_or(i64::MAX, i64::from);
        let values = params![account, before, fetch_limit(self.page.limit)];
        let found = rows.query(sql, values, transaction).await?;
        Ok(Some(Page::from_rows(found, self.page.limit, |transaction| {
            transaction.number.to_string()
        })))
    }
}

fn transaction(row: &dyn sql::Row) -> sql::Result<Transaction> {
    Ok(Transaction {
        number: row.get(0)?,
        transaction_type: sql::parsed(row, 1)?,
        amount: sql::money(row, 2)?,
        balance: sql::money(row, 3)?,
        reference: row.get(4)?,
        counterparty: row.optional(5)?,
        occurred_at: sql::time(row, 6)?,
    })
}
