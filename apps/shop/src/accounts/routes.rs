//! Accounts over HTTP.

use gesta_http::{ApiRoute, EdgeValues, Problem, RequestFields, Time};

use super::{
    Currency, DepositMoney, FindAccount, ListAccounts, ListTransactions, OpenAccount,
    TransferMoney, WithdrawMoney,
};
use crate::{
    http::values::{Id, PositiveAmount, Text},
    id::AccountId,
    samples,
};

pub(crate) fn routes() -> [ApiRoute; 7] {
    [
        ApiRoute::post("/v1/accounts", "Opens an account").create(NewAccount::into_command),
        ApiRoute::get("/v1/accounts", "Lists accounts and their balances, by id")
            .list("accounts", |(), (), page| ListAccounts { page }),
        ApiRoute::get("/v1/accounts/{accountId}", "Returns an account and its balance")
            .find_versioned(
                "account",
                |Id(account_id)| FindAccount { account_id },
                |it| it.revision,
            )
            .example("accountId", samples::ACCOUNT),
        ApiRoute::post("/v1/accounts/{accountId}/deposit", "Deposits money")
            .update(Deposit::into_command)
            .example("accountId", samples::ACCOUNT)
            .rejects(&["balance-too-great"]),
        ApiRoute::post("/v1/accounts/{accountId}/withdraw", "Withdraws money")
            .update(Withdrawal::into_command)
            .example("accountId", samples::ACCOUNT)
            .rejects(&["insufficient-funds"]),
        ApiRoute::post("/v1/transfers", "Transfers money between two accounts")
            .update(transfer_money)
            .rejects(&[
                "insufficient-funds",
                "balance-too-great",
                "unknown-account",
                "currencies-differ",
            ]),
        ApiRoute::get(
            "/v1/accounts/{accountId}/transactions",
            "Lists the transactions of an account, newest first",
        )
        .list_of("account", "transactions", |(), Id(account_id), page| ListTransactions {
            account_id,
            page,
        })
        .example("accountId", samples::ACCOUNT),
    ]
}

/// The account to open.
#[derive(RequestFields)]
#[request(command = OpenAccount)]
struct NewAccount {
    /// Id of the new account; generated if left out.
    #[request(new_id)]
    account_id: Option<Id<AccountId>>,
    /// Currency of the account, as an ISO 4217 code.
    currency: Currency,
    /// Business time; defaults to the current time.
    #[request(now)]
    occurred_at: Option<Time>,
}

/// The deposit to record.
#[derive(RequestFields)]
#[request(command = DepositMoney, path(account_id: Id<AccountId>))]
struct Deposit {
    /// Amount in the account's currency.
    amount: PositiveAmount,
    /// Purpose of the payment, as free text.
    #[request(example = "wages")]
    reference: Text,
    /// Payer outside the shop, as free text.
    source: Option<Text>,
    /// Business time; defaults to the current time.
    #[request(now)]
    occurred_at: Option<Time>,
}

/// The withdrawal to record.
#[derive(RequestFields)]
#[request(command = WithdrawMoney, path(account_id: Id<AccountId>))]
struct Withdrawal {
    /// Amount in the account's currency.
    amount: PositiveAmount,
    /// Purpose of the payment, as free text.
    #[request(example = "rent")]
    reference: Text,
    /// Recipient outside the shop, as free text.
    destination: Option<Text>,
    /// Business time; defaults to the current time.
    #[request(now)]
    occurred_at: Option<Time>,
}

/// The transfer to make.
#[derive(RequestFields)]
#[request(command = TransferMoney)]
struct Transfer {
    /// Paying account.
    #[request(example = samples::ACCOUNT)]
    from: Id<AccountId>,
    /// Receiving account.
    #[request(example = samples::OTHER_ACCOUNT)]
    to: Id<AccountId>,
    /// Amount in the account's currency.
    amount: PositiveAmount,
    /// Purpose of the payment, as free text.
    #[request(example = "lunch")]
    reference: Text,
    /// Business time; defaults to the current time.
    #[request(now)]
    occurred_at: Option<Time>,
}

/// The response has the revision of the paying account.
fn transfer_money(
    transfer: Transfer,
    (): (),
    edge: EdgeValues<'_>,
) -> Result<TransferMoney, Problem> {
    // JSON Schema cannot compare two fields, so this is a rejection and not a validation error.
    if transfer.from.0 == transfer.to.0 {
        let detail = "`from` and `to` must be different accounts";
        return Err(Problem::rejected("same-account", detail));
    }
    transfer.into_command((), edge)
}
