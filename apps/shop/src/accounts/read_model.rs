//! The read model of accounts: balances and transactions.

use gesta::{Aggregate as _, Apply, ApplyError, Projection, Recorded, Revision, StreamName};
use gesta_http::Schema;
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

/// The projection that maintains balances and transactions.
#[derive(Debug)]
pub struct Accounts;

impl Projection for Accounts {
    const NAME: &'static str = "accounts";
    type Event = AccountEvent;
}

impl Apply<sql::Tx> for Accounts {
    async fn prepare(&self, tx: &mut sql::Tx) -> Result<(), ApplyError> {
        Ok(tx.create(TABLES).await?)
    }

    async fn apply(
        &self,
        tx: &mut sql::Tx,
        events: &[Recorded<AccountEvent>],
    ) -> Result<(), ApplyError> {
        for event in events {
            apply_one(tx, event).await?;
        }
        Ok(())
    }

    async fn forget(&self, tx: &mut sql::Tx, stream: &StreamName) -> Result<(), ApplyError> {
        let Some(id) = sql::id_of(stream, Account::CATEGORY) else { return Ok(()) };
        // Both tables: left-over transactions would give a recreated account a wrong revision.
        tx.execute("delete from transactions where account_id = ?1", params![id]).await?;
        tx.execute("delete from accounts where account_id = ?1", params![id]).await?;
        Ok(())
    }
}

async fn apply_one(tx: &mut sql::Tx, event: &Recorded<AccountEvent>) -> Result<(), ApplyError> {
    let booking = match &event.event {
        AccountEvent::Opened(opened) => {
            let values = params![opened.account_id.as_str(), opened.currency.to_string()];
            // Opening is the only event that is not a transaction.
            return Ok(tx.execute("insert into accounts values (?1, ?2, '0')", values).await?);
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
            // Events carry positive amounts; a transaction shows the effect on the balance.
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
    book(tx, event.revision.number(), &booking).await
}

struct Booking<'e> {
    account: &'e AccountId,
    transaction_type: TransactionType,
    /// Negative for money that leaves the account.
    amount: Money,
    reference: &'e str,
    counterparty: Option<&'e str>,
    occurred_at: Timestamp,
}

async fn book(tx: &mut sql::Tx, number: u64, booking: &Booking<'_>) -> Result<(), ApplyError> {
    let account = booking.account.as_str();
    let sql = "select balance from accounts where account_id = ?1";
    // An error and not a default: a wrong balance would be worse than a dead letter.
    let before = tx.find(sql, params![account], |row| sql::money(row, 0)).await?;
    let Some(before) = before else {
        return Err(ApplyError::because(format!(
            "no row for account {account}: its opening event is missing"
        )));
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

/// An account with its balance, as returned by queries.
#[derive(Serialize, Clone, Debug, PartialEq, Schema)]
#[serde(rename_all = "camelCase")]
pub struct AccountBalance {
    /// Id of the account.
    pub account_id: AccountId,
    /// Currency of the account.
    pub currency: Currency,
    /// Current balance.
    pub balance: Money,
    /// Revision of the account's stream, for the ETag.
    #[serde(skip)]
    pub revision: Revision,
}

/// One change of a balance.
#[derive(Serialize, Clone, Debug, PartialEq, Schema)]
#[serde(rename_all = "camelCase")]
pub struct Transaction {
    /// Revision of the event in the account's stream; transactions start at 1.
    pub number: u64,
    /// Type of the transaction.
    #[serde(rename = "type")]
    pub transaction_type: TransactionType,
    /// Amount; negative if money left the account.
    pub amount: Money,
    /// Balance after the transaction.
    pub balance: Money,
    /// Purpose of the payment, as free text.
    pub reference: String,
    /// The other account, or the source or destination outside the shop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counterparty: Option<String>,
    /// Business time of the transaction.
    pub occurred_at: Timestamp,
}

/// The kinds of changes of a balance.
#[derive(Serialize, Schema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum TransactionType {
    /// A deposit from outside the shop.
    Deposit,
    /// A withdrawal to the outside.
    Withdrawal,
    /// A transfer to another account.
    TransferSent,
    /// A transfer from another account.
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

/// The error for a text that names no transaction type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a transaction type")]
pub struct InvalidTransactionType(String);

impl TryFrom<String> for TransactionType {
    type Error = InvalidTransactionType;

    fn try_from(text: String) -> Result<Self, InvalidTransactionType> {
        let found = Self::ALL.into_iter().find(|known| known.as_str() == text);
        found.ok_or(InvalidTransactionType(text))
    }
}
