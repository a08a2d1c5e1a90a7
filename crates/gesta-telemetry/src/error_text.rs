//! The text of an error for the log.
//!
//! Invariant: a value that JSON was decoded from is not in it, since it is a part of a payload.

use std::error::Error;

/// Formats an error with its causes in one line, without the values that an error of `serde_json`
/// quotes.
///
/// ```
/// use gesta_telemetry::error_text;
///
/// let error = serde_json::from_str::<u32>("\"a secret\"").unwrap_err();
/// assert_eq!(error_text(&error), "invalid type: string, expected u32 at line 1 column 10");
/// ```
#[must_use]
pub fn error_text(error: &(dyn Error + 'static)) -> String {
    let mut line = text_of(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = text_of(error);
        // Errors whose own text has that of their cause would print it twice.
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line
}

fn text_of(error: &(dyn Error + 'static)) -> String {
    let text = error.to_string();
    match error.is::<serde_json::Error>() {
        true => without_value(&text),
        false => text,
    }
}

/// Removes the quoted value from a text such as ``invalid type: integer `5`, expected a string``.
fn without_value(text: &str) -> String {
    let has_value = ["invalid type: ", "invalid value: ", "unknown variant "];
    let Some(kind) = has_value.into_iter().find(|kind| text.starts_with(kind)) else {
        return text.to_owned();
    };
    let quote = text.find(['"', '`']).unwrap_or(text.len());
    let begin = text.get(..quote).unwrap_or(kind).trim_end();
    // The value itself may contain the word, so the last one is the library's.
    let rest = text.rfind(", expected ").filter(|place| *place >= begin.len());
    let rest = rest.and_then(|place| text.get(place..)).unwrap_or_default();
    format!("{begin}{rest}")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_str, from_value, json};

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the payload is not an order")]
    struct NoOrder(#[source] serde_json::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("the server is away: {0}")]
    struct Away(#[source] std::io::Error);

    #[test]
    fn a_cause_that_the_text_has_is_printed_once() {
        let away = Away(std::io::Error::other("connection refused"));
        assert_eq!(error_text(&away), "the server is away: connection refused");
    }

    #[test]
    fn causes_follow_in_one_line() {
        let text = error_text(&NoOrder(from_str::<u32>("true").unwrap_err()));
        assert!(text.starts_with("the payload is not an order: invalid type: boolean"), "{text}");
    }

    #[test]
    fn no_value_of_a_payload_is_in_the_text() {
        for (value, kind) in [
            (json!("secret, expected nothing"), "invalid type: string, expected u8"),
            (json!("quoted \" secret"), "invalid type: string, expected u8"),
            (json!(4711), "invalid value: integer, expected u8"),
            (json!(-4711), "invalid value: integer, expected u8"),
        ] {
            let text = error_text(&from_value::<u8>(value).unwrap_err());
            assert!(text.starts_with(kind), "{text}");
            assert!(!text.contains("secret") && !text.contains("4711"), "{text}");
        }
    }

    #[test]
    fn faults_without_a_value_are_told_whole() {
        let text = error_text(&from_str::<Value>("{").unwrap_err());
        assert_eq!(text, "EOF while parsing an object at line 1 column 1");
    }
}
