//! Accounts: money that the shop holds for others.
//!
//! Owns: the events, commands, rules and read model of accounts. Always holds: no account is ever
//! below zero; a transfer takes from one and gives to the other, or does neither. Not here: paying
//! orders from an account ([`orders`](crate::orders)).

mod account;
mod commands;
mod events;
mod queries;
mod read_model;
mod routes;

pub use account::{Account, AccountRejection};
pub use commands::{DepositMoney, OpenAccount, TransferMoney, WithdrawMoney};
pub use events::{
    AccountEvent, AccountOpened, Currency, MoneyDeposited, MoneyWithdrawn, NotACurrency,
    TransferReceived, TransferSent,
};
pub use queries::{FindAccount, ListTransactions};
pub use read_model::{AccountBalance, Accounts, Transaction, TransactionType};
pub(crate) use routes::routes;
