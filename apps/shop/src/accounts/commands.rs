//! Commands on accounts and their decisions.

use std::convert::Infallible;

use gesta::prelude::*;
use jiff::Timestamp;

use super::{
    Account, AccountOpened, AccountRejection, Currency, MoneyDeposited, MoneyWithdrawn,
    TransferReceived, TransferSent,
};
use crate::{checks, id::AccountId, money::Money};

/// Opens an account.
#[derive(Command, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[command(name = "open-account", on = Account, new)]
#[serde(rename_all = "camelCase")]
pub struct OpenAccount {
    /// Id of the new account.
    #[command(id)]
    pub account_id: AccountId,
    /// Currency of the account.
    pub currency: Currency,
    /// Business time of the change.
    #[command(edge)]
    pub occurred_at: Timestamp,
}

impl Decide for OpenAccount {
    type Rejection = Infallible;

    fn decide(&self, _: &Account) -> Decision<Self> {
        let (account_id, currency) = (self.account_id.clone(), self.currency);
        Ok(AccountOpened { account_id, currency, occurred_at: self.occurred_at }.into())
    }
}

/// Deposits money that comes from outside the shop.
#[derive(Command, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[command(name = "deposit-money", on = Account, validate = DepositMoney::check)]
#[serde(rename_all = "camelCase")]
pub struct DepositMoney {
    /// Id of the account.
    #[command(id)]
    pub account_id: AccountId,
    /// Amount in the account's currency.
    pub amount: Money,
    /// Purpose of the payment, as free text.
    pub reference: String,
    /// Payer outside the shop, as free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Business time of the change.
    #[command(edge)]
    pub occurred_at: Timestamp,
}

impl DepositMoney {
    fn check(&self) -> Result<(), InvalidField> {
        check_payment(self.amount, &self.reference)?;
        checks::optional_text("source", self.source.as_deref())
    }
}

impl Decide for DepositMoney {
    type Rejection = AccountRejection;

    fn decide(&self, account: &Account) -> Decision<Self> {
        account.check_balance_limit(self.amount)?;
        Ok(MoneyDeposited {
            account_id: self.account_id.clone(),
            amount: self.amount,
            reference: self.reference.clone(),
            source: self.source.clone(),
            occurred_at: self.occurred_at,
        }
        .into())
    }
}

/// Withdraws money to the outside.
#[derive(Command, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[command(name = "withdraw-money", on = Account, validate = WithdrawMoney::check)]
#[serde(rename_all = "camelCase")]
pub struct WithdrawMoney {
    /// Id of the account.
    #[command(id)]
    pub account_id: AccountId,
    /// Amount in the account's currency.
    pub amount: Money,
    /// Purpose of the payment, as free text.
    pub reference: String,
    /// Recipient outside the shop, as free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// Business time of the change.
    #[command(edge)]
    pub occurred_at: Timestamp,
}

impl WithdrawMoney {
    fn check(&self) -> Result<(), InvalidField> {
        check_payment(self.amount, &self.reference)?;
        checks::optional_text("destination", self.destination.as_deref())
    }
}

impl Decide for WithdrawMoney {
    type Rejection = AccountRejection;

    fn decide(&self, account: &Account) -> Decision<Self> {
        // Two withdrawals at the same time cannot both pass: the second append conflicts, and the
        // command is decided again on the lower balance.
        account.check_funds(self.amount)?;
        Ok(MoneyWithdrawn {
            account_id: self.account_id.clone(),
            amount: self.amount,
            reference: self.reference.clone(),
            destination: self.destination.clone(),
            occurred_at: self.occurred_at,
        }
        .into())
    }
}

