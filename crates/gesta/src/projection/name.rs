//! The rule for names of projections, which everything else that takes such a name rests on.

/// Bytes of a projection's name.
pub const PROJECTION_NAME_BYTES_MAX: usize = 1_024;

/// The text is not a projection's name.
///
/// Any text of 1 to [`PROJECTION_NAME_BYTES_MAX`] bytes without control characters is one, unless it
/// begins or ends with white space, or is `.` or `..`, which no URL can carry. Names are told apart
/// by their bytes.
///
/// ```
/// use gesta::{InvalidProjectionName, check_projection_name};
///
/// assert_eq!(check_projection_name("größen/je Tag"), Ok(()));
/// assert_eq!(check_projection_name(".."), Err(InvalidProjectionName::Dots));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProjectionName {
    /// It has no characters.
    #[error("a projection's name must have at least 1 character; got none")]
    Empty,
    /// It is too long.
    #[error("a projection's name must have at most {PROJECTION_NAME_BYTES_MAX} bytes; got {bytes}")]
    TooLong {
        /// The bytes that it has.
        bytes: usize,
    },
    /// It has a control character.
    #[error("a projection's name must not have control characters; got {name:?}")]
    ControlCharacter {
        /// The name.
        name: String,
    },
    /// It begins or ends with white space.
    #[error("a projection's name must not begin or end with white space; got {name:?}")]
    Space {
        /// The name.
        name: String,
    },
    /// It is `.` or `..`.
    #[error("a projection's name must not be `.` or `..`, which stand for other places in a URL")]
    Dots,
}

/// Checks the name of a projection.
///
/// # Errors
/// [`InvalidProjectionName`] with the rule that it breaks.
pub fn check_projection_name(name: &str) -> Result<(), InvalidProjectionName> {
    match name {
        "" => Err(InvalidProjectionName::Empty),
        "." | ".." => Err(InvalidProjectionName::Dots),
        name if name.len() > PROJECTION_NAME_BYTES_MAX => {
            Err(InvalidProjectionName::TooLong { bytes: name.len() })
        }
        name if name.chars().any(char::is_control) => {
            Err(InvalidProjectionName::ControlCharacter { name: name.to_owned() })
        }
        name if name.trim() != name => Err(InvalidProjectionName::Space { name: name.to_owned() }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_printable_text_within_the_limit_is_a_projections_name() {
        let long = "ö".repeat(PROJECTION_NAME_BYTES_MAX / 2);
        for name in
            ["order_totals", "orders.v2", "größen", "a/b", "a b", "a@b", "%2F", "...", &long]
        {
            assert_eq!(check_projection_name(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn a_name_that_a_url_or_a_log_line_cannot_carry_is_refused() {
        let long = "x".repeat(PROJECTION_NAME_BYTES_MAX + 1);
        for name in ["", " ", "a ", ".", "..", "a\nb", "\u{7f}", &long] {
            assert!(check_projection_name(name).is_err(), "{name:?}");
        }
    }
}
