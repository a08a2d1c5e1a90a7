//! Accounts over HTTP.

use gesta::Revision;
use gesta_http::{
    Commands, Created, Cursor, JsonBody, PageLimit, Paged, PathOf, Problem, Queries, QueryOf,
    Resource, Route, Schema, Schemas, UpdateCommands, Updated, Versioned, get, post, request,
    response,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    AccountBalance, Currency, DepositMoney, FindAccount, ListTransactions, OpenAccount,
    Transaction, TransactionType, TransferMoney, WithdrawMoney,
};
use crate::{
    http::{
        occurred_at, page_size, paged,
        values::{Id, PositiveAmount, Text, Time},
    },
    id::AccountId,
    money::Money,
};

/// Scope of this list's cursors; a cursor of another list is refused.
const LIST: &str = "transactions";

pub(crate) fn routes() -> [Route; 6] {
    [
        post("/v1/accounts", open_account, "Opens an account"),
        get("/v1/accounts/{accountId}", find_account, "Returns an account and its balance"),
        post("/v1/accounts/{accountId}/deposit", deposit_money, "Deposits money")
            .rejects(&["balance-too-great"]),
        post("/v1/accounts/{accountId}/withdraw", withdraw_money, "Withdraws money")
            .rejects(&["insufficient-funds"]),
        post("/v1/transfers", transfer_money, "Transfers money between two accounts").rejects(&[
            "insufficient-funds",
            "balance-too-great",
            "unknown-account",
            "currencies-differ",
        ]),
        get(
            "/v1/accounts/{accountId}/transactions",
            list_transactions,
            "Lists the transactions of an account, newest first",
        )
        .rejects(&["unknown-cursor"]),
    ]
}

request! {
    /// Path of an account.
    struct AccountPath {
        /// Id of the account.
        account_id: Id<AccountId>,
    }
}

request! {
    /// The account to open.
    struct NewAccount {
        /// Id of the new account; generated if left out.
        account_id: Option<Id<AccountId>>,
        /// Currency of the account, as an ISO 4217 code.
        currency: Currency,
        /// Business time; defaults to the current time.
        occurred_at: Option<Time>,
    }
}

async fn open_account(
    commands: Commands,
    JsonBody(account): JsonBody<NewAccount>,
) -> Result<Created, Problem> {
    // Generated at the edge: a decision must give the same result when it is repeated.
    let account_id = account.account_id.map_or_else(|| commands.new_id().into(), |id| id.0);
    let open = OpenAccount {
        account_id: account_id.clone(),
        currency: account.currency,
        occurred_at: occurred_at(account.occurred_at, commands.now()),
    };
    commands.create(open, account_id, "/v1/accounts").await
}

request! {
    /// The deposit to record.
    struct Deposit {
        /// Amount in the account's currency.
        amount: PositiveAmount,
        /// Purpose of the payment, as free text.
        reference: Text,
        /// Payer outside the shop, as free text.
        source: Option<Text>,
        /// Business time; defaults to the current time.
        occurred_at: Option<Time>,
    }
}

async fn deposit_money(
    commands: UpdateCommands,
    path: PathOf<AccountPath>,
    JsonBody(deposit): JsonBody<Deposit>,
) -> Result<Updated, Problem> {
    let deposit = DepositMoney {
        account_id: path.account_id.0.clone(),
        amount: deposit.amount.0,
        reference: deposit.reference.0,
        source: deposit.source.map(|source| source.0),
        occurred_at: occurred_at(deposit.occurred_at, commands.now()),
    };
    commands.execute(deposit).await
}

request! {
    /// The withdrawal to record.
    struct Withdrawal {
        /// Amount in the account's currency.
        amount: PositiveAmount,
        /// Purpose of the payment, as free text.
        reference: Text,
        /// Recipient outside the shop, as free text.
        destination: Option<Text>,
        /// Business time; defaults to the current time.
        occurred_at: Option<Time>,
    }
}

