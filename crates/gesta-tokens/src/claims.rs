//! The header and the claims of a token, as JSON.
//!
//! Not here: what they must be ([`rule`](crate::rule)).

use serde::Deserialize;
use serde_json::{Map, Value};

/// Maximum number of roles that are read from a token.
const ROLES_MAX: usize = 100;

/// The protected header.
#[derive(Deserialize)]
pub(crate) struct Header {
    pub(crate) alg: String,
    #[serde(default)]
    pub(crate) kid: Option<String>,
    #[serde(default)]
    pub(crate) crit: Option<Value>,
}

/// A claim that should be a number and is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoNumber;

/// The claims. Each is read as the type that it must have; one of another type is as good as none.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct Claims(Map<String, Value>);

impl Claims {
    /// Returns a claim that is a text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// Returns a claim that is a number of seconds since 1970, if it is there.
    ///
    /// # Errors
    /// [`NoNumber`] for a claim of another type.
    pub(crate) fn seconds(&self, name: &str) -> Result<Option<f64>, NoNumber> {
        self.0.get(name).map(|value| value.as_f64().ok_or(NoNumber)).transpose()
    }

    /// Returns whether the audience is this one, or a list that has it.
    pub(crate) fn is_for(&self, audience: &str) -> bool {
        match self.0.get("aud") {
            Some(Value::String(one)) => one == audience,
            Some(Value::Array(list)) => list.iter().any(|one| one.as_str() == Some(audience)),
            Some(_) | None => false,
        }
    }

    /// Returns the text in a claim, or in a member of one.
    pub(crate) fn text_at(&self, name: &str) -> Option<&str> {
        self.at(name)?.as_str()
    }

    /// Returns the roles in a claim, or in a member of one: a list of texts, or a text of words
    /// that spaces separate.
    pub(crate) fn roles(&self, name: &str) -> Vec<String> {
        match self.at(name) {
            Some(Value::Array(list)) => {
                list.iter().filter_map(Value::as_str).map(str::to_owned).take(ROLES_MAX).collect()
            }
            Some(Value::String(words)) => {
                words.split_ascii_whitespace().map(str::to_owned).take(ROLES_MAX).collect()
            }
            Some(_) | None => Vec::new(),
        }
    }

    /// Returns the value of a claim. The name is that of a claim, or the path of a member of one,
    /// as in `realm_access.roles`.
    fn at(&self, name: &str) -> Option<&Value> {
        // The whole name first: names of claims may be URLs, which have dots.
        self.0.get(name).or_else(|| {
            let mut parts = name.split('.');
            let first = self.0.get(parts.next()?)?;
            parts.try_fold(first, |value, part| value.get(part))
        })
    }
}
