//! Personal data in the operator's answers: masked for readers without the right to see them.
//!
//! Owns: [`PersonalData`], [`PersonalView`]. Invariants:
//! - Without an access, and with an event registry that marks nothing, every answer is as it was.
//! - The value of a marked name is masked whole, in every version of its event. Data whose fields
//!   cannot be told apart are masked as a whole: those of an unknown event type, those that are no
//!   JSON object, and those of a codec.
//! - Of a state of an aggregate, the members that the application has named are masked.
//! - Of events of process managers and reactors, what the application gave them is masked.
//! - Names are never masked: streams, categories, types, ids, keys of tags, actors.
//!
//! Not here: the marks (`gesta::PersonalField`), the feed of readers without
//! [`Right::RawFeed`], histories and queries, which are the application's own.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use axum::{
    extract::{FromRef, FromRequestParts},
    http::{StatusCode, request::Parts},
};
use gesta::{
    PersonalField, Registry, Tag, audit, is_internal,
    store::{ContentType, EventType, RecordedEvent},
};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
};
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};

use crate::{Describe, GestaState, Operation, Problem, Right, StoredJson};

/// The text that stands for a masked value.
pub(crate) const MASK: &str = "[personal]";
/// The text that stands for an error that may quote personal data.
pub(crate) const HIDDEN_ERROR: &str =
    "[personal] the text of this error may quote personal data; the right `personal` shows it";

/// The event types that a program knows, with their personal fields: a request extension that the
/// router sets.
#[derive(Clone, Debug, Default)]
pub(crate) struct PersonalData(Arc<BTreeMap<&'static str, Vec<PersonalField>>>);

impl PersonalData {
    /// Adds the events of a registry.
    pub(crate) fn and(self, registry: &Registry) -> Self {
        let mut known = Arc::unwrap_or_clone(self.0);
        for name in registry.names() {
            known.entry(name).or_default().extend_from_slice(registry.personal_fields(name));
        }
        Self(Arc::new(known))
    }

    fn is_empty(&self) -> bool {
        self.0.values().all(Vec::is_empty)
    }
}

/// The personal data that the reader of an operator's route may see.
#[derive(Clone, Debug, Default)]
pub(crate) struct PersonalView(
    /// The marks by which values are masked; `None` shows everything.
    Option<PersonalData>,
);

impl PersonalView {
    /// Returns the view of a request.
    ///
    /// # Errors
    /// A 403 for a request that no rule has allowed.
    pub(crate) fn of(state: &GestaState, request: &Parts) -> Result<Self, Problem> {
        let sees = state.permit(request)?.is_none_or(|permit| permit.sees_personal);
        let data = request.extensions.get::<PersonalData>();
        Ok(Self(data.filter(|data| !sees && !data.is_empty()).cloned()))
    }

    /// Returns whether something is masked.
    pub(crate) fn hides(&self) -> bool {
        self.0.is_some()
    }

    /// Returns the personal fields of an event type: `None` if it may have any.
    fn fields_of(&self, event_type: &str) -> Option<&[PersonalField]> {
        match &self.0 {
            Some(data) => data.0.get(event_type).map(Vec::as_slice),
            None => Some(&[]),
        }
    }

    /// Returns an event as this reader may see it. Data that are masked as a whole become a JSON
    /// text.
    pub(crate) fn event<'e>(&self, event: &'e RecordedEvent) -> Cow<'e, RecordedEvent> {
        let data = match self.fields_of(event.event_type.as_str()) {
            Some([]) => return Cow::Borrowed(event),
            // The audit stream has what operators did, in texts of the framework and of operators.
            None if event.stream == audit::stream() => return Cow::Borrowed(event),
            None if is_internal(&event.stream) => masked_internal(&event.data),
            None => None,
            Some(_) if !event.content_type.is_json() => None,
            Some(fields) => masked_json(&event.data, fields),
        };
        let mut masked = event.clone();
        masked.data = data.unwrap_or_else(|| mask().get().to_owned()).into();
        masked.content_type = ContentType::JSON;
        let fields = self.fields_of(event.event_type.as_str());
        masked.tags = event.tags.iter().filter_map(|tag| masked_tag(tag, fields)).collect();
        Cow::Owned(masked)
    }

    /// Returns the decoded data of an event of this type, or a list of several.
    pub(crate) fn decoded(&self, event_type: &str, value: Value) -> Value {
        match self.fields_of(event_type) {
            Some([]) => value,
            Some(fields) => masked_value(value, fields),
            None => MASK.into(),
        }
    }

    /// Returns a state with these members masked. A state that lacks one of them, or is no object,
    /// is masked as a whole: its members have got other names than the application has given.
    pub(crate) fn state(&self, json: &[u8], names: &[&str]) -> StoredJson {
        let masked = match self.hides() {
            true => {
                let whole = || mask().get().as_bytes().to_vec();
                masked_state(json, names).unwrap_or_else(whole).into()
            }
            false => Cow::Borrowed(json),
        };
        StoredJson::of(&masked).expect("what was written as JSON is JSON")
    }

    /// Returns the text of an error that an event of this type met.
    pub(crate) fn error_of(&self, event_type: &EventType, text: String) -> String {
        match self.fields_of(event_type.as_str()) {
            Some([]) => text,
            Some(_) | None => HIDDEN_ERROR.to_owned(),
        }
    }

    /// Returns the text of an error that any event may have met.
    pub(crate) fn error(&self, text: String) -> String {
        if self.hides() { HIDDEN_ERROR.to_owned() } else { text }
    }

    /// Returns a value whose form only the application knows.
    pub(crate) fn opaque(&self, json: Box<RawValue>) -> Box<RawValue> {
        if self.hides() { mask() } else { json }
    }

    /// Refuses data in which a masked value was left.
    ///
    /// # Errors
    /// A 400 that names the field of the request.
    pub(crate) fn check_unmasked(&self, field: &str, data: &str) -> Result<(), Problem> {
        // An escaped mask is found, too.
        let has_mask = || match serde_json::from_str(data) {
            Ok(value) => holds_mask(&value),
            Err(_) => data.contains(MASK),
        };
        if !self.hides() || !has_mask() {
            return Ok(());
        }
        let reason = format!(
            "has the mask `{MASK}` in place of personal data; give these fields other values, or \
             ask someone with the right `personal`"
        );
        Err(Problem::invalid(field, reason))
    }

    /// Refuses what cannot be masked by field.
    ///
    /// # Errors
    /// A 403 that names the right.
    pub(crate) fn check_sees(&self, what: &str) -> Result<(), Problem> {
        if !self.hides() {
            return Ok(());
        }
        let detail = format!("{what} may hold personal data, which need the right `personal`");
        let refused = Problem::new(StatusCode::FORBIDDEN, "forbidden", detail);
        Err(refused.missing_right(Right::Personal.as_str()))
    }

    /// Returns a problem without the quotation of an error, if it has one.
    pub(crate) fn problem(&self, problem: Problem) -> Problem {
        match self.hides() && problem.quotes_error() {
            true => problem.with_detail(HIDDEN_ERROR),
            false => problem,
        }
    }
}

