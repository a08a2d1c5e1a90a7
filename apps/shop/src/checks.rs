//! Checks of single fields, before a command reads anything.
//!
//! Owns: the limits of texts and amounts. Invariant: an error names the field as in the command's
//! JSON. Not here: rules that depend on earlier events, which are in the aggregates.

use std::ops::RangeInclusive;

use gesta::InvalidField;

use crate::money::Money;

/// Maximum length of a text field, in characters.
pub const TEXT_CHARS_MAX: usize = 500;

/// Maximum amount of a field. A sum of a million such amounts is exact.
pub const AMOUNT_MAX: Money = Money::whole(1_000_000_000);

/// Maximum number of decimal places of an amount.
pub const AMOUNT_DECIMALS_MAX: u32 = 4;

pub(crate) fn text(field: &str, text: &str) -> Result<(), InvalidField> {
    if text.trim().is_empty() {
        return Err(InvalidField::new(field, "must not be empty"));
    }
    // Characters, not bytes: the limit is the one that the OpenAPI schema states.
    let chars = text.chars().count();
    if chars > TEXT_CHARS_MAX {
        let reason = format!("must have at most {TEXT_CHARS_MAX} characters; has {chars}");
        return Err(InvalidField::new(field, reason));
    }
    // They would break lines of reports, logs and CSV exports.
    if text.chars().any(char::is_control) {
        return Err(InvalidField::new(field, "must not contain control characters"));
    }
    Ok(())
}

pub(crate) fn optional_text(field: &str, given: Option<&str>) -> Result<(), InvalidField> {
    given.map_or(Ok(()), |given| text(field, given))
}

/// Checks the number of entries of a list.
pub(crate) fn count(
    field: &str,
    count: usize,
    range: RangeInclusive<usize>,
) -> Result<(), InvalidField> {
    if range.contains(&count) {
        return Ok(());
    }
    let (min, max) = range.into_inner();
    let reason = format!("must have between {min} and {max} entries; has {count}");
    Err(InvalidField::new(field, reason))
}

/// Checks size and decimal places of an amount of either sign.
pub(crate) fn amount(field: &str, amount: Money) -> Result<(), InvalidField> {
    // Both limits keep every sum and product of amounts within the 28 digits of a decimal.
    if amount.abs() > AMOUNT_MAX {
        let reason = format!("must be between -{AMOUNT_MAX} and {AMOUNT_MAX}; got {amount}");
        return Err(InvalidField::new(field, reason));
    }
    if amount.decimals() > AMOUNT_DECIMALS_MAX {
        let reason =
            format!("must have at most {AMOUNT_DECIMALS_MAX} decimal places; got {amount}");
        return Err(InvalidField::new(field, reason));
    }
    Ok(())
}

pub(crate) fn not_negative(field: &str, given: Money) -> Result<(), InvalidField> {
    if given < Money::ZERO {
        return Err(InvalidField::new(field, format!("must be zero or more; got {given}")));
    }
    amount(field, given)
}

pub(crate) fn positive(field: &str, given: Money) -> Result<(), InvalidField> {
    if given <= Money::ZERO {
        return Err(InvalidField::new(field, format!("must be greater than zero; got {given}")));
    }
    amount(field, given)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_up_to_its_limit_is_valid() {
        assert!(amount("price", AMOUNT_MAX).is_ok());
        assert!(amount("price", AMOUNT_MAX + "0.0001".parse().unwrap()).is_err());
        assert!(amount("price", "0.00001".parse().unwrap()).is_err());
    }

    #[test]
    fn a_blank_or_too_long_text_is_invalid() {
        assert!(text("name", "Ann").is_ok());
        assert!(text("name", " \u{2003}").is_err());
        assert!(text("name", "a\nb").is_err());
        assert!(text("name", &"n".repeat(TEXT_CHARS_MAX + 1)).is_err());
    }
}
