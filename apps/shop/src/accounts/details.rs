//! An account and its transactions, as queries return them, and the change that an event makes.

use gesta::{ApplyError, Revision};
use gesta_http::Schema;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{AccountEvent, AccountOpened, Currency};
use crate::{id::AccountId, money::Money, read_models::first_revision};

/// An account with its balance, as returned by queries.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Schema)]
#[serde(rename_all = "camelCase")]
pub struct AccountBalance {
    /// Id of the account.
    pub account_id: AccountId,
    /// Currency of the account.
    pub currency: Currency,
    /// Current balance.
    pub balance: Money,
    /// Revision of the account's stream, for the ETag.
    #[serde(skip, default = "first_revision")]
    pub revision: Revision,
}

/// One change of a balance.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Schema)]
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
#[derive(Serialize, Deserialize, Schema, Clone, Copy, Debug, PartialEq, Eq)]
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

    pub(super) fn as_str(self) -> &'static str {
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

/// The change that an event makes.
pub(super) enum Change<'e> {
    /// The only one that is not a transaction.
    Opened(&'e AccountOpened),
    Booked(Booking<'e>),
}

/// A change of a balance.
pub(super) struct Booking<'e> {
    pub(super) account: &'e AccountId,
    pub(super) transaction_type: TransactionType,
    /// Negative for money that leaves the account.
    pub(super) amount: Money,
    pub(super) reference: &'e str,
    pub(super) counterparty: Option<&'e str>,
    pub(super) occurred_at: Timestamp,
}

impl<'e> Change<'e> {
    pub(super) fn of(event: &'e AccountEvent) -> Self {
        match event {
            AccountEvent::Opened(opened) => Self::Opened(opened),
            AccountEvent::Deposited(deposited) => Self::Booked(Booking {
                account: &deposited.account_id,
                transaction_type: TransactionType::Deposit,
                amount: deposited.amount,
                reference: &deposited.reference,
                counterparty: deposited.source.as_deref(),
                occurred_at: deposited.occurred_at,
            }),
            AccountEvent::Withdrawn(withdrawn) => Self::Booked(Booking {
                account: &withdrawn.account_id,
                transaction_type: TransactionType::Withdrawal,
                // Events carry positive amounts; a transaction shows the effect on the balance.
                amount: -withdrawn.amount,
                reference: &withdrawn.reference,
                counterparty: withdrawn.destination.as_deref(),
                occurred_at: withdrawn.occurred_at,
            }),
            AccountEvent::Sent(sent) => Self::Booked(Booking {
                account: &sent.account_id,
                transaction_type: TransactionType::TransferSent,
                amount: -sent.amount,
                reference: &sent.reference,
                counterparty: Some(sent.to.as_str()),
                occurred_at: sent.occurred_at,
            }),
            AccountEvent::Received(received) => Self::Booked(Booking {
                account: &received.account_id,
                transaction_type: TransactionType::TransferReceived,
                amount: received.amount,
                reference: &received.reference,
                counterparty: Some(received.from.as_str()),
                occurred_at: received.occurred_at,
            }),
        }
    }
}

/// The error of a transaction whose account is not there. An error and not a default: a wrong
/// balance would be worse than a dead letter.
pub(super) fn no_account(account: &AccountId) -> ApplyError {
    ApplyError::because(format!("no row for account {account}: its opening event is missing"))
}
