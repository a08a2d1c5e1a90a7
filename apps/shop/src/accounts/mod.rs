//! Accounts: money that the shop holds for others.
//!
//! Owns: the events, commands, rules and read model of accounts. Invariants: no balance is
//! negative; a transfer changes both accounts or neither. Not here: paying orders from an account
//! ([`orders`](crate::orders)).

mod account;
mod commands;
mod details;
mod events;
mod queries;
mod read_model;
mod routes;
mod rows;

pub use account::{Account, AccountRejection};
pub use commands::{DepositMoney, OpenAccount, TransferMoney, WithdrawMoney};
pub use details::{AccountBalance, Transaction, TransactionType};
pub use events::{
    AccountEvent, AccountOpened, Currency, InvalidCurrency, MoneyDeposited, MoneyWithdrawn,
    TransferReceived, TransferSent,
};
pub use queries::{FindAccount, ListAccounts, ListBalances, ListTransactions};
pub use read_model::Accounts;
pub(crate) use routes::routes;
