//! Queries on accounts.

use gesta::{Answer, Query, QueryError, Revision};
use gesta_http::PageRequest;

use super::{
    Accounts,
    details::{AccountBalance, Transaction},
    rows as account_rows,
};
use crate::{
    id::AccountId,
    paging::{Page, fetch_limit},
    read_models::Reader,
    sql::{self, SqlReader, params},
};

/// Finds one account with its balance.
#[derive(Query, Clone, Debug)]
#[query(reads = Accounts, answer = Option<AccountBalance>)]
pub struct FindAccount {
    /// Id of the account.
    pub account_id: AccountId,
}

impl Answer<Reader> for FindAccount {
    async fn answer(&self, rows: &mut Reader) -> Result<Self::Answer, QueryError> {
        // The first event opens the account and every later one is a transaction, so the highest
        // number is the revision.
        let sql = "select account_id, currency, balance,
                       (select coalesce(max(number), 0) from transactions where account_id = ?1)
                   from accounts where account_id = ?1";
        let account = self.account_id.as_str();
        match rows {
            Reader::Sql(rows) => Ok(rows.find(sql, params![account], balance).await?),
            Reader::Rows(rows) => Ok(account_rows::find(rows, account).await?),
        }
    }
}

/// Lists accounts with their balances by id.
#[derive(Query, Clone, Debug, Default)]
#[query(reads = Accounts, answer = Page<AccountBalance>)]
pub struct ListAccounts {
    /// Page to return.
    pub page: PageRequest<AccountId>,
}

impl Answer<Reader> for ListAccounts {
    async fn answer(&self, rows: &mut Reader) -> Result<Self::Answer, QueryError> {
        let sql = "select account_id, currency, balance,
                       (select coalesce(max(number), 0) from transactions
                        where transactions.account_id = accounts.account_id)
                   from accounts where account_id > ?1 order by account_id limit ?2";
        let after = self.page.after.as_ref().map_or("", AccountId::as_str);
        let limit = fetch_limit(self.page.limit);
        let found = match rows {
            Reader::Sql(rows) => rows.query(sql, params![after, limit], balance).await?,
            Reader::Rows(rows) => account_rows::list_after(rows, after, limit).await?,
        };
        Ok(Page::from_rows(found, self.page.limit, |account| account.account_id.to_string()))
    }
}

/// Lists all accounts with their balances, by id.
#[derive(Query, Clone, Debug)]
#[query(reads = Accounts, answer = Vec<AccountBalance>)]
pub struct ListBalances;

impl Answer<Reader> for ListBalances {
    async fn answer(&self, rows: &mut Reader) -> Result<Self::Answer, QueryError> {
        let sql = "select account_id, currency, balance,
                       (select coalesce(max(number), 0) from transactions
                        where transactions.account_id = accounts.account_id)
                   from accounts order by account_id";
        match rows {
            Reader::Sql(rows) => Ok(rows.query(sql, &[], balance).await?),
            Reader::Rows(rows) => Ok(account_rows::list(rows).await?),
        }
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

impl Answer<Reader> for ListTransactions {
    async fn answer(&self, rows: &mut Reader) -> Result<Self::Answer, QueryError> {
        let (account, limit) = (self.account_id.as_str(), fetch_limit(self.page.limit));
        let found = match rows {
            Reader::Sql(rows) => self.select(rows, account, limit).await?,
            Reader::Rows(rows) => match account_rows::find(rows, account).await? {
                Some(_) => {
                    let before = self.page.after.map_or(u64::MAX, u64::from);
                    Some(account_rows::transactions(rows, account, before, limit).await?)
                }
                None => None,
            },
        };
        Ok(found.map(|found| {
            Page::from_rows(found, self.page.limit, |transaction| transaction.number.to_string())
        }))
    }
}

impl ListTransactions {
    async fn select(
        &self,
        rows: &mut SqlReader,
        account: &str,
        limit: u32,
    ) -> sql::Result<Option<Vec<Transaction>>> {
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
        Ok(Some(rows.query(sql, params![account, before, limit], transaction).await?))
    }
}

fn balance(row: &dyn sql::Row) -> sql::Result<AccountBalance> {
    Ok(AccountBalance {
        account_id: sql::parsed(row, 0)?,
        currency: sql::parsed(row, 1)?,
        balance: sql::money(row, 2)?,
        revision: Revision::new(row.get(3)?),
    })
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
