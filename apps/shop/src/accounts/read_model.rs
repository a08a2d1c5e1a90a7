//! The read model of accounts: balances and transactions.

use gesta::{Aggregate as _, Apply, ApplyError, Projection, Recorded, StreamName};

use super::{
    Account, AccountEvent,
    details::{Booking, Change, no_account},
    rows,
};
use crate::{
    read_models::{self, Tx},
    sql::{self, SqlTx, params},
};

const TABLES: &str = "
    create table accounts (
        account_id text primary key,
        currency text not null,
        balance text not null
    ) strict, without rowid;
    create table transactions (
        account_id text not null,
        number integer not null,
        type text not null,
        amount text not null,
        balance text not null,
        reference text not null,
        counterparty text,
        occurred_at integer not null,
        primary key (account_id, number)
    ) strict, without rowid;
";

/// The projection that maintains balances and transactions.
#[derive(Debug)]
pub struct Accounts;

impl Projection for Accounts {
    const NAME: &'static str = "accounts";
    type Event = AccountEvent;
}

impl Apply<Tx> for Accounts {
    async fn prepare(&self, tx: &mut Tx) -> Result<(), ApplyError> {
        match tx {
            Tx::Sql(tx) => Ok(tx.create(TABLES).await?),
            Tx::Rows(_) => Ok(()),
        }
    }

    async fn apply(
        &self,
        tx: &mut Tx,
        events: &[Recorded<AccountEvent>],
    ) -> Result<(), ApplyError> {
        for event in events {
            match (Change::of(&event.event), &mut *tx) {
                (Change::Opened(opened), Tx::Sql(tx)) => {
                    let values = params![opened.account_id.as_str(), opened.currency.to_string()];
                    tx.execute("insert into accounts values (?1, ?2, '0')", values).await?;
                }
                (Change::Opened(opened), Tx::Rows(tx)) => rows::open(tx, opened).await?,
                (Change::Booked(booking), Tx::Sql(tx)) => {
                    book(tx, event.revision.number(), &booking).await?;
                }
                (Change::Booked(booking), Tx::Rows(tx)) => {
                    rows::book(tx, event.revision.number(), &booking).await?;
                }
            }
        }
        Ok(())
    }

    async fn forget(&self, tx: &mut Tx, stream: &StreamName) -> Result<(), ApplyError> {
        let Some(id) = read_models::id_of(stream, Account::CATEGORY) else { return Ok(()) };
        // Both tables: left-over transactions would give a recreated account a wrong revision.
        match tx {
            Tx::Sql(tx) => {
                tx.execute("delete from transactions where account_id = ?1", params![id]).await?;
                tx.execute("delete from accounts where account_id = ?1", params![id]).await?;
                Ok(())
            }
            Tx::Rows(tx) => rows::forget(tx, id).await,
        }
    }
}

async fn book(tx: &mut SqlTx, number: u64, booking: &Booking<'_>) -> Result<(), ApplyError> {
    let account = booking.account.as_str();
    let sql = "select balance from accounts where account_id = ?1";
    let before = tx.find(sql, params![account], |row| sql::money(row, 0)).await?;
    let Some(before) = before else {
        return Err(no_account(booking.account));
    };
    // Added here and not in SQL: the column is text, so that no digit is lost.
    let balance = (before + booking.amount).to_string();
    let sql = "update accounts set balance = ?2 where account_id = ?1";
    tx.execute(sql, params![account, &balance]).await?;
    tx.execute(
        "insert into transactions values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            account,
            number,
            booking.transaction_type.as_str(),
            booking.amount.to_string(),
            balance,
            booking.reference,
            booking.counterparty,
            sql::micros(booking.occurred_at),
        ],
    )
    .await?;
    Ok(())
}
