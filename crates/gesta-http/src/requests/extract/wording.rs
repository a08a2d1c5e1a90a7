//! Reasons of invalid fields in the words of problems, instead of serde's, which name Rust's types.
//!
//! Not here: reasons of types with a `Deserialize` of their own, which pass unchanged.

use gesta::InvalidField;

use crate::wire::headers::REPEATED;

/// Maximum length of a quoted value, in characters. It may be as long as the body.
const SHOWN_CHARS_MAX: usize = 100;

pub(super) fn worded(mut faults: Vec<InvalidField>) -> Vec<InvalidField> {
    for fault in &mut faults {
        fault.reason = reason(&fault.reason).unwrap_or_else(|| fault.reason.clone());
    }
    faults
}

fn reason(message: &str) -> Option<String> {
    if message.starts_with("missing field `") {
        return Some("is missing".to_owned());
    }
    if message.starts_with("duplicate field `") {
        return Some(REPEATED.to_owned());
    }
    if let Some(rest) = message.strip_prefix("unknown field `") {
        // `NAME`, expected one of `A`, `B`: the name is that of the fault.
        let (_, known) = rest.split_once("`, ")?;
        return Some(format!("is unknown; {known}"));
    }
    if let Some(rest) = message.strip_prefix("unknown variant `") {
        let (got, known) = rest.split_once("`, expected ")?;
        return Some(format!("must be {known}; got `{}`", shortened(got)));
    }
    let kinds = ["invalid type: ", "invalid value: ", "invalid length "];
    let rest = kinds.iter().find_map(|kind| message.strip_prefix(kind))?;
    // From the right: the value may contain the separator, a type's description does not.
    let (got, expected) = rest.rsplit_once(", expected ")?;
    Some(format!("must be {}; got {}", type_name(expected), value(got)))
}

/// Returns a type in JSON's terms.
fn type_name(expected: &str) -> String {
    let range = match expected {
        "u8" => (0, u64::from(u8::MAX)),
        "u16" => (0, u64::from(u16::MAX)),
        "u32" => (0, u64::from(u32::MAX)),
        "u64" => (0, u64::MAX),
        "i64" => (i64::MIN, i64::MAX.unsigned_abs()),
        "i8" | "i16" | "i32" | "i128" | "u128" => return "a whole number in range".to_owned(),
        "f32" | "f64" => return "a number".to_owned(),
        "a sequence" => return "a list".to_owned(),
        "a map" => return "an object".to_owned(),
        other if other.starts_with("struct ") => return "an object".to_owned(),
        other => return other.to_owned(),
    };
    format!("a whole number from {} to {}", range.0, range.1)
}

/// Returns a value without the name that serde gives its type, if JSON shows the type.
fn value(got: &str) -> String {
    let plain = ["integer ", "floating point ", "boolean ", "string "];
    match got {
        "sequence" => "a list".to_owned(),
        "map" => "an object".to_owned(),
        got => {
            let plain = plain.iter().find_map(|kind| got.strip_prefix(kind));
            shortened(plain.unwrap_or(got))
        }
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct Window {
        width: u8,
        open: Option<bool>,
        kind: Option<Kind>,
        panes: Option<Vec<f64>>,
    }

    #[derive(Deserialize, Debug)]
    #[serde(rename_all = "camelCase")]
    enum Kind {
        Sash,
        Casement,
    }

    #[test]
    fn a_reason_names_the_value_and_what_was_expected_in_terms_of_json() {
        for (json, expected) in [
            ("{}", "is missing"),
            (r#"{"width": 1, "width": 1}"#, "is given several times; send it once"),
            (
                r#"{"width": 1, "depth": 1}"#,
                "is unknown; expected one of `width`, `open`, `kind`, `panes`",
            ),
            (r#"{"width": "2"}"#, "must be a whole number from 0 to 255; got \"2\""),
            (r#"{"width": 256}"#, "must be a whole number from 0 to 255; got `256`"),
            (r#"{"width": 2.5}"#, "must be a whole number from 0 to 255; got `2.5`"),
            (r#"{"width": null}"#, "must be a whole number from 0 to 255; got null"),
            (
                r#"{"width": 1, "open": "a, expected b"}"#,
                "must be a boolean; got \"a, expected b\"",
            ),
            (r#"{"width": 1, "kind": "bay"}"#, "must be `sash` or `casement`; got `bay`"),
            (r#"{"width": 1, "panes": {}}"#, "must be a list; got an object"),
            (r#"{"width": 1, "panes": [true]}"#, "must be a number; got `true`"),
        ] {
            let fault = super::super::parsing::parse::<Window>(json.as_bytes()).unwrap_err();
            let [worded] = &worded(vec![fault])[..] else { panic!("one fault") };
            assert_eq!(worded.reason, expected, "{json}");
        }
    }

    #[test]
    fn a_long_value_is_not_repeated_in_full() {
        let json = format!(r#"{{"width": "{}"}}"#, "x".repeat(10_000));
        let fault = super::super::parsing::parse::<Window>(json.as_bytes()).unwrap_err();
        let [worded] = &worded(vec![fault])[..] else { panic!("one fault") };
        assert!(worded.reason.len() < 200, "{}", worded.reason);
    }
}
