//! The account aggregate: currency, balance and rejections.

use gesta::prelude::*;

use super::{AccountEvent, Currency};
use crate::{id::AccountId, money::Money};

/// State of one account: its currency and balance.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Account {
    /// `None` until the account is opened.
    pub(super) currency: Option<Currency>,
    pub(super) balance: Money,
}

impl Account {
    /// Maximum balance. Sums of balances up to this limit are exact.
    pub const BALANCE_MAX: Money = Money::whole(1_000_000_000_000_000);

    pub(super) fn check_funds(&self, amount: Money) -> Result<(), AccountRejection> {
        if amount > self.balance {
            return Err(AccountRejection::InsufficientFunds { amount, balance: self.balance });
        }
        Ok(())
    }

    pub(super) fn check_balance_limit(&self, amount: Money) -> Result<(), AccountRejection> {
        // Both terms are far below the limits of a decimal, so the sum itself cannot overflow.
        if self.balance + amount > Self::BALANCE_MAX {
            return Err(AccountRejection::BalanceTooGreat);
        }
        Ok(())
    }
}

impl Aggregate for Account {
    const CATEGORY: &'static str = "account";
    type Id = AccountId;
    type Event = AccountEvent;

    fn evolve(&mut self, event: &AccountEvent) {
        match event {
            AccountEvent::Opened(opened) => self.currency = Some(opened.currency),
            AccountEvent::Deposited(deposited) => self.balance += deposited.amount,
            AccountEvent::Received(received) => self.balance += received.amount,
            // Events carry positive amounts; their type says in which direction money moved.
            AccountEvent::Withdrawn(withdrawn) => self.balance += -withdrawn.amount,
            AccountEvent::Sent(sent) => self.balance += -sent.amount,
        }
    }
}

/// Business reasons to refuse a command on accounts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Rejection)]
pub enum AccountRejection {
    /// The balance is lower than the amount.
    #[error("the account holds {balance}, less than the requested {amount}")]
    #[rejection(code = "insufficient-funds")]
    InsufficientFunds {
        /// Requested amount.
        amount: Money,
        /// Current balance.
        balance: Money,
    },
    /// The balance would exceed [`Account::BALANCE_MAX`].
    #[error("the balance would exceed the maximum of {}", Account::BALANCE_MAX)]
    #[rejection(code = "balance-too-great")]
    BalanceTooGreat,
    /// One of the two accounts was never opened.
    #[error("account {account} does not exist")]
    #[rejection(code = "unknown-account")]
    UnknownAccount {
        /// Id of the missing account.
        account: AccountId,
    },
    /// The two accounts have different currencies.
    #[error("cannot transfer {from} to an account in {to}")]
    #[rejection(code = "currencies-differ")]
    CurrenciesDiffer {
        /// Currency of the paying account.
        from: Currency,
        /// Currency of the receiving account.
        to: Currency,
    },
}