/// Transfers money between two accounts in one append.
#[derive(Command, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[command(name = "transfer-money", on = (Account, Account), validate = TransferMoney::check)]
#[serde(rename_all = "camelCase")]
pub struct TransferMoney {
    /// Paying account.
    #[command(id)]
    pub from: AccountId,
    /// Receiving account.
    #[command(id)]
    pub to: AccountId,
    /// Amount in the account's currency.
    pub amount: Money,
    /// Purpose of the payment, as free text.
    pub reference: String,
    /// Business time of the change.
    #[command(edge)]
    pub occurred_at: Timestamp,
}

impl TransferMoney {
    fn check(&self) -> Result<(), InvalidField> {
        // The boundary would have the same account twice, and each half its own old balance.
        if self.from == self.to {
            return Err(InvalidField::new("to", "must differ from `from`"));
        }
        check_payment(self.amount, &self.reference)
    }

    fn check_currencies(&self, from: &Account, to: &Account) -> Result<(), AccountRejection> {
        match (from.currency, to.currency) {
            (Some(from), Some(to)) if from == to => Ok(()),
            (Some(from), Some(to)) => Err(AccountRejection::CurrenciesDiffer { from, to }),
            (None, _) => Err(AccountRejection::UnknownAccount { account: self.from.clone() }),
            (_, None) => Err(AccountRejection::UnknownAccount { account: self.to.clone() }),
        }
    }
}

impl Decide for TransferMoney {
    type Rejection = AccountRejection;

    fn decide(&self, (from, to): &(Account, Account)) -> Decision<Self> {
        // Also rejects an account that was never opened; its state would be a zero balance.
        self.check_currencies(from, to)?;
        from.check_funds(self.amount)?;
        to.check_balance_limit(self.amount)?;
        // One event in each account's stream, appended together: no reader and no crash ever sees
        // only one half of the transfer.
        let sent = TransferSent {
            account_id: self.from.clone(),
            to: self.to.clone(),
            amount: self.amount,
            reference: self.reference.clone(),
            occurred_at: self.occurred_at,
        };
        let received = TransferReceived {
            account_id: self.to.clone(),
            from: self.from.clone(),
            amount: self.amount,
            reference: self.reference.clone(),
            occurred_at: self.occurred_at,
        };
        Ok((sent.into(), received.into()))
    }
}

fn check_payment(amount: Money, reference: &str) -> Result<(), InvalidField> {
    checks::positive("amount", amount)?;
    checks::text("reference", reference)
}

#[cfg(test)]
mod tests {
    use gesta::testing::given;

    use super::*;
    use crate::accounts::AccountEvent;

    const THEN: Timestamp = Timestamp::UNIX_EPOCH;

    fn id(text: &str) -> AccountId {
        AccountId::new(text).unwrap()
    }

    fn opened(account: &str, currency: &str) -> AccountOpened {
        let currency = Currency::new(currency).unwrap();
        AccountOpened { account_id: id(account), currency, occurred_at: THEN }
    }

    fn deposited(account: &str, amount: i64) -> MoneyDeposited {
        MoneyDeposited {
            account_id: id(account),
            amount: Money::whole(amount),
            reference: "wages".to_owned(),
            source: Some("work".to_owned()),
            occurred_at: THEN,
        }
    }

    fn withdraw(amount: i64) -> WithdrawMoney {
        WithdrawMoney {
            account_id: id("ann"),
            amount: Money::whole(amount),
            reference: "rent".to_owned(),
            destination: None,
            occurred_at: THEN,
        }
    }

    fn transfer(from: &str, to: &str, amount: i64) -> TransferMoney {
        let (from, to, amount) = (id(from), id(to), Money::whole(amount));
        TransferMoney { from, to, amount, reference: "lunch".to_owned(), occurred_at: THEN }
    }

    fn with(account: &str, currency: &str, amount: i64) -> Vec<AccountEvent> {
        vec![opened(account, currency).into(), deposited(account, amount).into()]
    }

    #[test]
    fn an_account_is_opened_in_a_currency() {
        let currency = Currency::new("GBP").unwrap();
        given::<Account>([])
            .when(OpenAccount { account_id: id("ann"), currency, occurred_at: THEN })
            .then(opened("ann", "GBP"));
    }

