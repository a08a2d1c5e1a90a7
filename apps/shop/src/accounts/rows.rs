//! The read model of accounts as rows: one for an account, and one for each of its transactions.

use gesta::{
    ApplyError, ReadTypedRows as _, Revision, TypedRows as _,
    store::{ListRows, ReadRows as _, Rows as _},
};
use serde::{Deserialize, Serialize};

use super::{
    AccountOpened,
    details::{AccountBalance, Booking, Transaction, no_account},
};
use crate::{
    money::Money,
    rows::{RowsReader, RowsTx, joined, newest_first, page, whole_micros},
};

/// Key: id of the account.
const ACCOUNTS: &str = "accounts";
/// Key: id of the account, and the number of the transaction, newest first.
const TRANSACTIONS: &str = "transactions";

#[derive(Serialize, Deserialize)]
struct AccountRow {
    account: AccountBalance,
    /// Number of the last transaction.
    revision: u64,
}

impl AccountRow {
    fn balance(self) -> AccountBalance {
        AccountBalance { revision: Revision::new(self.revision), ..self.account }
    }
}

pub(super) async fn open(tx: &mut RowsTx, opened: &AccountOpened) -> Result<(), ApplyError> {
    let account = AccountBalance {
        account_id: opened.account_id.clone(),
        currency: opened.currency,
        balance: Money::ZERO,
        revision: Revision::FIRST,
    };
    tx.put(ACCOUNTS, opened.account_id.as_str(), &AccountRow { account, revision: 0 }).await
}

pub(super) async fn book(
    tx: &mut RowsTx,
    number: u64,
    booking: &Booking<'_>,
) -> Result<(), ApplyError> {
    let key = booking.account.as_str();
    let known = tx.get::<AccountRow>(ACCOUNTS, key).await?;
    let mut row = known.ok_or_else(|| no_account(booking.account))?;
    row.account.balance += booking.amount;
    row.revision = number;
    tx.put(ACCOUNTS, key, &row).await?;
    let transaction = Transaction {
        number,
        transaction_type: booking.transaction_type,
        amount: booking.amount,
        balance: row.account.balance,
        reference: booking.reference.to_owned(),
        counterparty: booking.counterparty.map(str::to_owned),
        occurred_at: whole_micros(booking.occurred_at),
    };
    tx.put(TRANSACTIONS, &joined(&[key, &newest_first(number)]), &transaction).await
}

pub(super) async fn forget(tx: &mut RowsTx, account: &str) -> Result<(), ApplyError> {
    let prefix = joined(&[account, ""]);
    for row in tx.list_json(ListRows::of(TRANSACTIONS).prefix(&prefix)).await? {
        tx.delete(TRANSACTIONS, &row.key).await?;
    }
    Ok(tx.delete(ACCOUNTS, account).await?)
}

pub(super) async fn find(
    rows: &mut RowsReader,
    account: &str,
) -> Result<Option<AccountBalance>, ApplyError> {
    Ok(rows.get::<AccountRow>(ACCOUNTS, account).await?.map(AccountRow::balance))
}

pub(super) async fn list(rows: &mut RowsReader) -> Result<Vec<AccountBalance>, ApplyError> {
    let found: Vec<(_, AccountRow)> = rows.list(ListRows::of(ACCOUNTS)).await?;
    Ok(found.into_iter().map(|(_, row)| row.balance()).collect())
}

/// Lists accounts after an id.
pub(super) async fn list_after(
    rows: &mut RowsReader,
    after: &str,
    limit: u32,
) -> Result<Vec<AccountBalance>, ApplyError> {
    let found: Vec<(_, AccountRow)> = rows.list(page(ACCOUNTS, "", after, limit)).await?;
    Ok(found.into_iter().map(|(_, row)| row.balance()).collect())
}

/// Lists the transactions of an account with numbers below this one, newest first.
pub(super) async fn transactions(
    rows: &mut RowsReader,
    account: &str,
    before: u64,
    limit: u32,
) -> Result<Vec<Transaction>, ApplyError> {
    let (prefix, after) = (joined(&[account, ""]), joined(&[account, &newest_first(before)]));
    let found = rows.list(page(TRANSACTIONS, &prefix, &after, limit)).await?;
    Ok(found.into_iter().map(|(_, transaction)| transaction).collect())
}
