//! Validation of projection names.
//!
//! Routes, file names and checkpoints rely on this rule.

/// Maximum length of a projection's name, in bytes.
pub const PROJECTION_NAME_BYTES_MAX: usize = 1_024;

/// The reason why a text is not a valid projection name.
///
/// A name has 1 to [`PROJECTION_NAME_BYTES_MAX`] bytes and no control characters. It does not begin
/// or end with white space, and is not `.` or `..`, which URLs cannot carry. Names are compared by
/// their bytes.
///
/// ```
/// use gesta::{InvalidProjectionName, check_projection_name};
///
/// assert_eq!(check_projection_name("größen/je Tag"), Ok(()));
/// assert_eq!(check_projection_name(".."), Err(InvalidProjectionName::Dots));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidProjectionName {
    /// The name is empty.
    #[error("a projection's name must have at least 1 character; got none")]
    Empty,
    /// The name exceeds [`PROJECTION_NAME_BYTES_MAX`].
    #[error("a projection's name must have at most {PROJECTION_NAME_BYTES_MAX} bytes; got {bytes}")]
    TooLong {
        /// Length of the name.
        bytes: usize,
    },
    /// The name contains a control character.
    #[error("a projection's name must not have control characters; got {name:?}")]
    ControlCharacter {
        /// The rejected name.
        name: String,
    },
    /// The name begins or ends with white space.
    #[error("a projection's name must not begin or end with white space; got {name:?}")]
    Space {
        /// The rejected name.
        name: String,
    },
    /// The name is `.` or `..`.
    #[error(
        "a projection's name must not be `.` or `..`, which are relative path segments in a URL"
    )]
    Dots,
}

/// Checks the name of a projection.
///
/// # Errors
/// [`InvalidProjectionName`] with the violated rule.
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
            ["order_totals", "control.v2", "größen", "a/b", "a b", "a@b", "%2F", "...", &long]
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