    #[test]
    fn money_is_deposited() {
        let MoneyDeposited { account_id, amount, reference, source, occurred_at } =
            deposited("ann", 5);
        given::<Account>([opened("ann", "GBP")])
            .when(DepositMoney { account_id, amount, reference, source, occurred_at })
            .then(deposited("ann", 5));
    }

    #[test]
    fn an_account_never_holds_more_than_can_be_summed_exactly() {
        let MoneyDeposited { account_id, reference, source, occurred_at, .. } = deposited("a", 1);
        let mut history = vec![opened("a", "GBP").into()];
        history.push(MoneyDeposited { amount: Account::BALANCE_MAX, ..deposited("a", 1) }.into());
        let amount = Money::whole(1);
        given::<Account>(history)
            .when(DepositMoney { account_id, amount, reference, source, occurred_at })
            .then_rejected(AccountRejection::BalanceTooGreat);
    }

    #[test]
    fn everything_can_be_withdrawn_and_no_more() {
        given::<Account>(with("ann", "GBP", 5)).when(withdraw(5)).then(MoneyWithdrawn {
            account_id: id("ann"),
            amount: Money::whole(5),
            reference: "rent".to_owned(),
            destination: None,
            occurred_at: THEN,
        });
        given::<Account>(with("ann", "GBP", 5)).when(withdraw(6)).then_rejected(
            AccountRejection::InsufficientFunds {
                amount: Money::whole(6),
                balance: Money::whole(5),
            },
        );
    }

    #[test]
    fn an_amount_of_nothing_or_less_is_invalid() {
        given::<Account>(with("ann", "GBP", 5)).when(withdraw(0)).then_invalid("amount");
        given::<Account>(with("ann", "GBP", 5)).when(withdraw(-1)).then_invalid("amount");
    }

    #[test]
    fn a_transfer_takes_from_one_account_and_gives_to_the_other() {
        let (amount, reference) = (Money::whole(3), "lunch".to_owned());
        let sent = TransferSent {
            account_id: id("ann"),
            to: id("bob"),
            amount,
            reference: reference.clone(),
            occurred_at: THEN,
        };
        let received = TransferReceived {
            account_id: id("bob"),
            from: id("ann"),
            amount,
            reference,
            occurred_at: THEN,
        };
        given::<(Account, Account)>((with("ann", "GBP", 5), with("bob", "GBP", 1)))
            .when(transfer("ann", "bob", 3))
            .then((sent.into(), received.into()));
    }

    #[test]
    fn a_transfer_of_more_than_there_is_is_refused() {
        given::<(Account, Account)>((with("ann", "GBP", 5), with("bob", "GBP", 100)))
            .when(transfer("ann", "bob", 6))
            .then_rejected(AccountRejection::InsufficientFunds {
                amount: Money::whole(6),
                balance: Money::whole(5),
            });
    }

    #[test]
    fn a_transfer_into_another_currency_is_refused() {
        given::<(Account, Account)>((with("ann", "GBP", 5), with("bob", "EUR", 1)))
            .when(transfer("ann", "bob", 3))
            .then_rejected(AccountRejection::CurrenciesDiffer {
                from: Currency::new("GBP").unwrap(),
                to: Currency::new("EUR").unwrap(),
            });
    }

    #[test]
    fn a_transfer_to_an_unknown_account_is_refused() {
        given::<(Account, Account)>((with("ann", "GBP", 5), vec![]))
            .when(transfer("ann", "bob", 3))
            .then_rejected(AccountRejection::UnknownAccount { account: id("bob") });
    }

    #[test]
    fn a_transfer_to_the_same_account_is_invalid() {
        given::<(Account, Account)>((with("ann", "GBP", 5), vec![]))
            .when(transfer("ann", "ann", 3))
            .then_invalid("to");
    }
}