impl<S> FromRequestParts<S> for PersonalView
where
    GestaState: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Self::of(&GestaState::from_ref(state), parts)
    }
}

impl Describe for PersonalView {
    fn describe(_: &mut Operation<'_>) {}
}

fn mask() -> Box<RawValue> {
    to_raw_value(MASK).expect("a text has a JSON form")
}

/// Returns a tag without its value if its key is that of a personal field. `None` if the mask does
/// not fit behind the key.
fn masked_tag(tag: &Tag, fields: Option<&[PersonalField]>) -> Option<Tag> {
    let key = tag.as_str().split_once(':').map_or("", |(key, _)| key);
    let is_personal = fields.is_none_or(|fields| fields.iter().any(|it| it.tag == Some(key)));
    match is_personal {
        // The key of a tag without one is the mask's own.
        true => Tag::new(format!("{key}:{MASK}")).ok(),
        false => Some(tag.clone()),
    }
}

/// Returns a JSON object with the values of these fields masked, all others as they are stored, or
/// `None` if it is no object.
fn masked_json(json: &[u8], fields: &[PersonalField]) -> Option<String> {
    let Members(mut members) = serde_json::from_slice(json).ok()?;
    let is_personal = |name: &str| fields.iter().any(|field| field.name == name);
    let personal = members.iter_mut().filter(|(name, _)| is_personal(name));
    personal.for_each(|(_, value)| *value = mask());
    serde_json::to_string(&Members(members)).ok()
}

/// Returns a JSON object with the values of these members masked, or `None` if it is no object or
/// lacks one of them.
fn masked_state(json: &[u8], names: &[&str]) -> Option<Vec<u8>> {
    let Members(mut members) = serde_json::from_slice(json).ok()?;
    let has = |name: &&str| members.iter().any(|(member, _)| member == name);
    if !names.iter().all(has) {
        return None;
    }
    let personal = members.iter_mut().filter(|(member, _)| names.contains(&&**member));
    personal.for_each(|(_, value)| *value = mask());
    serde_json::to_vec(&Members(members)).ok()
}

fn masked_value(value: Value, fields: &[PersonalField]) -> Value {
    match value {
        Value::Object(mut members) => {
            for (name, member) in &mut members {
                if fields.iter().any(|field| field.name == name) {
                    *member = MASK.into();
                }
            }
            Value::Object(members)
        }
        // The events that one stored event has become.
        Value::Array(events) => {
            events.into_iter().map(|event| masked_value(event, fields)).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => MASK.into(),
    }
}

/// Returns the data of an event of a process manager or reactor without what the application gave
/// it: data of events, payloads of commands, values of timers, errors and reasons.
fn masked_internal(json: &[u8]) -> Option<String> {
    let value = serde_json::from_slice(json).ok()?;
    Some(without_own(value, "").to_string())
}

/// Masks the application's own in the value of the member `of`.
fn without_own(value: Value, of: &str) -> Value {
    match value {
        Value::Object(members) => {
            let masked = members.into_iter().map(|(name, member)| {
                // Elsewhere `timer` is the id of one.
                let is_own = matches!(&*name, "data" | "payload" | "error" | "reason")
                    || (of, &*name) == ("setTimer", "timer");
                let member = if is_own { MASK.into() } else { without_own(member, &name) };
                (name, member)
            });
            masked.collect()
        }
        Value::Array(values) => values.into_iter().map(|value| without_own(value, "")).collect(),
        other => other,
    }
}

fn holds_mask(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains(MASK),
        Value::Array(values) => values.iter().any(holds_mask),
        Value::Object(members) => members.values().any(holds_mask),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The members of a JSON object in their order, also those of the same name, with all digits.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// Returns the names of an event's personal fields, sorted.
pub(crate) fn names(registry: &Registry, event_type: &str) -> Vec<&'static str> {
    let fields = registry.personal_fields(event_type).iter();
    fields.map(|field| field.name).collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_members_are_masked_and_the_others_keep_their_digits() {
        let fields = [PersonalField::new("mail", None)];
        let masked = |json: &str| masked_json(json.as_bytes(), &fields);
        let stored = r#"{"price":1.10,"mail":{"at":["ann"]},"id":12345678901234567890123}"#;
        let shown = r#"{"price":1.10,"mail":"[personal]","id":12345678901234567890123}"#;
        assert_eq!(masked(stored).unwrap(), shown);
        let escaped = r#"{"\u006dail":"ann","other":{"mail":"ann"},"mail":null}"#;
        let shown = r#"{"mail":"[personal]","other":{"mail":"ann"},"mail":"[personal]"}"#;
        assert_eq!(masked(escaped).unwrap(), shown);
        for whole in [r#"["ann"]"#, r#""ann""#, "", "{", r#"{"mail":"ann"} {}"#] {
            assert_eq!(masked(whole), None, "{whole}");
        }
    }

    #[test]
    fn a_state_without_a_named_member_is_masked_as_a_whole() {
        let masked = |json: &str| {
            let bytes = masked_state(json.as_bytes(), &["mail", "names"])?;
            String::from_utf8(bytes).ok()
        };
        let state = r#"{"names":["Ann"],"paid":1.10,"mail":null}"#;
        let shown = r#"{"names":"[personal]","paid":1.10,"mail":"[personal]"}"#;
        assert_eq!(masked(state).unwrap(), shown);
        let twice = r#"{"mail":"ann","names":[],"mail":"ben"}"#;
        let shown = r#"{"mail":"[personal]","names":"[personal]","mail":"[personal]"}"#;
        assert_eq!(masked(twice).unwrap(), shown);
        for whole in [r#"{"names":[],"email":"ann"}"#, "{}", r#"["ann"]"#, "null"] {
            assert_eq!(masked(whole), None, "{whole}");
        }
    }

    #[test]
    fn a_tag_of_a_personal_field_never_has_its_value() {
        let key = "k".repeat(Tag::BYTES_MAX - "ann:".len());
        let long: &'static str = key.leak();
        let fields =
            [PersonalField::new("mail", Some("mail")), PersonalField::new("id", Some(long))];
        let masked = |tag: String| masked_tag(&Tag::new(tag).unwrap(), Some(&fields));
        assert_eq!(masked("mail:ann".to_owned()).unwrap().as_str(), "mail:[personal]");
        assert_eq!(masked("order:ann".to_owned()).unwrap().as_str(), "order:ann");
        assert_eq!(masked(format!("{long}:ann")), None, "the mask does not fit");
    }

    #[test]
    fn a_mask_is_found_at_any_depth_and_however_it_is_written() {
        let view = PersonalView(Some(PersonalData::default()));
        for data in [
            r#"{"mail":"[personal]"}"#,
            r#"{"to":[{"mail":"\u005bpersonal]"}]}"#,
            r#""dear [personal]""#,
            "[personal]",
        ] {
            let problem = view.check_unmasked("data", data).unwrap_err();
            assert_eq!(problem.code(), "invalid", "{data}");
        }
        assert!(view.check_unmasked("data", r#"{"mail":"personal"}"#).is_ok());
        assert!(PersonalView(None).check_unmasked("data", r#""[personal]""#).is_ok());
    }
}
