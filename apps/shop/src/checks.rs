//! Checks of single fields: what may stand in a command before anything is read.
//!
//! Owns: the limits of texts and amounts. Always holds: a complaint names the field as the
//! command's JSON does. Not here: rules that need to know what has happened; aggregates own those.

use gesta::InvalidField;

use crate::money::Money;

/// The longest text of a field, in characters.
pub const TEXT_CHARS_MAX: usize = 500;

/// The greatest amount of one field. Sums of a million of these are exact.
pub const AMOUNT_MAX: Money = Money::whole(1_000_000_000);

/// Digits after the point of an amount.
pub const AMOUNT_DECIMALS_MAX: u32 = 4;

/// A text that says something.
pub(crate) fn text(field: &str, text: &str) -> Result<(), InvalidField> {
    if text.trim().is_empty() {
        return Err(InvalidField::new(field, "is empty"));
    }
    let chars = text.chars().count();
    if chars > TEXT_CHARS_MAX {
        let reason = format!("has {chars} characters, more than {TEXT_CHARS_MAX}");
        return Err(InvalidField::new(field, reason));
    }
    if text.chars().any(char::is_control) {
        return Err(InvalidField::new(field, "has a control character"));
    }
    Ok(())
}

/// A text that says something, where there is one.
pub(crate) fn optional_text(field: &str, given: Option<&str>) -> Result<(), InvalidField> {
    given.map_or(Ok(()), |given| text(field, given))
}

/// An amount within the limits, of whatever sign.
pub(crate) fn amount(field: &str, amount: Money) -> Result<(), InvalidField> {
    if amount.abs() > AMOUNT_MAX {
        return Err(InvalidField::new(field, format!("is beyond {AMOUNT_MAX}")));
    }
    if amount.decimals() > AMOUNT_DECIMALS_MAX {
        let reason = format!("has more than {AMOUNT_DECIMALS_MAX} decimals");
        return Err(InvalidField::new(field, reason));
    }
    Ok(())
}

/// An amount of zero or more.
pub(crate) fn not_negative(field: &str, given: Money) -> Result<(), InvalidField> {
    if given < Money::ZERO {
        return Err(InvalidField::new(field, "is below zero"));
    }
    amount(field, given)
}

/// An amount of more than zero.
pub(crate) fn positive(field: &str, given: Money) -> Result<(), InvalidField> {
    if given <= Money::ZERO {
        return Err(InvalidField::new(field, "must be more than zero"));
    }
    amount(field, given)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_at_its_limit_is_fine_and_beyond_it_is_not() {
        assert!(amount("price", AMOUNT_MAX).is_ok());
        assert!(amount("price", AMOUNT_MAX + "0.0001".parse().unwrap()).is_err());
        assert!(amount("price", "0.00001".parse().unwrap()).is_err());
    }

    #[test]
    fn a_text_of_white_space_says_nothing() {
        assert!(text("name", "Ann").is_ok());
        assert!(text("name", " \u{2003}").is_err());
        assert!(text("name", "a\nb").is_err());
        assert!(text("name", &"n".repeat(TEXT_CHARS_MAX + 1)).is_err());
    }
}
