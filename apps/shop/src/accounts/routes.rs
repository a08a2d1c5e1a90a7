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
        occurred_at, paged,
        values::{Id, PositiveAmount, Text, Time},
    },
    id::AccountId,
    money::Money,
    paging::PageSize,
};

/// What a cursor is of.
const LIST: &str = "transactions";

pub(crate) fn routes() -> [Route; 6] {
    [
        post("/v1/accounts", open_account, "Opens an account"),
        get("/v1/accounts/{accountId}", find_account, "Tells what is in an account"),
        post("/v1/accounts/{accountId}/deposit", deposit_money, "Puts money in")
            .rejects(&["balance-too-great"]),
        post("/v1/accounts/{accountId}/withdraw", withdraw_money, "Takes money out")
            .rejects(&["insufficient-funds"]),
        post("/v1/transfers", transfer_money, "Moves money from one account to another").rejects(
            &["insufficient-funds", "balance-too-great", "unknown-account", "currencies-differ"],
        ),
        get(
            "/v1/accounts/{accountId}/transactions",
            list_transactions,
            "Lists the transactions of an account, the last one first",
        )
        .rejects(&["unknown-cursor"]),
    ]
}

request! {
    /// Which account.
    struct AccountPath {
        /// The account's id.
        account_id: Id<AccountId>,
    }
}

request! {
    /// An account to be.
    struct NewAccount {
        /// Under which id; a new one, if it is left out.
        account_id: Option<Id<AccountId>>,
        /// In which currency (ISO 4217).
        currency: Currency,
        /// When it was opened, if not now.
        occurred_at: Option<Time>,
    }
}

async fn open_account(
    commands: Commands,
    JsonBody(account): JsonBody<NewAccount>,
) -> Result<Created, Problem> {
    let account_id = account.account_id.map_or_else(|| commands.new_id().into(), |id| id.0);
    let open = OpenAccount {
        account_id: account_id.clone(),
        currency: account.currency,
        occurred_at: occurred_at(account.occurred_at, commands.now()),
    };
    commands.create(open, account_id, "/v1/accounts").await
}

request! {
    /// Money that comes in.
    struct Deposit {
        /// How much.
        amount: PositiveAmount,
        /// What it is for.
        reference: Text,
        /// Where from.
        source: Option<Text>,
        /// When it came, if not now.
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
    /// Money that goes out.
    struct Withdrawal {
        /// How much.
        amount: PositiveAmount,
        /// What it is for.
        reference: Text,
        /// Where to.
        destination: Option<Text>,
        /// When it went, if not now.
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
    /// Money that goes from one account to another.
    struct Transfer {
        /// Out of which account.
        from: Id<AccountId>,
        /// Into which account.
        to: Id<AccountId>,
        /// How much.
        amount: PositiveAmount,
        /// What it is for.
        reference: Text,
        /// When it went, if not now.
        occurred_at: Option<Time>,
    }
}

/// The revision is of the account that the money comes from.
async fn transfer_money(
    commands: UpdateCommands,
    JsonBody(transfer): JsonBody<Transfer>,
) -> Result<Updated, Problem> {
    // No schema can say it, so it is a matter of rules and not of form.
    if transfer.from.0 == transfer.to.0 {
        let detail = "the money is in the account already that it should go to";
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
    /// Which transactions.
    struct TransactionList {
        /// What the page before ended with.
        cursor: Option<Cursor>,
        /// How many at once.
        limit: Option<PageLimit>,
    }
}

async fn list_transactions(
    queries: Queries,
    path: PathOf<AccountPath>,
    list: QueryOf<TransactionList>,
) -> Result<Resource<Paged<Transaction>>, Problem> {
    let before = list.cursor.as_ref().map(|cursor| cursor.at(LIST, |place| place.parse().ok()));
    let transactions = ListTransactions {
        account_id: path.account_id.0.clone(),
        before: before.transpose()?,
        size: PageSize::of(list.limit.unwrap_or_default().number().into()),
    };
    let found = queries.ask(transactions).await?.found("account")?;
    Ok(found.map(|page| paged(LIST, page)))
}

response! {
    /// What is in an account.
    AccountBalance {
        /// The account's id.
        account_id: AccountId,
        /// In which currency.
        currency: Currency,
        /// What is in it.
        balance: Money,
    }
}

response! {
    /// A change of what is in an account.
    Transaction {
        /// Its place among what happened to the account.
        number: u64,
        /// What it is.
        transaction_type as "type": TransactionType,
        /// How much; below zero when it went out.
        amount: Money,
        /// What was in the account after it.
        balance: Money,
        /// What it is for.
        reference: String,
        /// Where it came from or went to.
        counterparty: Option<String>,
        /// When.
        occurred_at: Timestamp,
    }
}

impl Schema for TransactionType {
    fn schema(_: &mut Schemas) -> Value {
        json!({ "enum": ["deposit", "withdrawal", "transferSent", "transferReceived"] })
    }
}
