//! The read model of accounts: balances, and the transactions that led there.

use gesta::{Aggregate as _, Apply, ApplyError, Projection, Recorded, StreamName};
use jiff::Timestamp;
use serde::Serialize;

use super::{Account, AccountEvent, Currency};
use crate::{
    id::AccountId,
    money::Money,
    sql::{self, params},
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

/// Fills the tables of balances and transactions.
#[derive(Debug)]
pub struct Accounts;

impl Projection for Accounts {
    const NAME: &'static str = "accounts";
    type Event = AccountEvent;
}

impl Apply<sql::Tx> for Accounts {
    async fn prepare(&self, tx: &mut sql::Tx) -> Result<(), ApplyError> {
        Ok(tx.execute_script(TABLES)?)
    }

    async fn apply(
        &self,
        tx: &mut sql::Tx,
        events: &[Recorded<AccountEvent>],
    ) -> Result<(), ApplyError> {
        events.iter().try_for_each(|event| apply_one(tx, event))
    }

    async fn forget(&self, tx: &mut sql::Tx, stream: &StreamName) -> Result<(), ApplyError> {
        let Some(id) = sql::id_in(stream, Account::CATEGORY) else { return Ok(()) };
        tx.execute("delete from transactions where account_id = ?1", [id])?;
        tx.execute("delete from accounts where account_id = ?1", [id])?;
        Ok(())
    }
}

fn apply_one(tx: &mut sql::Tx, event: &Recorded<AccountEvent>) -> Result<(), ApplyError> {
    let booking = match &event.event {
        AccountEvent::Opened(opened) => {
            let values = params![opened.account_id.as_str(), opened.currency.to_string()];
            tx.execute("insert into accounts values (?1, ?2, '0')", values)?;
            return Ok(());
        }
        AccountEvent::Deposited(deposited) => Booking {
            account: &deposited.account_id,
            transaction_type: TransactionType::Deposit,
            amount: deposited.amount,
            reference: &deposited.reference,
            counterparty: deposited.source.as_deref(),
            occurred_at: deposited.occurred_at,
        },
        AccountEvent::Withdrawn(withdrawn) => Booking {
            account: &withdrawn.account_id,
            transaction_type: TransactionType::Withdrawal,
            amount: -withdrawn.amount,
            reference: &withdrawn.reference,
            counterparty: withdrawn.destination.as_deref(),
            occurred_at: withdrawn.occurred_at,
        },
        AccountEvent::Sent(sent) => Booking {
            account: &sent.account_id,
            transaction_type: TransactionType::TransferSent,
            amount: -sent.amount,
            reference: &sent.reference,
            counterparty: Some(sent.to.as_str()),
            occurred_at: sent.occurred_at,
        },
        AccountEvent::Received(received) => Booking {
            account: &received.account_id,
            transaction_type: TransactionType::TransferReceived,
            amount: received.amount,
            reference: &received.reference,
            counterparty: Some(received.from.as_str()),
            occurred_at: received.occurred_at,
        },
    };
    book(tx, event.revision.number(), &booking)
}

/// A change of a balance.
struct Booking<'e> {
    account: &'e AccountId,
    transaction_type: TransactionType,
    /// Below zero when it goes out.
    amount: Money,
    reference: &'e str,
    counterparty: Option<&'e str>,
    occurred_at: Timestamp,
}

fn book(tx: &mut sql::Tx, number: u64, booking: &Booking<'_>) -> Result<(), ApplyError> {
    let account = booking.account.as_str();
    let sql = "select balance from accounts where account_id = ?1";
    let Some(before) = tx.find(sql, [account], |row| sql::money(row, 0))? else {
        return Err(ApplyError::because(format!("account {account} was never opened")));
    };
    let balance = (before + booking.amount).to_string();
    tx.execute(
        "update accounts set balance = ?2 where account_id = ?1",
        params![account, balance],
    )?;
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
    )?;
    Ok(())
}

/// An account, as queries answer.
#[derive(Serialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AccountBalance {
    /// Which one.
    pub account_id: AccountId,
    /// In which currency.
    pub currency: Currency,
    /// What is in it.
    pub balance: Money,
    /// At which revision of the account.
    #[serde(skip)]
    pub revision: u64,
}

/// A change of a balance, as queries answer.
#[derive(Serialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Transaction {
    /// Its place among the account's events.
    pub number: u64,
    /// What it is.
    #[serde(rename = "type")]
    pub transaction_type: TransactionType,
    /// How much; below zero when it went out.
    pub amount: Money,
    /// What was in the account after it.
    pub balance: Money,
    /// What it is for.
    pub reference: String,
    /// Where it came from or went to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counterparty: Option<String>,
    /// When.
    pub occurred_at: Timestamp,
}

/// What a transaction is.
#[derive(Serialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum TransactionType {
    /// Money came in from outside.
    Deposit,
    /// Money went outside.
    Withdrawal,
    /// Money went to another account.
    TransferSent,
    /// Money came from another account.
    TransferReceived,
}

impl TransactionType {
    const ALL: [Self; 4] =
        [Self::Deposit, Self::Withdrawal, Self::TransferSent, Self::TransferReceived];

    fn as_str(self) -> &'static str {
        match self {
            Self::Deposit => "deposit",
            Self::Withdrawal => "withdrawal",
            Self::TransferSent => "transferSent",
            Self::TransferReceived => "transferReceived",
        }
    }
}

/// A text that is no type of transaction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no type of a transaction")]
pub struct NotATransactionType(String);

impl TryFrom<String> for TransactionType {
    type Error = NotATransactionType;

    fn try_from(text: String) -> Result<Self, NotATransactionType> {
        let found = Self::ALL.into_iter().find(|known| known.as_str() == text);
        found.ok_or(NotATransactionType(text))
    }
}
