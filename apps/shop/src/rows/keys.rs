//! Parts of keys.

use jiff::Timestamp;
use uuid::Uuid;

/// Separator of the parts of a key. No id and no text of the shop has a control character.
const SEPARATOR: &str = "\u{1}";

/// Bytes up to which a text is itself a part of a key. DynamoDB's keys have at most 1,023.
const TEXT_BYTES_MAX: usize = 500;

/// Joins parts to a key. With an empty last part it is the prefix of all keys that have the others.
pub(crate) fn joined(parts: &[&str]) -> String {
    parts.join(SEPARATOR)
}

/// Returns the part of a key by which greater numbers come first.
pub(crate) fn newest_first(number: u64) -> String {
    format!("{:020}", u64::MAX - number)
}

/// Returns the part of a key by which smaller numbers come first.
pub(super) fn part_number(number: usize) -> String {
    format!("{number:06}")
}

/// Returns the part of a key for a text of any length. Only short texts keep their order.
pub(crate) fn short(text: &str) -> String {
    if text.len() <= TEXT_BYTES_MAX {
        return text.to_owned();
    }
    Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes()).to_string()
}

/// Returns a time as a column of a database with SQL keeps it.
pub(crate) fn whole_micros(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).expect("it is near a time that there is")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greater_numbers_come_first() {
        let keys = [u64::MAX, 100, 99, 9, 0].map(newest_first);
        assert!(keys.is_sorted(), "{keys:?}");
    }

    #[test]
    fn a_prefix_has_the_keys_of_its_part_only() {
        let prefix = joined(&["ann", ""]);
        assert!(joined(&["ann", "1"]).starts_with(&prefix));
        assert!(!joined(&["anna", "1"]).starts_with(&prefix));
    }

    #[test]
    fn texts_of_any_length_fit_and_differ() {
        let (one, other) = ("ä".repeat(500), "ä".repeat(499));
        assert!(short(&one).len() < TEXT_BYTES_MAX && short(&one) != short(&other));
        assert_eq!(short("France"), "France");
    }
}
