//! The write side's small bank: accounts, transfers, owners with unique e-mails.

use gesta::{Gesta, prelude::*, store::RecordedEvent};

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "account-opened")]
pub(crate) struct Opened {
    pub(crate) owner: Option<String>,
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "money-deposited")]
pub(crate) struct Deposited {
    pub(crate) cents: u64,
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "money-withdrawn")]
pub(crate) struct Withdrawn {
    pub(crate) cents: u64,
}

#[derive(EventSet, Clone, Debug, PartialEq)]
pub(crate) enum AccountEvent {
    Opened(Opened),
    Deposited(Deposited),
    Withdrawn(Withdrawn),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Account {
    pub(crate) cents: u64,
}

impl Aggregate for Account {
    const CATEGORY: &'static str = "account";
    type Id = u32;
    type Event = AccountEvent;

    fn evolve(&mut self, event: &AccountEvent) {
        match event {
            AccountEvent::Opened(_) => {}
            AccountEvent::Deposited(deposited) => self.cents += deposited.cents,
            AccountEvent::Withdrawn(withdrawn) => self.cents -= withdrawn.cents,
        }
    }
}

#[derive(Debug, PartialEq, thiserror::Error, Rejection)]
pub(crate) enum Refused {
    #[error("{missing} cents are missing")]
    #[rejection(code = "not-enough-money")]
    NotEnough { missing: u64 },
    #[error("the e-mail is taken")]
    #[rejection(code = "email-taken")]
    EmailTaken,
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "open-account", on = Account, new)]
pub(crate) struct Open {
    #[command(id)]
    pub(crate) account: u32,
}

impl Decide for Open {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Account) -> Decision<Self> {
        Ok(Opened { owner: None }.into())
    }
}

#[derive(Command, Serialize, Deserialize, Clone)]
#[command(name = "deposit", on = Account, validate = Deposit::check)]
pub(crate) struct Deposit {
    #[command(id)]
    pub(crate) account: u32,
    pub(crate) cents: u64,
    /// Time of the request, which differs between retries.
    #[command(edge)]
    pub(crate) now: u64,
}

impl Deposit {
    fn check(&self) -> Result<(), InvalidField> {
        match self.cents {
            0 => Err(InvalidField::new("cents", "must be at least 1")),
            _ => Ok(()),
        }
    }
}

impl Decide for Deposit {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Account) -> Decision<Self> {
        Ok(Deposited { cents: self.cents }.into())
    }
}

/// Withdraws a fee from each account, any number of them.
#[derive(Command, Serialize, Deserialize)]
#[command(name = "charge", on = Vec<Account>, id = Charge::accounts)]
pub(crate) struct Charge {
    pub(crate) fees: Vec<(u32, u64)>,
}

impl Charge {
    fn accounts(&self) -> Vec<u32> {
        self.fees.iter().map(|(account, _)| *account).collect()
    }
}

impl Decide for Charge {
    type Rejection = Refused;

    fn decide(&self, accounts: &Vec<Account>) -> Decision<Self> {
        accounts.iter().zip(&self.fees).map(|(account, (_, fee))| withdraw(account, *fee)).collect()
    }
}

fn withdraw(account: &Account, cents: u64) -> Result<Events<AccountEvent>, Refused> {
    match cents.checked_sub(account.cents) {
        None | Some(0) => Ok(Withdrawn { cents }.into()),
        Some(missing) => Err(Refused::NotEnough { missing }),
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "transfer", on = (Account, Account))]
pub(crate) struct Transfer {
    #[command(id)]
    pub(crate) from: u32,
    #[command(id)]
    pub(crate) to: u32,
    pub(crate) cents: u64,
}

impl Decide for Transfer {
    type Rejection = Refused;

    fn decide(&self, (from, _): &(Account, Account)) -> Decision<Self> {
        Ok((withdraw(from, self.cents)?, Deposited { cents: self.cents }.into()))
    }
}

/// Deposits only if another account has money: reads that account, appends nothing to it.
#[derive(Command, Serialize, Deserialize)]
#[command(name = "match-deposit", on = (Account, Account))]
pub(crate) struct MatchDeposit {
    #[command(id)]
    pub(crate) account: u32,
    #[command(id)]
    pub(crate) sponsor: u32,
}

impl Decide for MatchDeposit {
    type Rejection = Refused;

    fn decide(&self, (_, sponsor): &(Account, Account)) -> Decision<Self> {
        match sponsor.cents {
            0 => Err(Refused::NotEnough { missing: 1 }),
            cents => Ok((Deposited { cents }.into(), Events::none())),
        }
    }
}

const EMAIL: TagKey<String> = TagKey::new("email");

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "owner-registered")]
pub(crate) struct Registered {
    #[event(tag = EMAIL)]
    pub(crate) email: Option<String>,
    #[event(tag = "phone")]
    pub(crate) phones: Vec<u64>,
}

#[derive(EventSet, Clone, Debug, PartialEq)]
pub(crate) enum OwnerEvent {
    Registered(Registered),
}

#[derive(Default)]
pub(crate) struct Owner;

impl Aggregate for Owner {
    const CATEGORY: &'static str = "owner";
    type Id = u32;
    type Event = OwnerEvent;

    fn evolve(&mut self, _: &OwnerEvent) {}
}

/// The use of an e-mail among all owners.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Email {
    pub(crate) taken: bool,
}

impl Aggregate for Email {
    const CATEGORY: &'static str = "email";
    type Id = String;
    type Event = OwnerEvent;

    fn evolve(&mut self, _: &OwnerEvent) {
        self.taken = true;
    }

    fn reads(email: &String) -> Reads<OwnerEvent> {
        Selection::tagged(EMAIL, email).into()
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "register-owner", on = (Owner, Email), new)]
pub(crate) struct Register {
    #[command(id)]
    pub(crate) owner: u32,
    #[command(id)]
    pub(crate) email: String,
}

impl Decide for Register {
    type Rejection = Refused;

    fn decide(&self, (_, email): &(Owner, Email)) -> Decision<Self> {
        if email.taken {
            return Err(Refused::EmailTaken);
        }
        let registered = Registered { email: Some(self.email.clone()), phones: vec![1, 2] };
        Ok((registered.into(), Events::none()))
    }
}

pub(crate) fn register(owner: u32, email: &str) -> Register {
    Register { owner, email: email.to_owned() }
}

pub(crate) fn deposit(account: u32, cents: u64) -> Deposit {
    Deposit { account, cents, now: 0 }
}

/// Opens accounts 1, 2, … with an amount of money each.
pub(crate) async fn open_accounts(gesta: &Gesta, money: &[u64]) {
    for (account, cents) in (1..).zip(money) {
        gesta.execute(Open { account }).await.unwrap();
        if *cents > 0 {
            gesta.execute(deposit(account, *cents)).await.unwrap();
        }
    }
}

pub(crate) async fn balance(gesta: &Gesta, account: u32) -> u64 {
    gesta.load::<Account>(&account).await.unwrap().unwrap().state.cents
}

pub(crate) async fn recorded(gesta: &Gesta) -> Vec<RecordedEvent> {
    let all = gesta::store::ReadAll::forwards();
    gesta.store().read_all(all).collect_events().await.unwrap()
}
