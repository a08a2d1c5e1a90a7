//! Events of accounts.

use std::fmt;

use gesta::prelude::*;
use jiff::Timestamp;

use crate::{id::AccountId, money::Money};

/// A currency code of three capital letters (ISO 4217).
///
/// ```
/// use shop::accounts::Currency;
///
/// assert_eq!(Currency::new("GBP")?.to_string(), "GBP");
/// assert!(Currency::new("pounds").is_err());
/// # Ok::<(), shop::accounts::InvalidCurrency>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

/// The error for a text that is not a currency code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a currency code has three capital letters, such as GBP")]
pub struct InvalidCurrency;

impl Currency {
    /// Parses a currency code.
    ///
    /// # Errors
    /// [`InvalidCurrency`] when it is not three capital letters.
    pub fn new(text: &str) -> Result<Self, InvalidCurrency> {
        let letters: [u8; 3] = text.as_bytes().try_into().map_err(|_| InvalidCurrency)?;
        if letters.iter().all(u8::is_ascii_uppercase) {
            Ok(Self(letters))
        } else {
            Err(InvalidCurrency)
        }
    }
}

impl TryFrom<String> for Currency {
    type Error = InvalidCurrency;

    fn try_from(text: String) -> Result<Self, InvalidCurrency> {
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
    /// Id of the new account.
    pub account_id: AccountId,
    /// Currency of the account.
    pub currency: Currency,
    /// Business time of the change.
    pub occurred_at: Timestamp,
}

/// Money was deposited from outside the shop.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "money-deposited")]
#[serde(rename_all = "camelCase")]
pub struct MoneyDeposited {
    /// Id of the account.
    pub account_id: AccountId,
    /// Amount in the account's currency.
    pub amount: Money,
    /// Purpose of the payment, as free text.
    pub reference: String,
    /// Payer outside the shop, as free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Business time of the change.
    pub occurred_at: Timestamp,
}

/// Money was withdrawn to the outside.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "money-withdrawn")]
#[serde(rename_all = "camelCase")]
pub struct MoneyWithdrawn {
    /// Id of the account.
    pub account_id: AccountId,
    /// Amount in the account's currency.
    pub amount: Money,
    /// Purpose of the payment, as free text.
    pub reference: String,
    /// Recipient outside the shop, as free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// Business time of the change.
    pub occurred_at: Timestamp,
}

/// Money was transferred to another account.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "transfer-sent")]
#[serde(rename_all = "camelCase")]
pub struct TransferSent {
    /// Paying account.
    pub account_id: AccountId,
    /// Receiving account.
    pub to: AccountId,
    /// Amount in the account's currency.
    pub amount: Money,
    /// Purpose of the payment, as free text.
    pub reference: String,
    /// Business time of the change.
    pub occurred_at: Timestamp,
}

/// Money was received from another account.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "transfer-received")]
#[serde(rename_all = "camelCase")]
pub struct TransferReceived {
    /// Receiving account.
    pub account_id: AccountId,
    /// Paying account.
    pub from: AccountId,
    /// Amount in the account's currency.
    pub amount: Money,
    /// Purpose of the payment, as free text.
    pub reference: String,
    /// Business time of the change.
    pub occurred_at: Timestamp,
}

/// The events of an account.
#[derive(EventSet, Clone, Debug, PartialEq)]
pub enum AccountEvent {
    /// The account was opened.
    Opened(AccountOpened),
    /// Money was deposited.
    Deposited(MoneyDeposited),
    /// Money was withdrawn.
    Withdrawn(MoneyWithdrawn),
    /// Money was transferred to another account.
    Sent(TransferSent),
    /// Money was received from another account.
    Received(TransferReceived),
}
