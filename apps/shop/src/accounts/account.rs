//! The account: what is in it, and when the shop says no.

use gesta::prelude::*;

use super::{AccountEvent, Currency};
use crate::{id::AccountId, money::Money};

/// One account.
#[derive(Debug, Default)]
pub struct Account {
    /// None before it was opened.
    pub(super) currency: Option<Currency>,
    pub(super) balance: Money,
}

impl Account {
    /// The greatest balance: what keeps every sum of amounts exact.
    pub const BALANCE_MAX: Money = Money::whole(1_000_000_000_000_000);

    /// Whether that much can be taken out.
    pub(super) fn can_spare(&self, amount: Money) -> Result<(), AccountRejection> {
        if amount > self.balance {
            return Err(AccountRejection::InsufficientFunds { amount, balance: self.balance });
        }
        Ok(())
    }

    /// Whether that much can be put in.
    pub(super) fn has_room(&self, amount: Money) -> Result<(), AccountRejection> {
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
            AccountEvent::Withdrawn(withdrawn) => self.balance += -withdrawn.amount,
            AccountEvent::Sent(sent) => self.balance += -sent.amount,
        }
    }
}

/// Why money stays where it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Rejection)]
pub enum AccountRejection {
    /// There is less in it.
    #[error("{amount} is wanted, {balance} is there")]
    #[rejection(code = "insufficient-funds")]
    InsufficientFunds {
        /// What was wanted.
        amount: Money,
        /// What is there.
        balance: Money,
    },
    /// There is as much in it as an account can hold.
    #[error("an account holds at most {}", Account::BALANCE_MAX)]
    #[rejection(code = "balance-too-great")]
    BalanceTooGreat,
    /// The account that the money should go to was never opened.
    #[error("there is no account {account}")]
    #[rejection(code = "unknown-account")]
    UnknownAccount {
        /// Which one.
        account: AccountId,
    },
    /// The two accounts are in different currencies.
    #[error("{from} cannot be paid into an account in {to}")]
    #[rejection(code = "currencies-differ")]
    CurrenciesDiffer {
        /// The one that the money is in.
        from: Currency,
        /// The one that it should go into.
        to: Currency,
    },
}
