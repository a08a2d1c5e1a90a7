//! Payloads of commands, which distinguish a repeat from another use of its command id.
//!
//! Owns: [`CommandPayload`], and the rule that finds two payloads equal. Invariant: a member with
//! its default value equals an absent member, so a client's retry stays a repeat after a deployment
//! added the member. Not here: the hashed form (`digest`), and the lookup of the first execution
//! (the pipeline's idempotency step).

mod defaults;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    EncodeError, JsonFault, PayloadDigest,
    digest::{DigestVersion, FieldJson, PayloadHasher},
    json,
};
use defaults::DefaultMember;

/// The fields of a command that identify a request: all except those filled in at the edge.
///
/// Derived for commands. A hand-written [`Command`](crate::Command) inherits
/// [`whole`](Self::whole).
///
/// ```
/// use gesta::CommandPayload;
///
/// let ship = |how: &str| {
///     CommandPayload::new("ship-order").field("order", &7)?.field("how", &how.to_owned())
/// };
/// assert_eq!(ship("by air")?.digest(), ship("by air")?.digest());
/// assert_ne!(ship("by air")?.digest(), ship("by sea")?.digest());
///
/// // A later version of the program has a further, optional field.
/// let gift = ship("by air")?.field("gift", &None::<String>)?;
/// assert!(gift.is_repeat_of(&ship("by air")?.digest()));
/// # Ok::<(), gesta::EncodeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct CommandPayload {
    name: &'static str,
    fields: Vec<PayloadField>,
}

#[derive(Clone, Debug)]
struct PayloadField {
    key: &'static str,
    json: FieldJson,
    /// `true` if the value is the one that an absent field has.
    is_default: bool,
    /// Decodes a JSON value as the field's type and encodes it again; `None` for a field that
    /// serde decodes by other means than its type.
    renew: Option<fn(Value) -> Option<Value>>,
}

impl CommandPayload {
    /// Maximum number of default-valued members that are left out one by one, to compare with a
    /// digest of an earlier version of the program.
    pub const DEFAULT_MEMBERS_MAX: usize = 8;

    /// Creates the payload of a command without fields.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, fields: Vec::new() }
    }

    /// Creates the payload of a command that is one value.
    ///
    /// # Errors
    /// [`EncodeError::Json`] if the value has no JSON form. Correct its type.
    pub fn whole<T: Serialize + DeserializeOwned>(
        name: &'static str,
        value: &T,
    ) -> Result<Self, EncodeError> {
        Self::new(name).field("", value)
    }

    /// Adds a field. `None` is its default.
    ///
    /// # Errors
    /// [`EncodeError::Json`] if the value has no JSON form. Correct its type.
    pub fn field<T: Serialize + DeserializeOwned>(
        self,
        key: &'static str,
        value: &T,
    ) -> Result<Self, EncodeError> {
        let mut payload = self.opaque_field(key, value)?;
        if let Some(field) = payload.fields.last_mut() {
            field.renew = Some(renewed::<T>);
        }
        Ok(payload)
    }

    /// Adds a field that serde decodes by other means than its type (`#[serde(with = …)]`).
    /// Defaults inside its value are not recognized.
    ///
    /// # Errors
    /// [`EncodeError::Json`] if the value has no JSON form. Correct its type.
    pub fn opaque_field<T: Serialize>(
        mut self,
        key: &'static str,
        value: &T,
    ) -> Result<Self, EncodeError> {
        let json = self.encode(key, value)?;
        let is_default = json.is_null();
        self.fields.push(PayloadField { key, json, is_default, renew: None });
        Ok(self)
    }

    /// Sets the default of the field added last: an absent field has this value.
    ///
    /// # Errors
    /// [`EncodeError::Json`] if the value has no JSON form. Correct its type.
    pub fn or<T: Serialize>(mut self, default: &T) -> Result<Self, EncodeError> {
        let Some(mut field) = self.fields.pop() else { return Ok(self) };
        field.is_default |= self.encode(field.key, default)? == field.json;
        self.fields.push(field);
        Ok(self)
    }

    fn encode<T: Serialize>(&self, key: &str, value: &T) -> Result<FieldJson, EncodeError> {
        if let Ok(value) = serde_json::to_value(value) {
            return Ok(FieldJson::Value(value));
        }
        // A number beyond 64 bits does not fit in a `Value`; its digits are in the JSON text.
        FieldJson::text(json::write(self.name, value)?).map_err(|source| EncodeError::Json {
            what: self.name.to_owned(),
            field: key.to_owned(),
            reason: JsonFault::NotReadable(source),
        })
    }

    /// Returns the digest, which does not depend on the order of the fields nor on fields with
    /// their default value.
    #[must_use]
    pub fn digest(&self) -> PayloadDigest {
        self.digest_by(DigestVersion::NEWEST)
    }

    /// Returns whether a payload with this digest is the same request, although an earlier version
    /// of the program computed it.
    ///
    /// Members with their default value may be absent from that payload, at any depth. Of more than
    /// [`DEFAULT_MEMBERS_MAX`](Self::DEFAULT_MEMBERS_MAX) such members, the first ones are taken
    /// as present.
    #[must_use]
    pub fn is_repeat_of(&self, first: &PayloadDigest) -> bool {
        let version = first.version();
        // The usual case costs one comparison.
        if self.digest_by(version) == *first {
            return true;
        }
        let members = self.default_members(version);
        // Each subset but the empty one: which members the other program lacked is not known.
        (1..1_u32 << members.len()).any(|subset| {
            let mut payload = self.clone();
            for (place, member) in members.iter().enumerate() {
                if subset >> place & 1 == 1 {
                    payload.remove(member);
                }
            }
            payload.digest_by(version) == *first
        })
    }

    fn digest_by(&self, version: DigestVersion) -> PayloadDigest {
        let mut fields: Vec<&PayloadField> = self.fields.iter().collect();
        match version {
            DigestVersion::AllFields => {}
            DigestVersion::WithoutDefaults => {
                fields.retain(|field| !field.is_default);
                fields.sort_unstable_by_key(|field| field.key);
            }
        }
        let mut hasher = PayloadHasher::new(self.name);
        fields.into_iter().for_each(|field| hasher.field(field.key, &field.json));
        hasher.finish(version)
    }

    /// Returns the members that the digest covers although they have their default values.
    fn default_members(&self, version: DigestVersion) -> Vec<DefaultMember> {
        let mut members = Vec::new();
        for (place, field) in self.fields.iter().enumerate() {
            match (field.is_default, version) {
                (true, DigestVersion::WithoutDefaults) => {}
                (true, DigestVersion::AllFields) => members.push(DefaultMember::field(place)),
                (false, _) => {
                    let (FieldJson::Value(value), Some(renew)) = (&field.json, field.renew) else {
                        continue;
                    };
                    members.extend(defaults::inside(place, value, renew));
                }
            }
        }
        // New members tend to come last.
        members.split_off(members.len().saturating_sub(Self::DEFAULT_MEMBERS_MAX))
    }

    fn remove(&mut self, member: &DefaultMember) {
        let Some(field) = self.fields.get_mut(member.field) else { return };
        if member.path.is_empty() {
            field.json = FieldJson::Absent;
        } else if let FieldJson::Value(value) = &mut field.json {
            member.remove_from(value);
        }
    }
}

