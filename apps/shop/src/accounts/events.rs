//! What happens to accounts.

use std::fmt;

use gesta::prelude::*;
use jiff::Timestamp;

use crate::{id::AccountId, money::Money};

/// A currency by its three letters (ISO 4217).
///
/// ```
/// use shop::accounts::Currency;
///
/// assert_eq!(Currency::new("GBP")?.to_string(), "GBP");
/// assert!(Currency::new("pounds").is_err());
/// # Ok::<(), shop::accounts::NotACurrency>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

/// A text that is no currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a currency is three capital letters, such as GBP")]
pub struct NotACurrency;

impl Currency {
    /// Checks the text and makes it a currency.
    ///
    /// # Errors
    /// [`NotACurrency`] when it is not three capital letters.
    pub fn new(text: &str) -> Result<Self, NotACurrency> {
        let letters: [u8; 3] = text.as_bytes().try_into().map_err(|_| NotACurrency)?;
        if letters.iter().all(u8::is_ascii_uppercase) {
            Ok(Self(letters))
        } else {
            Err(NotACurrency)
        }
    }
}

impl TryFrom<String> for Currency {
    type Error = NotACurrency;

    fn try_from(text: String) -> Result<Self, NotACurrency> {
        Self::new(&text)
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.to_string()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|letter| write!(f, "{}", char::from(*letter)))
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An account was opened.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "account-opened")]
#[serde(rename_all = "camelCase")]
pub struct AccountOpened {
    /// Under which id.
    pub account_id: AccountId,
    /// In which currency.
    pub currency: Currency,
    /// When.
    pub occurred_at: Timestamp,
}

/// Money came in from outside.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "money-deposited")]
#[serde(rename_all = "camelCase")]
pub struct MoneyDeposited {
    /// Into which account.
    pub account_id: AccountId,
    /// How much.
    pub amount: Money,
    /// What it is for.
    pub reference: String,
    /// Where from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// When.
    pub occurred_at: Timestamp,
}

/// Money went outside.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "money-withdrawn")]
#[serde(rename_all = "camelCase")]
pub struct MoneyWithdrawn {
    /// Out of which account.
    pub account_id: AccountId,
    /// How much.
    pub amount: Money,
    /// What it is for.
    pub reference: String,
    /// Where to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// When.
    pub occurred_at: Timestamp,
}

/// Money went to another account.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "transfer-sent")]
#[serde(rename_all = "camelCase")]
pub struct TransferSent {
    /// Out of which account.
    pub account_id: AccountId,
    /// Into which account.
    pub to: AccountId,
    /// How much.
    pub amount: Money,
    /// What it is for.
    pub reference: String,
    /// When.
    pub occurred_at: Timestamp,
}

/// Money came from another account.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "transfer-received")]
#[serde(rename_all = "camelCase")]
pub struct TransferReceived {
    /// Into which account.
    pub account_id: AccountId,
    /// Out of which account.
    pub from: AccountId,
    /// How much.
    pub amount: Money,
    /// What it is for.
    pub reference: String,
    /// When.
    pub occurred_at: Timestamp,
}

/// Everything that happens to an account.
#[derive(EventSet, Clone, Debug, PartialEq)]
pub enum AccountEvent {
    /// Opened.
    Opened(AccountOpened),
    /// Money came in from outside.
    Deposited(MoneyDeposited),
    /// Money went outside.
    Withdrawn(MoneyWithdrawn),
    /// Money went to another account.
    Sent(TransferSent),
    /// Money came from another account.
    Received(TransferReceived),
}
