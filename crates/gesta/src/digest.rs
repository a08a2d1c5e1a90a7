//! Payload digests, which detect the reuse of a command id for another command.
//!
//! Owns: the canonical form that is hashed, and its versions. Invariant: equal payloads have equal
//! digests, independent of the order of their maps. Digests are stored, so a form never changes; a
//! new one is a version of its own. Not here: the fields that are hashed (`payload`), and the
//! comparison (the pipeline's idempotency step).

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

/// The digest of a command's name and payload (BLAKE3, in hexadecimal, after its version).
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

/// Prefix of a digest without the fields that have their default values.
const WITHOUT_DEFAULTS: &str = "2:";

/// The version of a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DigestVersion {
    /// All fields in declaration order. Digests of this version have no prefix.
    AllFields,
    /// The fields without their default values, ordered by name.
    WithoutDefaults,
}

impl DigestVersion {
    pub(crate) const NEWEST: Self = Self::WithoutDefaults;
}

impl PayloadDigest {
    #[cfg(test)]
    pub(crate) fn stored(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub(crate) fn version(&self) -> DigestVersion {
        if self.0.starts_with(WITHOUT_DEFAULTS) {
            DigestVersion::WithoutDefaults
        } else {
            DigestVersion::AllFields
        }
    }
}

impl fmt::Display for PayloadDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The JSON of one field of a payload.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum FieldJson {
    Value(Value),
    /// Text, for a number that a `Value` would round.
    Text(JsonText),
    /// Left out.
    Absent,
}

impl FieldJson {
    /// Parses JSON text without rounding its numbers.
    pub(crate) fn text(json: Vec<u8>) -> Result<Self, serde_json::Error> {
        JsonText::parse(&json).map(Self::Text)
    }

    pub(crate) fn is_null(&self) -> bool {
        *self == Self::Value(Value::Null)
    }
}

/// Parsed JSON that keeps every digit of its numbers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum JsonText {
    Object(BTreeMap<String, JsonText>),
    Array(Vec<JsonText>),
    Number(String),
    Other(Value),
}

impl JsonText {
    fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        let inner = |raw: &RawValue| Self::parse(raw.get().as_bytes());
        Ok(match json.first() {
            Some(b'{') => {
                let members: BTreeMap<String, &RawValue> = serde_json::from_slice(json)?;
                let members = members.into_iter().map(|(key, raw)| Ok((key, inner(raw)?)));
                Self::Object(members.collect::<Result<_, serde_json::Error>>()?)
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_slice(json)?;
                Self::Array(items.into_iter().map(inner).collect::<Result<_, _>>()?)
            }
            Some(b'-' | b'0'..=b'9') => Self::Number(String::from_utf8_lossy(json).into_owned()),
            _ => Self::Other(serde_json::from_slice(json)?),
        })
    }
}

/// The hash of a payload, field by field.
#[derive(Debug)]
pub(crate) struct PayloadHasher(blake3::Hasher);

impl PayloadHasher {
    /// Starts the hash of a command with this name.
    pub(crate) fn new(name: &str) -> Self {
        let mut hasher = Self(blake3::Hasher::new());
        hasher.text(name);
        hasher
    }

    pub(crate) fn field(&mut self, key: &str, json: &FieldJson) {
        match json {
            FieldJson::Value(value) => {
                self.text(key);
                self.value(value);
            }
            FieldJson::Text(json) => {
                self.text(key);
                self.json_text(json);
            }
            FieldJson::Absent => {}
        }
    }

    pub(crate) fn finish(self, version: DigestVersion) -> PayloadDigest {
        let hex = self.0.finalize().to_hex();
        PayloadDigest(match version {
            DigestVersion::AllFields => hex.to_string(),
            DigestVersion::WithoutDefaults => format!("{WITHOUT_DEFAULTS}{hex}"),
        })
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
    fn json_text(&mut self, json: &JsonText) {
        match json {
            JsonText::Object(members) => {
                self.kind(b'o');
                self.length(members.len());
                for (key, member) in members {
                    self.text(key);
                    self.json_text(member);
                }
            }
            JsonText::Array(items) => {
                self.kind(b'a');
                self.length(items.len());
                items.iter().for_each(|item| self.json_text(item));
            }
            JsonText::Number(digits) => {
                self.kind(b'd');
                self.text(digits);
            }
            JsonText::Other(value) => self.value(value),
        }
    }

    fn kind(&mut self, kind: u8) {
        self.0.update(&[kind]);
    }

    fn length(&mut self, length: usize) {
        let length = u64::try_from(length).expect("a length has at most 64 bits");
        self.0.update(&length.to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.length(text.len());
        self.0.update(text.as_bytes());
    }
}