impl PayloadDigest {
    /// Computes the digest of a whole payload.
    ///
    /// # Errors
    /// [`EncodeError::Json`] if the payload has no JSON form. Correct its type.
    pub fn of(name: &'static str, payload: &impl Serialize) -> Result<Self, EncodeError> {
        Ok(CommandPayload::new(name).opaque_field("", payload)?.digest())
    }
}

/// Decodes a value as a type and encodes it again.
fn renewed<T: Serialize + DeserializeOwned>(value: Value) -> Option<Value> {
    serde_json::to_value(serde_json::from_value::<T>(value).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use serde::Deserialize;

    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Line {
        product: u32,
    }

    /// The next version of `Line`.
    #[derive(Serialize, Deserialize, Clone)]
    struct NextLine {
        product: u32,
        #[serde(default)]
        wrapped: bool,
        #[serde(default = "one")]
        quantity: u32,
        note: Option<String>,
    }

    fn one() -> u32 {
        1
    }

    const PLAIN: NextLine = NextLine { product: 7, wrapped: false, quantity: 1, note: None };

    fn place(lines: &[NextLine]) -> CommandPayload {
        CommandPayload::new("place").field("lines", &lines.to_vec()).unwrap()
    }

    fn placed_before(lines: usize) -> CommandPayload {
        let lines: Vec<_> = (0..lines).map(|_| Line { product: 7 }).collect();
        CommandPayload::new("place").field("lines", &lines).unwrap()
    }

    #[test]
    fn members_of_lines_that_were_added_with_a_default_keep_a_retry_a_repeat() {
        assert!(place(&[PLAIN, PLAIN]).is_repeat_of(&placed_before(2).digest()));
        assert!(
            place(&[PLAIN]).is_repeat_of(&placed_before(1).digest_by(DigestVersion::AllFields))
        );
    }

    #[test]
    fn another_value_of_an_added_member_is_another_request() {
        for other in [
            NextLine { wrapped: true, ..PLAIN },
            NextLine { quantity: 2, ..PLAIN },
            NextLine { note: Some(String::new()), ..PLAIN },
            NextLine { product: 8, ..PLAIN },
        ] {
            assert!(!place(&[PLAIN, other]).is_repeat_of(&placed_before(2).digest()));
        }
        assert!(!place(&[PLAIN]).is_repeat_of(&placed_before(2).digest()));
    }

    #[test]
    fn the_order_of_the_fields_does_not_matter() {
        let of = |keys: [&'static str; 2]| {
            let payload = CommandPayload::new("pay").field(keys[0], &1).unwrap();
            payload.field(keys[1], &1).unwrap().digest()
        };
        assert_eq!(of(["cents", "order"]), of(["order", "cents"]));
    }

    #[test]
    fn a_key_of_a_map_is_no_default() {
        let of = |map: &[(&str, Option<u8>)]| {
            let map: BTreeMap<_, _> =
                map.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect();
            CommandPayload::whole("patch", &map).unwrap()
        };
        assert!(!of(&[("a", None)]).is_repeat_of(&of(&[]).digest()));
    }

    #[test]
    fn of_many_default_members_the_last_may_be_absent() {
        let with = |fields: &[&'static str]| {
            fields.iter().fold(CommandPayload::new("place"), |payload, key| {
                payload.field(key, &0).unwrap().or(&0).unwrap()
            })
        };
        let keys = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"];
        let before = with(&keys[..9]).digest_by(DigestVersion::AllFields);
        assert!(with(&keys).is_repeat_of(&before));
        assert_eq!(with(&keys).default_members(DigestVersion::AllFields).len(), 8);
        assert_eq!(with(&keys).digest(), with(&[]).digest());
    }

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
        let hex = "85b2b9b27bd3e49a95985370752c8f24cb09a745d7cba2d9bf1684a6627bff16";
        let payload = || CommandPayload::whole("ship-order", &("order-1".to_owned(), 2)).unwrap();
        assert_eq!(payload().digest().to_string(), format!("2:{hex}"));
        // Earlier versions stored it without its version.
        assert!(payload().is_repeat_of(&PayloadDigest::stored(hex)));
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
