//! Payload digests, which detect the reuse of a command id for another command.
//!
//! Owns: the canonical form that is hashed. Invariant: equal payloads have equal digests,
//! independent of the order of their maps. Digests are stored, so the form never changes. Not here:
//! the comparison (the pipeline's idempotency step).

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use crate::{EncodeError, JsonFault, json};

/// The digest of a command's name and payload (BLAKE3, in hexadecimal).
///
/// ```
/// use gesta::PayloadDigest;
///
/// let ship = PayloadDigest::of("ship-order", &("order-1", "by air"))?;
/// assert_eq!(ship, PayloadDigest::of("ship-order", &("order-1", "by air"))?);
/// assert_ne!(ship, PayloadDigest::of("ship-order", &("order-1", "by sea"))?);
/// assert_ne!(ship, PayloadDigest::of("pay-order", &("order-1", "by air"))?);
/// # Ok::<(), gesta::EncodeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PayloadDigest(String);

impl PayloadDigest {
    /// Computes the digest of a whole payload.
    ///
    /// # Errors
    /// [`EncodeError::Json`] if the payload has no JSON form.
    pub fn of(name: &'static str, payload: &impl Serialize) -> Result<Self, EncodeError> {
        Ok(PayloadDigester::new(name).field("", payload)?.finish())
    }
}

impl fmt::Display for PayloadDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Incremental digest of a payload, field by field, so that fields can be left out.
#[derive(Debug)]
pub struct PayloadDigester {
    name: &'static str,
    hasher: blake3::Hasher,
}

impl PayloadDigester {
    /// Starts the digest of a command with this name.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        let mut digester = Self { name, hasher: blake3::Hasher::new() };
        digester.text(name);
        digester
    }

    /// Adds a field.
    ///
    /// # Errors
    /// [`EncodeError::Json`] if the field has no JSON form.
    pub fn field(mut self, key: &str, value: &impl Serialize) -> Result<Self, EncodeError> {
        self.text(key);
        match serde_json::to_value(value) {
            Ok(value) => self.value(&value),
            // A number beyond 64 bits does not fit in a `Value`, so hash its digits from the JSON
            // text.
            Err(_) => {
                let json = json::write(self.name, value)?;
                self.raw(&json).map_err(|source| EncodeError::Json {
                    what: self.name.to_owned(),
                    field: key.to_owned(),
                    reason: JsonFault::NotReadable(source),
                })?;
            }
        }
        Ok(self)
    }

    /// Returns the digest of the fields added.
    #[must_use]
    pub fn finish(self) -> PayloadDigest {
        PayloadDigest(self.hasher.finalize().to_hex().to_string())
    }

    /// Hashes a value with a type byte and its length first, so that the encoding is unambiguous.
    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.kind(b'n'),
            Value::Bool(false) => self.kind(b'f'),
            Value::Bool(true) => self.kind(b't'),
            Value::Number(number) => {
                self.kind(b'd');
                self.text(&number.to_string());
            }
            Value::String(text) => {
                self.kind(b's');
                self.text(text);
            }
            Value::Array(items) => {
                self.kind(b'a');
                self.length(items.len());
                items.iter().for_each(|item| self.value(item));
            }
            Value::Object(fields) => {
                self.kind(b'o');
                self.length(fields.len());
                // Maps iterate in any order; the digest must not depend on it.
                let mut sorted: Vec<_> = fields.iter().collect();
                sorted.sort_unstable_by_key(|(key, _)| *key);
                for (key, value) in sorted {
                    self.text(key);
                    self.value(value);
                }
            }
        }
    }

    /// Hashes JSON text in the same form as [`value`](Self::value), keeping every digit of numbers.
    fn raw(&mut self, json: &[u8]) -> Result<(), serde_json::Error> {
        match json.first() {
            Some(b'{') => {
                // Sorted by key, like the fields of a `Value`.
                let fields: BTreeMap<String, &RawValue> = serde_json::from_slice(json)?;
                self.kind(b'o');
                self.length(fields.len());
                for (key, value) in &fields {
                    self.text(key);
                    self.raw(value.get().as_bytes())?;
                }
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_slice(json)?;
                self.kind(b'a');
                self.length(items.len());
                for item in items {
                    self.raw(item.get().as_bytes())?;
                }
            }
            // The text keeps digits that a float would round away.
            Some(b'-' | b'0'..=b'9') => {
                self.kind(b'd');
                self.text(&String::from_utf8_lossy(json));
            }
            _ => self.value(&serde_json::from_slice(json)?),
        }
        Ok(())
    }

    fn kind(&mut self, kind: u8) {
        self.hasher.update(&[kind]);
    }

    fn length(&mut self, length: usize) {
        let length = u64::try_from(length).expect("a length has at most 64 bits");
        self.hasher.update(&length.to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.length(text.len());
        self.hasher.update(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn the_order_of_a_map_does_not_matter() {
        let forwards: HashMap<u32, u32> = (0..100).map(|n| (n, n)).collect();
        let backwards: HashMap<u32, u32> = (0..100).rev().map(|n| (n, n)).collect();
        assert_eq!(
            PayloadDigest::of("count", &forwards).unwrap(),
            PayloadDigest::of("count", &backwards).unwrap()
        );
    }

    #[test]
    fn a_stored_digest_is_known_again() {
        assert_eq!(
            PayloadDigest::of("ship-order", &("order-1", 2)).unwrap().to_string(),
            "85b2b9b27bd3e49a95985370752c8f24cb09a745d7cba2d9bf1684a6627bff16",
        );
    }

    #[test]
    fn numbers_beyond_64_bits_are_told_apart_by_every_digit() {
        let digest = |amount: i128| PayloadDigest::of("pay", &("order-1", vec![amount])).unwrap();
        assert_eq!(digest(i128::MAX), digest(i128::MAX));
        assert_ne!(digest(i128::MAX), digest(i128::MAX - 1));
        let forwards: HashMap<u32, i128> = (0..100).map(|n| (n, i128::MIN)).collect();
        let backwards: HashMap<u32, i128> = (0..100).rev().map(|n| (n, i128::MIN)).collect();
        assert_eq!(
            PayloadDigest::of("count", &forwards).unwrap(),
            PayloadDigest::of("count", &backwards).unwrap()
        );
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(
            PayloadDigest::of("count", &["ab", "c"]).unwrap(),
            PayloadDigest::of("count", &["a", "bc"]).unwrap()
        );
        assert_ne!(
            PayloadDigest::of("count", &[[1, 2], [3, 4]]).unwrap(),
            PayloadDigest::of("count", &[vec![1, 2, 3], vec![4]]).unwrap()
        );
    }
}