async fn withdraw_money(
    commands: UpdateCommands,
    path: PathOf<AccountPath>,
    JsonBody(withdrawal): JsonBody<Withdrawal>,
) -> Result<Updated, Problem> {
    let withdraw = WithdrawMoney {
        account_id: path.account_id.0.clone(),
        amount: withdrawal.amount.0,
        reference: withdrawal.reference.0,
        destination: withdrawal.destination.map(|destination| destination.0),
        occurred_at: occurred_at(withdrawal.occurred_at, commands.now()),
    };
    commands.execute(withdraw).await
}

request! {
    /// The transfer to make.
    struct Transfer {
        /// Paying account.
        from: Id<AccountId>,
        /// Receiving account.
        to: Id<AccountId>,
        /// Amount in the account's currency.
        amount: PositiveAmount,
        /// Purpose of the payment, as free text.
        reference: Text,
        /// Business time; defaults to the current time.
        occurred_at: Option<Time>,
    }
}

/// Answers with the revision of the paying account.
async fn transfer_money(
    commands: UpdateCommands,
    JsonBody(transfer): JsonBody<Transfer>,
) -> Result<Updated, Problem> {
    // JSON Schema cannot compare two fields, so this is a rejection and not a validation error.
    if transfer.from.0 == transfer.to.0 {
        let detail = "`from` and `to` must be different accounts";
        return Err(Problem::rejected("same-account", detail));
    }
    let transfer = TransferMoney {
        from: transfer.from.0,
        to: transfer.to.0,
        amount: transfer.amount.0,
        reference: transfer.reference.0,
        occurred_at: occurred_at(transfer.occurred_at, commands.now()),
    };
    commands.execute(transfer).await
}

async fn find_account(
    queries: Queries,
    path: PathOf<AccountPath>,
) -> Result<Versioned<AccountBalance>, Problem> {
    let find = FindAccount { account_id: path.account_id.0.clone() };
    let found = queries.ask(find).await?.found("account")?;
    let revision = Revision::new(found.value().revision);
    Ok(found.at(revision))
}

request! {
    /// Page of transactions to return.
    struct TransactionList {
        /// Value of `next` from the previous page.
        cursor: Option<Cursor>,
        /// Maximum number of entries per page.
        limit: Option<PageLimit>,
    }
}

async fn list_transactions(
    queries: Queries,
    path: PathOf<AccountPath>,
    list: QueryOf<TransactionList>,
) -> Result<Resource<Paged<Transaction>>, Problem> {
    // A cursor of another list is refused, and so is one that is not a number.
    let before = list.cursor.as_ref().map(|cursor| cursor.at(LIST, |place| place.parse().ok()));
    let transactions = ListTransactions {
        account_id: path.account_id.0.clone(),
        before: before.transpose()?,
        size: page_size(list.limit),
    };
    let found = queries.ask(transactions).await?.found("account")?;
    Ok(found.map(|page| paged(LIST, page)))
}

response! {
    /// An account with its balance, as returned by queries.
    AccountBalance {
        /// Id of the account.
        account_id: AccountId,
        /// Currency of the account.
        currency: Currency,
        /// Current balance.
        balance: Money,
    }
}

response! {
    /// One change of a balance.
    Transaction {
        /// Revision of the event in the account's stream; transactions start at 1.
        number: u64,
        /// Type of the transaction.
        transaction_type as "type": TransactionType,
        /// Amount; negative if money left the account.
        amount: Money,
        /// Balance after the transaction.
        balance: Money,
        /// Purpose of the payment, as free text.
        reference: String,
        /// The other account, or the source or destination outside the shop.
        counterparty: Option<String>,
        /// Business time of the transaction.
        occurred_at: Timestamp,
    }
}

impl Schema for TransactionType {
    fn schema(_: &mut Schemas) -> Value {
        json!({ "enum": ["deposit", "withdrawal", "transferSent", "transferReceived"] })
    }
}
