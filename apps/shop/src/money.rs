//! Money: exact decimals, never floating point.
//!
//! Owns: [`Money`], its text form and arithmetic. Invariants: reading, writing and adding round
//! nothing; the text has no trailing zeros. Not here: currencies (the shop sells in pounds
//! sterling, an account has its own currency), limits of commands ([`checks`]).
//!
//! [`checks`]: crate::checks

use std::{
    fmt,
    iter::Sum,
    ops::{Add, AddAssign, Neg, Sub},
    str::FromStr,
};

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::value::RawValue;

use crate::quantity::Quantity;

/// An amount of money of either sign.
///
/// In JSON it is a string such as `"3.39"`. A JSON number is read from its digits, so `0.1` is
/// exactly a tenth.
///
/// ```
/// use shop::money::Money;
///
/// let price: Money = serde_json::from_str("0.10")?;
/// assert_eq!(price, "0.1".parse()?);
/// assert_eq!(serde_json::to_string(&price)?, r#""0.1""#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(Decimal);

/// The error for a text that is not an amount of money.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an amount of money such as 3.39")]
pub struct InvalidMoney {
    text: String,
}

impl Money {
    /// Zero.
    pub const ZERO: Self = Self(Decimal::ZERO);

    /// Creates a whole amount.
    #[must_use]
    pub const fn whole(amount: i64) -> Self {
        // `Decimal::from` is not a constant function. Low, middle and high 32 bits, sign, scale.
        Self(Decimal::from_parts(
            (amount.unsigned_abs() & 0xFFFF_FFFF) as u32,
            (amount.unsigned_abs() >> 32) as u32,
            0,
            amount < 0,
            0,
        ))
    }

    /// Returns a percentage of the amount.
    #[must_use]
    pub fn percent(self, percentage: Self) -> Self {
        Self(self.0 * percentage.0 / Decimal::ONE_HUNDRED)
    }

    /// Multiplies a unit price by a quantity.
    #[must_use]
    pub fn times(self, quantity: Quantity) -> Self {
        Self(self.0 * Decimal::from(quantity.number()))
    }

    /// Divides the amount and rounds to hundredths; `None` for a division by zero.
    #[must_use]
    pub fn divided_by(self, parts: u64) -> Option<Self> {
        // A quotient has no exact decimal in general; rounding is the only choice here.
        self.0.checked_div(Decimal::from(parts)).map(|part| Self(part.round_dp(2)))
    }

    /// Rounds to hundredths, half to even.
    #[must_use]
    pub fn round_to_hundredths(self) -> Self {
        Self(self.0.round_dp(2))
    }

    /// Rounds to hundredths, towards zero.
    #[must_use]
    pub fn truncate_to_hundredths(self) -> Self {
        Self(self.0.trunc_with_scale(2))
    }

    /// Returns the absolute value.
    #[must_use]
    pub fn abs(self) -> Self {
        Self(self.0.abs())
    }

    /// Returns the number of decimal places, without trailing zeros.
    #[must_use]
    pub fn decimals(self) -> u32 {
        self.0.normalize().scale()
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Equal amounts have one text: 1.50 and 1.5 are the same key, tag and JSON.
        self.0.normalize().fmt(f)
    }
}

impl FromStr for Money {
    type Err = InvalidMoney;

    /// Parses `-1234.5678`, and the exponents that JSON allows.
    fn from_str(text: &str) -> Result<Self, InvalidMoney> {
        // Quotes the beginning only: the text may be long input.
        let not_money = || InvalidMoney { text: text.chars().take(40).collect() };
        let read = match text.split_once(['e', 'E']) {
            Some(_) => Decimal::from_scientific(text).ok(),
            // Exact: a text with more digits than a decimal has is an error and not rounded.
            None => Decimal::from_str_exact(text).ok(),
        };
        // The decimal parser accepts both, JSON accepts neither.
        let plain = !text.contains('_') && !text.starts_with('+');
        read.filter(|_| plain).map(Self).ok_or_else(not_money)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A string, because many JSON parsers read numbers as floating point.
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Money {
    /// Parses the raw JSON text, because a number read as `f64` would not be exact.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let json = raw.get();
        if !json.starts_with('"') {
            return json.parse().map_err(D::Error::custom);
        }
        let text: String = serde_json::from_str(json).map_err(D::Error::custom)?;
        text.parse().map_err(D::Error::custom)
    }
}

impl Add for Money {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Sub for Money {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl Neg for Money {
    type Output = Self;

    fn neg(self) -> Self {
        Self(-self.0)
    }
}

impl AddAssign for Money {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::add)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(json: &str) -> Result<Money, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn a_number_and_a_string_of_the_same_digits_are_the_same_money() {
        for digits in ["0", "3.39", "-5.2", "79228162514264337593543950335", "0.0000000000000001"] {
            assert_eq!(read(digits).unwrap(), read(&format!("\"{digits}\"")).unwrap(), "{digits}");
            assert_eq!(read(digits).unwrap().to_string(), digits);
        }
    }

    #[test]
    fn zeros_at_the_end_are_not_written() {
        assert_eq!(read("\"10.500\"").unwrap().to_string(), "10.5");
        assert_eq!(read("\"100.00\"").unwrap().to_string(), "100");
        assert_eq!(read("\"-0.00\"").unwrap().to_string(), "0");
        assert_eq!(read("1e2").unwrap().to_string(), "100");
    }

    #[test]
    fn a_string_is_read_as_json_means_it_and_from_a_value_as_from_a_text() {
        assert_eq!(read(r#""\u0033.39""#).unwrap(), read("3.39").unwrap());
        let value = serde_json::json!(["3.39", 3.39]);
        let read: Vec<Money> = serde_json::from_value(value).unwrap();
        assert_eq!(read[0], read[1]);
    }

    #[test]
    fn a_value_that_is_not_an_amount_is_refused() {
        for json in [
            "\"\"",
            "\"1,5\"",
            "\"abc\"",
            "\"1_000\"",
            "null",
            "[]",
            "true",
            "\"NaN\"",
            "\"0.00000000000000000000000000001\"",
            "1e99",
            "\"+1\"",
            "\" 1\"",
        ] {
            assert!(read(json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_percentage_of_three_decimals_loses_nothing() {
        let price: Money = "9.999".parse().unwrap();
        let percentage: Money = "12.5".parse().unwrap();
        assert_eq!(price.percent(percentage).to_string(), "1.249875");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_it_was(hundredths in any::<i64>(), decimals in 0_u32..10) {
            let money = Money(Decimal::new(hundredths, decimals));
            let json = serde_json::to_string(&money).unwrap();
            prop_assert_eq!(read(&json).unwrap(), money);
        }

        #[test]
        fn a_whole_amount_is_its_number(amount in any::<i64>()) {
            prop_assert_eq!(Money::whole(amount).to_string(), amount.to_string());
        }
    }
}
