//! Accounts: money that the shop holds for others.
//!
//! Owns: the events, commands, rules and read model of accounts. Invariants: no balance is
//! negative; a transfer changes both accounts or neither. Not here: paying orders from an account
//! ([`orders`](crate::orders)).

mod account;
mod commands;
mod events;
mod queries;
mod read_model;
mod routes;

pub use account::{Account, AccountRejection};
pub use commands::{DepositMoney, OpenAccount, TransferMoney, WithdrawMoney};
pub use events::{
    AccountEvent, AccountOpened, Currency, InvalidCurrency, MoneyDeposited, MoneyWithdrawn,
    TransferReceived, TransferSent,
};
pub use queries::{FindAccount, ListTransactions};
pub use read_model::{AccountBalance, Accounts, Transaction, TransactionType};
pub(crate) use routes::routes;
